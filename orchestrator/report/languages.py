"""What fusions and their layers are worth in each language."""

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from dlfa.fusions import BASELINE
from dlfa.tasks import TASKS
from dlfa.tasks.languages import find_language
from orchestrator.report.arms import KEY, NO_LAYER, columns_of, fusions_of, in_order, layered, layers_of
from orchestrator.report.best_layers import runs_of_arms, with_intervals
from orchestrator.report.runs import differences, is_main
from orchestrator.report.trials import confirmed_runs

__all__ = ["families_of", "gains_by_language", "in_language_order", "layer_profiles", "per_language"]

_ARMS: Final = ["baseline", "fused", "difference"]


def per_language(frame: pd.DataFrame, intervals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the selected layer of each fusion with the baseline on each test language.

    Args:
        frame: Of a sweep.
        intervals: Of the same sweep, as `intervals` returns them; None: none are wanted.

    Returns:
        One row per language and fusion, the source language first, then the others in order of their codes: language,
        family (missing where nothing is known of the language), fusion, fusion_layer (the selected one; both missing
        where the baseline is alone), baseline and fused (means over their confirm runs), difference (fused minus
        baseline, mean over the seeds that both have), for the task's main metric; then the same columns for each
        further metric, which they end in (`baseline_accuracy`). In percent. With intervals also difference_low and
        difference_high, a 95 % interval for the main metric, NaN where runs have none.
    """
    runs = runs_of_arms(frame)
    if runs.empty:
        empty: pd.DataFrame = pd.DataFrame(columns=["language", "family", *KEY, *_ARMS])
        return empty
    metrics = TASKS[frame["task"].iloc[0]].metrics
    tests = runs[runs["split"].eq("test") & runs["language"].notna()]
    parts = []
    fusions: list[str | None] = [*fusions_of(runs)]
    for fusion in fusions or [None]:
        of_fusion = tests[tests["fusion"].isin([BASELINE, fusion])]
        compared = [
            _compared(of_fusion[of_fusion["metric"].eq(metric)]).add_suffix(
                "" if metric == metrics[0] else f"_{metric}"
            )
            for metric in metrics
        ]
        part = pd.concat(compared, axis="columns").rename_axis("language").reset_index()
        layers = [] if fusion is None else runs.loc[runs["fusion"].eq(fusion), "fusion_layer"].unique().tolist()
        part.insert(1, "fusion", pd.Series(fusion, part.index, "string"))
        part.insert(2, "fusion_layer", pd.Series(layers[0] if layers else pd.NA, part.index, "Int64"))
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    places = {language: place for place, language in enumerate(in_language_order(table["language"], frame))}
    table = table.iloc[table["language"].map(places).argsort(kind="stable")].reset_index(drop=True)
    table.insert(1, "family", _families(table["language"]))
    result: pd.DataFrame = table
    return result if intervals is None else with_intervals(result, intervals, ["language", *KEY])


def _compared(tests: pd.DataFrame) -> pd.DataFrame:
    """Return one row per language and the columns of `_ARMS`, means over seeds."""
    arm = tests["fusion"].eq(BASELINE).map({True: "baseline", False: "fused"})
    means = tests.assign(arm=arm).pivot_table(index="language", columns="arm", values="value", aggfunc="mean")
    means = means.reindex(columns=["baseline", "fused"]).rename_axis(columns=None)
    means["difference"] = differences(tests, ["language", "seed"], "value").groupby(tests["language"]).mean()
    table: pd.DataFrame = means
    return table


def gains_by_language(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare every confirmed fusion and layer with the baseline on each test language.

    Returns:
        One row per language, the source first, then the others in order of their codes; one column per fusion and
        layer in the order of `best_layers`, of two levels (`NO_LAYER` for fusions that have none): its difference to
        the baseline in the task's main metric, in points, mean over the seeds that both have. Rows and columns without
        such a seed are left out.
    """
    runs = confirmed_runs(frame)
    tests = runs[runs["split"].eq("test") & runs["language"].notna() & is_main(runs)]
    tests = tests.assign(difference=differences(tests, ["language", "seed"], "value")).dropna(subset="difference")
    tests = tests.assign(fusion_layer=tests["fusion_layer"].fillna(NO_LAYER).astype("int64"))
    table = tests.pivot_table(index="language", columns=KEY, values="difference", aggfunc="mean")
    columns = in_order(tests[KEY].drop_duplicates(), "fusion_layer")
    result: pd.DataFrame = table.reindex(
        index=in_language_order(table.index, frame), columns=pd.MultiIndex.from_frame(columns)
    )
    return result


def layer_profiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what the layers of every fusion gain in each language.

    Returns:
        One row per fusion with layers and language, in the order of `gains_by_language`: fusion, language, family, and
        a column for each layer (`layer_3`), which is NaN where it is another fusion's.
    """
    gains = gains_by_language(frame)
    fusions = layered(dict.fromkeys(gains.columns.get_level_values("fusion")))
    parts = [
        columns_of(gains, fusion).rename_axis(index="language", columns=None).reset_index().assign(fusion=fusion)
        for fusion in fusions
    ]
    layers = layers_of(gains, fusions)
    table = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["language", "fusion"], dtype="string")
    )
    table.insert(0, "family", _families(table["language"]))
    result: pd.DataFrame = table[["fusion", "language", "family", *layers]].rename(
        columns={layer: f"layer_{layer}" for layer in layers}
    )
    return result


def families_of(languages: Iterable[Any]) -> dict[str, str]:
    """Return the family of each language; those that nothing is known of are left out."""
    found = {str(name): find_language(str(name)) for name in languages}
    return {name: language.family for name, language in found.items() if language is not None}


def _families(languages: pd.Series) -> pd.Series:
    known = families_of(languages)
    found: pd.Series = pd.Series([known.get(str(name)) for name in languages], index=languages.index, dtype="string")
    return found


def in_language_order(languages: Iterable[str], frame: pd.DataFrame) -> list[str]:
    """Return the source language first, then the others in order of their codes."""
    sources = set(frame["source_language"])
    return sorted(set(languages), key=lambda language: (language not in sources, language))
