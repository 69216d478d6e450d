"""Data sets of the Hugging Face Hub: fetched once into a folder, and read from folders laid out like them.

They are read as they were published, words and sentences without a character included: nobody could mend them.

A folder has a README.md whose YAML header names configurations, the parquet files of their splits, and what the numbers
of labels stand for; or it has one such folder `<owner>/<name>` for each data set of the task.
"""

import json
import logging
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import yaml
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    GatedRepoError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]
from pyarrow import ArrowException

from dlfa.config import suggestion
from dlfa.data.sources.source import Example, Pair, Sentence, Source, Split, own_label, read_text
from dlfa.errors import ConfigError, DataError
from dlfa.files import atomic_write
from dlfa.tasks import Kind, TaskSpec
from dlfa.tasks.spec import HubTable

__all__ = ["HUB_FOLDERS", "HubFolders", "fetch"]

_CARD = "README.md"
_HEADER = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_SHARD = re.compile(r".*-\d{5}-of-(\d{5})\.parquet")
_LFS_POINTER = b"version https://git-lfs"
_TIMEOUT = 10.0  # seconds that the Hub has for its first answer
_NAMES_SHOWN = 5
_DEEPEST = 100

# What aliases repeat may be endless.
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 200


@dataclass(frozen=True, kw_only=True)
class HubFolders:
    """The layout of the Hub's data sets."""

    name: str = "Hub data set"
    kinds: frozenset[Kind] = frozenset({"tagging", "pair"})
    """Kinds of example that its files can hold."""

    pattern: str = f"{_CARD} that names configurations and their parquet files"
    """Where its files lie below the data's folder, for messages."""

    def recognise(self, path: Path, task: TaskSpec) -> Source | None:
        """Return the folder as a source; none if it has another layout.

        Raises:
            DataError: It has this layout, and its README.md or a file that mixes languages is malformed.
        """
        index: dict[str, dict[str, _Part]] = {}
        for table in task.hub:
            folder = path / table.repository
            card = _Card(folder if folder.is_dir() else path)
            for ours, theirs in table.splits.items():
                for language, part in _parts(card, table, theirs):
                    index.setdefault(language, {})[ours] = part
        return _HubSource(self.name, path, index, task) if index else None


HUB_FOLDERS: Final = HubFolders()


def fetch(task: TaskSpec, cache: Path, *, source_language: str, languages: Sequence[str] = ()) -> Path:
    """Download what a task needs from the Hub and return a folder that has it, to be read without the Hub.

    The folder's name has the revision of each data set; a later call may add languages to it, and changes nothing that
    is there. If the Hub is away or `HF_HUB_OFFLINE` is set, all comes from the Hugging Face cache, if that has it.

    Args:
        task: What the text is for.
        cache: Where the folder is made; all that read it share this folder.
        source_language: ISO code; of this language every split is fetched.
        languages: ISO codes; of these the dev and test sets are fetched. Empty: every language of the task.

    Raises:
        ConfigError: The task is not on the Hub, or lacks a language there.
        DataError: A data set cannot be fetched, or is not what the task expects.
    """
    known = sorted({language for table in task.hub for language in table.configs})
    if not known:
        raise ConfigError(f"--data: 'hub' is not allowed for {task.name}; allowed: a folder")
    for language in (source_language, *languages):
        if language not in known:
            flag = "--source-lang" if language == source_language else "--languages"
            where = " and ".join(table.repository for table in task.hub)
            raise ConfigError(
                f"{flag}: {language!r} is not in {where}{suggestion(language, known)}; allowed: {', '.join(known)}"
            )
    found = []
    for table in task.hub:
        wanted = {
            (config, theirs)
            for language, config in table.configs.items()
            if language in (source_language, *(languages or known))
            for ours, theirs in table.splits.items()
            if ours != "train" or language == source_language
        }
        if wanted:
            found.append((table.repository, *_download(table, sorted(wanted))))
    revisions = [f"{repository.replace('/', '--')}@{folder.name[:12]}" for repository, folder, _ in found]
    root = cache / "hub" / "+".join(dict.fromkeys(revisions))
    for repository, folder, files in found:
        for file in files:
            target = root / repository / file.relative_to(folder)
            # A revision's files never change: one that is there already is the same.
            if not target.exists() or target.stat().st_size != file.stat().st_size:
                atomic_write(target, file.read_bytes())
    return root


