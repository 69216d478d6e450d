"""Small frames with answers worked by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.report.best_layers import best_layers, best_of_each, model_runs
from orchestrator.report.curves import learning_curves
from orchestrator.report.languages import layer_profiles, per_language
from orchestrator.report.notes import notes
from orchestrator.report.search import search_trials
from orchestrator.report.trials import COLUMNS, Sweep, load

from .conftest import COMPLETE, CONFIRM, FAIL, RUNNING, SEARCH, SETTINGS, WriteSweep, dlfa, fused, none, scores

NO_EXAMPLES = pd.DataFrame(columns=["trial", "language", "example", "numerator", "denominator"])

Numbers = dict[tuple[str, str | None, str, int | None], float]
"""Values by split, language, metric and step."""


def make_frame(*trials: tuple[dict[str, Any], Numbers], **common: Any) -> pd.DataFrame:
    """Return a sweep's frame of trials given by their differing columns and their numbers."""
    rows: list[dict[str, Any]] = []
    for number, (columns, numbers) in enumerate(trials):
        row = {
            **{"sweep": "s", "task": "udpos", "source_language": "en", "select_on": "source"},
            **{"phase": "confirm", "number": number, "state": "COMPLETE", "superseded": False},
            **common,
            **columns,
        }
        row.setdefault("trial", f"{row['phase']}-{number:04d}")
        keys = ("split", "language", "metric", "step", "value")
        values: list[tuple[object, ...]] = [(*key, value) for key, value in numbers.items()]
        rows += [{**row, **dict(zip(keys, items, strict=True))} for items in values or [(None,) * 5]]
    extra = [column for column in dict.fromkeys(key for row in rows for key in row) if column not in COLUMNS]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=[*COLUMNS, *extra]).astype(COLUMNS)
    return frame


def confirm(
    layer: int | None, seed: int, dev: float, target: float, source: float = 90.0, fusion: str = "dlfa", **more: Any
) -> tuple[dict[str, Any], Numbers]:
    """Return a confirm run, without a layer of the baseline unless it is another fusion's that has none.

    Its two targets, de and fr, lie one point below and above their mean.
    """
    params = none() if layer is None and fusion == "dlfa" else fused(fusion, layer)
    numbers: Numbers = {
        ("selection", None, "f1", 3): dev,
        ("test", "en", "f1", 3): source,
        ("test", "de", "f1", 3): target - 1,
        ("test", "fr", "f1", 3): target + 1,
        ("test", "en", "accuracy", 3): source + 2,
        ("test", "de", "accuracy", 3): target + 4,
        ("test", "fr", "accuracy", 3): target + 8,
        ("test", None, "avg", 3): (source + 2 * target) / 3,
        ("test", None, "avg_target", 3): target,
        ("test", None, "worst", 3): target - 1,
        ("test", None, "gap", 3): source - target,
    }
    return {**params, "seed": seed, **more}, numbers


def column(table: pd.DataFrame, name: str) -> list[Any]:
    return [None if pd.isna(value) else value for value in table[name]]


