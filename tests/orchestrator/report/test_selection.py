"""Strict and oracle selection side by side, on small frames worked by hand."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.arms import KEY
from orchestrator.report.notes import notes
from orchestrator.report.selection import selection

from .simulated import simulate
from .test_tables import column, confirm, make_frame, make_sweep

NO_INTERVALS = pd.DataFrame(columns=["fusion", "fusion_layer", "language", "low", "high"]).astype(
    {"fusion": "string", "fusion_layer": "Int64"}
)
RUNS = [
    confirm(None, 1, dev=80.0, target=60.0),
    confirm(None, 2, dev=80.0, target=62.0),
    confirm(3, 1, dev=85.0, target=61.0),
    confirm(3, 2, dev=85.0, target=64.0),
    confirm(5, 1, dev=81.0, target=66.0),
    confirm(5, 2, dev=83.0, target=67.0),
    confirm(7, 1, dev=82.0, target=50.0),
    confirm(7, 2, dev=82.0, target=50.0),
]


def draws_of(**layers: float) -> pd.DataFrame:
    """Draws of each layer of dlfa around a value, half of them 1 below and half 1 above it, all alike."""
    around = np.tile([-1.0, 1.0], 500)
    columns = pd.MultiIndex.from_tuples([("dlfa", int(name[1:])) for name in layers], names=KEY)
    table: pd.DataFrame = pd.DataFrame(np.add.outer(around, [*layers.values()]), columns=columns)
    return table


def test_the_layer_selected_on_dev_stands_beside_the_one_best_on_test() -> None:
    table = selection(make_frame(*RUNS), NO_INTERVALS, pd.DataFrame())
    assert list(table.columns) == [
        "fusion", "selection", "fusion_layer", "dev", "avg_target", "difference", "difference_low", "difference_high",
        "cost", "cost_low", "cost_high",
    ]  # fmt: skip
    assert column(table, "selection") == ["strict", "oracle"]
    assert column(table, "fusion_layer") == [3, 5]
    assert column(table, "dev") == [85.0, 82.0]
    assert column(table, "avg_target") == [62.5, 66.5]
    assert column(table, "difference") == [1.5, 5.5]
    assert column(table, "cost") == [4.0, None]
    assert column(table, "cost_low") == [None, None]


def test_the_interval_of_the_cost_is_of_draws_that_both_layers_share() -> None:
    low, high = 3.0, 5.0
    draws = draws_of(l3=62.5, l5=66.5)
    draws["dlfa", 5] += np.repeat([low - 4, high - 4], 500)
    table = selection(make_frame(*RUNS), NO_INTERVALS, draws)
    assert column(table, "cost_low") == [pytest.approx(low), None]
    assert column(table, "cost_high") == [pytest.approx(high), None]


def test_layers_with_other_seeds_have_a_cost_without_an_interval() -> None:
    frame = make_frame(*RUNS[:-1])
    assert column(selection(frame, NO_INTERVALS, draws_of(l3=1, l5=2)), "cost_low") == [None, None]


def test_one_layer_that_is_both_costs_nothing() -> None:
    table = selection(make_frame(*RUNS[:4]), NO_INTERVALS, draws_of(l3=1))
    assert column(table, "fusion_layer") == [3, 3]
    assert column(table, "cost") == [0.0, None]
    assert column(table, "cost_low") == [None, None]


def test_of_layers_equal_on_test_the_lower_one_is_the_oracles() -> None:
    table = selection(
        make_frame(*RUNS, confirm(9, 1, 1.0, 66.0), confirm(9, 2, 1.0, 67.0)), NO_INTERVALS, pd.DataFrame()
    )
    assert column(table, "fusion_layer") == [3, 5]


def test_a_sweep_selected_on_targets_is_named_so() -> None:
    table = selection(make_frame(*RUNS, select_on="targets"), NO_INTERVALS, pd.DataFrame())
    assert column(table, "selection") == ["target dev", "oracle"]


def test_without_a_baseline_there_is_no_difference_and_without_layers_no_row() -> None:
    table = selection(make_frame(*RUNS[2:]), NO_INTERVALS, pd.DataFrame())
    assert column(table, "difference") == [None, None]
    assert column(table, "cost") == [4.0, None]
    assert selection(make_frame(*RUNS[:2]), NO_INTERVALS, pd.DataFrame()).empty
    assert selection(make_frame(), NO_INTERVALS, pd.DataFrame()).empty


def test_notes_say_what_the_oracle_is() -> None:
    lines = notes(make_sweep(make_frame(*RUNS)))
    (line,) = [line for line in lines if line.startswith("oracle: ")]
    assert "an upper bound and no result" in line
    assert "cost: what the oracle's layer scores above the one selected on dev" in lines


def test_a_sweep_with_examples_has_an_interval_of_the_cost() -> None:
    # On dev every layer is worth as much as another, on test layer 2 is worth five points more.
    chance = np.random.default_rng(5)
    for _ in range(20):
        sweep = simulate(lambda layer, language: 0.0, chance, layers=(1, 2), seeds=3)
        table = selection(sweep.frame, sweep.intervals, sweep.target_draws)
        if table["fusion_layer"].nunique() == 2:
            break
    low, cost, high = table[["cost_low", "cost", "cost_high"]].to_numpy("float64")[0]
    assert low < cost < high
