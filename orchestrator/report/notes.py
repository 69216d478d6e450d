"""The facts that must stand beside every table of a sweep."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pandas as pd

from dlfa.fusions import BASELINE
from dlfa.tasks import TASKS
from dlfa.tasks.languages import genus
from orchestrator.report.arms import described, fusions_of, layered
from orchestrator.report.best_layers import PAIRS_NEEDED, best_layers
from orchestrator.report.importance import TRIALS_NEEDED, complete_trials, searched_fusions
from orchestrator.report.intervals import DRAWS
from orchestrator.report.runs import is_main
from orchestrator.report.search import search_trials
from orchestrator.report.similarity import similarity
from orchestrator.report.trials import Sweep, confirmed_runs

__all__ = ["notes"]

_METRICS: Final = {
    "f1": "f1 is micro F1 of seqeval over tag sequences, as XTREME",
    "accuracy": "accuracy is the share of right labels",
}


def notes(sweep: Sweep) -> list[str]:
    """Return the facts, one line each, that every table of a sweep must carry."""
    table = best_layers(sweep.frame)
    lines = [*_settings(sweep), *_trials(sweep)]
    if table.empty and sweep.settings.get("confirm_seeds") == 0:
        return [*lines, "no confirm phase was asked for: nothing has a confirmed run"]
    if table.empty:
        return [*lines, "the confirm phase has not finished: nothing has a confirmed run"]
    return [*lines, *_confirmed(sweep, table)]


def _settings(sweep: Sweep) -> Iterator[str]:
    data, task = sweep.settings["data"], TASKS[sweep.settings["task"]]
    provenance = sweep.settings["provenance"]
    yield from _former_dlfa(sweep)
    layout = provenance.get("layout", "layout unknown")
    yield f"data: {data['path']} ({layout}); source language {data['source_language']}"
    yield f"training set: {_limit(data.get('train_limit'), task.examples)}"
    yield f"dev and test sets: {_limit(data.get('eval_limit'), task.examples)} per language"
    yield from provenance.get("remarks", [])
    yield f"encoder: {sweep.settings['encoder']}"
    if sweep.settings["select_on"] == "source":
        yield f"selected on the source language's dev set ({data['source_language']})"
    else:
        yield "oracle selection: selected on target dev sets"
    yield f"scores in percent; {'; '.join(_METRICS.get(metric, metric) for metric in task.metrics)}"


def _former_dlfa(sweep: Sweep) -> Iterator[str]:
    """Yield a warning where `dlfa` is not the published module."""
    versions = sweep.settings["provenance"].get("versions")
    version = str(versions.get("dlfa-sweep")) if isinstance(versions, dict) else ""
    if version.startswith("0.1.") and sweep.frame["fusion"].eq("dlfa").any():
        yield (
            f"made with dlfa-sweep {version}, whose dlfa was the sum of both layers times a gate: these numbers say "
            "nothing of the published DLFA"
        )


def _trials(sweep: Sweep) -> Iterator[str]:
    frame = sweep.frame
    yield f"search trials: {_states(frame, 'search')}"
    search = search_trials(frame)
    complete = {fusion: len(complete_trials(search, fusion)) for fusion in searched_fusions(search)}
    if few := [f"{n} complete {fusion} trial{'s' * (n != 1)}" for fusion, n in complete.items() if n < TRIALS_NEEDED]:
        yield f"no importance of parameters: {', '.join(few)}, {TRIALS_NEEDED} are needed"
    if frame["phase"].eq("confirm").any():
        yield f"confirm runs: {_states(frame, 'confirm')}"
    failed = frame[frame["state"].eq("FAIL")].drop_duplicates("trial")
    reasons = failed["reason"].fillna("no reason recorded").str.split().str.join(" ")  # in one line
    for reason, trials in failed["trial"].groupby(reasons):
        yield f"failed: {', '.join(trials)}: {reason}"
    for fusion, searched in _searched_layers(frame).items():
        if never := sorted(set(sweep.layers) - searched):
            yield f"{fusion} layers never tried: {_join(never)}"


def _confirmed(sweep: Sweep, table: pd.DataFrame) -> Iterator[str]:
    layers = table[table["fusion_layer"].notna()]
    yield f"seeds per row: {_seeds(table, sweep.settings.get('confirm_seeds'))}"
    for fusion, searched in _searched_layers(sweep.frame).items():
        if unconfirmed := sorted(searched - set(layers.loc[layers["fusion"].eq(fusion), "fusion_layer"])):
            yield f"{fusion} layers searched without a confirmed run: {_join(unconfirmed)}"
    yield from _genera(sweep, table)
    yield from _similarity(sweep)
    if not table["fusion"].eq(BASELINE).any():
        yield "the baseline has no confirmed run: no differences"
        return
    yield "difference: fused minus baseline in the mean over target languages, paired by seed"
    if not layers.empty:
        chosen = layers[layers["selected"]]
        names = [
            described(fusion, layer) for fusion, layer in zip(chosen["fusion"], chosen["fusion_layer"], strict=True)
        ]
        yield f"selected (*, fused per language): {', '.join(names)}, by mean selection score"
        yield (
            "oracle: the layer that came out best on the targets' test sets, looked up in the answer: an upper bound "
            "and no result, for the best of several lies above the baseline by chance alone"
        )
        dev = "dev" if sweep.settings["select_on"] == "source" else "target dev"
        yield f"cost: what the oracle's layer scores above the one selected on {dev}"
    yield from _uncertainty(sweep, table[table["fusion"].ne(BASELINE)])


def _genera(sweep: Sweep, table: pd.DataFrame) -> Iterator[str]:
    """Yield what near, far and enf are means over; languages of unknown genus are among the data's remarks."""
    runs = confirmed_runs(sweep.frame)
    source = str(sweep.settings["data"]["source_language"])
    tested = runs.loc[runs["split"].eq("test") & is_main(runs), "language"].dropna().unique()
    targets = sorted(set(tested) - {source})
    near = [name for name in targets if genus(name) is not None and genus(name) == genus(source)]
    if table[["near", "far", "enf"]].notna().any(axis=None):
        yield (
            f"near: mean over the targets of the source language's genus ({', '.join(near) or 'none'}), without the "
            "source; far: over all other targets of known genus; enf: over the source and near"
        )
    if targets and not near:
        yield f"no near target: none of {', '.join(targets)} is known to be of the genus of {source}"