def _download(table: HubTable, wanted: Sequence[tuple[str, str]]) -> tuple[Path, list[Path]]:
    """Return a data set's folder in the Hugging Face cache, named by its revision, and the wanted splits' files."""
    away = _away(table.repository)
    folder = _snapshot(table.repository, None, away, [_CARD])
    card = _Card(folder)
    where = f"{table.repository}@{folder.name[:12]}"
    if not card.configs:
        raise DataError(
            f"{where}: no configs in the header of its {_CARD}; allowed: a data set that names its parquet files there "
            f"(loading scripts are not run)"
        )
    patterns: dict[tuple[str, str], tuple[str, ...]] = {}
    for config, split in wanted:
        if config not in card.configs:
            known = list(card.configs)
            more = f" and {len(known) - _NAMES_SHOWN} more" if len(known) > _NAMES_SHOWN else ""
            shown = ", ".join(known[:_NAMES_SHOWN]) + more
            raise DataError(f"{where}: no configuration {config!r}{suggestion(config, known)}; found {shown}")
        splits = card.splits(config)
        if not set(splits) & set(table.splits.values()):
            raise DataError(
                f"{where}: configuration {config!r} has {', '.join(splits) or 'no split'}; "
                f"allowed: {', '.join(table.splits.values())}"
            )
        if split in splits:
            patterns[config, split] = splits[split]
    _snapshot(table.repository, folder.name, away, [pattern for each in patterns.values() for pattern in each])
    files = [card.path]
    for (config, split), names in patterns.items():
        if not (here := card.files(config, split)):
            if away:
                raise _unreachable(table.repository, away)
            raise DataError(f"{where}: no file {' or '.join(names)}, the {split} split of configuration {config!r}")
        files += here
    return folder, files


def _away(repository: str) -> Exception | None:
    """Return why the Hub does not tell of a data set; none: it does."""
    try:
        with _quiet():
            HfApi().dataset_info(repository, timeout=_TIMEOUT)
    except (OSError, HTTPError, ValueError, LookupError) as error:  # the last two: an answer that is not the Hub's
        return error
    return None


def _snapshot(repository: str, revision: str | None, away: Exception | None, patterns: list[str]) -> Path:
    """Return the folder in the Hugging Face cache of a revision, or the newest, with the files of some patterns."""
    try:
        with _quiet():
            folder = snapshot_download(
                repository,
                repo_type="dataset",
                revision=revision,
                allow_patterns=patterns,
                local_files_only=away is not None,
                tqdm_class=_Bar,
            )
    except LocalEntryNotFoundError as error:
        raise _unreachable(repository, away or error) from error
    except (OSError, HTTPError, ValueError, RuntimeError) as error:  # RuntimeError: from a download through Xet
        raise _unreachable(repository, error) from error
    return Path(folder)


def _unreachable(repository: str, error: Exception) -> DataError:
    """Return in one line what stopped a download, and the ways to do without it."""
    page = f"{constants.ENDPOINT}/datasets/{repository}"
    if isinstance(error, GatedRepoError):
        return DataError(f"--data: {page} is gated; allowed: --data PATH, or a token in HF_TOKEN that has access")
    if isinstance(error, RepositoryNotFoundError):
        return DataError(f"--data: {page} does not exist or is private; allowed: --data PATH, or a token in HF_TOKEN")
    reason = " ".join(str(error).split())[:200]
    return DataError(
        f"--data: {page} cannot be reached ({type(error).__name__}: {reason}) and is not complete in "
        f"{constants.HF_HUB_CACHE}; allowed without the Hub: --data PATH with --encoder PATH, or --profile quickstart"
    )


