"""Strict and oracle selection of each fusion's layer side by side, and what the strict one costs."""

import numpy as np
import pandas as pd

from orchestrator.report.arms import KEY, columns_of, fusions_of, layered
from orchestrator.report.best_layers import best_layers
from orchestrator.report.intervals import EDGES
from orchestrator.report.trials import confirmed_runs

__all__ = ["selection"]

_OF_LAYER = ["fusion_layer", "dev", "avg_target", "difference", "difference_low", "difference_high"]
_COLUMNS = ["fusion", "selection", *_OF_LAYER, "cost", "cost_low", "cost_high"]


def selection(frame: pd.DataFrame, intervals: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    """Put the layer that is selected on dev sets beside the one that came out best on the test sets.

    The latter is looked up in the answer. It bounds what any selection could reach, and is no result: where no layer
    differs from the baseline, the best of them lies above it all the same, the higher the more layers there are.

    Args:
        frame: Of a sweep.
        intervals: Of the same sweep, as `intervals` returns them.
        draws: Of the same sweep, as `target_draws` returns them.

    Returns:
        Two rows for each fusion with a confirmed layer: fusion; selection (`strict`: by the source language's dev set,
        or `target dev`: by those of the targets, as the sweep was made; then `oracle`: by the targets' test sets, of
        equals the lower layer); fusion_layer, dev, avg_target, difference and its interval as in `best_layers`; cost
        (of the first row: the oracle's avg_target minus its own), cost_low and cost_high (its 95 % interval; NaN where
        both are one layer, without examples, and where runs have not all had the same seeds).
    """
    table = best_layers(frame, intervals)
    if not _same_seeds(frame):
        draws = draws[:0]
    parts = [_of_fusion(frame, table[table["fusion"].eq(fusion)], draws) for fusion in layered(fusions_of(table))]
    both: pd.DataFrame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)
    return both


def _of_fusion(frame: pd.DataFrame, layers: pd.DataFrame, draws: pd.DataFrame) -> pd.DataFrame:
    # Rounded: means of equal scores must not differ by the order in which they were added.
    oracle = layers["avg_target"].round(9).idxmax()
    chosen = layers.index[layers["selected"]].item()
    rows = layers.loc[[chosen, oracle], ["fusion", *_OF_LAYER]].reset_index(drop=True)
    strict = "strict" if frame["select_on"].iloc[0] == "source" else "target dev"
    rows.insert(1, "selection", pd.array([strict, "oracle"], dtype="string"))
    rows["cost"] = [rows["avg_target"].diff().iloc[1], np.nan]
    low, high = (np.nan, np.nan)
    if chosen != oracle and not draws.empty:
        drawn = columns_of(draws, str(rows["fusion"].iloc[0]))
        own, best = (drawn[int(layer)] for layer in rows["fusion_layer"])
        low, high = np.percentile(best - own, EDGES)
    both: pd.DataFrame = rows.assign(cost_low=[low, np.nan], cost_high=[high, np.nan])
    return both


def _same_seeds(frame: pd.DataFrame) -> bool:
    runs = confirmed_runs(frame).drop_duplicates("trial")
    return bool(runs.groupby(KEY, dropna=False)["seed"].agg(frozenset).nunique() == 1)
