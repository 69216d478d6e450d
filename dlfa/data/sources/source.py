"""Labelled text as the rest of the package sees it, and what readers of its layouts share."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from dlfa.errors import DataError
from dlfa.tasks import Kind, TaskSpec

__all__ = [
    "Example",
    "FileIndex",
    "Layout",
    "Pair",
    "Sentence",
    "Source",
    "Split",
    "blocks",
    "check_word",
    "find_named",
    "find_treebanks",
    "in_folders",
    "index_files",
    "listing",
    "numbered_lines",
    "own_label",
    "pair",
    "read_bytes",
    "read_text",
]

Split = Literal["train", "dev", "test"]

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}([-_][A-Z][a-z]{3})?([-_]([A-Za-z]{2}|[0-9]{3}))?")
"""An ISO 639 code, with script and region where there is need: de, yue, zh-Hant, zh-CN, pt_br, es-419."""

# Big treebanks come in parts, such as de_hdt-ud-train-a-1.conllu.
_TREEBANK: Final = re.compile(r".*-(train|dev|test)(-[a-z0-9]+)*")
_NAMED: Final = re.compile(r"(train|dev|test)-([^.]+)")


@dataclass(frozen=True)
class Sentence:
    """A sentence of one or more words, verbatim as in the file: no Unicode normalisation."""

    words: tuple[str, ...]
    """Word forms; one word may contain spaces, such as `10 000`."""

    tags: tuple[str, ...] | None
    """One of the task's labels per word; none: the file has no tags."""

    @property
    def labelled(self) -> bool:
        """Whether it can be trained on and scored."""
        return self.tags is not None


@dataclass(frozen=True)
class Pair:
    """Two sentences with one label, verbatim as in the file."""

    first: str
    """Premise, or first sentence."""

    second: str
    """Hypothesis, or second sentence."""

    label: str | None
    """One of the task's labels; none: the file has no labels."""

    id: str | None = field(default=None, compare=False)
    """The file's id of its row, the same in every language; None means that the file has no ids. Pairs that differ in
    nothing else are equal."""

    @property
    def labelled(self) -> bool:
        """Whether it can be trained on and scored."""
        return self.label is not None


Example = Sentence | Pair
"""What a task's kind makes of a line or a block of lines; all of one task are of the same kind."""


class Source(Protocol):
    """Labelled examples by language and split."""

    @property
    def layout(self) -> str:
        """Name of the layout, for people."""

    @property
    def root(self) -> Path:
        """Folder that was opened."""

    @property
    def aligned(self) -> bool:
        """Whether its test sets are known to be translations of one another, row by row."""

    def languages(self) -> tuple[str, ...]:
        """Return the ISO codes that have any split, sorted."""

    def files(self, language: str, split: Split) -> tuple[Path, ...]:
        """Return the files of a split, sorted; none if the split does not exist."""

    def read(self, language: str, split: Split) -> list[Example]:
        """Return all examples of a split, file after file, of the task's kind.

        Raises:
            DataError: If there is no such split, or any of its files is unreadable or malformed.
        """


FileIndex = Mapping[str, Mapping[str, Sequence[Path]]]
"""Files by language and split, sorted; no entry is empty."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which folders and files hold labelled text."""

    name: str
    kinds: frozenset[Kind]
    """Kinds of example that its files can hold."""

    pattern: str
    """Where its files lie below the data's folder, for messages."""

    find: Callable[[Path, TaskSpec], FileIndex]
    """Finds the files in a folder; returns nothing if it has another layout."""

    parse: Callable[[Path, TaskSpec], Sequence[Example]]
    """Reads one file, whose labels must be the task's."""

    def recognise(self, path: Path, task: TaskSpec) -> Source | None:
        """Return the folder as a source; none if it has another layout."""
        index = self.find(path, task)
        return _FileSource(self.name, path, index, self.parse, task) if index else None


@dataclass(frozen=True)
class _FileSource:
    layout: str
    root: Path
    index: FileIndex
    parse: Callable[[Path, TaskSpec], Sequence[Example]]
    task: TaskSpec

    @property
    def aligned(self) -> bool:
        return False  # a layout does not tell whose data it holds

    def languages(self) -> tuple[str, ...]:
        return tuple(sorted(self.index))

    def files(self, language: str, split: Split) -> tuple[Path, ...]:
        return tuple(self.index.get(language, {}).get(split, ()))

    def read(self, language: str, split: Split) -> list[Example]:
        examples: list[Example] = []
        for path in self.files(language, split):
            found = self.parse(path, self.task)
            if not found:
                raise DataError(f"{path}: no example in this file; allowed: one or more")
            if split != "test" and not all(example.labelled for example in found):
                raise DataError(f"{path}: no labels in a {split} file; only test files may lack them")
            examples += found
        if not examples:
            splits = ", ".join(sorted(self.index.get(language, ()))) or "no split"
            raise DataError(
                f"{self.root}: no {split} split of language {language!r}; {language!r} has {splits}; "
                f"languages here: {', '.join(self.languages())}"
            )
        return examples


