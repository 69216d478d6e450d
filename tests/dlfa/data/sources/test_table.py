import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlfa.data.sources import Example, Pair, Sentence, open_source
from dlfa.errors import DataError
from dlfa.tasks import TASKS, TaskSpec

UDPOS, XNLI, PAWSX = TASKS["udpos"], TASKS["xnli"], TASKS["pawsx"]


def read_jsonl(folder: Path, content: str, task: TaskSpec) -> list[Example]:
    (folder / "test-de.jsonl").write_text(content, encoding="utf-8", newline="")
    return open_source(folder, task).read("de", "test")


def read_parquet(folder: Path, content: bytes | pa.Table, task: TaskSpec) -> list[Example]:
    if not isinstance(content, bytes):
        buffer = io.BytesIO()
        pq.write_table(content, buffer)
        content = buffer.getvalue()
    (folder / "test-de.parquet").write_bytes(content)
    return open_source(folder, task).read("de", "test")


def jsonl_fault(folder: Path, content: str, task: TaskSpec) -> str:
    """Return the error of a file of JSON lines, without its path."""
    with pytest.raises(DataError) as caught:
        read_jsonl(folder, content, task)
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()
    return str(caught.value).removeprefix(f"{folder}/test-de.jsonl:")


def parquet_fault(folder: Path, content: bytes | pa.Table, task: TaskSpec) -> str:
    """Return the error of a Parquet file, without its path."""
    with pytest.raises(DataError) as caught:
        read_parquet(folder, content, task)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value).removeprefix(f"{folder}/test-de.parquet: ")


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


GOOD: dict[str, Any] = {"words": ["a", "b"], "tags": ["X", "NOUN"]}
GOOD_PAIR: dict[str, Any] = {"sentence1": "a", "sentence2": "b", "label": "neutral"}


def test_columns_in_any_order_beside_others_and_escapes(tmp_path: Path) -> None:
    content = '{"tags": ["X"], "n": [1, {"a": null}], "words": ["\\u00e9\\ud83d\\ude00\\t"]}\n\n' + lines(GOOD)
    assert read_jsonl(tmp_path, content, UDPOS) == [
        Sentence(("é😀\t",), ("X",)),
        Sentence(("a", "b"), ("X", "NOUN")),
    ]


@pytest.mark.parametrize("label", [0, "0"])
def test_whole_numbers_are_the_names_that_their_digits_spell(tmp_path: Path, label: int | str) -> None:
    row = {"sentence1": "a", "sentence2": "b", "label": label}
    assert read_jsonl(tmp_path, lines(row), PAWSX) == [Pair("a", "b", "0")]
    table = pa.table({"sentence1": ["a"], "sentence2": ["b"], "label": [label]})
    (tmp_path / "test-de.jsonl").unlink()
    assert read_parquet(tmp_path, table, PAWSX) == [Pair("a", "b", "0")]


IDS = ["17", 17, "", None, True, 1.5, ["a"]]


@pytest.mark.parametrize(("row_id", "expected"), list(zip(IDS, ["17", "17", *[None] * 5], strict=True)))
def test_ids_are_text_or_whole_numbers(tmp_path: Path, row_id: object, expected: str | None) -> None:
    (found,) = read_jsonl(tmp_path, lines({**GOOD_PAIR, "id": row_id}), XNLI)
    (tmp_path / "test-de.jsonl").unlink()
    table = pa.Table.from_pylist([{**GOOD_PAIR, "id": row_id}])
    (other,) = read_parquet(tmp_path, table, XNLI)
    assert [example.id for example in (found, other) if isinstance(example, Pair)] == [expected] * 2


def test_pairs_need_no_ids(tmp_path: Path) -> None:
    (found,) = read_jsonl(tmp_path, lines(GOOD_PAIR), XNLI)
    (tmp_path / "test-de.jsonl").unlink()
    columns = [pa.array([value]) for value in (*GOOD_PAIR.values(), "1", "2")]
    (twice,) = read_parquet(tmp_path, pa.Table.from_arrays(columns, [*GOOD_PAIR, "id", "id"]), XNLI)
    assert [example.id for example in (found, twice) if isinstance(example, Pair)] == [None, None]


def test_numbers_never_stand_for_labels_with_names(tmp_path: Path) -> None:
    # Data sets number their labels in different orders.
    assert jsonl_fault(tmp_path, lines(GOOD_PAIR | {"label": 0}), XNLI).startswith("1: label '0' is not allowed; ")
    assert jsonl_fault(tmp_path, lines(GOOD | {"tags": [0, 1]}), UDPOS).startswith("1: tag '0' is not allowed; ")
    assert jsonl_fault(tmp_path, lines(GOOD_PAIR | {"label": -1}), PAWSX) == (
        "1: label '-1' is not allowed; allowed: 0, 1"
    )


