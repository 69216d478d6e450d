"""Which rows of two test sets are compared, and which test sets are not aligned."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import write_encoder
from transformers import PreTrainedTokenizerBase

from dlfa.config import DataConfig
from dlfa.data.alignment import Alignment, align, require_alignable
from dlfa.data.cache import Corpus
from dlfa.data.sources import open_source
from dlfa.errors import ConfigError, DataError
from dlfa.model import load_tokenizer
from dlfa.tasks import TASKS

TASK = TASKS["pawsx"]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(write_encoder(tmp_path_factory.mktemp("encoder"))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def rows(count: int = 100, **changes: Row) -> list[Row]:
    """Rows with labels 0, 1, 0, ... and ids; a change is named after its row: r3={...}."""
    found: list[Row] = [
        {"id": f"t{n}", "sentence1": f"the {n}", "sentence2": "dog", "label": n % 2} for n in range(count)
    ]
    for name, change in changes.items():
        found[int(name[1:])] |= change
    return found


def relabelled(*numbers: int, count: int = 100) -> list[Row]:
    return rows(count, **{f"r{n}": {"label": 1 - n % 2} for n in numbers})


def without(name: str, found: list[Row]) -> list[Row]:
    return [{**row, name: None} for row in found]


def aligned(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    tests: dict[str, list[Row]],
    tested: Sequence[str] | None = None,
    **changes: Any,
) -> Alignment:
    for language, found in tests.items():
        (folder / f"test-{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    config = replace(DataConfig(path=str(folder), cache=str(folder / "cache"), max_length=16, aligned=True), **changes)
    return align(Corpus(open_source(folder, TASK), TASK, tokenizer, config), tested or list(tests))


def refusal(folder: Path, tokenizer: PreTrainedTokenizerBase, tests: dict[str, list[Row]], **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        aligned(folder, tokenizer, tests, **changes)
    start = f"{folder}: not aligned row by row with the test set of en, as --aligned (aligned: true) says: "
    assert str(caught.value).startswith(start)
    return str(caught.value).removeprefix(start)


def test_all_rows_of_equal_sets(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    found = aligned(folder, tokenizer, {"en": rows(), "de": rows(), "fr": rows()})
    every = list(range(100))
    assert {language: used.tolist() for language, used in found.rows.items()} == {"de": every, "fr": every}
    assert found.remarks == ("similarity to en by pairs: de 100 of 100, fr 100 of 100",)


def test_rows_without_a_translation_and_with_another_label_are_left_out_and_counted(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    tests = {
        "en": rows(r7={"sentence2": "NS"}),
        "de": rows(r3={"sentence1": "NS"}, r7={"sentence1": "NS"}, r10={"label": 1}),
        "fr": relabelled(20, 21),
        "es": rows(r7={"sentence1": "NS"}),
    }
    found = aligned(folder, tokenizer, tests)
    assert found.rows["de"].tolist() == [n for n in range(100) if n not in (3, 7, 10)]
    assert found.rows["fr"].tolist() == [n for n in range(100) if n not in (7, 20, 21)]
    assert found.rows["es"].tolist() == [n for n in range(100) if n != 7]
    assert found.remarks == (
        "similarity to en by pairs: de 97 of 100 (2 with NS and 1 with another label left out), "
        "fr 97 of 100 (1 with NS and 2 with another label left out), es 99 of 100 (1 with NS left out)",
    )


def test_a_marked_row_with_another_label_is_counted_once(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    found = aligned(folder, tokenizer, {"en": rows(), "de": rows(r4={"sentence1": "NS", "label": 1})})
    assert found.remarks == ("similarity to en by pairs: de 99 of 100 (1 with NS left out)",)


def test_labels_are_equal_in_98_percent_and_no_less(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(aligned(folder, tokenizer, {"en": rows(), "de": relabelled(1)}).rows["de"]) == 99
    assert len(aligned(folder, tokenizer, {"en": rows(), "de": relabelled(1, 2)}).rows["de"]) == 98
    assert refusal(folder, tokenizer, {"en": rows(), "de": relabelled(1, 2, 3), "fr": rows()}) == (
        "de (another label in 3 of 100 rows; allowed: in at most 2 %)"
    )


def test_counts_are_equal(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tests = {"en": rows(), "de": rows(99), "fr": rows(101)}
    assert refusal(folder, tokenizer, tests) == "de (99 rows, not 100), fr (101 rows, not 100)"


def test_only_the_rows_that_are_read_count(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tests = {"en": rows(), "de": relabelled(60, 70, 80, 90, 3), "fr": rows(55)}
    found = aligned(folder, tokenizer, tests, eval_limit=50)
    assert found.rows["de"].tolist() == [n for n in range(50) if n != 3]
    assert len(found.rows["fr"]) == 50


def test_ids_are_equal_where_there_are_ids(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    swapped = rows(r8={"id": "t10"}, r10={"id": "t8"})
    expected = "de (another id in 2 of 100 rows, first in row 9)"
    assert refusal(folder, tokenizer, {"en": rows(), "de": swapped}) == expected
    for tests in ({"en": rows(), "de": without("id", swapped)}, {"en": without("id", rows()), "de": swapped}):
        assert len(aligned(folder, tokenizer, tests).rows["de"]) == 100
    assert len(aligned(folder, tokenizer, {"en": rows(r8={"id": 7}), "de": rows(r8={"id": "7"})}).rows["de"]) == 100


def test_what_has_no_labels_is_not_compared(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    found = aligned(folder, tokenizer, {"en": rows(), "de": rows(), "fr": without("label", rows())})
    assert list(found.rows) == ["de"]
    assert found.remarks == (
        "similarity to en by pairs: de 100 of 100",
        "no similarity to en, because there are no labels: fr",
    )
    assert "fr (90 rows, not 100)" in refusal(folder, tokenizer, {"en": rows(), "fr": without("label", rows(90))})


@pytest.mark.parametrize("tested", [["de"], ["en", "de"]])
def test_the_source_language_needs_a_test_set_with_labels(
    tested: list[str], folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    found = aligned(folder, tokenizer, {"en": without("label", rows()), "de": rows()}, tested)
    assert not found.rows
    why = "en, the source language, has no test set with labels"
    assert found.remarks == (f"no similarity between languages: {why}",)


def test_data_that_does_not_say_that_it_is_aligned(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    found = aligned(folder, tokenizer, {"en": rows(), "de": rows()}, aligned=None)
    assert not found.rows
    assert found.remarks == (
        "no similarity between languages: the data does not say that its test sets are aligned row by row "
        "(aligned: true in the search space, or --aligned, says so)",
    )
    assert aligned(folder, tokenizer, {"en": rows(), "de": rows()}, aligned=False) == Alignment(rows={}, remarks=())


def test_data_known_to_be_aligned_is_checked_and_never_refused(
    folder: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlfa.data.sources.source._FileSource.aligned", True)
    tests = {"en": rows(), "de": rows(), "fr": relabelled(*range(50)), "es": rows(99)}
    found = aligned(folder, tokenizer, tests, aligned=None)
    assert list(found.rows) == ["de"]
    assert found.remarks == (
        "similarity to en by pairs: de 100 of 100",
        "no similarity to en, whose test set these are not aligned with: "
        "fr (another label in 50 of 100 rows; allowed: in at most 2 %), es (99 rows, not 100)",
    )
    assert not aligned(folder, tokenizer, tests, aligned=False).rows


def test_no_row_is_left(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    marked = [{**row, "sentence1": "NS"} for row in rows()]
    found = aligned(folder, tokenizer, {"en": rows(), "de": marked})
    assert not found.rows
    assert found.remarks == ("similarity to en by pairs: de 0 of 100 (100 with NS left out)",)


@pytest.mark.parametrize("aligned", [True, False, None])
@pytest.mark.parametrize("name", TASKS)
def test_only_tasks_of_one_label_for_each_example_have_aligned_rows(name: str, aligned: bool | None) -> None:
    if TASKS[name].kind == "pair" or not aligned:
        require_alignable(TASKS[name], aligned)
        return
    with pytest.raises(ConfigError) as caught:
        require_alignable(TASKS[name], aligned)
    assert str(caught.value) == (
        f"--aligned (aligned): true is not allowed for {name}, which has a label for every word; "
        "allowed for: xnli, pawsx"
    )


def test_paws_x_is_aligned_by_its_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, shared_data: Path) -> None:
    config = DataConfig(path="", cache=str(folder), max_length=16, aligned=True)
    corpus = Corpus(open_source(shared_data / "pawsx", TASK), TASK, tokenizer, config)
    found = align(corpus, ("en", "de", "es", "fr", "zh"))
    assert {language: len(used) for language, used in found.rows.items()}.keys() == {"de", "es", "fr", "zh"}
    assert all(900 < len(used) <= 1000 for used in found.rows.values())
    assert all(corpus.split(language, "test").example_ids.all() for language in ("en", "zh"))


def test_five_corpora_are_not_aligned(folder: Path, tokenizer: PreTrainedTokenizerBase, shared_data: Path) -> None:
    config = DataConfig(path="", cache=str(folder), max_length=16, aligned=True)
    corpus = Corpus(open_source(shared_data / "nli", TASKS["xnli"]), TASKS["xnli"], tokenizer, config)
    with pytest.raises(DataError, match=r"says: fa \(another label in \d+ of 1000 rows; .*, id \(.*, ja \(.*, ko \("):
        align(corpus, ("en", "fa", "id", "ja", "ko"))
