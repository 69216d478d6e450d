"""The layers of every fusion beside the baseline, and the one that is selected of each."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from dlfa.fusions import BASELINE
from dlfa.tasks import TASKS
from orchestrator.report.arms import KEY, arm_of, in_order
from orchestrator.report.runs import differences, extra_parameters, scored_runs
from orchestrator.report.trials import Sweep, confirmed_runs

__all__ = ["PAIRS_NEEDED", "best_layers", "best_of_each", "model_runs", "runs_of_arms", "with_intervals"]

PAIRS_NEEDED: Final = 6
"""Two-sided tests on fewer pairs cannot reach p < 0.05."""

_TOGETHER: Final = [
    "sweep", "task", "metric", *KEY, "reduction_ratio", "learning_rate", "fused", "fused_sd", "baseline",
    "baseline_sd", "difference", "difference_low", "difference_high", "difference_sd", "pairs", "difference_p",
    "source", "near", "far", "enf",
]  # fmt: skip


def best_layers(frame: pd.DataFrame, intervals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare fusions and their layers with the baseline, on COMPLETE confirm runs that are not superseded.

    Args:
        frame: Of a sweep.
        intervals: Of the same sweep, as `intervals` returns them; None: none are wanted.

    Returns:
        One row per fusion and layer, in the order of the registry, the baseline first, layers ascending: fusion,
        fusion_layer (missing for fusions that have none), reduction_ratio, learning_rate, other searched parameters;
        seeds (runs); dev (mean selection score); avg_target (mean) and avg_target_sd; difference (avg_target minus the
        baseline's, mean over the seeds that both have), difference_sd, pairs (how many seeds those
        are), difference_p (two-sided sign-flip permutation test over these seeds, exact up to 13 of them; NaN with
        fewer than six, which cannot reach 0.05); source (source language), near, far, enf (over languages of its genus,
        of others, and over the source and near), worst and gap (means, NaN where no run has them); selected (of each
        fusion but the baseline the row with the highest dev, of equals the lower layer). Scores in percent, sd with
        ddof=1 (NaN for one run). With intervals also difference_low and difference_high, a 95 % interval, NaN where
        runs have none.
    """
    params = ["reduction_ratio", "learning_rate", *extra_parameters(frame)]
    runs = scored_runs(frame)
    runs["difference"] = differences(runs, ["seed"], "avg_target")
    table: pd.DataFrame = (
        in_order(runs, "fusion_layer")
        .groupby(KEY, dropna=False, sort=False)
        .agg(
            **{name: (name, "first") for name in params},
            seeds=("seed", "size"),
            dev=("dev", "mean"),
            avg_target=("avg_target", "mean"),
            avg_target_sd=("avg_target", "std"),
            difference=("difference", "mean"),
            difference_sd=("difference", "std"),
            pairs=("difference", "count"),
            difference_p=("difference", _p_value),
            **{name: (name, "mean") for name in ("source", "near", "far", "enf", "worst", "gap")},
        )
        .reset_index()
    )
    # Rounded: means of equal scores must not differ by the order in which they were added.
    dev = table["dev"].where(table["fusion"].ne(BASELINE)).round(9)
    is_best = dev.eq(dev.groupby(table["fusion"]).transform("max"))
    table["selected"] = is_best & is_best.groupby(table["fusion"]).cumsum().eq(1)
    if intervals is None:
        return table
    return with_intervals(table, intervals[intervals["language"].isna()], KEY)


def _p_value(differences: pd.Series) -> float:
    found = differences.dropna().to_numpy("float64")
    if len(found) < PAIRS_NEEDED:
        return float("nan")
    return float(permutation_test((found,), np.mean, permutation_type="samples", random_state=0).pvalue)


def with_intervals(table: pd.DataFrame, found: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Put difference_low and difference_high right behind the difference that they are of.

    Args:
        table: With the columns `keys` and difference.
        found: Rows of `intervals`, one per value of `keys`.
        keys: Columns that both have.
    """
    edges = table[keys].merge(found[[*keys, "low", "high"]], how="left", on=keys)
    at = list(table.columns).index("difference") + 1
    table = table.copy()
    table.insert(at, "difference_low", edges["low"].to_numpy("float64"))
    table.insert(at + 1, "difference_high", edges["high"].to_numpy("float64"))
    return table


def best_of_each(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Put the selected layer of every fusion of every sweep beside the baseline.

    Returns:
        One row per sweep and fusion with confirmed runs, sweeps in the order given: sweep, task, metric (what the
        scores are), fusion, fusion_layer, reduction_ratio, learning_rate; fused and baseline (avg_target, means over
        their runs, with fused_sd and baseline_sd), difference, its interval, difference_sd, pairs and difference_p as
        in `best_layers`; source, near, far and enf, of the fusion's runs. Scores in percent.
    """
    rows = []
    for sweep in sweeps:
        table = best_layers(sweep.frame, sweep.intervals).assign(
            sweep=sweep.name, task=sweep.settings["task"], metric=TASKS[sweep.settings["task"]].metric
        )
        baseline = table[table["fusion"].eq(BASELINE)].set_index("sweep")[["avg_target", "avg_target_sd"]]
        baseline.columns = pd.Index(["baseline", "baseline_sd"])
        rows.append(table[table["selected"]].join(baseline, on="sweep"))
    together = pd.concat(rows, ignore_index=True).rename(columns={"avg_target": "fused", "avg_target_sd": "fused_sd"})
    result: pd.DataFrame = together[_TOGETHER]
    return result


def runs_of_arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the confirm runs of the baseline, and of the selected layer of every fusion."""
    table = best_layers(frame)
    standing = table.loc[table["selected"] | table["fusion"].eq(BASELINE), KEY]
    rows: pd.DataFrame = confirmed_runs(frame).merge(standing, on=KEY)
    return rows


def model_runs(frame: pd.DataFrame) -> dict[str, str]:
    """Return the confirm run whose model stands for the baseline, and that for the selected layer of each fusion.

    Returns:
        `baseline` and the fusions' names to a trial's name, in the order of the registry: of their runs the one with
        the best selection score, of equals the first. What has no confirmed run is left out.
    """
    runs = runs_of_arms(frame)
    runs = runs[runs["split"].eq("selection")].sort_values(["value", "trial"], ascending=[False, True], kind="stable")
    best = in_order(runs.drop_duplicates("fusion"))
    return {arm_of(fusion): str(trial) for fusion, trial in zip(best["fusion"], best["trial"], strict=True)}
