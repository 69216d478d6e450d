"""Paraphrase pairs as PAWS-X has them (https://github.com/google-research-datasets/paws), the folder `x-final`.

`translated_train.tsv` is never read: it is the English training set translated by machine, and no target is trained on.
"""

import reprlib
from pathlib import Path
from typing import Final

from dlfa.data.sources.source import FileIndex, Layout, Pair, in_folders, index_files, numbered_lines, pair
from dlfa.errors import DataError
from dlfa.tasks import TaskSpec

__all__ = ["PAWSX_FINAL", "untranslated"]

_PATTERN = "<language>/{train,dev_2k,test_2k}.tsv"
_SPLITS = {"train.tsv": "train", "dev_2k.tsv": "dev", "test_2k.tsv": "test"}
_COLUMNS = ["id", "sentence1", "sentence2", "label"]
_UNTRANSLATED = "NS"


def untranslated(both: Pair) -> bool:
    """Return whether a pair has a sentence that PAWS-X's translators left out: the two letters NS stand in its place.

    XTREME trains and scores on such pairs, and so do we; what a score can reach is lower by them.
    """
    return _UNTRANSLATED in (both.first, both.second)


def _find(path: Path, task: TaskSpec) -> FileIndex:
    return index_files(
        ((file, language, _SPLITS[file.name]) for file, language in in_folders(path) if file.name in _SPLITS), _PATTERN
    )


def _parse(path: Path, task: TaskSpec) -> list[Pair]:
    pairs = []
    header: list[str] | None = None
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        columns = line.split("\t")
        if header is None:
            header = columns
            if header != _COLUMNS:
                allowed = f"{', '.join(_COLUMNS)}, separated by tabs"
                raise DataError(f"{where}: header {reprlib.repr(line)}; allowed: {allowed}")
            continue
        if len(columns) != len(_COLUMNS):
            raise DataError(
                f"{where}: {len(columns)} tab-separated columns; allowed: {len(_COLUMNS)} ({', '.join(_COLUMNS)})"
            )
        row_id, first, second, label = columns
        pairs.append(pair(where, first, second, label, task, row_id))
    return pairs


PAWSX_FINAL: Final = Layout(
    name="PAWS-X x-final",
    kinds=frozenset({"pair"}),
    pattern=_PATTERN,
    find=_find,
    parse=_parse,
)