class _Bar(tqdm):
    """A progress bar, on terminals alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"disable": None, **options})  # type: ignore[no-untyped-call]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the Hub library's log lines about every retry: what comes of them is told in one line."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class _Card:
    """README.md of a data set, as far as it tells what the files are."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / _CARD

    @cached_property
    def _header(self) -> Mapping[str, Any]:
        match = _HEADER.match(read_text(self.path)) if self.path.is_file() else None
        try:
            if match:
                _check_depth(match[1])
            # Every scalar as text: neither the language `no` nor a label may become a truth value.
            header = yaml.load(match[1], Loader=_LOADER) if match else {}  # noqa: S506
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise DataError(f"{self.path}: its header is not YAML ({' '.join(str(error).split())})") from error
        return header if isinstance(header, dict) else {}

    @cached_property
    def configs(self) -> Mapping[str, Mapping[str, Any]]:
        """What the header tells of the files of every configuration."""
        return {str(entry.get("config_name", "default")): entry for entry in _mappings(self._header.get("configs"))}

    @cached_property
    def _infos(self) -> Mapping[str, Mapping[str, Any]]:
        infos = self._header.get("dataset_info")
        entries = _mappings([infos] if isinstance(infos, dict) else infos)
        return {str(entry.get("config_name", "default")): entry for entry in entries}

    def splits(self, config: str) -> dict[str, tuple[str, ...]]:
        """Return the patterns of every split's files; none if there is no such configuration."""
        entries = self.configs.get(config, {"data_files": []}).get("data_files")
        found: dict[str, tuple[str, ...]] = {}
        for entry in entries if isinstance(entries, list) else [entries]:
            split, paths = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else (None, None)
            patterns = tuple(paths) if isinstance(paths, list) else (paths,)
            if not isinstance(split, str) or not all(map(_inside, patterns)):
                raise DataError(
                    f"{self.path}: data_files of configuration {config!r} are {_SHOWN.repr(entries)}; "
                    f"allowed: a list of split and path, the path inside the data set"
                )
            found[split] = patterns
        return found

    def files(self, config: str, split: str) -> tuple[Path, ...]:
        """Return the files of a split, sorted; none if none of them is here.

        Raises:
            DataError: Some of them are here and others are not.
        """
        patterns = self.splits(config).get(split, ())
        found = sorted({path for pattern in patterns for path in self.folder.glob(pattern) if path.is_file()})
        for path in found:
            if (match := _SHARD.fullmatch(path.name)) and len(found) != int(match[1]):
                raise DataError(f"{path}: {len(found)} files of the {split} split are here; allowed: {int(match[1])}")
        return tuple(found)

    def rows(self, config: str, split: str) -> str | None:
        """Return how many rows a split has; none: the header does not tell."""
        sizes = _mappings(self._infos.get(config, {}).get("splits"))
        return next((size.get("num_examples") for size in sizes if size.get("name") == split), None)

    def names(self, config: str, column: str) -> tuple[str, ...] | None:
        """Return what a column's numbers stand for; none: the header does not tell."""
        features = _mappings(self._infos.get(config, {}).get("features"))
        feature = next((feature for feature in features if feature.get("name") == column), None)
        return _class_names(self.path, feature)


def _check_depth(text: str) -> None:
    """Refuse what libyaml's loader would meet with a stack overflow."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} levels")


def _mappings(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _inside(pattern: object) -> bool:
    """Return whether a pattern is one of files in the data set, and one that a search takes."""
    if not isinstance(pattern, str) or not PurePosixPath(pattern).parts or PurePosixPath(pattern).is_absolute():
        return False
    return all(part != ".." and ("**" not in part or part == "**") for part in pattern.replace("\0", "..").split("/"))


def _class_names(path: Path, feature: object) -> tuple[str, ...] | None:
    """Return the names in a description of labels or lists of labels, as in README.md or in a parquet file."""
    while isinstance(feature, dict) and "names" not in feature:
        kinds = ("class_label", "sequence", "list", "feature", "dtype")
        feature = next((feature[kind] for kind in kinds if kind in feature), None)
    if not isinstance(feature, dict):
        return None
    names = feature["names"]
    if isinstance(names, dict):  # YAML has a number before each
        numbers = [str(number) for number in range(len(names))]
        names = [names[number] for number in numbers] if set(numbers) == set(names) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        shown = _SHOWN.repr(feature["names"])
        raise DataError(f"{path}: names of labels are {shown}; allowed: one for each number from 0 on")
    return tuple(names)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One split of one language."""

    card: _Card
    table: HubTable
    config: str
    split: str
    """The data set's name for it."""

    files: tuple[Path, ...]
    language: str


def _parts(card: _Card, table: HubTable, split: str) -> Iterator[tuple[str, _Part]]:
    """Yield the languages that have a split, and where."""
    mixed: dict[str, set[Any]] = {}
    for language, config in table.configs.items():
        files = card.files(config, split)
        if table.language and config not in mixed:
            mixed[config] = {code for file in files for code in _columns(file, [table.language])[0][table.language]}
        if files and language in mixed.get(config, {language}):
            yield language, _Part(card=card, table=table, config=config, split=split, files=files, language=language)