NOT_A_LIST = "allowed: a list of strings"
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"words": "a b"}, f"words 'a b'; {NOT_A_LIST}"),
    ({"words": None}, f"words null; {NOT_A_LIST}"),
    ({"words": {"a": "b"}}, f"words {{'a': 'b'}}; {NOT_A_LIST}"),
    ({"words": []}, "words is empty; allowed: one or more words"),
    ({"words": ["a", None]}, "word null; allowed: a string"),
    ({"words": ["a", 7]}, "word 7; allowed: a string"),
    ({"words": ["a", ["b"]]}, "word ['b']; allowed: a string"),
    ({"words": ["a", "\ud800"]}, "word '\\ud800' has half a surrogate pair; allowed: Unicode text"),
    ({"tags": "X"}, f"tags 'X'; {NOT_A_LIST}"),
    ({"tags": ["X"]}, "1 tags for 2 words; allowed: one for each"),
    ({"tags": []}, "0 tags for 2 words; allowed: one for each"),
    ({"tags": ["X", None]}, "tag null; allowed: a string"),
    ({"tags": ["X", True]}, "tag True; allowed: a string"),
    ({"tags": ["X", 1.0]}, "tag 1.0; allowed: a string"),
    ({"tags": None}, "null for tags; allowed: labels, as in the rows before"),
]
PAIR_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"sentence1": None}, "sentence1 null; allowed: a string"),
    ({"sentence2": ["b"]}, "sentence2 ['b']; allowed: a string"),
    ({"sentence2": "a\udfff"}, "sentence2 'a\\udfff' has half a surrogate pair; allowed: Unicode text"),
    ({"label": False}, "label False; allowed: a string"),
    ({"label": 1.5}, "label 1.5; allowed: a string"),
    ({"label": None}, "null for label; allowed: labels, as in the rows before"),
]


@pytest.mark.parametrize(
    ("good", "change", "message"), [(GOOD, *fault) for fault in FAULTS] + [(GOOD_PAIR, *fault) for fault in PAIR_FAULTS]
)
def test_values_of_another_type(tmp_path: Path, good: dict[str, Any], change: dict[str, Any], message: str) -> None:
    task = UDPOS if good is GOOD else XNLI
    assert jsonl_fault(tmp_path, lines(good, good | change), task) == f"2: {message}"


def test_labels_after_rows_without(tmp_path: Path) -> None:
    assert jsonl_fault(tmp_path, lines(GOOD | {"tags": None}, GOOD), UDPOS) == (
        "2: labels for tags; allowed: null, as in the rows before"
    )


def test_missing_column_names_what_is_there(tmp_path: Path) -> None:
    assert jsonl_fault(tmp_path, lines(GOOD, {"tokens": ["a"], "tags\n": ["X"]}), UDPOS) == (
        "2: no column 'words'; columns here: 'tokens', 'tags\\n'; allowed: words, tags"
    )
    # A test file without labels says so with null: a misspelt name would be a missing score.
    assert jsonl_fault(tmp_path, lines({"words": ["a"]}), UDPOS) == (
        "1: no column 'tags'; columns here: 'words'; allowed: words, tags"
    )
    assert jsonl_fault(tmp_path, "{}", XNLI) == (
        "1: no column 'sentence1'; columns here: none; allowed: sentence1, sentence2, label"
    )
    (tmp_path / "test-de.jsonl").unlink()
    assert parquet_fault(tmp_path, pa.table({"words": [["a"]], "ner_tags": [[3]]}), UDPOS) == (
        "no column 'tags'; columns here: 'words', 'ner_tags'; allowed: words, tags"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[", "not JSON (Expecting value: column 2)"),
        ("  ", "not JSON (Expecting value: column 3)"),
        ('{"words": ["a"], "tags": ["X"]', "not JSON (Expecting ',' delimiter: column 31)"),
        ('{"words": ["a"], "tags": ["X"]} x', "not JSON (Extra data: column 33)"),
        ('{"words": ["a\tb"], "tags": ["X"]}', "not JSON (Invalid control character at: column 14)"),
        ('{"words": ["a"], "words": ["b"], "tags": ["X"]}', "not JSON (key 'words' twice)"),
        ('{"words": ["a"], "tags": ["X"], "score": NaN}', "not JSON (NaN)"),
        ("[]", "[]"),
        ("null", "null"),
        ('"words"', "'words'"),
    ],
)
def test_lines_that_are_no_json_objects(tmp_path: Path, line: str, message: str) -> None:
    assert jsonl_fault(tmp_path, lines(GOOD) + "\n" + line, UDPOS) == f"3: {message}; allowed: one object"


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5000, '{"words":' * 100_000])
def test_lines_that_json_readers_choke_on(tmp_path: Path, line: str) -> None:
    assert jsonl_fault(tmp_path, line, UDPOS).startswith("1: ")


def test_both_formats_in_one_folder(tmp_path: Path) -> None:
    read_jsonl(tmp_path, lines(GOOD), UDPOS)
    with pytest.raises(DataError, match=r": found JSON lines and Parquet; allowed for udpos: one of "):
        read_parquet(tmp_path, pa.table({"words": [["a"]], "tags": [["X"]]}), UDPOS)


