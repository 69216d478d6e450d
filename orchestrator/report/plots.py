"""Pictures of a sweep, drawn from its frame: readable in print, and without telling red from green."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlfa.files import atomic_write
from dlfa.tasks import TASKS
from orchestrator.report.tables import best_layers, layers_by_language, search_curves
from orchestrator.report.trials import Sweep, confirmed_runs

__all__ = ["plots", "write_plots"]

# Colours of Okabe and Ito (2008), which colour-blind readers tell apart.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#999999"
_FORMATS: Final = ("pdf", "png")
_ENDS: Final = {"COMPLETE": "o", "PRUNED": "x"}
_CROWDED = 20
"""More languages than this leave no room for numbers in the cells."""


def plots(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    """Yield file name and figure of every picture that the sweep has the runs for.

    `search`: the learning curve of every search trial; a cross ends those that were pruned.
    `best_layers`: the mean target score of every confirmed layer and of the baseline, one small point per seed.
    `layers_by_language`: each confirmed layer's difference to the baseline, language by language.
    """
    if not (curves := search_curves(sweep.frame)).empty:
        yield "search", _search(sweep, curves)
    if not (table := best_layers(sweep.frame)).empty:
        yield "best_layers", _best_layers(sweep, table)
    if not (differences := layers_by_language(sweep.frame)).empty:
        yield "layers_by_language", _layers_by_language(sweep, differences)


def write_plots(sweep: Sweep, out: Path) -> list[Path]:
    """Write every picture as PDF and PNG into a folder; return the files.

    Raises:
        OSError: A file cannot be written.
    """
    written = []
    for name, figure in plots(sweep):
        for suffix in _FORMATS:
            content = BytesIO()
            # Without a date, so that the same sweep gives the same file.
            metadata = {"CreationDate": None} if suffix == "pdf" else None
            figure.savefig(content, format=suffix, dpi=200, metadata=metadata)
            atomic_write(out / f"{name}.{suffix}", content.getvalue())
            written.append(out / f"{name}.{suffix}")
    return written


def _search(sweep: Sweep, curves: pd.DataFrame) -> Figure:
    figure, axes = _figure(sweep, "Search trials")
    for _, curve in curves.groupby("trial"):
        baseline = curve["fusion"].iloc[0] == "none"
        axes.plot(
            curve["step"], curve["value"], color=_ORANGE if baseline else _BLUE, linestyle="--" if baseline else "-",
            linewidth=1, marker=_ENDS.get(curve["state"].iloc[0], ""), markersize=5, markevery=[-1],
        )  # fmt: skip
    for label, style in {
        "baseline": {"color": _ORANGE, "linestyle": "--"},
        "DLFA": {"color": _BLUE},
        "pruned": {"color": _GREY, "marker": "x", "linestyle": ""},
        "full budget": {"color": _GREY, "marker": "o", "linestyle": ""},
    }.items():
        axes.plot([], [], label=label, **style)
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("report")
    axes.set_ylabel(f"dev {_metric(sweep)} (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _best_layers(sweep: Sweep, table: pd.DataFrame) -> Figure:
    layers = table[table["fusion_layer"].notna()]
    baseline = table.loc[table["fusion_layer"].isna(), "avg_target"]
    tried = [*layers["fusion_layer"].astype(int)]
    ticks = sorted({*sweep.layers, *tried})
    left = min(ticks, default=1) - 2  # the baseline's place
    figure, axes = _figure(sweep, "Best configuration of every layer", width=max(5.5, 1.5 + 0.35 * len(ticks)))
    runs = confirmed_runs(sweep.frame)
    runs = runs[runs["metric"].eq("avg_target")]
    axes.plot(
        runs["fusion_layer"].astype("float64").fillna(left),
        runs["value"],
        ".",
        color=_GREY,
        markersize=4,
        label="one seed",
        zorder=2,
    )
    if len(baseline):
        axes.axhline(baseline.item(), color=_ORANGE, linestyle="--", linewidth=1, zorder=1)
        axes.plot(left, baseline.item(), "D", color=_ORANGE, label="baseline, mean", zorder=3)
    axes.plot(tried, layers["avg_target"], "o", color=_BLUE, label="DLFA, mean", zorder=3)
    selected = layers[layers["selected"]]
    how = "selected on dev" if sweep.settings["select_on"] == "source" else "selected on target dev (oracle)"
    axes.plot(
        selected["fusion_layer"].astype(int), selected["avg_target"], "o", markersize=12, markerfacecolor="none",
        markeredgecolor=_BLUE, label=how, zorder=3,
    )  # fmt: skip
    axes.set_xticks([left, *ticks], ["baseline", *map(str, ticks)])
    axes.set_xlabel("fusion layer")
    axes.set_ylabel(f"mean {_metric(sweep)} over target languages (%)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _layers_by_language(sweep: Sweep, differences: pd.DataFrame) -> Figure:
    languages, layers = list(differences.index), list(differences.columns)
    height = 1.4 + 0.24 * len(languages)
    figure, axes = _figure(sweep, "Difference to the baseline", width=max(5.0, 1.8 + 0.55 * len(layers)), height=height)
    bound = max(float(differences.abs().max(axis=None)), 0.01)
    image = axes.imshow(differences.to_numpy("float64"), cmap="PuOr_r", vmin=-bound, vmax=bound, aspect="auto")
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_yticks(range(len(languages)), languages)
    axes.set_xlabel("fusion layer")
    axes.tick_params(length=0)
    if len(languages) <= _CROWDED:
        for row, values in enumerate(differences.to_numpy("float64")):
            for column, value in enumerate(values):
                text = "" if np.isnan(value) else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
                colour = "white" if abs(value) > 0.55 * bound else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, label=f"{_metric(sweep)}, points")
    return figure


def _figure(sweep: Sweep, title: str, width: float = 5.5, height: float = 3.4) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"{title}: {sweep.name}", fontsize=10)
    return figure, axes


def _metric(sweep: Sweep) -> str:
    return {"f1": "F1"}.get(metric := TASKS[sweep.settings["task"]].metric, metric)
