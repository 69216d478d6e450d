"""The numbers of the DLFA paper, and beside them those of a sweep that can be compared with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dlfa.data.sources.hub import HUB_FOLDERS
from dlfa.fusions import BASELINE
from dlfa.tasks import TASKS
from dlfa.tasks.published import PUBLISHED, PUBLISHED_ENCODER
from orchestrator.report.arms import KEY, in_order
from orchestrator.report.trials import Sweep, confirmed_runs

__all__ = ["not_comparable", "published"]

_SOURCE = (
    "published: Chen, Guo, Liu and Tao, ICPR 2022, from their poster (doi 10.1109/ICPR56361.2022.9956721): mBERT, one "
    "run each as far as it says, no spread given; its baseline equals XTREME's numbers for mBERT"
)
_AGGREGATES = ("avg", "enf", "far")


def published(task: str, sweep: Sweep | None = None) -> tuple[list[tuple[str, pd.DataFrame]], list[str]]:
    """Return what the paper reports for a task, beside a sweep where that says something.

    Args:
        task: Name of the task.
        sweep: Of the same task, if there is one.

    Returns:
        Tables with their titles, and what must stand beside them. The scores: fusion, fusion_layer, score (`avg`,
        `enf`, `far`, or a language's code), published, in percent. The similarities, where there are any: fusion,
        fusion_layer, similarity_published. Beside a comparable sweep also what it has (`ours`, means over its confirm
        runs) and the difference, ours minus published; NaN where the sweep has no such run.
    """
    rows = [(number.fusion_layer, number.score, number.value) for number in PUBLISHED if number.task == task]
    table = pd.DataFrame(rows, columns=["fusion_layer", "score", "published"]).astype({"fusion_layer": "Int64"})
    table.insert(0, "fusion", table["fusion_layer"].isna().map({True: BASELINE, False: "dlfa"}).astype("string"))
    table = in_order(table, "fusion_layer").reset_index(drop=True)
    lines = [_SOURCE, "avg: over all languages; enf: over the source and its close relatives; far: over the others"]
    if sweep is not None:
        reasons = not_comparable(sweep)
        lines += [f"not compared with sweep {sweep.name}: {reason}" for reason in reasons]
        if not reasons:
            ours = _ours(sweep)
            keys = zip(table["fusion"], table["fusion_layer"].fillna(-1), table["score"], strict=True)
            table["ours"] = pd.Series([ours.get(key, float("nan")) for key in keys], dtype="float64")
            table["difference"] = table["ours"] - table["published"]
            lines.append(f"ours: sweep {sweep.name}, means over its confirm runs; difference: ours minus published")
            if task == "udpos":
                lines.append("udpos: other words, since the Hub's data has multiword tokens that the paper's has not")
    cosines = table["score"].eq("similarity")
    of = f"of the DLFA paper for {task}" + ("" if sweep is None else f", beside sweep {sweep.name}")
    tables = [(f"Scores {of}", table[~cosines].reset_index(drop=True))]
    if cosines.any():
        similar = table[cosines].drop(columns="score").reset_index(drop=True)
        similar.columns = pd.Index(
            [name if name in KEY else f"similarity_{name}" for name in similar.columns], dtype="object"
        )
        tables.append((f"Similarity across languages {of}", similar))
        lines.append("similarity: mean cosine of embeddings across languages, in -1..1")
    return tables, lines


def not_comparable(sweep: Sweep) -> list[str]:
    """Return why a sweep's scores say nothing beside the paper's; empty where they do."""
    settings = sweep.settings
    data, task = settings["data"], TASKS[settings["task"]]
    tests = sweep.frame[sweep.frame["split"].eq("test") & sweep.frame["language"].notna()]
    missing = sorted(set(task.languages) - set(tests["language"]))
    layout = settings["provenance"].get("layout")
    limits = [f"--{name.replace('_', '-')} {data[name]}" for name in ("train_limit", "eval_limit") if data.get(name)]
    checks: Sequence[tuple[bool, str]] = (
        (
            settings["encoder"] != PUBLISHED_ENCODER,
            f"its encoder is {settings['encoder']}, the paper's {PUBLISHED_ENCODER}",
        ),
        (layout != HUB_FOLDERS.name, f"its data is no data set of the Hub ({layout}), the paper's is XTREME's"),
        (data["source_language"] != "en", f"it was trained on {data['source_language']}, the paper's on en"),
        (bool(missing), f"it has no test scores in {', '.join(missing)}"),
        (bool(limits), f"its sets are limited ({', '.join(limits)})"),
        (settings["select_on"] != "source", "it was selected on the targets (oracle selection)"),
    )
    return [reason for wrong, reason in checks if wrong]


def _ours(sweep: Sweep) -> Mapping[tuple[Any, ...], float]:
    """Return fusion, layer (-1: none) and score to the mean over confirm runs."""
    runs = confirmed_runs(sweep.frame)
    tests = runs[runs["split"].eq("test")]
    main, source = TASKS[sweep.settings["task"]].metric, sweep.settings["data"]["source_language"]
    aggregates = tests[tests["language"].isna() & tests["metric"].isin(_AGGREGATES)]
    languages = tests[tests["metric"].eq(main) & tests["language"].notna()]
    cosines = tests[tests["metric"].eq("similarity") & tests["language"].ne(source).fillna(False)]
    scored = pd.concat(
        [
            aggregates.assign(score=aggregates["metric"]),
            languages.assign(score=languages["language"]),
            cosines.assign(score="similarity"),
        ]
    )
    found = scored.assign(layer=scored["fusion_layer"].fillna(-1)).groupby(["fusion", "layer", "score"])["value"].mean()
    return {key: float(value) for key, value in found.items()}
