"""People's own data as rows with named columns: JSON lines (one object per line) and Parquet.

Columns of sentences: `words`, a list of strings, and `tags`, a list of as many labels. Columns of pairs: `sentence1`,
`sentence2` and `label`, and `id`, a string or a whole number, where the rows of one language are translations of
another's. Labels are names; a whole number is the name that its digits spell (PAWS-X has 0 and 1). Other columns are
left alone. A test file without labels has null for the labels in every row.
"""

import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from dlfa.data.sources.source import (
    Example,
    FileIndex,
    Layout,
    Pair,
    Sentence,
    check_word,
    find_named,
    numbered_lines,
    pair,
    read_bytes,
)
from dlfa.errors import DataError
from dlfa.tasks import Kind, TaskSpec

__all__ = ["JSON_LINES", "PARQUET"]

_JSON_LINES = "{train,dev,test}-<language>.jsonl"
_PARQUET = "{train,dev,test}-<language>.parquet"

_COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "tagging": ("words", "tags"),
    "pair": ("sentence1", "sentence2", "label"),
}
"""Columns by kind of example; the last one has the labels."""

_ID = "id"
"""Column that pairs may have."""


def _examples(rows: Iterable[tuple[str, Mapping[str, Any]]], task: TaskSpec) -> list[Example]:
    """Return the examples in rows, each given with its place in the file."""
    build, columns = _BUILDERS[task.kind], _COLUMNS[task.kind]
    examples: list[Example] = []
    for where, row in rows:
        _check_columns(where, row, columns)
        example = build(where, *(row[column] for column in columns), task, row.get(_ID))
        if examples and example.labelled != examples[0].labelled:
            found, others = ("null", "labels") if examples[0].labelled else ("labels", "null")
            raise DataError(f"{where}: {found} for {columns[-1]}; allowed: {others}, as in the rows before")
        examples.append(example)
    return examples


def _sentence(where: str, words: object, tags: object, task: TaskSpec, row_id: object) -> Sentence:
    forms = tuple(_text(where, "word", word) for word in _list(where, "words", words))
    if not forms:
        raise DataError(f"{where}: words is empty; allowed: one or more words")
    names = None if tags is None else tuple(_name(where, "tag", tag) for tag in _list(where, "tags", tags))
    if names is not None and len(names) != len(forms):
        raise DataError(f"{where}: {len(names)} tags for {len(forms)} words; allowed: one for each")
    for form, name in zip(forms, names or [None] * len(forms), strict=True):
        check_word(where, form, name, task)
    return Sentence(forms, names)


def _pair(where: str, first: object, second: object, label: object, task: TaskSpec, row_id: object) -> Pair:
    name = None if label is None else _name(where, "label", label)
    return pair(where, _text(where, "sentence1", first), _text(where, "sentence2", second), name, task, row_id)


_BUILDERS: Mapping[Kind, Callable[..., Example]] = {"tagging": _sentence, "pair": _pair}


def _check_columns(where: str, present: Iterable[str], needed: Iterable[str]) -> None:
    names = list(present)
    for column in needed:
        if names.count(column) != 1:
            times = "more than one" if column in names else "no"
            found = ", ".join(ascii(name) for name in names) or "none"
            raise DataError(f"{where}: {times} column {column!r}; columns here: {found}; allowed: {', '.join(needed)}")


def _list(where: str, name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise DataError(f"{where}: {name} {_short(value)}; allowed: a list of strings")
    return value


def _text(where: str, name: str, value: object) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} {_short(value)}; allowed: a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can write half a surrogate pair, which no tokenizer takes
        raise DataError(f"{where}: {name} {_short(value)} has half a surrogate pair; allowed: Unicode text") from error
    return value


def _name(where: str, name: str, value: object) -> str:
    return str(value) if type(value) is int else _text(where, name, value)  # a bool is an int, but no label


def _short(value: object) -> str:
    return "null" if value is None else reprlib.repr(value)


def _parse_json_lines(path: Path, task: TaskSpec) -> list[Example]:
    return _examples(((where, _object(where, line)) for where, line in _places(path)), task)


def _places(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in numbered_lines(path):
        yield f"{path}:{number}", line


def _object(where: str, line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg}: column {error.colno}); allowed: one object") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); allowed: one object") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: {_short(value)}; allowed: one object")
    return value


def _no_key_twice(items: list[tuple[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in items:
        if key in row:
            raise ValueError(f"key {key!r} twice")
        row[key] = value
    return row


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _parse_parquet(path: Path, task: TaskSpec) -> list[Example]:
    columns = _COLUMNS[task.kind]
    data = read_bytes(path)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_columns(str(path), file.schema_arrow.names, columns)
        for column in columns:
            _check_type(path, column, file.schema_arrow.field(column).type)
        ids = [_ID] if task.kind == "pair" and _has_ids(file.schema_arrow) else []
        table = file.read(columns=[*columns, *ids])
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: not to be read as Parquet ({reason}); allowed: a whole Parquet file") from error
    rows = (row for batch in table.to_batches() for row in batch.to_pylist())
    return _examples(((f"{path}: row {number}", row) for number, row in enumerate(rows, start=1)), task)


def _has_ids(schema: Any) -> bool:
    """Return whether a schema has one column of ids, of strings or of whole numbers."""
    if schema.names.count(_ID) != 1:
        return False
    found, types = schema.field(_ID).type, pa.types
    return bool(types.is_string(found) or types.is_large_string(found) or types.is_integer(found))


def _check_type(path: Path, column: str, found: Any) -> None:
    """Raise a DataError for a column that cannot hold text or names of labels."""
    types, inner = pa.types, found
    nested = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_dictionary)
    while any(is_nested(inner) for is_nested in nested):
        inner = inner.value_type
    if not (types.is_string(inner) or types.is_large_string(inner) or types.is_integer(inner) or types.is_null(inner)):
        raise DataError(f"{path}: column {column!r} has {found}; allowed: string, integer, or a list of them")


def _find_json_lines(path: Path, task: TaskSpec) -> FileIndex:
    return find_named(path, ".jsonl", _JSON_LINES)


def _find_parquet(path: Path, task: TaskSpec) -> FileIndex:
    return find_named(path, ".parquet", _PARQUET)


JSON_LINES: Final = Layout(
    name="JSON lines",
    kinds=frozenset(_COLUMNS),
    pattern=_JSON_LINES,
    find=_find_json_lines,
    parse=_parse_json_lines,
)

PARQUET: Final = Layout(
    name="Parquet",
    kinds=frozenset(_COLUMNS),
    pattern=_PARQUET,
    find=_find_parquet,
    parse=_parse_parquet,
)
