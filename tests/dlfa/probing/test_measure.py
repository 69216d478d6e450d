"""All measures of a tiny encoder: which examples they rest on, and that they are the probes' own."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from toy import write_toy

from dlfa.compute import Compute
from dlfa.config import DataConfig
from dlfa.data.cache import Corpus
from dlfa.data.sources import open_source
from dlfa.model import load_tokenizer
from dlfa.probing import LAYER_COLUMNS, ParallelText, measure_layers
from dlfa.tasks import TASKS

CPU = Compute(torch.device("cpu"), bf16=False)
LAYERS = 6


def _corpus(data: Path, encoder: Path, cache: Path) -> Corpus:
    config = DataConfig(path=str(data), cache=str(cache), max_length=32, train_limit=30, eval_limit=20)
    return Corpus(open_source(data, TASKS["udpos"]), TASKS["udpos"], load_tokenizer(str(encoder)), config)


def _parallel(data: Path, language: str, count: int) -> ParallelText:
    """Sentences of the toy that are no translations; German ones are paired with themselves."""
    task = TASKS["udpos"]
    own, english = (
        tuple(" ".join(example.words) for example in open_source(data, task).read(code, "dev")[:count])  # type: ignore[union-attr]
        for code in (language, "en")
    )
    return ParallelText(
        language=language, sentences=own, translations=own if language == "de" else english, digest=language
    )


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def measured(toy: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    data, encoder = toy
    return measure_layers(
        str(encoder),
        treebanks=_corpus(data, encoder, tmp_path_factory.mktemp("cache")),
        parallel=[_parallel(data, "de", 12), _parallel(data, "fr", 9)],
        compute=CPU,
    )


def _shares(measured: pd.DataFrame, measure: str, language: str) -> list[float]:
    rows = measured[measured["measure"].eq(measure) & measured["language"].eq(language)]
    sums = rows.groupby("layer", dropna=False)[["numerator", "denominator"]].sum()
    return [*(sums["numerator"] / sums["denominator"])]


def test_every_example_of_every_layer_has_a_row(measured: pd.DataFrame) -> None:
    assert {column: str(kind) for column, kind in measured.dtypes.items()} == LAYER_COLUMNS
    counts = measured.groupby(["measure", "language"])["layer"].value_counts(dropna=False).unstack()
    assert set(measured["layer"].dropna()) == set(range(LAYERS + 1))
    retrieval = counts.loc["retrieval"]
    assert retrieval.loc["de", range(LAYERS + 1)].tolist() == [12] * (LAYERS + 1)
    assert retrieval.loc["fr", range(LAYERS + 1)].tolist() == [9] * (LAYERS + 1)
    # As many of each language as the smallest has, and every second one for the test.
    assert set(counts.loc["language"].index) == {"en", "de", "fr"}
    assert counts.loc["language"][[*range(LAYERS + 1)]].to_numpy().tolist() == [[4] * (LAYERS + 1)] * 3
    assert set(counts.loc["upos"].index) == {"en", "de", "es", "fr"}
    assert counts.loc["upos"][[*range(LAYERS + 1)]].to_numpy().tolist() == [[20] * (LAYERS + 1)] * 4


def test_sentences_that_are_the_same_are_found(measured: pd.DataFrame) -> None:
    assert _shares(measured, "retrieval", "de") == [1.0] * (LAYERS + 1)
    assert max(_shares(measured, "retrieval", "fr")) < 0.8


def test_words_are_counted_by_sentence(measured: pd.DataFrame, toy: tuple[Path, Path]) -> None:
    sentences = open_source(toy[0], TASKS["udpos"]).read("de", "test")[:20]
    rows = measured[measured["measure"].eq("upos") & measured["language"].eq("de") & measured["layer"].eq(3)]
    assert rows["denominator"].tolist() == [len(sentence.words) for sentence in sentences]  # type: ignore[union-attr]
    # The embedding layer alone tells the tags of a language whose words have one tag each.
    assert _shares(measured, "upos", "de")[0] > 0.9
    assert len(_shares(measured, "upos_majority", "de")) == 1
    assert 0.1 < _shares(measured, "upos_majority", "de")[0] < 0.5


def test_the_same_again(measured: pd.DataFrame, toy: tuple[Path, Path], tmp_path: Path) -> None:
    data, encoder = toy
    said: list[str] = []
    again = measure_layers(
        str(encoder),
        treebanks=_corpus(data, encoder, tmp_path / "cache"),
        parallel=[_parallel(data, "de", 12), _parallel(data, "fr", 9)],
        compute=CPU,
        room=tmp_path,
        say=said.append,
    )
    pd.testing.assert_frame_equal(measured, again)
    assert "retrieval de: 12 pairs" in said
    assert any("en: probes learn from" in line and "train set" in line for line in said)
    assert any("de: probes learn from" in line and "dev set" in line for line in said)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]  # no states are left behind


def test_a_language_without_a_set_to_learn_from_is_left_out(toy: tuple[Path, Path], tmp_path: Path) -> None:
    data = shutil.copytree(toy[0], tmp_path / "data")
    (data / "de" / "de_toy-dev.conllu").unlink()
    said: list[str] = []
    found = measure_layers(
        str(toy[1]),
        treebanks=_corpus(data, toy[1], tmp_path / "cache"),
        parallel=[_parallel(toy[0], "fr", 9)],
        compute=CPU,
        say=said.append,
    )
    assert set(found.loc[found["measure"].eq("upos"), "language"]) == {"en", "es", "fr"}
    assert "parts of speech de: no labelled set to learn from" in said