def listing(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return a folder's subfolders and its files, each sorted by name, without hidden ones.

    Raises:
        DataError: If it does not exist, is a file or must not be read.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        # A broken link counts as a file: whoever needs it hears of it when it is read.
        return [e for e in entries if e.is_dir()], [e for e in entries if e.is_file() or not e.exists()]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; allowed: a folder that can be read") from error


def in_folders(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield everything in a folder's subfolders, each with its subfolder's name.

    Raises:
        DataError: As `listing`, of the folder and of subfolders that are named after a language.
    """
    for folder in listing(path)[0]:
        try:
            folders, files = listing(folder)
        except DataError:
            if _LANGUAGE.fullmatch(folder.name):
                raise
            continue  # such as a disk's lost+found: not ours to read
        for entry in sorted([*folders, *files]):
            yield entry, folder.name


def index_files(candidates: Iterable[tuple[Path, str, str | None]], pattern: str) -> FileIndex:
    """Return files by language and split.

    Nothing that looks like one of the layout's files is left out without a word: it would be missing from every score.

    Args:
        candidates: Files that look like the layout's, sorted, each with what its path says is language and split.
        pattern: The layout's, for messages.

    Raises:
        DataError: A candidate is a folder, has no split, or, beside others that do, no code of a language.
    """
    index: dict[str, dict[str, list[Path]]] = {}
    strays = []
    for file, language, split in candidates:
        if not _LANGUAGE.fullmatch(language):
            strays.append(f"{file}: {language!r} is no language; allowed: {pattern}, languages like de, zh-CN, pt_br")
        elif split is None:
            raise DataError(f"{file}: no split in the name; allowed: {pattern}")
        elif file.is_dir():
            raise DataError(f"{file}: a folder; allowed: a file of this name")
        else:
            index.setdefault(language, {}).setdefault(split, []).append(file)
    if index and strays:
        raise DataError(strays[0])
    return index


def find_treebanks(path: Path, suffix: str, pattern: str) -> FileIndex:
    """Return the files of folders named after languages, which have the split in their name.

    Raises:
        DataError: As `listing` and `index_files`.
    """
    names = ((file, language, _TREEBANK.fullmatch(file.stem)) for file, language in in_folders(path))
    return index_files(
        ((file, language, name and name[1]) for file, language, name in names if file.suffix == suffix), pattern
    )


def find_named(path: Path, suffix: str, pattern: str) -> FileIndex:
    """Return the files named after split and language.

    Raises:
        DataError: As `listing` and `index_files`.
    """
    folders, files = listing(path)
    names = ((file, _NAMED.fullmatch(file.stem)) for file in sorted([*folders, *files]) if file.suffix == suffix)
    return index_files(((file, name[2], name[1]) for file, name in names if name), pattern)


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: If the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; allowed: a file that can be read") from error


def read_text(path: Path) -> str:
    """Return a file's text, decoded as UTF-8, without a byte order mark.

    Raises:
        DataError: If the file cannot be read or is not UTF-8.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        at = error.start
        where = f"{path}:{data.count(10, 0, at) + 1}"  # 10 is the newline
        raise DataError(f"{where}: byte {data[at]:#04x} at offset {at} is not UTF-8") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield a file's lines that are not empty, each with its number from 1.

    Only `\n` and `\r\n` end lines: U+2028, \x0b and \x85 are characters of real text.

    Raises:
        DataError: As `read_text`.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if content := line.removesuffix("\r"):
            yield number, content


def blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Yield the runs of lines between empty lines, each line with its number from 1.

    Raises:
        DataError: As `read_text`.
    """
    block: list[tuple[int, str]] = []
    for number, content in numbered_lines(path):
        if block and number != block[-1][0] + 1:
            yield block
            block = []
        block.append((number, content))
    if block:
        yield block


def check_word(where: str, word: str, tag: str | None, task: TaskSpec) -> None:
    """Raise a DataError if a word form is empty or its tag, where there is one, is not among the task's labels.

    Empty is what has no character but spaces. Words of zero-width or other invisible characters stay: treebanks have
    such tokens, each with a tag that is scored.
    """
    if not word.strip(" "):
        raise DataError(f"{where}: word {word!r} is empty; allowed: one or more characters")
    if tag is not None and tag not in task.labels:
        raise DataError(f"{where}: tag {tag!r} is not allowed; allowed: {', '.join(task.labels)}")


def pair(where: str, first: str, second: str, label: str | None, task: TaskSpec, row_id: object = None) -> Pair:
    """Return a pair with the task's name for its label.

    Args:
        where: Place in the file, for messages.
        first: Verbatim, as is the second sentence.
        second: Likewise.
        label: As in the file; None means that the file has no labels.
        task: Whose labels are allowed.
        row_id: The row's id; only text and whole numbers are one.

    Raises:
        DataError: A sentence has no character but spaces, or the label is neither one of the task's labels nor another
            name of one.
    """
    for name, sentence in (("first", first), ("second", second)):
        if not sentence.strip(" "):
            raise DataError(f"{where}: {name} sentence {sentence!r} is empty; allowed: one or more characters")
    known = str(row_id) if isinstance(row_id, str) or type(row_id) is int else None  # a bool is an int, but no id
    return Pair(first, second, None if label is None else own_label(where, label, task), known or None)


def own_label(where: str, label: str, task: TaskSpec) -> str:
    """Return the task's name for a label.

    Raises:
        DataError: It is neither one of the task's labels nor another name of one.
    """
    known = task.aliases.get(label, label)
    if known not in task.labels:
        allowed = ", ".join((*task.labels, *task.aliases))
        raise DataError(f"{where}: label {label!r} is not allowed; allowed: {allowed}")
    return known
