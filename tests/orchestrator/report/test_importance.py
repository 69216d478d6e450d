"""What importances say of scores that are known functions of the parameters."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.importance import TRIALS_NEEDED, complete_trials, importances, searched
from orchestrator.report.notes import notes
from orchestrator.report.trials import load

from .conftest import SEARCH, WriteSweep
from .simulated import simulate


def make_trials(count: int, **more: object) -> pd.DataFrame:
    """Return DLFA trials whose score is that of their layer, nearly."""
    chance = np.random.default_rng(1)
    layers = chance.integers(1, 12, count)
    table: pd.DataFrame = pd.DataFrame(
        {
            "number": range(count),
            "state": "COMPLETE",
            "fusion": "dlfa",
            "fusion_layer": pd.array(layers, dtype="Int64"),
            "reduction_ratio": pd.array(2 ** chance.integers(1, 7, count), dtype="Int64"),
            "learning_rate": 10 ** chance.uniform(-5.3, -4.1, count),
            "last_step": 6,
            "score": 80 + layers + chance.normal(0, 0.1, count),
            **more,
        }
    )
    return table


def test_the_parameter_that_decides_has_nearly_all_of_the_importance() -> None:
    shares = importances(make_trials(40), "dlfa")
    assert shares.index[0] == "fusion_layer"
    assert shares["fusion_layer"] > 0.9
    assert set(shares.index) == {"fusion_layer", "reduction_ratio", "learning_rate"}
    assert shares.sum() == pytest.approx(1)
    pd.testing.assert_series_equal(shares, importances(make_trials(40), "dlfa"))


def test_baseline_and_pruned_trials_do_not_count() -> None:
    trials = make_trials(40)
    others = make_trials(40, score=0.0)
    baseline = others.assign(fusion="none")
    baseline[["fusion_layer", "reduction_ratio"]] = pd.NA
    both = pd.concat([trials, baseline, others.assign(state="PRUNED")], ignore_index=True)
    pd.testing.assert_series_equal(importances(both, "dlfa"), importances(trials, "dlfa"))
    assert len(complete_trials(both, "dlfa")) == 40


def test_fixed_parameters_and_those_that_some_trials_lack_are_left_out() -> None:
    trials = make_trials(20, reduction_ratio=8, dropout=[0.1, None] * 10, weight_decay=[0.0, 0.01] * 10)
    assert searched(trials) == ["fusion_layer", "learning_rate", "weight_decay"]
    assert set(importances(trials, "dlfa").index) == {"fusion_layer", "learning_rate", "weight_decay"}


def test_of_few_trials_or_equal_scores_there_is_none() -> None:
    assert importances(make_trials(TRIALS_NEEDED - 1), "dlfa").empty
    assert not importances(make_trials(TRIALS_NEEDED), "dlfa").empty
    assert importances(make_trials(40, score=80.0), "dlfa").empty
    assert importances(make_trials(0), "dlfa").empty


def test_notes_say_why_there_is_none(write_sweep: WriteSweep) -> None:
    line = "no importance of parameters: 1 complete dlfa trial, 10 are needed"
    assert line in notes(load(write_sweep(SEARCH)))
    sweep = simulate(lambda layer, _: 0.0, np.random.default_rng(2), trials=30)
    assert not any(line.startswith("no importance") for line in notes(sweep))
