"""The trials of the search."""

import pandas as pd

from orchestrator.report.runs import extra_parameters, is_main

__all__ = ["search_trials"]


def search_trials(frame: pd.DataFrame) -> pd.DataFrame:
    """List the search trials.

    Returns:
        One row per trial, in order: number, state, its parameters, last_step (last report, missing
        before the first), score (COMPLETE: the selection score, else that of the last report; percent).
    """
    rows = frame[frame["phase"].eq("search")]
    params = ["fusion", "fusion_layer", "reduction_ratio", "learning_rate", *extra_parameters(frame)]
    table = rows.drop_duplicates("trial").set_index("trial")[["number", "state", *params]]
    reports = rows[rows["split"].isin(["dev", "train"])]
    table["last_step"] = reports.groupby("trial")["step"].max()
    # The score of a report: the source language's, or with oracle selection the mean over the others.
    is_source = reports["language"].eq(reports["source_language"])
    reads = reports["language"].notna() & is_source.eq(reports["select_on"].eq("source"))
    is_last = reports["step"].eq(reports["trial"].map(table["last_step"]))
    last = reports[reads & is_last & is_main(reports)].groupby("trial")["value"].mean()
    selection = rows[rows["split"].eq("selection")].set_index("trial")["value"]
    table["score"] = selection.reindex(table.index).fillna(last)
    result: pd.DataFrame = table.sort_values("number").reset_index(drop=True)
    return result
