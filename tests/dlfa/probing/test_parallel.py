"""Parallel sentences: both layouts, and what is wrong with them."""

from pathlib import Path

import pandas as pd
import pytest

from dlfa.errors import DataError
from dlfa.probing import PARALLEL, ParallelText, read_parallel
from dlfa.tasks import TASKS


def _write(folder: Path, code: str, own: str, english: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"tatoeba.{code}-eng.{code}").write_bytes(own.encode())
    (folder / f"tatoeba.{code}-eng.eng").write_bytes(english.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path, "deu", "Hallo.\nGute Nacht.\n", "Hello.\nGood night.\n")
    _write(tmp_path, "cmn", "你好。\n晚安。\n", "Hello.\nGood night.\n")
    (tmp_path / "SOURCES.md").write_text("where it is from")
    return tmp_path


def _pairs(texts: list[ParallelText]) -> dict[str, list[tuple[str, str]]]:
    return {text.language: list(zip(text.sentences, text.translations, strict=True)) for text in texts}


def test_files_of_tatoeba(folder: Path) -> None:
    assert _pairs(read_parallel(folder, "en", ["zh", "fr", "de"], None)) == {
        "de": [("Hallo.", "Hello."), ("Gute Nacht.", "Good night.")],
        "zh": [("你好。", "Hello."), ("晚安。", "Good night.")],
    }


def test_a_folder_of_several_tasks(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "tatoeba").symlink_to(folder)
    assert read_parallel(tmp_path / "all", "en", ["de"], None) == read_parallel(folder, "en", ["de"], None)


def test_a_limit_and_a_digest_of_what_is_read(folder: Path) -> None:
    first, all_ = (read_parallel(folder, "en", ["de"], limit)[0] for limit in (1, None))
    assert (len(first.sentences), len(all_.sentences)) == (1, 2)
    assert first.digest != all_.digest
    _write(folder, "deu", "Hallo.\nGute Nacht!\n", "Hello.\nGood night.\n")
    assert read_parallel(folder, "en", ["de"], None)[0].digest != all_.digest
    assert read_parallel(folder, "en", ["de"], 1)[0].digest == first.digest


def test_only_line_feeds_end_lines(folder: Path) -> None:
    _write(folder, "deu", "Hallo\u2028du.\r\nGute Nacht.", "Hello.\r\nGood night.")
    assert read_parallel(folder, "en", ["de"], None)[0].sentences == ("Hallo\u2028du.", "Gute Nacht.")


@pytest.mark.parametrize("nested", [True, False])
def test_the_hubs_parquet_files(tmp_path: Path, nested: bool) -> None:
    folder = (tmp_path / "google" / "xtreme" if nested else tmp_path) / "tatoeba.deu"
    folder.mkdir(parents=True)
    rows = [("Hallo.", "Hello.", "deu", "eng"), ("Good night.", "Gute Nacht.", "eng", "deu")]
    columns = ["source_sentence", "target_sentence", "source_lang", "target_lang"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "validation-00000-of-00001.parquet")
    assert _pairs(read_parallel(tmp_path, "en", ["de"], None)) == {
        "de": [("Hallo.", "Hello."), ("Gute Nacht.", "Good night.")]
    }


def test_where_the_hub_has_them() -> None:
    (table,) = PARALLEL.hub
    assert table.configs["de"] == "tatoeba.deu"
    assert table.configs["zh"] == "tatoeba.cmn"
    assert len(table.configs) == 36  # XTREME's, without English
    assert PARALLEL.name not in TASKS


@pytest.mark.parametrize(
    ("own", "english", "message"),
    [
        ("a\nb\n", "a\n", "2 lines, and 1 in tatoeba.deu-eng.eng"),
        ("a\n\nb\n", "a\nb\nc\n", "tatoeba.deu-eng.deu:2: an empty line"),
        ("", "", "tatoeba.deu-eng.deu: empty"),
    ],
)
def test_wrong_files(tmp_path: Path, own: str, english: str, message: str) -> None:
    _write(tmp_path, "deu", own, english)
    with pytest.raises(DataError, match=message):
        read_parallel(tmp_path, "en", ["de"], None)


def test_what_is_not_there(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no parallel sentences of en and any of fr \(there: de, zh\)"):
        read_parallel(folder, "en", ["fr"], None)
    with pytest.raises(DataError, match="no parallel sentences of es and any of de; allowed: tatoeba"):
        read_parallel(folder, "es", ["de"], None)
    (folder / "tatoeba.deu-eng.eng").unlink()
    with pytest.raises(DataError, match=r"no tatoeba\.deu-eng\.eng beside it"):
        read_parallel(folder, "en", ["de"], None)
    with pytest.raises(DataError, match="No such file"):
        read_parallel(folder / "nowhere", "en", ["de"], None)
    bad = folder / "bad" / "tatoeba.deu"
    bad.mkdir(parents=True)
    (bad / "validation-00000-of-00001.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="not readable as parallel sentences"):
        read_parallel(folder / "bad", "en", ["de"], None)
