"""Similarity across languages, on small frames with answers worked by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.best_layers import best_layers
from orchestrator.report.curves import learning_curves
from orchestrator.report.families import families
from orchestrator.report.languages import layer_profiles, per_language
from orchestrator.report.notes import notes
from orchestrator.report.plots import plots
from orchestrator.report.render import render, render_sweep, sweep_tables
from orchestrator.report.similarity import similarity, similarity_by_language

from .simulated import simulate
from .test_tables import Numbers, column, confirm, make_frame, make_sweep


def similar(run: tuple[dict[str, Any], Numbers], **languages: tuple[float, float]) -> tuple[dict[str, Any], Numbers]:
    """Return a run with similarities, related and unrelated, by target language."""
    columns, numbers = run
    cosines: Numbers = {}
    for language, (related, unrelated) in languages.items():
        cosines["test", language, "similarity", 3] = related
        cosines["test", language, "similarity_unrelated", 3] = unrelated
    return columns, {**numbers, **cosines}


RUNS = [
    similar(confirm(None, 1, 80.0, 60.0), de=(0.5, 0.25), fr=(0.75, 0.5)),
    confirm(None, 2, 80.0, 62.0),  # a run without them
    similar(confirm(1, 1, 81.0, 61.0), de=(0.9, 0.1), fr=(0.7, 0.3)),
    similar(confirm(1, 2, 81.0, 63.0), de=(0.5, 0.1), fr=(0.5, -0.1)),
    similar(confirm(2, 1, 80.0, 61.0, fusion="gate"), de=(-0.25, -0.5), fr=(0.0, 0.0)),
    confirm(None, 1, 80.0, 61.0, fusion="scalar_mix"),
]
WITHOUT = [
    (columns, {key: value for key, value in numbers.items() if not key[2].startswith("similarity")})
    for columns, numbers in RUNS
]


def test_similarity_is_a_mean_over_languages_and_runs_beside_the_score() -> None:
    table = similarity(make_frame(*RUNS))
    assert [*table.columns] == [
        "fusion", "fusion_layer", "seeds", "avg_target", "near", "far", "similarity", "similarity_unrelated",
        "similarity_difference", "selected",
    ]  # fmt: skip
    assert column(table, "fusion") == ["none", "dlfa", "gate", "scalar_mix"]
    assert column(table, "fusion_layer") == [None, 1, 2, None]
    assert column(table, "seeds") == [2, 2, 1, 1]
    assert column(table, "avg_target") == [61, 62, 61, 61]
    assert column(table, "similarity") == [0.625, pytest.approx(0.65), -0.125, None]
    assert column(table, "similarity_unrelated") == [0.375, pytest.approx(0.1), -0.25, None]
    assert column(table, "similarity_difference") == [0.25, pytest.approx(0.55), 0.125, None]


def test_similarity_of_each_language() -> None:
    table = similarity_by_language(make_frame(*RUNS))
    assert [*table.columns[:4]] == ["fusion", "fusion_layer", "language", "family"]
    assert column(table, "fusion") == ["none"] * 2 + ["dlfa"] * 2 + ["gate"] * 2
    assert column(table, "language") == ["de", "fr"] * 3
    assert column(table, "family") == ["Indo-European"] * 6
    assert column(table, "similarity") == [0.5, 0.75, pytest.approx(0.7), pytest.approx(0.6), -0.25, 0]
    assert column(table, "similarity_difference")[4:] == [0.25, 0]


def test_cosines_have_four_decimals_and_are_no_percent() -> None:
    text = render(similarity(make_frame(*RUNS)), [], "t", "table")
    assert text.splitlines()[4].split()[-3:] == ["0.6250", "0.3750", "+0.2500"]
    assert text.splitlines()[6].split()[:2] == ["gate", "2*"]


def test_other_tables_are_as_they_were_without_them() -> None:
    with_them, without = make_frame(*RUNS), make_frame(*WITHOUT)
    for table in (best_layers, per_language, learning_curves, layer_profiles, families):
        pd.testing.assert_frame_equal(table(with_them), table(without))


def test_runs_without_similarities_have_no_table_note_or_picture() -> None:
    frame = make_frame(*WITHOUT)
    assert similarity(frame).empty
    assert similarity_by_language(frame).empty
    sweep = make_sweep(frame)
    assert {"similarity", "similarity_by_language"}.isdisjoint(sweep_tables(sweep))
    assert not any(line.startswith("similarity") for line in notes(sweep))
    assert "similarity" not in dict(plots(sweep))
    assert similarity(make_frame()).empty


def test_a_sweep_shows_them_behind_its_languages() -> None:
    sweep = make_sweep(make_frame(*RUNS))
    text = render_sweep(sweep, "table")
    places = [text.index(title) for title in ("Scores per language", "Similarity across languages", "Learning curves")]
    assert places == sorted(places)
    assert {"similarity", "similarity_by_language"} <= set(sweep_tables(sweep))
    assert any(line.startswith("similarity: cosine in -1..1, not percent") for line in notes(sweep))


def test_the_picture_has_scores_and_similarities_by_layer() -> None:
    sweep = simulate(
        lambda layer, _: float(layer), np.random.default_rng(1), fusions={"gate": 0.0, "scalar_mix": 0.0}, similar=True
    )
    axes = dict(plots(sweep))["similarity"].axes
    table = similarity(sweep.frame).set_index("fusion")
    columns = ("avg_target", "similarity", "similarity_unrelated", "similarity_difference")
    for one, name in zip(axes, columns, strict=True):
        lines = {line.get_label(): line for line in one.get_lines()}
        assert set(lines) == {"baseline", "gate", "scalar_mix"}
        assert np.asarray(lines["baseline"].get_ydata()) == pytest.approx(table.loc["none", name])
        assert np.asarray(lines["gate"].get_ydata()) == pytest.approx(table.loc["gate", name].to_numpy())
        assert np.asarray(lines["gate"].get_xdata()).tolist() == [1, 2, 3]
        assert np.asarray(lines["scalar_mix"].get_ydata()) == pytest.approx([table.loc["scalar_mix", name]])
    assert [text.get_text() for text in axes[-1].get_xticklabels()] == ["1", "2", "3", "all"]
