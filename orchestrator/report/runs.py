"""The confirmed runs that tables rest on: their scores, and their differences to the baseline."""

from typing import Any, Final

import pandas as pd

from dlfa.fusions import BASELINE
from dlfa.tasks import TASKS
from orchestrator.report.trials import COLUMNS, confirmed_runs

__all__ = ["SCORES", "differences", "extra_parameters", "is_main", "scored_runs"]

SCORES: Final = ("dev", "avg_target", "source", "near", "far", "enf", "worst", "gap")
"""Of a run, in percent: its selection score, and what it scored on the test sets."""


def scored_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per confirmed run: its parameters, and its scores under the names in `SCORES`."""
    rows = confirmed_runs(frame)
    aggregate = rows["metric"].where(rows["split"].eq("test") & rows["language"].isna())
    is_own = rows["split"].eq("test") & rows["language"].eq(rows["source_language"]).fillna(False)
    score = aggregate.mask(is_own & is_main(rows), "source").mask(rows["split"].eq("selection"), "dev")
    scores = rows.assign(score=score)[score.isin(SCORES)].pivot(index="trial", columns="score", values="value")
    runs = rows.drop_duplicates("trial").set_index("trial")
    scored: pd.DataFrame = runs.join(scores.reindex(columns=list(SCORES)).astype("float64")).reset_index()
    return scored


def differences(runs: pd.DataFrame, by: list[str], value: str) -> pd.Series:
    """Return what each row's value lies above that of the baseline's row with the same seed.

    Args:
        runs: Rows of confirm runs.
        by: Columns in which the baseline's row is the same, the seed among them.
        value: Column of the values.

    Returns:
        NaN for the baseline's own rows, and where it has no such row.
    """
    is_baseline = runs["fusion"].eq(BASELINE)
    baseline = runs[by].merge(runs.loc[is_baseline, [*by, value]], how="left", on=by)[value].to_numpy("float64")
    found: pd.Series = (runs[value].astype("float64") - baseline).mask(is_baseline)
    return found


def is_main(rows: pd.DataFrame) -> Any:
    """Return, as a series of bool, which rows are of their task's main metric."""
    return rows["metric"].eq(rows["task"].map({name: task.metric for name, task in TASKS.items()}))


def extra_parameters(frame: pd.DataFrame) -> list[str]:
    """Return searched parameters that not every sweep has."""
    return [column for column in frame.columns if column not in COLUMNS]
