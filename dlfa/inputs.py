"""What users may give for data and encoder, as folders that every process of a sweep can read."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from dlfa.errors import ConfigError
from dlfa.tasks import TASKS, TaskSpec

__all__ = ["EMBEDDED", "HUB", "data_folder", "encoder_source", "origin", "probing_folders"]

EMBEDDED = "embedded"
"""Data or encoder that ships with the package."""

HUB = "hub"
"""Data of the Hugging Face Hub."""

_CORPUS_FOLDER = "controlled-corpus-"
"""How the names of folders of generated data begin."""

_MOST_GENERATED = 100_000
"""Examples of one generated set: the grammar has far more sentences than anyone would wait for."""


def data_folder(
    data: str,
    task: TaskSpec,
    cache: Path,
    *,
    source_language: str,
    languages: Sequence[str],
    train: int | None,
    evaluation: int | None,
) -> Path:
    """Return `--data` as an absolute folder; what is no folder yet is made one in the cache.

    Args:
        data: `hub`, `embedded` or a path.
        task: What the data is for.
        cache: Folder that downloads and generated data are kept in.
        source_language: Language to be trained on.
        languages: Target languages; none: all that the Hub has for the task.
        train: Training examples that are asked for; none: all of the Hub's, a default number of generated ones.
        evaluation: Examples of each dev and test set that are asked for, likewise.

    Raises:
        ConfigError: There is no such folder.
        DataError: The Hub cannot be reached, or has other data than expected.
    """
    if data == HUB:
        from dlfa.data.sources.hub import fetch

        return fetch(task, cache, source_language=source_language, languages=languages)
    if data == EMBEDDED:
        return _corpus(task, cache, source_language, train, evaluation)
    return _folder("--data", data)


def _folder(flag: str, given: str) -> Path:
    """Return a folder that was typed as an absolute one.

    Raises:
        ConfigError: There is none.
    """
    try:
        folder, reason = Path(given).expanduser(), ""
        there = bool(given) and folder.is_dir()
    except (OSError, RuntimeError) as error:  # too long, not to be looked into, or no home directory of that user
        there, reason = False, f" ({getattr(error, 'strerror', None) or error})"
    if not there:
        raise ConfigError(f"{flag}: {given!r} is not allowed{reason}; allowed: {HUB}, {EMBEDDED}, or a folder")
    return folder.resolve()


def origin(folder: Path, cache: Path) -> str | None:
    """Return `hub` or `embedded` for a folder that `data_folder` has made of that; none: it is the user's own."""
    if folder == cache or not folder.is_relative_to(cache):
        return None
    first = folder.relative_to(cache).parts[0]
    return HUB if first == HUB else EMBEDDED if first.startswith(_CORPUS_FOLDER) else None


def probing_folders(
    treebanks: str, parallel: str, cache: Path, *, source_language: str, languages: Sequence[str], limit: int
) -> tuple[Path, Path]:
    """Return `--treebanks` and `--parallel` as folders; what is no folder yet is made one in the cache.

    Args:
        treebanks: `hub`, `embedded` or a path: text labelled for udpos.
        parallel: Likewise: sentences in pairs.
        cache: Folder that downloads and generated data are kept in.
        source_language: One side of every pair.
        languages: Target languages; those that the Hub lacks are left out.
        limit: Sentences, or pairs, of each generated set.

    Raises:
        ConfigError: There is no such folder, or the Hub or the generator has none of the languages.
        DataError: The Hub cannot be reached, or has other data than expected.
    """
    from dlfa.data.sources.hub import fetch
    from dlfa.probing import PARALLEL

    found: list[Path] = []
    for flag, given, task in (("--treebanks", treebanks, TASKS["udpos"]), ("--parallel", parallel, PARALLEL)):
        if given == EMBEDDED:
            found.append(_probing_corpus(cache, source_language, limit) / task.name)
        elif given == HUB:
            known = [language for language in languages if language in task.languages]
            if not known or (task is PARALLEL and source_language != "en"):
                wanted = f"{source_language} and {', '.join(languages)}"
                raise ConfigError(f"{flag}: {HUB!r} is not allowed for {wanted}; allowed: {EMBEDDED}, or a folder")
            source = known[0] if task is PARALLEL else source_language  # of Tatoeba English is the other side
            found.append(fetch(task, cache, source_language=source, languages=known))
        else:
            found.append(_folder(flag, given))
    return found[0], found[1]


def _probing_corpus(cache: Path, source_language: str, limit: int) -> Path:
    from dlfa.embedded.corpus import CorpusSize, languages, write_corpus

    if source_language not in languages():
        raise ConfigError(f"--treebanks: {EMBEDDED!r} is not allowed for {source_language}; allowed: a folder")
    if limit > _MOST_GENERATED:
        raise ConfigError(f"--probe-limit: {limit} is not allowed with {EMBEDDED} data; allowed: 1..{_MOST_GENERATED}")
    size = CorpusSize(train=limit, dev=limit, test=limit, retrieval=limit)

    def write(unfinished: Path) -> None:
        write_corpus(unfinished, size, source=source_language, train_all=True, parts=["udpos", "tatoeba"])

    name = f"probing-{source_language}-{limit}"
    return _made(cache / f"{_CORPUS_FOLDER}{_digest('dlfa.embedded.corpus')}" / name, write)


def encoder_source(encoder: str, cache: Path) -> str:
    """Return `--encoder` as an absolute folder or a hub id; the embedded one becomes a folder in the cache."""
    if encoder == EMBEDDED:
        from dlfa.embedded.encoder import write_encoder

        return str(_made(cache / f"embedded-encoder-{_digest('dlfa.embedded.encoder')}", write_encoder))
    with suppress(OSError, RuntimeError):  # whoever reads the encoder tells what is wrong with its path
        folder = Path(encoder).expanduser()
        if encoder and folder.is_dir():
            return str(folder.resolve())
    return encoder


def _corpus(task: TaskSpec, cache: Path, source_language: str, train: int | None, evaluation: int | None) -> Path:
    from dlfa.embedded.corpus import PARTS, CorpusSize, languages, write_corpus

    if task.name not in PARTS:
        raise ConfigError(f"--data: {EMBEDDED!r} is not allowed for {task.name}; allowed: {HUB}, or a folder")
    if source_language not in languages():
        raise ConfigError(f"--source-lang: {source_language!r} is not allowed; allowed: {', '.join(languages())}")
    for flag, wanted in (("--train-limit", train), ("--eval-limit", evaluation)):
        if wanted is not None and wanted > _MOST_GENERATED:
            raise ConfigError(f"{flag}: {wanted} is not allowed with {EMBEDDED} data; allowed: 1..{_MOST_GENERATED}")
    default = CorpusSize()
    size = CorpusSize(train=train or default.train, dev=evaluation or default.dev, test=evaluation or default.test)
    digest = _digest("dlfa.embedded.corpus")
    name = f"{task.name}-{source_language}-{size.train}-{size.dev}-{size.test}"

    def write(unfinished: Path) -> None:
        write_corpus(unfinished, size, source=source_language, parts=[task.name])

    return _made(cache / f"{_CORPUS_FOLDER}{digest}" / name, write) / task.name


def _made(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return a folder with what `write` puts there: all of it or nothing, whoever else writes it at the same time."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            write(unfinished)
            unfinished.chmod(0o755)
            try:
                unfinished.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was faster: its files are the same
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _digest(package: str) -> str:
    """Return a digest of a package's files: what it makes goes into another folder once they change."""
    root = Path(str(files(package)))
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path.relative_to(root)}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
