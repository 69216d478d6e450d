"""Tables of a sweep, and the facts that must stand beside them; pure functions of its frame."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import permutation_test

from dlfa.tasks import TASKS
from dlfa.tasks.languages import find_language
from orchestrator.report.importance import TRIALS_NEEDED, complete_trials
from orchestrator.report.intervals import DRAWS
from orchestrator.report.trials import COLUMNS, Sweep, confirmed_runs

__all__ = [
    "best_layers",
    "best_of_each",
    "differences",
    "families_of",
    "layer_profiles",
    "layers_by_language",
    "learning_curves",
    "model_runs",
    "notes",
    "per_language",
    "search_curves",
    "search_trials",
]

_SCORES = ["dev", "avg_target", "source", "worst", "gap"]
_ARMS = ["baseline", "dlfa", "difference"]
_TOGETHER = [
    "sweep", "task", "metric", "fusion_layer", "reduction_ratio", "learning_rate", "dlfa", "dlfa_sd", "baseline",
    "baseline_sd", "difference", "difference_low", "difference_high", "difference_sd", "pairs",
    "difference_p", "source",
]  # fmt: skip
_PAIRS_NEEDED = 6  # two-sided tests on fewer pairs cannot reach p < 0.05
_METRICS = {
    "f1": "f1 is micro F1 of seqeval over tag sequences, as XTREME",
    "accuracy": "accuracy is the share of right labels",
}


def best_layers(frame: pd.DataFrame, intervals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the fusion layers with the baseline, on COMPLETE confirm runs that are not superseded.

    Args:
        frame: Of a sweep.
        intervals: Of the same sweep, as `intervals` returns them; None: none are wanted.

    Returns:
        The baseline first (fusion_layer missing), then one row per fusion layer, ascending:
        fusion_layer, reduction_ratio, learning_rate, other searched parameters; seeds (runs); dev (mean
        selection score); avg_target (mean) and avg_target_sd; difference (avg_target minus the
        baseline's, mean over the seeds that both have), difference_sd, pairs (how many seeds those
        are), difference_p (two-sided sign-flip permutation test over these seeds, exact up to 13 of them; NaN with
        fewer than six, which cannot reach 0.05); source (source language), worst and gap (means); selected (the
        fusion layer with the highest dev, of equals the lower one). Scores in percent, sd with ddof=1 (NaN for one
        run). With intervals also difference_low and difference_high, a 95 % interval, NaN where runs have none.
    """
    params = ["reduction_ratio", "learning_rate", *_extra(frame)]
    runs = _scored_runs(frame)
    runs["difference"] = differences(runs, ["seed"], "avg_target")
    table: pd.DataFrame = (
        runs.sort_values("fusion_layer", na_position="first", kind="stable")
        .groupby("fusion_layer", dropna=False, sort=False)
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
            source=("source", "mean"),
            worst=("worst", "mean"),
            gap=("gap", "mean"),
        )
        .reset_index()
    )
    # Rounded: means of equal scores must not differ by the order in which they were added.
    dev = table["dev"].where(table["fusion_layer"].notna()).round(9)
    table["selected"] = dev.eq(dev.max()) & ~dev.duplicated()
    if intervals is None:
        return table
    return _with_intervals(table, intervals[intervals["language"].isna()], "fusion_layer")


def _p_value(differences: pd.Series) -> float:
    found = differences.dropna().to_numpy("float64")
    if len(found) < _PAIRS_NEEDED:
        return float("nan")
    return float(permutation_test((found,), np.mean, permutation_type="samples", random_state=0).pvalue)


