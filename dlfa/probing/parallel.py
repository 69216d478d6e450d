"""Parallel sentences: files of Tatoeba as LASER has them, and the Hub's `google/xtreme`."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from pyarrow import ArrowException  # type: ignore[import-untyped]

from dlfa.data.sources.source import listing, read_text
from dlfa.errors import DataError
from dlfa.tasks.languages import LANGUAGES, find_language
from dlfa.tasks.spec import HubTable, TaskSpec

__all__ = ["PARALLEL", "ParallelText", "read_parallel"]

_ON_HUB = (
    "af", "ar", "bg", "bn", "de", "el", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "jv",
    "ka", "kk", "ko", "ml", "mr", "nl", "pt", "ru", "sw", "ta", "te", "th", "tl", "tr", "ur", "vi", "zh",
)  # fmt: skip

PARALLEL: Final = TaskSpec(
    name="tatoeba",
    kind="pair",
    labels=(),
    metrics=(),
    languages=_ON_HUB,
    epochs=0,
    hub=(
        HubTable(
            repository="google/xtreme",
            configs={code: f"tatoeba.{LANGUAGES[code].code3}" for code in _ON_HUB},
            splits={"test": "validation"},
            text=("source_sentence", "target_sentence"),
            label="target_lang",
        ),
    ),
)
"""Where the Hub has parallel sentences with English; nothing is trained on them."""

_COLUMNS = ["source_sentence", "target_sentence", "source_lang", "target_lang"]
_LAYOUT = "tatoeba.XXX-YYY.XXX and .YYY, a sentence per line, or folders tatoeba.XXX of Parquet files (google/xtreme)"


@dataclass(frozen=True, kw_only=True)
class ParallelText:
    """A language's sentences and their translations."""

    language: str
    """ISO 639-1 code, or the files' own where nothing is known of the language."""

    sentences: tuple[str, ...]
    translations: tuple[str, ...]
    """In the source language, one of each sentence."""

    digest: str
    """SHA-256 of both."""


def read_parallel(
    folder: Path, source_language: str, languages: Sequence[str], limit: int | None
) -> list[ParallelText]:
    """Return the parallel text of those languages that have some, in order of their codes.

    Args:
        folder: With the files, or with a folder `tatoeba` that has them.
        source_language: ISO code; the other side of all pairs.
        languages: ISO codes; others are left out.
        limit: Pairs of each language, from the start; none: all.

    Raises:
        DataError: No file is there for any of the languages, or one is malformed.
    """
    root = folder / "tatoeba" if (folder / "tatoeba").is_dir() else folder
    found = dict(_pairs(root, source_language))
    texts = [
        _text(language, found[language][:limit])
        for language in sorted(languages)
        if language != source_language and language in found
    ]
    if not texts:
        there = f" (there: {', '.join(sorted(found))})" if found else ""
        raise DataError(
            f"{folder}: no parallel sentences of {source_language} and any of {', '.join(sorted(languages))}{there}; "
            f"allowed: {_LAYOUT}"
        )
    return texts


def _text(language: str, pairs: Sequence[tuple[str, str]]) -> ParallelText:
    sentences, translations = zip(*pairs, strict=True)
    digest = hashlib.sha256("\n".join([*sentences, *translations]).encode()).hexdigest()
    return ParallelText(language=language, sentences=sentences, translations=translations, digest=digest)


def _pairs(root: Path, source: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each language that a folder has, and its pairs."""
    folders, files = listing(root)
    names = {file.name for file in files}
    for file in files:
        stem, _, side = file.name.rpartition(".")
        first, _, second = stem.removeprefix("tatoeba.").partition("-")
        if not stem.startswith("tatoeba.") or side != first or _code(second) != source:
            continue
        if f"{stem}.{second}" not in names:
            raise DataError(f"{file}: no {stem}.{second} beside it; allowed: both files of a pair")
        sides = [_lines(root / f"{stem}.{each}") for each in (first, second)]
        if len(sides[0]) != len(sides[1]):
            raise DataError(f"{file}: {len(sides[0])} lines, and {len(sides[1])} in {stem}.{second}; allowed: as many")
        yield _code(first), list(zip(*sides, strict=True))
    nested = root / "google" / "xtreme"
    for folder in listing(nested)[0] if nested.is_dir() else folders:
        if folder.name.startswith("tatoeba."):
            yield from _parquet(folder, source)


def _parquet(folder: Path, source: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    pairs: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            rows = pd.read_parquet(path, columns=_COLUMNS)
        except (ArrowException, OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: not readable as parallel sentences ({' '.join(str(error).split())})") from error
        for first, second, *codes in rows.itertuples(index=False, name=None):
            one, other = map(_code, codes)
            if source not in (one, other):
                raise DataError(f"{path}: sentences in {one} and {other}; allowed: one side in {source}")
            pair = (first, second) if other == source else (second, first)
            pairs.setdefault(one if other == source else other, []).append(pair)
    yield from pairs.items()


def _code(name: str) -> str:
    known = find_language(name)
    return known.code if known else name


def _lines(path: Path) -> list[str]:
    lines = read_text(path).replace("\r\n", "\n").split("\n")
    lines = lines[:-1] if lines and not lines[-1] else lines
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError(f"{path}:{number}: an empty line; allowed: a sentence")
    if not lines:
        raise DataError(f"{path}: empty; allowed: a sentence per line")
    return lines
