from pathlib import Path

import pytest

from dlfa.data.sources import Example, Pair, open_source, untranslated
from dlfa.errors import DataError
from dlfa.tasks import TASKS

TASK = TASKS["pawsx"]
HEADER = "id\tsentence1\tsentence2\tlabel\n"


def read(folder: Path, text: str) -> list[Example]:
    file = folder / "de" / "test_2k.tsv"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")
    return open_source(folder, TASK).read("de", "test")


def message(folder: Path, text: str) -> str:
    """Return the error of a file, without its folder."""
    with pytest.raises(DataError) as caught:
        read(folder, text)
    return str(caught.value).removeprefix(f"{folder}/de/test_2k.tsv:")


def test_quotes_are_ordinary_characters(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER + '1\t"a\tb" ""\t1\n2\t"c"\td\t0\n') == [
        Pair('"a', 'b" ""', "1"),
        Pair('"c"', "d", "0"),
    ]


def test_rows_have_ids(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "17\ta\tb\t1\nt4\tc\td\t0\n\te\tf\t0\n")
    assert [pair.id for pair in found if isinstance(pair, Pair)] == ["17", "t4", None]


@pytest.mark.parametrize(
    "header", ["1\ta\tb\t0", "id\tsentence1\tsentence2", "id\tsentence2\tsentence1\tlabel", "ID\tsentence1", "x"]
)
def test_header_is_not_what_it_has_to_be(tmp_path: Path, header: str) -> None:
    found = message(tmp_path, f"\n{header}\n1\ta\tb\t0\n")
    assert found.startswith("2: header ")
    assert found.endswith("; allowed: id, sentence1, sentence2, label, separated by tabs")


def test_header_of_one_long_line_is_not_repeated_in_full(tmp_path: Path) -> None:
    assert len(message(tmp_path, "x" * 100_000)) < 200


@pytest.mark.parametrize("line", ["1\ta\tb", "1\ta\tb\t0\t", "1"])
def test_wrong_number_of_columns(tmp_path: Path, line: str) -> None:
    assert message(tmp_path, HEADER + "1\ta\tb\t0\n" + line) == (
        f"3: {line.count(chr(9)) + 1} tab-separated columns; allowed: 4 (id, sentence1, sentence2, label)"
    )


@pytest.mark.parametrize("label", ["2", "-1", "1.0", "yes", "label"])
def test_labels_that_are_none(tmp_path: Path, label: str) -> None:
    assert message(tmp_path, HEADER + f"1\ta\tb\t{label}\n") == f"2: label {label!r} is not allowed; allowed: 0, 1"


def test_translated_training_sets_are_never_read(tmp_path: Path) -> None:
    read(tmp_path, HEADER + "1\ta\tb\t0\n")
    (tmp_path / "de" / "translated_train.tsv").write_text(HEADER + "1\ta\tb\t0\n")
    source = open_source(tmp_path, TASK)
    assert source.files("de", "train") == ()
    with pytest.raises(DataError, match="no train split of language 'de'; 'de' has test;"):
        source.read("de", "train")


def test_what_was_not_translated_stays_and_is_counted(tmp_path: Path) -> None:
    rows = "1\tNS\tb\t0\n2\ta\tNS\t1\n3\tNS\tNS\t0\n4\tNS .\tns\t0\n"
    pairs = [pair for pair in read(tmp_path, HEADER + rows) if isinstance(pair, Pair)]
    assert [pair.first for pair in pairs] == ["NS", "a", "NS", "NS ."]
    assert sum(map(untranslated, pairs)) == 3