def test_layers_are_compared_with_the_baseline_seed_by_seed() -> None:
    table = best_layers(
        make_frame(
            confirm(5, 2, dev=81.0, target=63.0),
            confirm(5, 1, dev=83.0, target=62.0),
            confirm(2, 1, dev=80.0, target=61.0, source=91.0),
            confirm(2, 3, dev=81.0, target=69.0, source=92.0),  # the baseline has no seed 3
            confirm(None, 1, dev=80.0, target=60.0),
            confirm(None, 2, dev=80.5, target=59.0),
        )
    )
    assert list(table.columns) == [
        "fusion",
        "fusion_layer",
        "reduction_ratio",
        "learning_rate",
        "seeds",
        "dev",
        "avg_target",
        "avg_target_sd",
        "difference",
        "difference_sd",
        "pairs",
        "difference_p",
        "source",
        "near",
        "far",
        "enf",
        "worst",
        "gap",
        "selected",
    ]
    assert column(table, "fusion_layer") == [None, 2, 5]
    assert column(table, "reduction_ratio") == [None, 16, 16]
    assert column(table, "learning_rate") == [3e-5, 2e-5, 2e-5]
    assert column(table, "seeds") == [2, 2, 2]
    assert column(table, "dev") == [80.25, 80.5, 82.0]
    assert column(table, "avg_target") == [59.5, 65.0, 62.5]
    # Two values a and b: |a - b| / sqrt(2).
    assert column(table, "avg_target_sd") == pytest.approx([0.5**0.5, 32**0.5, 0.5**0.5])
    # Layer 2: only seed 1 counts, 61 - 60. Layer 5: 62 - 60 and 63 - 59.
    assert column(table, "difference") == [None, 1.0, 3.0]
    assert column(table, "difference_sd") == [None, None, pytest.approx(2**0.5)]
    assert column(table, "pairs") == [0, 1, 2]
    assert column(table, "source") == [90.0, 91.5, 90.0]
    assert column(table, "worst") == [58.5, 64.0, 61.5]
    assert column(table, "gap") == [30.5, 26.5, 27.5]
    assert column(table, "selected") == [False, False, True]
    assert table["difference"].dtype == table["difference_sd"].dtype == "float64"


def test_one_seed_has_no_standard_deviation() -> None:
    table = best_layers(make_frame(confirm(None, 1, 80.0, 60.0), confirm(1, 1, 80.0, 61.0)))
    assert column(table, "seeds") == [1, 1]
    assert column(table, "avg_target_sd") == [None, None]
    assert column(table, "difference") == [None, 1.0]
    assert column(table, "difference_sd") == [None, None]


def test_layers_are_selected_by_dev_scores_and_never_by_test_scores() -> None:
    table = best_layers(make_frame(confirm(None, 1, 99.0, 99.0), confirm(1, 1, 80.0, 70.0), confirm(2, 1, 80.1, 50.0)))
    assert column(table, "selected") == [False, False, True]


def test_of_layers_with_equal_dev_scores_the_lower_one_is_selected() -> None:
    # Their mean differs in the last bit by the order in which they are added.
    devs = [100 * right / 25097 for right in (10479, 3793, 18288)]
    seven = [confirm(7, seed, dev, 60.0) for seed, dev in enumerate(devs)]
    three = [confirm(3, seed, dev, 60.0) for seed, dev in enumerate(reversed(devs))]
    table = best_layers(make_frame(*seven, *three, confirm(1, 1, 0.1, 60.0)))
    assert column(table, "fusion_layer") == [1, 3, 7]
    assert column(table, "selected") == [False, True, False]


def test_without_a_baseline_there_is_no_difference() -> None:
    frame = make_frame(confirm(1, 1, 80.0, 60.0), confirm(2, 1, 81.0, 61.0))
    table = best_layers(frame)
    assert column(table, "fusion_layer") == [1, 2]
    assert column(table, "difference") == [None, None]
    assert column(table, "pairs") == [0, 0]
    assert column(table, "selected") == [False, True]
    languages = per_language(frame)
    assert column(languages, "baseline") == [None, None, None]
    assert column(languages, "fused") == [90.0, 60.0, 62.0]
    assert column(languages, "difference") == [None, None, None]


def test_with_the_baseline_alone_nothing_is_selected() -> None:
    frame = make_frame(confirm(None, 1, 80.0, 60.0))
    assert column(best_layers(frame), "selected") == [False]
    assert column(per_language(frame), "baseline") == [90.0, 59.0, 61.0]
    assert column(per_language(frame), "fused") == [None, None, None]


@pytest.mark.parametrize(
    "out", [{"superseded": True}, {"state": "FAIL"}, {"state": "PRUNED"}, {"phase": "search"}, {"state": "RUNNING"}]
)
def test_only_complete_confirm_runs_that_are_not_superseded_count(out: dict[str, Any]) -> None:
    counted = [confirm(None, 1, 80.0, 60.0), confirm(1, 1, 80.0, 61.0)]
    frame = make_frame(*counted, confirm(1, 1, 99.0, 99.0, **out), confirm(2, 1, 99.0, 99.0, **out))
    pd.testing.assert_frame_equal(best_layers(frame), best_layers(make_frame(*counted)))
    pd.testing.assert_frame_equal(per_language(frame), per_language(make_frame(*counted)))