def test_other_types_of_strings_and_lists(tmp_path: Path) -> None:
    table = pa.table(
        {
            "words": pa.array([["a", "b"]], pa.large_list(pa.large_string())),
            "tags": pa.array([["X", "X"]], pa.list_(pa.dictionary(pa.int32(), pa.string()), 2)),
            "time": pa.array([2**62], pa.timestamp("ms", "UTC")),
        }
    )
    assert read_parquet(tmp_path, table, UDPOS) == [Sentence(("a", "b"), ("X", "X"))]
    table = pa.table({"sentence1": ["a"], "sentence2": ["b"], "label": pa.array(["neutral"]).dictionary_encode()})
    assert read_parquet(tmp_path, table, XNLI) == [Pair("a", "b", "neutral")]


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        (pa.array([0.0, float("nan")]), "double"),
        (pa.array([None, 1.0]), "double"),
        (pa.array([True, False]), "bool"),
        (pa.array([b"neutral", b"neutral"]), "binary"),
        (pa.array([0, 0], pa.timestamp("ms", "UTC")), "timestamp[ms, tz=UTC]"),
        (pa.array([{"name": "neutral"}] * 2), "struct<name: string>"),
    ],
    ids=["not a number", "null and float", "bool", "bytes", "time", "struct"],
)
def test_columns_that_are_no_text(tmp_path: Path, label: pa.Array, kind: str) -> None:
    table = pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": label})
    assert parquet_fault(tmp_path, table, PAWSX) == (
        f"column 'label' has {kind}; allowed: string, integer, or a list of them"
    )


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ([["a"], None], [["X"], ["X"]], f"row 2: words null; {NOT_A_LIST}"),
        ([["a"], ["b", None]], [["X"], ["X", "X"]], "row 2: word null; allowed: a string"),
        ([["a"], ["b"]], [["X"], [None]], "row 2: tag null; allowed: a string"),
        ([["a"], ["b"]], [["X"], None], "row 2: null for tags; allowed: labels, as in the rows before"),
        ([["a"], ["b", "c"]], [["X"], ["X"]], "row 2: 1 tags for 2 words; allowed: one for each"),
        (["a", "b"], ["X", "X"], f"row 1: words 'a'; {NOT_A_LIST}"),
        ([[["a"]]], [["X"]], "row 1: word ['a']; allowed: a string"),
        ([[1]], [["X"]], "row 1: word 1; allowed: a string"),
    ],
)
def test_rows_that_are_no_sentences(tmp_path: Path, words: list[Any], tags: list[Any], message: str) -> None:
    assert parquet_fault(tmp_path, pa.table({"words": words, "tags": tags}), UDPOS) == message


def test_the_same_column_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([["a"]])] * 2 + [pa.array([["X"]])], ["words", "words", "tags"])
    assert parquet_fault(tmp_path, table, UDPOS) == (
        "more than one column 'words'; columns here: 'words', 'words', 'tags'; allowed: words, tags"
    )


def test_rows_of_all_row_groups_in_order(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    words = [[f"w{n}"] for n in range(10)]
    pq.write_table(pa.table({"words": words, "tags": [["X"]] * 9 + [["?"]]}), buffer, row_group_size=3)
    assert parquet_fault(tmp_path, buffer.getvalue(), UDPOS).startswith("row 10: tag '?' is not allowed; ")
    pq.write_table(pa.table({"words": words, "tags": [["X"]] * 10}), buffer := io.BytesIO(), row_group_size=3)
    assert read_parquet(tmp_path, buffer.getvalue(), UDPOS) == [Sentence((w,), ("X",)) for (w,) in words]


def test_parquet_that_is_cut_or_none_or_not_utf8(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"words": [["aé"]], "tags": [["X"]]}), buffer, compression="none", use_dictionary=False)
    good = buffer.getvalue()
    assert read_parquet(tmp_path, good, UDPOS) == [Sentence(("aé",), ("X",))]
    for content in (
        b"",
        b"PAR1",
        good[:-1],
        good[:50],
        good[1:],
        b"words\ttags\n",
        good.replace("é".encode(), b"\xe9e"),
    ):
        message = parquet_fault(tmp_path, content, UDPOS)
        assert message.startswith("not to be read as Parquet (")
        assert message.endswith("); allowed: a whole Parquet file")


# What tab-separated layouts cannot hold, too: tabs, line ends, byte order marks.
texts = st.text(min_size=1).filter(lambda text: text.strip(" ") != "")


def test_fuzz_any_unicode_reads_back(tmp_path: Path) -> None:
    @given(st.lists(st.lists(texts, min_size=1), min_size=1))
    @settings(deadline=None, max_examples=50)
    def check(sentences: list[list[str]]) -> None:
        rows = [{"words": words, "tags": ["X"] * len(words)} for words in sentences]
        expected = [Sentence(tuple(words), ("X",) * len(words)) for words in sentences]
        assert read_jsonl(tmp_path, lines(*rows), UDPOS) == expected
        (tmp_path / "test-de.jsonl").unlink()
        assert read_parquet(tmp_path, pa.Table.from_pylist(rows), UDPOS) == expected
        (tmp_path / "test-de.parquet").unlink()

    check()