def _similarity(sweep: Sweep) -> Iterator[str]:
    if not similarity(sweep.frame).empty:
        yield (
            "similarity: cosine in -1..1, not percent, of what the head reads (L) at the first piece, mean over target "
            "languages and seeds: of an example in the source language and its translation; unrelated: of examples "
            "that are no translations but have the same label"
        )


def _uncertainty(sweep: Sweep, fused: pd.DataFrame) -> Iterator[str]:
    with_examples = set(sweep.examples["trial"].unique())
    if with_examples:
        yield (
            f"[low, high]: 95 % interval, from {DRAWS} bootstrap draws of test "
            f"{TASKS[sweep.settings['task']].examples} and from how seeds differ (Student's t): wide with few of them, "
            "and of the examples alone with one"
        )
    without = set(confirmed_runs(sweep.frame)["trial"]) - with_examples
    if without and with_examples:
        yield f"no intervals where runs have no examples.parquet: {', '.join(sorted(without))}"
    if fused["difference_p"].notna().any():
        yield (
            "p: two-sided sign-flip permutation test over paired seeds on these test examples, not corrected for the "
            "number of rows"
        )
    if fused["pairs"].lt(PAIRS_NEEDED).any():
        yield "with fewer than six paired seeds no difference can be called significant"


def _searched_layers(frame: pd.DataFrame) -> dict[str, set[int]]:
    """Return the layers that search trials of each fusion with layers had."""
    search = frame[frame["phase"].eq("search")]
    return {
        fusion: {int(layer) for layer in search.loc[search["fusion"].eq(fusion), "fusion_layer"].dropna()}
        for fusion in layered(fusions_of(search))
    }


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
    rows = zip(table["fusion"], table["fusion_layer"], table["seeds"], strict=True)
    counts = [f"{described(fusion, layer)}: {seeds}" for fusion, layer, seeds in rows]
    short = isinstance(asked, int) and table["seeds"].lt(asked).any()
    text = ", ".join(counts) if table["seeds"].nunique() > 1 else str(table["seeds"].iloc[0])
    return f"{text} ({asked} asked for: the confirm phase has not finished)" if short else text


def _join(layers: Iterable[Any]) -> str:
    return ", ".join(map(str, layers))