def test_other_searched_parameters_stand_beside_the_usual_ones() -> None:
    frame = make_frame(
        confirm(None, 1, 80.0, 60.0, head_learning_rate=1e-3), confirm(1, 1, 80.0, 61.0, head_learning_rate=1e-4)
    )
    assert list(best_layers(frame).columns[3:6]) == ["learning_rate", "head_learning_rate", "seeds"]
    assert column(best_layers(frame), "head_learning_rate") == [1e-3, 1e-4]
    assert "head_learning_rate" in search_trials(frame)


def test_languages_compare_the_selected_layer_with_the_baseline() -> None:
    table = per_language(
        make_frame(
            confirm(None, 1, 80.0, target=60.0, source=88.0),
            confirm(None, 2, 80.0, target=58.0, source=90.0),
            confirm(4, 2, 82.0, target=63.0, source=91.0),
            confirm(4, 3, 82.0, target=71.0, source=97.0),  # the baseline has no seed 3
            confirm(6, 1, 81.0, target=99.0),
        )
    )
    assert list(table.columns) == [
        "language", "family", "fusion", "fusion_layer", "baseline", "fused", "difference", "baseline_accuracy",
        "fused_accuracy", "difference_accuracy",
    ]  # fmt: skip
    assert column(table, "language") == ["en", "de", "fr"]
    assert column(table, "family") == ["Indo-European"] * 3
    assert column(table, "baseline") == [89.0, 58.0, 60.0]
    assert column(table, "fused") == [94.0, 66.0, 68.0]
    # Seed 2 alone: 91 - 90, 62 - 57, 64 - 59.
    assert column(table, "difference") == [1.0, 5.0, 5.0]
    assert column(table, "baseline_accuracy") == [91.0, 63.0, 67.0]
    assert column(table, "fused_accuracy") == [96.0, 71.0, 75.0]
    assert column(table, "difference_accuracy") == [1.0, 5.0, 5.0]


def test_layers_are_profiled_language_by_language() -> None:
    runs = (confirm(None, 1, 80.0, 60.0), confirm(1, 1, 80.0, 61.0), confirm(3, 1, 80.0, 58.5))
    table = layer_profiles(make_frame(*runs))
    assert list(table.columns) == ["fusion", "language", "family", "layer_1", "layer_3"]
    assert column(table, "language") == ["en", "de", "fr"]
    assert column(table, "family") == ["Indo-European"] * 3
    assert column(table, "layer_1")[1:] == [1.0, 1.0]
    assert column(table, "layer_3")[1:] == [-1.5, -1.5]
    assert list(layer_profiles(make_frame(runs[0])).columns) == ["fusion", "language", "family"]


def test_the_source_language_comes_first_wherever_its_code_sorts() -> None:
    frame = make_frame(confirm(None, 1, 80.0, 60.0), confirm(1, 1, 80.0, 61.0), source_language="fr")
    assert column(per_language(frame), "language") == ["fr", "de", "en"]
    assert column(best_layers(frame), "source") == [61.0, 62.0]


def search(state: str, params: dict[str, Any], numbers: Numbers) -> tuple[dict[str, Any], Numbers]:
    return {"phase": "search", "state": state, **params}, numbers


def test_search_trials_show_the_selection_score_or_the_last_reported_one() -> None:
    pruned: Numbers = {
        ("dev", "en", "f1", 2): 71.0,
        ("dev", "en", "accuracy", 2): 91.0,
        ("train", None, "loss", 2): 0.4,
        ("dev", "en", "f1", 10): 70.0,
        ("dev", "en", "accuracy", 10): 90.0,
        ("train", None, "loss", 10): 0.3,
    }
    complete: Numbers = {**pruned, ("selection", None, "f1", 2): 71.0, ("test", "en", "f1", 2): 55.0}
    table = search_trials(
        make_frame(
            search("COMPLETE", none(), complete),
            search("PRUNED", dlfa(3), pruned),
            search("FAIL", dlfa(4), {}),
            search("RUNNING", {}, {}),
            confirm(1, 1, 80.0, 60.0),
        )
    )
    assert list(table.columns) == (
        ["number", "state", "fusion", "fusion_layer", "reduction_ratio", "learning_rate", "last_step", "score"]
    )
    assert column(table, "number") == [0, 1, 2, 3]
    assert column(table, "state") == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert column(table, "fusion") == ["none", "dlfa", "dlfa", None]
    assert column(table, "fusion_layer") == [None, 3, 4, None]
    assert column(table, "last_step") == [10, 10, None, None]
    assert column(table, "score") == [71.0, 70.0, None, None]


