"""What users are told of their data before a trial starts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import write_encoder

from dlfa.config import DataConfig
from dlfa.data.cache import Corpus
from dlfa.data.remarks import remarks
from dlfa.data.sources import Split, open_source
from dlfa.model import load_tokenizer
from dlfa.tasks import TASKS

SETS: dict[Split, tuple[str, ...]] = {"train": ("en",), "dev": ("en",), "test": ("en", "de")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def found(data: Path, task: str, files: dict[str, str], sets: Mapping[Split, Sequence[str]] = SETS) -> list[str]:
    data.mkdir()
    for name, text in files.items():
        (data / f"{name}.tsv").write_text(text, "utf-8")
    return remarked(data, task, sets)


def remarked(data: Path, task: str, sets: Mapping[Split, Sequence[str]], **changes: Any) -> list[str]:
    tokenizer = load_tokenizer(str(write_encoder(data.parent / "encoder")))
    config = DataConfig(path=str(data), cache=str(data.parent / "cache"), max_length=8, aligned=False)
    config = replace(config, **changes)
    return remarks(Corpus(open_source(data, TASKS[task]), TASKS[task], tokenizer, config), sets)


def test_nothing_to_say(data: Path) -> None:
    files = {"train-en": "the\tdog\t0\n", "dev-en": "a\tcat\t0\n", "test-en": "b\tdog\t0\n", "test-de": "c\td\t0\n"}
    assert found(data, "pawsx", files) == []
    unsaid, said = (remarked(data, "pawsx", SETS, aligned=aligned) for aligned in (None, True))
    assert unsaid == [
        "no similarity between languages: the data does not say that its test sets are aligned row by row "
        "(aligned: true in the search space, or --aligned, says so)"
    ]
    assert said == ["similarity to en by pairs: de 1 of 1"]


def test_pairs_that_are_truncated_and_leak(data: Path) -> None:
    long = "the dog sees the cat\tthe dog sees the house\t0\n"
    files = {
        "train-en": "the\tdog\t0\n" + long,
        "dev-en": "the\tdog\t1\n",  # another label does not make it another pair
        "test-en": long + "the\tcat\t0\nthe\tdog\t0\n",
        "test-de": "der\tHund\t0\n",
    }
    assert found(data, "pawsx", files) == [
        "pairs longer than the window of 8 pieces, truncated longest first: 2",
        "leakage: pairs of the training set are also in en dev (1 of 1), en test (2 of 3)",
    ]


def test_sentences_that_do_not_fit_and_leak(data: Path) -> None:
    long = "".join(f"{word}\tX\n" for word in ["the", "dog", "sees", "the", "cat", "the", "dog", "sees"])
    files = {
        "train-en": f"{long}\nabcdefghij\tX\n\nthe\tX\n",
        "dev-en": "\u00a0\tX\n\nthe\tDET\ndog\tX\n",
        "test-en": "the\tX\n\nthe\tX\ndog\tX\ncat\tX\n",
        "test-de": long,
    }
    assert found(data, "udpos", files) == [
        "sentences longer than the window of 8 pieces, each in several windows: 2",
        "words of more pieces than a window holds, whose last pieces are not read: 1",
        "words that are nothing to the tokenizer, read as an unknown piece: 1",
        "leakage: sentences of the training set are also in en test (1 of 2, 25.0% of the words), "
        "de test (1 of 1, 100.0% of the words)",
    ]


def test_languages_of_unknown_genus(data: Path) -> None:
    rows = {"train": "the\tdog\t0\n", "dev": "a\tcat\t0\n"}
    files = {f"{split}-{language}": text for split, text in rows.items() for language in ("en", "xx")}
    tests = {f"test-{language}": f"{language}\td\t1\n" for language in ("en", "de", "xx", "yy")}
    sets: dict[Split, tuple[str, ...]] = {"train": ("en",), "dev": ("en",), "test": ("en", "de", "xx", "yy")}
    assert found(data, "pawsx", files | tests, sets) == [
        "neither near nor far, because their genus is not known: xx, yy"
    ]
    other: dict[Split, tuple[str, ...]] = {"train": ("xx",), "dev": ("xx",), "test": ("xx", "en", "yy")}
    assert remarked(data, "pawsx", other, source_language="xx") == [
        "no mean over near and far targets: the genus of xx, the source language, is not known"
    ]