def _columns(path: Path, names: Sequence[str]) -> tuple[dict[str, list[Any]], Mapping[str, Any]]:
    """Return columns of a parquet file, and what it tells of each column."""
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise DataError(f"{path}: a pointer of Git LFS; allowed: the file itself (git lfs pull)")
        with pq.ParquetFile(path) as parquet:
            schema = parquet.schema_arrow
            if missing := [name for name in names if name not in schema.names]:
                raise DataError(f"{path}: no column {', '.join(missing)}; found {', '.join(schema.names)}")
            told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
            table = parquet.read(columns=list(names))
            return {name: table.column(name).to_pylist() for name in names}, told.get("info", {}).get("features") or {}
    except (ArrowException, OSError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise DataError(f"{path}: not readable as a parquet file ({' '.join(str(error).split())[:200]})") from error


@dataclass(frozen=True)
class _HubSource:
    layout: str
    root: Path
    index: Mapping[str, Mapping[str, _Part]]
    task: TaskSpec

    @property
    def aligned(self) -> bool:
        tests = [part.table for splits in self.index.values() for split, part in splits.items() if split == "test"]
        return all(table.aligned and table.repository == tests[0].repository for table in tests) and bool(tests)

    def languages(self) -> tuple[str, ...]:
        return tuple(sorted(self.index))

    def files(self, language: str, split: Split) -> tuple[Path, ...]:
        part = self.index.get(language, {}).get(split)
        # README.md belongs to them: it may tell what the numbers of labels stand for.
        return tuple(sorted((part.card.path, *part.files))) if part else ()

    def read(self, language: str, split: Split) -> list[Example]:
        part = self.index.get(language, {}).get(split)
        if part is None:
            splits = ", ".join(sorted(self.index.get(language, ()))) or "no split"
            raise DataError(
                f"{self.root}: no {split} split of language {language!r}; {language!r} has {splits}; "
                f"languages here: {', '.join(self.languages())}"
            )
        examples: list[Example] = []
        rows = 0
        for path in part.files:
            columns, features = _columns(
                path, [c for c in (*part.table.text, part.table.label, part.table.language) if c]
            )
            rows += len(columns[part.table.label])
            examples += _examples(path, columns, features.get(part.table.label), part, self.task)
        told = part.card.rows(part.config, part.split)
        if told not in (None, str(rows)):
            raise DataError(f"{part.card.path}: {told} rows in the {part.split} split of {part.config!r}; found {rows}")
        if not examples:
            raise DataError(f"{part.files[0]}: no example in this file; allowed: one or more")
        missing = sum(not example.labelled for example in examples)
        if missing and (missing < len(examples) or split != "test"):
            raise DataError(
                f"{part.files[0]}: no label in {missing} of {len(examples)} examples of {language!r}; "
                f"allowed: labels in all of them, or in none of a test set"
            )
        return examples


def _examples(
    path: Path, columns: Mapping[str, list[Any]], feature: object, part: _Part, task: TaskSpec
) -> Iterator[Example]:
    """Yield the rows of a part's language."""
    table = part.table
    names, stored = part.card.names(part.config, table.label), _class_names(path, feature)
    if names and stored and names != stored:
        raise DataError(f"{path}: labels are {', '.join(stored)}; {part.card.path} has them as {', '.join(names)}")
    names = names or stored
    languages = columns[table.language] if table.language else [part.language] * len(columns[table.label])
    text = zip(*(columns[name] for name in table.text), strict=True)
    for row, (texts, label, language) in enumerate(zip(text, columns[table.label], languages, strict=True), start=1):
        if language == part.language:
            yield _PARSERS[task.kind](f"{path}: row {row}", texts, label, names, task)


def _sentence(where: str, texts: Sequence[Any], label: Any, names: Sequence[str] | None, task: TaskSpec) -> Sentence:
    words = texts[0]
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise DataError(f"{where}: words are {str(words)[:100]}; allowed: a list of one or more words")
    labels = [None] * len(words) if label is None else label
    if not isinstance(labels, list) or len(labels) != len(words):
        raise DataError(f"{where}: labels are {str(labels)[:100]}; allowed: a list of {len(words)}, one per word")
    tags = [_name(where, each, names, task) for each in labels]
    known = tuple(tag for tag in tags if tag is not None)
    if known and len(known) < len(tags):
        raise DataError(f"{where}: no label for {len(tags) - len(known)} of {len(tags)} words; allowed: all or none")
    return Sentence(tuple(words), known or None)


def _pair(where: str, texts: Sequence[Any], label: Any, names: Sequence[str] | None, task: TaskSpec) -> Pair:
    first, second = texts
    if not isinstance(first, str) or not isinstance(second, str):
        raise DataError(f"{where}: sentences are {str(texts)[:100]}; allowed: two texts")
    return Pair(first, second, _name(where, label, names, task))


_PARSERS: Mapping[Kind, Callable[..., Example]] = {"tagging": _sentence, "pair": _pair}


def _name(where: str, label: Any, names: Sequence[str] | None, task: TaskSpec) -> str | None:
    """Return the task's name for a label; none: it is hidden."""
    if label in (None, -1, "-1"):
        return None
    if not isinstance(label, str):
        if not names:
            raise DataError(f"{where}: label {label!r} has no name in {_CARD} or the file; allowed: labels with names")
        if type(label) is not int or not 0 <= label < len(names):
            raise DataError(f"{where}: label {label!r} is not allowed; allowed: -1 (hidden) to {len(names) - 1}")
        label = names[label]
    return own_label(where, str(label), task)