def test_with_oracle_selection_the_last_score_is_the_mean_over_targets() -> None:
    numbers: Numbers = {("dev", language, "f1", 1): f1 for language, f1 in {"en": 90.0, "de": 60.0, "fr": 50.0}.items()}
    table = search_trials(make_frame(search("PRUNED", dlfa(3), numbers), select_on="targets"))
    assert column(table, "score") == [55.0]


def make_sweep(frame: pd.DataFrame, layers: tuple[int, ...] = (), **settings: Any) -> Sweep:
    return Sweep(name="s", settings={**SETTINGS, **settings}, layers=layers, frame=frame, examples=NO_EXAMPLES)


def test_notes_state_what_a_finished_sweep_rests_on(write_sweep: WriteSweep) -> None:
    more = [
        ("confirm", COMPLETE, 80.0, dlfa(3), {"seed": 1, "best_step": 2, "scores": scores(60.0)}),
        ("confirm", FAIL, None, dlfa(3), {"seed": 2, "reason": "CUDA out of memory"}),
    ]
    assert notes(load(write_sweep([*SEARCH, *CONFIRM, *more]))) == [
        "data: treebanks (conllu); source language en",
        "training set: first 800 sentences",
        "dev and test sets: all sentences per language",
        "encoder: some/encoder",
        "selected on the source language's dev set (en)",
        "scores in percent; f1 is micro F1 of seqeval over tag sequences, as XTREME; "
        "accuracy is the share of right labels",
        "search trials: 4 (2 COMPLETE, 1 FAIL, 1 PRUNED)",
        "no importance of parameters: 1 complete dlfa trial, 10 are needed",
        "confirm runs: 7 (5 COMPLETE, 1 FAIL, 1 superseded and left out)",
        "failed: search-0003, confirm-0006: CUDA out of memory",
        "dlfa layers never tried: 4",
        "seeds per row: baseline: 2, dlfa layer 1: 2, dlfa layer 3: 1 "
        "(2 asked for: the confirm phase has not finished)",
        "dlfa layers searched without a confirmed run: 2",
        "difference: fused minus baseline in the mean over target languages, paired by seed",
        "selected (*, fused per language): dlfa layer 1, by mean selection score",
        "oracle: the layer that came out best on the targets' test sets, looked up in the answer: an upper bound and "
        "no result, for the best of several lies above the baseline by chance alone",
        "cost: what the oracle's layer scores above the one selected on dev",
        "with fewer than six paired seeds no difference can be called significant",
    ]


def test_notes_say_oracle_selection_and_limits() -> None:
    data = {**SETTINGS["data"], "train_limit": None, "eval_limit": 200}
    lines = notes(make_sweep(make_frame(confirm(1, 1, 80.0, 60.0)), select_on="targets", data=data))
    assert "oracle selection: selected on target dev sets" in lines
    assert "training set: all sentences" in lines
    assert "dev and test sets: first 200 sentences per language" in lines
    assert not any("source language's dev set" in line for line in lines)


def test_notes_say_that_the_baseline_is_missing() -> None:
    lines = notes(make_sweep(make_frame(confirm(1, 1, 80.0, 60.0)), confirm_seeds=1))
    assert lines[-2:] == ["seeds per row: 1", "the baseline has no confirmed run: no differences"]


def test_six_paired_seeds_are_enough_and_five_are_not() -> None:
    warning = "with fewer than six paired seeds no difference can be called significant"
    runs = [confirm(layer, seed, 80.0, 60.0) for layer in (None, 1) for seed in range(6)]
    assert warning not in notes(make_sweep(make_frame(*runs), confirm_seeds=6))
    assert warning in notes(make_sweep(make_frame(*runs[1:]), confirm_seeds=6))