def best_of_each(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """Put the selected layer of every sweep beside its baseline.

    Returns:
        One row per sweep with a confirmed layer, in the order given: sweep, task, metric (what the scores are),
        fusion_layer, reduction_ratio, learning_rate; dlfa and baseline (avg_target, means over their runs, with
        dlfa_sd and baseline_sd), difference, its interval, difference_sd, pairs and difference_p as in
        `best_layers`; source (of the selected layer's runs, in the source language). Scores in percent.
    """
    rows = []
    for sweep in sweeps:
        table = best_layers(sweep.frame, sweep.intervals).assign(
            sweep=sweep.name, task=sweep.settings["task"], metric=TASKS[sweep.settings["task"]].metric
        )
        baseline = table[table["fusion_layer"].isna()].set_index("sweep")[["avg_target", "avg_target_sd"]]
        baseline.columns = pd.Index(["baseline", "baseline_sd"])
        rows.append(table[table["selected"]].join(baseline, on="sweep"))
    together = pd.concat(rows, ignore_index=True).rename(columns={"avg_target": "dlfa", "avg_target_sd": "dlfa_sd"})
    result: pd.DataFrame = together[_TOGETHER]
    return result


def per_language(frame: pd.DataFrame, intervals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare the selected fusion layer with the baseline on each test language.

    Args:
        frame: Of a sweep.
        intervals: Of the same sweep, as `intervals` returns them; None: none are wanted.

    Returns:
        The source language first, then the others in order of their codes: language, family (missing where nothing
        is known of the language), baseline and dlfa (means over their confirm runs), difference (dlfa minus baseline,
        mean over the seeds that both have), for the task's main metric; then the same columns for each further
        metric, which they end in (`baseline_accuracy`). In percent. With intervals also difference_low and
        difference_high, a 95 % interval for the main metric, NaN where runs have none.
    """
    runs = _runs_of_arms(frame)
    if runs.empty:
        empty: pd.DataFrame = pd.DataFrame(columns=["language", "family", *_ARMS])
        return empty
    metrics = TASKS[frame["task"].iloc[0]].metrics
    tests = runs[runs["split"].eq("test") & runs["language"].notna()]
    parts = [
        _compare_arms(tests[tests["metric"].eq(metric)]).add_suffix("" if metric == metrics[0] else f"_{metric}")
        for metric in metrics
    ]
    means = pd.concat(parts, axis="columns")
    result = _with_family(means.reindex(_in_order(means.index, frame)).rename_axis("language").reset_index())
    if intervals is None:
        return result
    selected = runs.loc[runs["arm"].eq("dlfa"), "fusion_layer"]
    return _with_intervals(result, intervals[intervals["fusion_layer"].isin(selected)], "language")


def layer_profiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `layers_by_language` as a table: language, family, and a column for each layer (`layer_3`)."""
    gains = layers_by_language(frame).add_prefix("layer_").rename_axis(index="language", columns=None)
    return _with_family(gains.reset_index())


def _with_family(table: pd.DataFrame) -> pd.DataFrame:
    """Put the family of each language right behind it."""
    known = families_of(table["language"])
    table.insert(1, "family", pd.Series([known.get(str(name)) for name in table["language"]], dtype="string"))
    return table


def families_of(languages: Iterable[Any]) -> dict[str, str]:
    """Return the family of each language; those that nothing is known of are left out."""
    found = {str(name): find_language(str(name)) for name in languages}
    return {name: language.family for name, language in found.items() if language is not None}


def _with_intervals(table: pd.DataFrame, found: pd.DataFrame, key: str) -> pd.DataFrame:
    """Put difference_low and difference_high right behind the difference that they are of."""
    edges = found.set_index(key)[["low", "high"]].reindex(table[key])
    at = list(table.columns).index("difference") + 1
    table = table.copy()
    table.insert(at, "difference_low", edges["low"].to_numpy("float64"))
    table.insert(at + 1, "difference_high", edges["high"].to_numpy("float64"))
    return table


def layers_by_language(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare every confirmed fusion layer with the baseline on each test language.

    Returns:
        One row per language, the source first, then the others in order of their codes; one column per fusion
        layer, ascending: layer minus baseline in the task's main metric, in points, mean over the seeds that both
        have. Layers and languages without such a seed are left out.
    """
    runs = confirmed_runs(frame)
    tests = runs[runs["split"].eq("test") & runs["language"].notna() & _is_main(runs)]
    tests = tests.assign(difference=differences(tests, ["language", "seed"], "value")).dropna(subset="difference")
    table = tests.pivot_table(index="language", columns="fusion_layer", values="difference", aggfunc="mean")
    result: pd.DataFrame = table.reindex(_in_order(table.index, frame))
    return result


def learning_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare how the selected fusion layer and the baseline learn.

    Returns:
        One row per report: step; baseline and dlfa, the mean score over their confirm runs on the dev sets that
        selection reads, in percent; baseline_loss and dlfa_loss, the mean training loss since the report before.
    """
    runs = _runs_of_arms(frame)
    dev = runs[runs["split"].eq("dev") & _is_main(runs)]
    loss = runs[runs["split"].eq("train") & runs["metric"].eq("loss")]
    parts = [
        part.pivot_table(index="step", columns="arm", values="value", aggfunc="mean")
        .reindex(columns=["baseline", "dlfa"])
        .add_suffix(suffix)
        for part, suffix in ((dev, ""), (loss, "_loss"))
    ]
    result: pd.DataFrame = pd.concat(parts, axis="columns").rename_axis(columns=None).reset_index()
    return result


def _in_order(languages: Iterable[str], frame: pd.DataFrame) -> list[str]:
    """Return the source language first, then the others in order of their codes."""
    sources = set(frame["source_language"])
    return sorted(languages, key=lambda language: (language not in sources, language))


def _runs_of_arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the confirm runs of the baseline and of the selected layer, told apart by `arm`."""
    runs, table = confirmed_runs(frame), best_layers(frame)
    selected = table.loc[table["selected"], "fusion_layer"]
    arm = runs["fusion"].map({"none": "baseline"}).mask(runs["fusion_layer"].isin(selected), "dlfa")
    rows: pd.DataFrame = runs.assign(arm=arm)[arm.notna()]
    return rows


def model_runs(frame: pd.DataFrame) -> dict[str, str]:
    """Return the confirm run whose model stands for the baseline, and that for the selected layer.

    Returns:
        `baseline` and `dlfa` to a trial's name: of their runs the one with the best selection score, of equals the
        first. An arm without confirmed runs is left out.
    """
    runs = _runs_of_arms(frame)
    runs = runs[runs["split"].eq("selection")].sort_values(["value", "trial"], ascending=[False, True], kind="stable")
    return {str(arm): str(of_arm["trial"].iloc[0]) for arm, of_arm in runs.groupby("arm")}


def _compare_arms(tests: pd.DataFrame) -> pd.DataFrame:
    """Return one row per language and the columns of `_ARMS`, means over seeds."""
    means = tests.pivot_table(index="language", columns="arm", values="value", aggfunc="mean")
    means = means.reindex(columns=["baseline", "dlfa"]).rename_axis(columns=None)
    means["difference"] = differences(tests, ["language", "seed"], "value").groupby(tests["language"]).mean()
    table: pd.DataFrame = means
    return table


def differences(runs: pd.DataFrame, by: list[str], value: str) -> pd.Series:
    """Return what each row's value lies above that of the baseline's row with the same seed.

    Args:
        runs: Rows of confirm runs.
        by: Columns in which the baseline's row is the same, the seed among them.
        value: Column of the values.

    Returns:
        NaN for the baseline's own rows, and where it has no such row.
    """
    is_baseline = runs["fusion"].eq("none")
    baseline = runs[by].merge(runs.loc[is_baseline, [*by, value]], how="left", on=by)[value].to_numpy("float64")
    found: pd.Series = (runs[value].astype("float64") - baseline).mask(is_baseline)
    return found


def search_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the learning curves of the search.

    Returns:
        One row per report of a search trial, in order: trial, fusion, state, step, value (mean over the dev sets that
        selection reads, in percent).
    """
    reports = frame[frame["phase"].eq("search") & frame["split"].eq("dev") & _is_main(frame)]
    result: pd.DataFrame = (
        reports.groupby(["trial", "fusion", "state", "step"], sort=True)["value"].mean().reset_index()
    )
    return result


def search_trials(frame: pd.DataFrame) -> pd.DataFrame:
    """List the search trials.

    Returns:
        One row per trial, in order: number, state, its parameters, last_step (last report, missing
        before the first), score (COMPLETE: the selection score, else that of the last report; percent).
    """
    rows = frame[frame["phase"].eq("search")]
    params = ["fusion", "fusion_layer", "reduction_ratio", "learning_rate", *_extra(frame)]
    table = rows.drop_duplicates("trial").set_index("trial")[["number", "state", *params]]
    reports = rows[rows["split"].isin(["dev", "train"])]
    table["last_step"] = reports.groupby("trial")["step"].max()
    # The score of a report: the source language's, or with oracle selection the mean over the others.
    is_source = reports["language"].eq(reports["source_language"])
    reads = reports["language"].notna() & is_source.eq(reports["select_on"].eq("source"))
    is_last = reports["step"].eq(reports["trial"].map(table["last_step"]))
    last = reports[reads & is_last & _is_main(reports)].groupby("trial")["value"].mean()
    selection = rows[rows["split"].eq("selection")].set_index("trial")["value"]
    table["score"] = selection.reindex(table.index).fillna(last)
    result: pd.DataFrame = table.sort_values("number").reset_index(drop=True)
    return result


def notes(sweep: Sweep) -> list[str]:
    """Return the facts, one line each, that every table of a sweep must carry."""
    frame, data, task = sweep.frame, sweep.settings["data"], TASKS[sweep.settings["task"]]
    layout = sweep.settings["provenance"].get("layout", "layout unknown")
    table = best_layers(frame)
    layers = table[table["fusion_layer"].notna()]
    searched = set(frame.loc[frame["phase"].eq("search"), "fusion_layer"].dropna())
    lines = [
        f"data: {data['path']} ({layout}); source language {data['source_language']}",
        f"training set: {_limit(data.get('train_limit'), task.examples)}",
        f"dev and test sets: {_limit(data.get('eval_limit'), task.examples)} per language",
        f"encoder: {sweep.settings['encoder']}",
        f"selected on the source language's dev set ({data['source_language']})"
        if sweep.settings["select_on"] == "source"
        else "oracle selection: selected on target dev sets",
        f"scores in percent; {'; '.join(_METRICS.get(m, m) for m in task.metrics)}",
        f"search trials: {_states(frame, 'search')}",
    ]
    lines[3:3] = sweep.settings["provenance"].get("remarks", [])
    complete = len(complete_trials(search_trials(frame)))
    if complete < TRIALS_NEEDED:
        trials = "trial" if complete == 1 else "trials"
        lines.append(f"no importance of parameters: {complete} complete DLFA {trials}, {TRIALS_NEEDED} are needed")
    if frame["phase"].eq("confirm").any():
        lines.append(f"confirm runs: {_states(frame, 'confirm')}")
    failed = frame[frame["state"].eq("FAIL")].drop_duplicates("trial")
    reasons = failed["reason"].fillna("no reason recorded").str.split().str.join(" ")  # in one line
    for reason, trials in failed["trial"].groupby(reasons):
        lines.append(f"failed: {', '.join(trials)}: {reason}")
    if never := sorted(set(sweep.layers) - searched):
        lines.append(f"layers never tried: {_join(never)}")
    if table.empty and sweep.settings.get("confirm_seeds") == 0:
        return [*lines, "no confirm phase was asked for: no layer has a confirmed run"]
    if table.empty:
        return [*lines, "the confirm phase has not finished: no layer has a confirmed run"]
    lines.append(f"seeds per row: {_seeds(table, sweep.settings.get('confirm_seeds'))}")
    if unconfirmed := sorted(searched - set(layers["fusion_layer"])):
        lines.append(f"layers searched without a confirmed run: {_join(unconfirmed)}")
    if len(layers) == len(table):
        return [*lines, "the baseline has no confirmed run: no differences"]
    lines.append("difference: layer minus baseline in the mean over target languages, paired by seed")
    if not layers.empty:
        chosen = layers.loc[layers["selected"], "fusion_layer"]
        lines.append(f"selected (*, dlfa per language): layer {_join(chosen)}, by its mean selection score")
        lines.append(
            "oracle: the layer that came out best on the targets' test sets, looked up in the answer: an upper bound "
            "and no result, for the best of several lies above the baseline by chance alone"
        )
        lines.append(f"cost: what the oracle's layer scores above the one selected on {_dev(sweep)}")
    with_examples = set(sweep.examples["trial"].unique())
    if with_examples:
        lines.append(
            f"[low, high]: 95 % interval, from {DRAWS} bootstrap draws of test {task.examples} and from how seeds "
            "differ (Student's t): wide with few of them, and of the examples alone with one"
        )
    without = set(confirmed_runs(frame)["trial"]) - with_examples
    if without and with_examples:
        lines.append(f"no intervals where runs have no examples.parquet: {', '.join(sorted(without))}")
    if layers["difference_p"].notna().any():
        lines.append(
            "p: two-sided sign-flip permutation test over paired seeds on these test examples, not corrected for the "
            "number of layers"
        )
    if layers["pairs"].lt(_PAIRS_NEEDED).any():
        lines.append("with fewer than six paired seeds no difference can be called significant")
    return lines


def _extra(frame: pd.DataFrame) -> list[str]:
    """Return searched parameters that not every sweep has."""
    return [column for column in frame.columns if column not in COLUMNS]


def _scored_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per confirmed run: its parameters and its scores under the names in `_SCORES`."""
    rows = confirmed_runs(frame)
    aggregate = rows["metric"].where(rows["split"].eq("test") & rows["language"].isna())
    is_own = rows["split"].eq("test") & rows["language"].eq(rows["source_language"]).fillna(False)
    score = aggregate.mask(is_own & _is_main(rows), "source").mask(rows["split"].eq("selection"), "dev")
    scores = rows.assign(score=score)[score.isin(_SCORES)].pivot(index="trial", columns="score", values="value")
    runs = rows.drop_duplicates("trial").set_index("trial")
    scored: pd.DataFrame = runs.join(scores.reindex(columns=_SCORES)).reset_index()
    return scored


def _is_main(rows: pd.DataFrame) -> Any:
    """Return, as a series of bool, which rows are of their task's main metric."""
    return rows["metric"].eq(rows["task"].map({name: task.metric for name, task in TASKS.items()}))


def _dev(sweep: Sweep) -> str:
    return "dev" if sweep.settings["select_on"] == "source" else "target dev"


def _limit(limit: int | None, examples: str) -> str:
    return f"all {examples}" if limit is None else f"first {limit} {examples}"


def _states(frame: pd.DataFrame, phase: str) -> str:
    trials = frame[frame["phase"].eq(phase)].drop_duplicates("trial")
    counted = trials.loc[~trials["superseded"], "state"].value_counts().sort_index()
    parts = [f"{count} {state}" for state, count in counted.items()]
    if left_out := int(trials["superseded"].sum()):
        parts.append(f"{left_out} superseded and left out")
    return f"{len(trials)} ({', '.join(parts)})" if parts else "0"


def _seeds(table: pd.DataFrame, asked: object) -> str:
    names = table["fusion_layer"].astype("string").radd("layer ").fillna("baseline")
    counts = [f"{name}: {seeds}" for name, seeds in zip(names, table["seeds"], strict=True)]
    short = isinstance(asked, int) and table["seeds"].lt(asked).any()
    text = ", ".join(counts) if table["seeds"].nunique() > 1 else str(table["seeds"].iloc[0])
    return f"{text} ({asked} asked for: the confirm phase has not finished)" if short else text


def _join(layers: Any) -> str:
    return ", ".join(map(str, layers))
