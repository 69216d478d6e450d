"""Every table of a sweep that compares several fusions, on small frames with answers worked by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from dlfa.errors import ConfigError, DataError
from dlfa.fusions import FUSIONS
from orchestrator.mirror import findings
from orchestrator.report.best_layers import best_layers, best_of_each, model_runs
from orchestrator.report.curves import learning_curves
from orchestrator.report.families import families, gain_similarity
from orchestrator.report.importance import complete_trials, importances, searched_fusions
from orchestrator.report.intervals import intervals, target_draws
from orchestrator.report.languages import layer_profiles, per_language
from orchestrator.report.notes import notes
from orchestrator.report.render import render
from orchestrator.report.search import search_trials
from orchestrator.report.selection import selection
from orchestrator.report.trials import ENCODERS, load

from .conftest import COMPLETE, CONFIRM, PRUNED, SEARCH, WriteSweep, dlfa, fused, none, scores
from .test_intervals import examples_of, make_runs
from .test_selection import NO_INTERVALS
from .test_tables import Numbers, column, confirm, make_frame, make_sweep

# In another order than that of the registry. By fusion and layer: dev, then the mean of the targets.
RUNS = [
    confirm(None, 1, dev=79.0, target=59.0, fusion="scalar_mix"),
    confirm(2, 1, dev=83.0, target=62.0, fusion="mean"),
    confirm(1, 1, dev=83.0, target=66.0, fusion="mean"),
    confirm(2, 1, dev=84.0, target=64.0, fusion="gate"),
    confirm(1, 1, dev=81.0, target=63.0, fusion="gate"),
    confirm(3, 1, dev=85.0, target=61.0),
    confirm(1, 1, dev=82.0, target=62.0),
    confirm(None, 1, dev=80.0, target=60.0),
]
ROWS = [
    ("none", None), ("dlfa", 1), ("dlfa", 3), ("gate", 1), ("gate", 2), ("mean", 1), ("mean", 2), ("scalar_mix", None),
]  # fmt: skip


def keys(table: pd.DataFrame) -> list[tuple[Any, Any]]:
    """Return the fusion and layer of each row."""
    assert "fusion" in table
    return list(zip(column(table, "fusion"), column(table, "fusion_layer"), strict=True))


def test_each_fusion_has_rows_of_its_own_in_the_order_of_the_registry() -> None:
    table = best_layers(make_frame(*RUNS))
    assert [*table.columns[:3]] == ["fusion", "fusion_layer", "reduction_ratio"]
    assert keys(table) == ROWS
    assert column(table, "reduction_ratio") == [None, 16, 16, 16, 16, None, None, None]
    assert column(table, "avg_target") == [60, 62, 61, 63, 64, 66, 62, 59]
    assert column(table, "difference") == [None, 2, 1, 3, 4, 6, 2, -1]
    # By dev, of equals the lower layer; a fusion without layers stands for itself.
    assert column(table, "selected") == [False, False, True, False, True, True, False, True]


def test_text_names_the_baseline_and_marks_the_selected_layers() -> None:
    table = best_layers(make_frame(*RUNS))[["fusion", "fusion_layer", "dev", "selected"]]
    assert render(table, [], "t", "table").splitlines()[2:] == [
        "fusion      layer    dev",
        "----------  -----  -----",
        "baseline        -  80.00",
        "dlfa            1  82.00",
        "dlfa           3*  85.00",
        "gate            1  81.00",
        "gate           2*  84.00",
        "mean           1*  83.00",
        "mean            2  83.00",
        "scalar_mix      -  79.00",
    ]


def test_seeds_are_paired_within_a_fusion_and_layer() -> None:
    more = [confirm(1, 2, 81.0, 70.0, fusion="gate"), confirm(1, 2, 82.0, 80.0), confirm(None, 2, 80.0, 65.0)]
    table = best_layers(make_frame(*RUNS, *more)).set_index(["fusion", "fusion_layer"])
    assert table.loc[("gate", 1), "difference"] == 4  # 63 - 60 and 70 - 65
    assert table.loc[("dlfa", 1), "difference"] == 8.5
    assert table.loc[("mean", 1), "pairs"] == 1


def test_near_far_and_enf_are_means_over_seeds_and_missing_where_no_run_has_them() -> None:
    with_genus = [
        confirm(1, seed, 80.0, 60.0, fusion=fusion) for fusion, seed in (("gate", 1), ("gate", 2), ("mean", 1))
    ]
    for value, (_, numbers) in zip((70.0, 72.0, 90.0), with_genus, strict=True):
        numbers["test", None, "near", 3] = value
        numbers["test", None, "enf", 3] = value + 1
    with_genus[0][1]["test", None, "far", 3] = 50.0
    frame = make_frame(*with_genus, confirm(None, 1, 80.0, 60.0))
    table = best_layers(frame)
    at = [*table.columns].index("source")
    assert [*table.columns[at : at + 6]] == ["source", "near", "far", "enf", "worst", "gap"]
    assert column(table, "near") == [None, 71, 90]
    assert column(table, "far") == [None, 50, None]
    assert column(table, "enf") == [None, 72, 91]
    assert column(best_of_each([make_sweep(frame)]), "near") == [71, 90]
    assert "near    far    enf" in render(table, [], "t", "table")


def test_strict_and_oracle_selection_are_of_each_fusion_with_layers() -> None:
    table = selection(make_frame(*RUNS), NO_INTERVALS, pd.DataFrame())
    assert table.columns[0] == "fusion"
    assert keys(table) == [("dlfa", 3), ("dlfa", 1), ("gate", 2), ("gate", 2), ("mean", 1), ("mean", 1)]
    assert column(table, "selection") == ["strict", "oracle"] * 3
    assert column(table, "cost") == [1, None, 0, None, 0, None]


def test_each_language_has_a_row_per_fusion() -> None:
    table = per_language(make_frame(*RUNS))
    assert [*table.columns[:7]] == ["language", "family", "fusion", "fusion_layer", "baseline", "fused", "difference"]
    assert column(table, "language") == ["en"] * 4 + ["de"] * 4 + ["fr"] * 4
    assert keys(table) == [("dlfa", 3), ("gate", 2), ("mean", 1), ("scalar_mix", None)] * 3
    assert column(table, "baseline") == [90] * 4 + [59] * 4 + [61] * 4
    assert column(table, "fused") == [90] * 4 + [60, 63, 65, 58] + [62, 65, 67, 60]
    assert column(table, "difference")[4:8] == [1, 4, 6, -1]
    assert column(table, "fused_accuracy")[4:8] == [65, 68, 70, 63]


def test_learning_curves_are_of_the_baseline_and_each_selected_layer() -> None:
    def learnt(run: tuple[dict[str, Any], Numbers]) -> tuple[dict[str, Any], Numbers]:
        columns, numbers = run
        dev = numbers["selection", None, "f1", 3]
        curve: Numbers = {
            ("dev", "en", "f1", 1): dev - 10,
            ("dev", "en", "f1", 2): dev,
            ("train", None, "loss", 2): 0.5,
        }
        return columns, numbers | curve

    table = learning_curves(make_frame(*map(learnt, RUNS)))
    assert [*table.columns] == ["fusion", "step", "score", "loss"]
    assert column(table, "fusion") == [name for name in FUSIONS for _ in range(2)]
    assert column(table, "step") == [1, 2] * 5
    assert column(table, "score") == [70, 80, 75, 85, 74, 84, 73, 83, 69, 79]
    assert column(table, "loss") == [None, 0.5] * 5


def test_layers_and_families_have_a_row_per_fusion_with_layers() -> None:
    frame = make_frame(*RUNS)
    table = layer_profiles(frame)
    assert [*table.columns] == ["fusion", "language", "family", "layer_1", "layer_2", "layer_3"]
    assert column(table, "fusion") == ["dlfa"] * 3 + ["gate"] * 3 + ["mean"] * 3
    assert column(table, "language") == ["en", "de", "fr"] * 3
    assert column(table, "layer_1") == [0, 2, 2, 0, 3, 3, 0, 6, 6]
    assert column(table, "layer_2")[:4] == [None, None, None, 0]
    assert column(table, "layer_3") == [0, 1, 1] + [None] * 6
    table = families(frame)
    assert column(table, "fusion") == ["dlfa", "gate", "mean"]
    assert column(table, "languages") == ["de fr"] * 3
    assert column(table, "layer_2") == [None, 4, 2]


def test_gain_profiles_go_over_all_fusions_and_layers() -> None:
    # No fusion has four layers alone; there are seven gains of each language.
    frame = make_frame(*RUNS)
    assert gain_similarity(frame).to_numpy() == pytest.approx(1)
    assert column(families(frame), "within") == pytest.approx([1, 1, 1])
    assert gain_similarity(make_frame(*RUNS[-3:])).empty


def test_a_sweep_has_a_row_per_fusion_beside_its_baseline() -> None:
    table = best_of_each([make_sweep(make_frame(*RUNS)), make_sweep(make_frame(*RUNS[-2:]))])
    assert [*table.columns[:4]] == ["sweep", "task", "metric", "fusion"]
    assert keys(table) == [("dlfa", 3), ("gate", 2), ("mean", 1), ("scalar_mix", None), ("dlfa", 1)]
    assert column(table, "fused") == [61, 64, 66, 59, 62]
    assert column(table, "baseline") == [60] * 5
    assert column(table, "difference") == [1, 4, 6, -1, 2]


def test_each_fusion_has_a_model() -> None:
    frame = make_frame(*RUNS, confirm(2, 2, dev=84.5, target=1.0, fusion="gate"))
    assert [*model_runs(frame).items()] == [
        ("baseline", "confirm-0007"), ("dlfa", "confirm-0005"), ("gate", "confirm-0008"), ("mean", "confirm-0002"),
        ("scalar_mix", "confirm-0000"),
    ]  # fmt: skip
    assert set(model_runs(frame)) == set(ENCODERS) - {"pretrained"}


def test_intervals_and_draws_are_of_each_fusion_and_layer() -> None:
    base = pd.Series(range(8)).to_numpy()
    runs = make_runs((None, 1), ("scalar_mix", 1), (2, 1)).assign(trial=["t0", "t1", "t2"])
    gate = make_runs((2, 1)).assign(fusion="gate", trial="t3")
    everything = pd.concat([runs, gate], ignore_index=True)
    examples = pd.concat([examples_of(n, "de", base + gain) for n, gain in enumerate((0, -1, 1, 2))])
    table = intervals(everything, examples, "en")
    mean = table[table["language"].isna()]
    assert keys(mean) == [("dlfa", 2), ("gate", 2), ("scalar_mix", None)]
    assert mean[["low", "high"]].to_numpy().tolist() == [
        pytest.approx([gain, gain], abs=1e-9) for gain in (10, 20, -10)
    ]
    draws = target_draws(everything, examples, "en")
    assert [*draws.columns] == [("none", -1), ("dlfa", 2), ("gate", 2), ("scalar_mix", -1)]
    assert (draws["gate", 2] - draws["dlfa", 2]).to_numpy() == pytest.approx(10, abs=1e-6)


def test_intervals_stand_beside_the_differences_of_their_own_fusion() -> None:
    frame = make_frame(*RUNS)
    gains = {"confirm-0007": 0, "confirm-0000": -1, "confirm-0002": 2, "confirm-0005": 1}
    examples = pd.concat(
        examples_of(0, language, pd.Series([3, 4, 5]).to_numpy() + gain).assign(trial=trial)
        for trial, gain in gains.items()
        for language in ("en", "de", "fr")
    )
    sweep = replace(make_sweep(frame), examples=examples)
    table = best_layers(frame, sweep.intervals)
    assert keys(table) == ROWS
    known = {("dlfa", 3): 10, ("mean", 1): 20, ("scalar_mix", None): -10}
    expected = [None if (gain := known.get(key)) is None else pytest.approx(gain) for key in ROWS]
    assert column(table, "difference_low") == expected
    assert column(table, "difference_high") == expected
    lows = column(per_language(frame, sweep.intervals), "difference_low")
    assert lows == [pytest.approx(10), None, pytest.approx(20), pytest.approx(-10)] * 3


def test_the_parent_run_has_metrics_of_each_fusion() -> None:
    assert findings(make_sweep(make_frame(*RUNS))) == {
        "best/baseline_avg_target": 60,
        "best/dlfa/fusion_layer": 3, "best/dlfa/avg_target": 61, "best/dlfa/difference": 1,
        "best/gate/fusion_layer": 2, "best/gate/avg_target": 64, "best/gate/difference": 4,
        "best/mean/fusion_layer": 1, "best/mean/avg_target": 66, "best/mean/difference": 6,
        "best/scalar_mix/avg_target": 59, "best/scalar_mix/difference": -1,
    }  # fmt: skip


def test_the_parent_run_of_one_fusion_names_none() -> None:
    assert findings(make_sweep(make_frame(*RUNS[-3:]))) == {
        "best/fusion_layer": 3, "best/avg_target": 61, "best/baseline_avg_target": 60, "best/difference": 1,
    }  # fmt: skip
    assert findings(make_sweep(make_frame(RUNS[-1]))) == {}


def test_notes_tell_fusions_apart() -> None:
    searched: list[tuple[dict[str, Any], Numbers]] = [
        ({**fused(fusion, layer), "phase": "search", "state": "PRUNED"}, {})
        for fusion, layer in (("dlfa", 1), ("dlfa", 4), ("gate", 2), ("scalar_mix", None))
    ]
    lines = notes(make_sweep(make_frame(*RUNS, confirm(1, 2, 81.0, 63.0, fusion="gate"), *searched), layers=(1, 2, 4)))
    assert "no importance of parameters: 0 complete dlfa trials, 0 complete gate trials, 10 are needed" in lines
    assert "dlfa layers never tried: 2" in lines
    assert "gate layers never tried: 1, 4" in lines
    assert "dlfa layers searched without a confirmed run: 4" in lines
    assert not any("gate layers searched" in line for line in lines)
    assert (
        "seeds per row: baseline: 1, dlfa layer 1: 1, dlfa layer 3: 1, gate layer 1: 2, gate layer 2: 1, "
        "mean layer 1: 1, mean layer 2: 1, scalar_mix: 1 (2 asked for: the confirm phase has not finished)"
    ) in lines
    assert (
        "selected (*, fused per language): dlfa layer 3, gate layer 2, mean layer 1, by mean selection score" in lines
    )


def _tested(**languages: float) -> list[str]:
    """Return the notes of a sweep of en whose targets are these languages, and whose runs have near and far."""
    columns, numbers = confirm(None, 1, 80.0, 60.0)
    tested: Numbers = {("test", name, "f1", 3): value for name, value in {"en": 90.0, **languages}.items()}
    kept = {key: value for key, value in numbers.items() if key[0] != "test" or key[1] is None}
    return notes(make_sweep(make_frame((columns, {**kept, **tested, ("test", None, "far", 3): 50.0}))))


def test_notes_say_which_languages_are_near() -> None:
    lines = _tested(de=60.0, nl_BE=60.0, fr=60.0, xx=60.0)
    assert (
        "near: mean over the targets of the source language's genus (de, nl_BE), without the source; far: over all "
        "other targets of known genus; enf: over the source and near"
    ) in lines
    assert not any(line.startswith("no near target") for line in lines)
    lines = _tested(fr=60.0, fi=60.0)
    assert "no near target: none of fi, fr is known to be of the genus of en" in lines


def test_only_fusions_with_parameters_of_their_own_have_importances() -> None:
    searched: list[tuple[dict[str, Any], Numbers]] = []
    for fusion in ("none", "dlfa", "gate", "scalar_mix"):
        for layer, rate in zip(range(1, 13), (0.01, 0.03, 0.02) * 4, strict=True):
            score = 80.0 + (layer if fusion == "gate" else 100 * rate)
            params = {**fused(fusion, layer), "learning_rate": rate, "phase": "search"}
            searched.append((params, {("selection", None, "f1", 1): score}))
    trials = search_trials(make_frame(*searched))
    assert searched_fusions(trials) == ["dlfa", "gate"]
    assert len(complete_trials(trials, "gate")) == 12
    assert importances(trials, "gate").index[0] == "fusion_layer"
    assert importances(trials, "dlfa").index[0] == "learning_rate"


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (("confirm", COMPLETE, 82.0, fused("gate", 1), {"seed": 1, "scores": scores(61.0)}), None),
        (("confirm", COMPLETE, 82.0, fused("mean", 1), {"seed": 1, "scores": scores(61.0)}), None),
        (("confirm", COMPLETE, 82.0, fused("scalar_mix"), {"seed": 1, "scores": scores(61.0)}), None),
        (("confirm", COMPLETE, 82.0, dlfa(1), {"seed": 1, "scores": scores(61.0)}), "confirm-0003, confirm-0005"),
    ],
)
def test_runs_of_two_fusions_never_contradict_each_other(write_sweep: WriteSweep, run: Any, named: str | None) -> None:
    folder = write_sweep([*CONFIRM, run])
    if named is None:
        assert load(folder).frame["fusion"].nunique() == 3
        return
    with pytest.raises(DataError, match=named):
        load(folder)


def test_a_fusion_that_this_version_does_not_know(write_sweep: WriteSweep) -> None:
    folder = write_sweep([("search", PRUNED, None, {"fusion": "other", "learning_rate": 2e-5}, {"seed": 1})])
    with pytest.raises(ConfigError) as error:
        load(folder)
    assert str(error.value) == (
        f"{folder}: fusion: other is not known to this version; allowed: none, dlfa, gate, mean, scalar_mix"
    )


WARNING = (
    "made with dlfa-sweep 0.1.0, whose dlfa was the sum of both layers times a gate: these numbers say nothing of the "
    "published DLFA"
)


@pytest.mark.parametrize(
    ("provenance", "trials", "warned"),
    [
        ({"versions": {"dlfa-sweep": "0.1.0"}}, SEARCH, True),
        ({"versions": {"dlfa-sweep": "0.2.0"}}, SEARCH, False),
        ({"versions": {"dlfa-sweep": "0.10.0"}}, SEARCH, False),
        ({"versions": {"dlfa-sweep": "0.1.0"}}, [("search", PRUNED, None, none(), {})], False),
        ({"versions": {}}, SEARCH, False),
        ({}, SEARCH, False),
    ],
)
def test_what_an_earlier_version_called_dlfa_is_told_apart(
    write_sweep: WriteSweep, provenance: dict[str, Any], trials: Any, warned: bool
) -> None:
    sweep = load(write_sweep(trials))
    sweep = replace(sweep, settings={**sweep.settings, "provenance": provenance})
    assert [line for line in notes(sweep) if "the published DLFA" in line] == [WARNING] * warned