@pytest.mark.parametrize("trials", [[], SEARCH, [*SEARCH, ("confirm", RUNNING, None, none(), {"seed": 1})]])
def test_before_the_first_confirmed_run_tables_are_empty_and_notes_say_so(
    write_sweep: WriteSweep, trials: list[Any]
) -> None:
    sweep = load(write_sweep(trials))
    assert best_layers(sweep.frame).empty
    assert per_language(sweep.frame).empty
    assert len(search_trials(sweep.frame)) == len(trials[:4])
    assert notes(sweep)[-1] == "the confirm phase has not finished: nothing has a confirmed run"


def test_a_sweep_without_a_confirm_phase_says_so(write_sweep: WriteSweep) -> None:
    frame = load(write_sweep(SEARCH)).frame
    lines = notes(make_sweep(frame, confirm_seeds=0))
    assert lines[-1] == "no confirm phase was asked for: nothing has a confirmed run"


def test_tables_leave_the_frame_alone(write_sweep: WriteSweep, tmp_path: Path) -> None:
    sweep = load(write_sweep())
    before = sweep.frame.copy(deep=True)
    best_layers(sweep.frame), per_language(sweep.frame), search_trials(sweep.frame), notes(sweep)
    pd.testing.assert_frame_equal(sweep.frame, before)


def test_learning_curves_are_means_over_the_runs_of_baseline_and_selected_layer() -> None:
    def curve(layer: int | None, seed: int, dev: float, first: float) -> tuple[dict[str, Any], Numbers]:
        columns, numbers = confirm(layer, seed, dev, 60.0)
        for step, score in ((1, first), (2, dev)):
            numbers[("dev", "en", "f1", step)] = score
            numbers[("dev", "en", "accuracy", step)] = 99.0
            numbers[("train", None, "loss", step)] = score / 100
        return columns, numbers

    table = learning_curves(
        make_frame(
            curve(None, 1, 80.0, 50.0), curve(None, 2, 82.0, 54.0), curve(1, 1, 90.0, 40.0), curve(2, 1, 70.0, 0.0)
        )
    )
    assert {str(name): column(table, str(name)) for name in table} == {
        "fusion": ["none", "none", "dlfa", "dlfa"],
        "step": [1, 2, 1, 2],
        "score": [52.0, 81.0, 40.0, 90.0],
        "loss": [0.52, 0.81, 0.4, 0.9],
    }


# --- several sweeps


def of(frame: pd.DataFrame, name: str, task: str) -> Sweep:
    return Sweep(
        name=name, settings={**SETTINGS, "name": name, "task": task}, layers=(), frame=frame, examples=NO_EXAMPLES
    )


def test_the_selected_layer_of_each_sweep_stands_beside_its_baseline() -> None:
    first = make_frame(
        confirm(None, 2, 80, 60), confirm(None, 3, 80, 62), confirm(4, 2, 85, 63), confirm(4, 3, 85, 66),
        confirm(5, 2, 84, 90), confirm(5, 3, 84, 90),
    )  # fmt: skip
    second = make_frame(confirm(None, 2, 70, 50), confirm(1, 2, 71, 45))
    table = best_of_each([of(first, "a", "udpos"), of(second, "b", "panx")])
    assert table[["sweep", "task", "metric"]].to_numpy().tolist() == [["a", "udpos", "f1"], ["b", "panx", "f1"]]
    assert column(table, "fusion_layer") == [4, 1]  # the best dev score, not the best target
    assert column(table, "fused") == [64.5, 45]
    assert column(table, "baseline") == [61, 50]
    assert column(table, "difference") == [3.5, -5]
    assert column(table, "pairs") == [2, 1]
    assert column(table, "fused_sd") == [pytest.approx(1.5 * 2**0.5), None]


