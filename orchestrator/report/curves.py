"""How trials learn: scores and losses, report by report."""

import pandas as pd

from orchestrator.report.arms import in_order
from orchestrator.report.best_layers import runs_of_arms
from orchestrator.report.runs import is_main

__all__ = ["learning_curves", "search_curves"]


def learning_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare how the baseline and the selected layer of each fusion learn.

    Returns:
        One row per fusion, the baseline among them, and report: fusion, step; score, the mean over its confirm runs on
        the dev sets that selection reads, in percent; loss, the mean training loss since the report before.
    """
    runs = runs_of_arms(frame)
    dev = runs["split"].eq("dev") & is_main(runs)
    loss = runs["split"].eq("train") & runs["metric"].eq("loss")
    means = {
        name: runs[rows].groupby(["fusion", "step"])["value"].mean()
        for name, rows in {"score": dev, "loss": loss}.items()
    }
    result: pd.DataFrame = in_order(pd.DataFrame(means).reset_index(), "step").reset_index(drop=True)
    return result


def search_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the learning curves of the search.

    Returns:
        One row per report of a search trial, in order: trial, fusion, state, step, value (mean over the dev sets that
        selection reads, in percent).
    """
    reports = frame[frame["phase"].eq("search") & frame["split"].eq("dev") & is_main(frame)]
    result: pd.DataFrame = (
        reports.groupby(["trial", "fusion", "state", "step"], sort=True)["value"].mean().reset_index()
    )
    return result
