"""How similar a model makes the versions of an example in two languages, beside what it scores."""

from typing import Final

import pandas as pd

from orchestrator.report.arms import KEY, in_order
from orchestrator.report.best_layers import best_layers
from orchestrator.report.languages import families_of, in_language_order
from orchestrator.report.trials import confirmed_runs

__all__ = ["SIMILARITY", "similarity", "similarity_by_language"]

SIMILARITY: Final = ("similarity", "similarity_unrelated", "similarity_difference")
"""Means of cosines, in -1..1, of what the head reads (L) at the first piece: of an example in the source language and
in a target language; of examples of one label that are no translations of each other; and the former minus the latter.
"""


def similarity(frame: pd.DataFrame) -> pd.DataFrame:
    """Put similarity across languages beside the scores of each fusion and layer.

    Returns:
        One row per fusion and layer, as in `best_layers`: fusion, fusion_layer, seeds, avg_target, near, far (in
        percent); the columns of `SIMILARITY`, means over target languages and then over the runs that have them;
        selected. No row where no run has them.
    """
    cosines = _cosines(frame)
    of_runs = cosines.groupby([*KEY, "trial"], dropna=False)[list(SIMILARITY)].mean()
    means = of_runs.groupby(KEY, dropna=False).mean().reset_index()
    table = best_layers(frame)[[*KEY, "seeds", "avg_target", "near", "far", "selected"]]
    found: pd.DataFrame = table.merge(means, how="left" if len(means) else "inner", on=KEY)
    found["selected"] = found.pop("selected")
    return found


def similarity_by_language(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the similarity of each fusion, layer and target language.

    Returns:
        One row each, languages in order of their codes: fusion, fusion_layer, language, family (missing where nothing
        is known of the language), and the columns of `SIMILARITY`, means over the runs that have them.
    """
    cosines = _cosines(frame)
    means = cosines.groupby([*KEY, "language"], dropna=False)[list(SIMILARITY)].mean().reset_index()
    places = {language: place for place, language in enumerate(in_language_order(means["language"], frame))}
    means = in_order(means.assign(place=means["language"].map(places)), "fusion_layer", "place").drop(columns="place")
    known = families_of(means["language"])
    means.insert(3, "family", pd.Series([known.get(str(name)) for name in means["language"]], means.index, "string"))
    table: pd.DataFrame = means.reset_index(drop=True)
    return table


def _cosines(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per confirmed run and target language that has them, with the columns of `SIMILARITY`."""
    runs = confirmed_runs(frame)
    similar, unrelated, difference = SIMILARITY
    is_ours = runs["split"].eq("test") & runs["metric"].isin([similar, unrelated])
    rows = runs[is_ours & runs["language"].ne(runs["source_language"]).fillna(False)]
    table = rows.pivot(index=[*KEY, "trial", "language"], columns="metric", values="value")
    table = table.reindex(columns=[similar, unrelated]).astype("float64").rename_axis(columns=None)
    table[difference] = table[similar] - table[unrelated]
    result: pd.DataFrame = table.reset_index()
    return result