def test_a_sweep_without_confirmed_layers_has_no_row_and_one_without_baseline_no_difference() -> None:
    nothing = make_frame(({**none(), "seed": 1, "phase": "search", "state": "PRUNED"}, {}))
    alone = make_frame(confirm(3, 2, 70, 50))
    table = best_of_each([of(nothing, "nothing", "udpos"), of(alone, "alone", "udpos")])
    assert column(table, "sweep") == ["alone"]
    assert column(table, "fused") == [50]
    assert column(table, "baseline") == column(table, "difference") == [None]


def test_intervals_stand_beside_the_differences_of_runs_that_have_examples() -> None:
    frame = make_frame(
        confirm(None, 1, dev=80.0, target=60.0),
        confirm(2, 1, dev=81.0, target=61.0),
        confirm(3, 1, dev=83.0, target=62.0),  # without examples
    )
    gains = {"confirm-0000": {"en": 0, "de": 0, "fr": 0}, "confirm-0001": {"en": 5, "de": 1, "fr": 3}}
    rows = [
        (trial, language, example, right + gain[language], 10)
        for trial, gain in gains.items()
        for language in gain
        for example, right in enumerate((1, 2, 3, 4))
    ]
    examples = pd.DataFrame(rows, columns=NO_EXAMPLES.columns)
    sweep = replace(make_sweep(frame), examples=examples)
    table = best_layers(frame, sweep.intervals)
    assert column(table, "fusion_layer") == [None, 2, 3]
    for edge in ("difference_low", "difference_high"):
        assert column(table, edge) == [None, pytest.approx(20.0), None]
    columns = list(table.columns)
    at = columns.index("difference")
    assert columns[at : at + 4] == ["difference", "difference_low", "difference_high", "difference_sd"]

    selected = frame[~frame["fusion_layer"].eq(3).fillna(False)]
    languages = per_language(selected, sweep.intervals)
    assert column(languages, "language") == ["en", "de", "fr"]
    assert column(languages, "difference_low") == [pytest.approx(50.0), pytest.approx(10.0), pytest.approx(30.0)]

    lines = notes(sweep)
    assert (
        "[low, high]: 95 % interval, from 2000 bootstrap draws of test sentences and from how seeds differ "
        "(Student's t): wide with few of them, and of the examples alone with one"
    ) in lines
    assert "no intervals where runs have no examples.parquet: confirm-0002" in lines
    assert not any("interval" in line for line in notes(make_sweep(frame)))


def test_six_paired_seeds_give_a_p_value_and_five_none() -> None:
    seeds = range(1, 7)
    frame = make_frame(
        *(confirm(None, seed, dev=80.0, target=60.0 + seed) for seed in seeds),
        *(confirm(2, seed, dev=81.0, target=61.0 + 1.5 * seed) for seed in seeds),
        *(confirm(3, seed, dev=81.0, target=61.0 + 1.5 * seed) for seed in seeds if seed < 6),
    )
    table = best_layers(frame)
    # All six differences are above 0: of the 64 ways to flip their signs, this one and its opposite are the furthest.
    assert column(table, "difference_p") == [None, pytest.approx(2 / 64), None]
    lines = notes(make_sweep(frame))
    assert (
        "p: two-sided sign-flip permutation test over paired seeds on these test examples, not corrected for the "
        "number of rows"
    ) in lines


def test_the_model_of_an_arm_is_that_of_its_run_with_the_best_selection_score() -> None:
    frame = make_frame(
        confirm(None, 1, dev=80.0, target=99.0),
        confirm(None, 2, dev=81.0, target=50.0),
        confirm(None, 3, dev=81.0, target=60.0),  # of equals the first
        confirm(2, 1, dev=99.0, target=60.0),
        confirm(2, 2, dev=10.0, target=60.0),  # as a mean, layer 5 is better
        confirm(5, 1, dev=82.0, target=70.0),
        confirm(5, 2, dev=83.0, target=40.0),
        confirm(5, 3, dev=98.0, target=90.0, superseded=True),
        confirm(5, 4, dev=97.0, target=90.0, state="FAIL"),
    )
    assert model_runs(frame) == {"baseline": "confirm-0001", "dlfa": "confirm-0006"}
    assert model_runs(frame[frame["fusion"].eq("none")]) == {"baseline": "confirm-0001"}
    assert model_runs(make_frame()) == {}
