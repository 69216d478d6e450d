"""What users may give for data and encoder, as folders that every process of a sweep can read."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from dlfa.errors import ConfigError
from dlfa.tasks import TaskSpec

__all__ = ["EMBEDDED", "HUB", "data_folder", "encoder_source"]

EMBEDDED = "embedded"
"""Data or encoder that ships with the package."""

HUB = "hub"
"""Data of the Hugging Face Hub."""

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
    try:
        folder, reason = Path(data).expanduser(), ""
        there = bool(data) and folder.is_dir()
    except (OSError, RuntimeError) as error:  # too long, not to be looked into, or no home directory of that user
        there, reason = False, f" ({getattr(error, 'strerror', None) or error})"
    if not there:
        raise ConfigError(f"--data: {data!r} is not allowed{reason}; allowed: {HUB}, {EMBEDDED}, or a folder")
    return folder.resolve()


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

    return _made(cache / f"controlled-corpus-{digest}" / name, write) / task.name


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
