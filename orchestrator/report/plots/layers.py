"""Pictures of the confirmed layers: what each gains, on average and by language."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dlfa.fusions import BASELINE
from orchestrator.report.arms import fusions_of
from orchestrator.report.plots.places import beside, draw_layer_axis, place_layers, tick_layers
from orchestrator.report.plots.style import BLUE, GREY, metric_of, new_figure, signed, style_of
from orchestrator.report.runs import differences
from orchestrator.report.trials import Sweep, confirmed_runs

__all__ = ["draw_best_layers", "draw_layers_by_language"]

_CROWDED = 20
"""More languages than this leave no room for numbers in the cells."""

_LONG = 3
"""Intervals that reach further than so many times what the runs span are cut, or they would flatten all else."""


def draw_best_layers(sweep: Sweep, table: pd.DataFrame) -> Figure:
    """Draw what each fusion and layer differs from the baseline, with its interval and a small point per seed.

    Without a baseline, its mean target score.
    """
    rows = table[table["fusion"].ne(BASELINE)]
    fusions, (shifts, step) = fusions_of(rows), beside(rows)
    compared = bool(rows["difference"].notna().any())
    value = "difference" if compared else "avg_target"
    ticks = tick_layers(sweep.layers, rows)
    all_layers = bool(rows["fusion_layer"].isna().any())
    width = 1.5 + 0.35 * (len(ticks) + all_layers) * max(1, 0.6 * len(fusions))
    figure, axes = new_figure(
        sweep, "Best configuration of every layer", width=max(5.5, width), height=3.4 if len(fusions) < 2 else 4.2
    )
    runs = confirmed_runs(sweep.frame)
    runs = runs[runs["metric"].eq("avg_target")]
    runs = runs.assign(difference=differences(runs, ["seed"], "value"), avg_target=runs["value"])
    runs = runs[runs["fusion"].ne(BASELINE)].dropna(subset=value)
    # A little to the right, or the interval would cover them.
    at = place_layers(runs["fusion_layer"], ticks) + runs["fusion"].map(shifts).to_numpy("float64") + step / 4
    axes.plot(at, runs[value], ".", color=GREY, markersize=5 if len(fusions) < 3 else 3, label="one seed", zorder=2)
    if compared:
        style = style_of(BASELINE)
        axes.axhline(0, color=style.colour, linestyle=style.line, linewidth=1, label="baseline", zorder=1)
    for fusion in fusions:
        of_fusion, style = rows[rows["fusion"].eq(fusion)], style_of(fusion)
        at = place_layers(of_fusion["fusion_layer"], ticks) + shifts[fusion]
        if compared and of_fusion["difference_low"].notna().any():
            _draw_intervals(axes, at, of_fusion, runs[value], style.colour)
        axes.plot(at, of_fusion[value], style.marker, color=style.colour, markersize=6 if len(fusions) < 3 else 5,
                  label=fusion, zorder=3)  # fmt: skip
    if compared and rows["difference_low"].notna().any():
        axes.plot([], [], color=BLUE if len(fusions) == 1 else "black", linewidth=1.4, label="95 % interval")
    selected = rows[rows["selected"] & rows["fusion_layer"].notna()]
    how = "selected on dev" if sweep.settings["select_on"] == "source" else "selected on target dev (oracle)"
    if not selected.empty:
        at = selected["fusion_layer"].to_numpy("float64") + selected["fusion"].map(shifts).to_numpy("float64")
        axes.plot(
            at, selected[value], "o", markersize=12, markerfacecolor="none",
            markeredgecolor=BLUE if len(fusions) == 1 else "black", label=how, zorder=3,
        )  # fmt: skip
    draw_layer_axis(axes, ticks, all_layers=all_layers)
    over = "over target languages"
    axes.set_ylabel(
        f"difference in mean {metric_of(sweep)}\n{over}, points" if compared else f"mean {metric_of(sweep)} {over} (%)"
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _draw_intervals(axes: Any, at: NDArray[np.float64], rows: pd.DataFrame, seeds: pd.Series, colour: str) -> None:
    span = max(float(seeds.max()), 0.0) - min(float(seeds.min()), 0.0)
    edges = rows[["difference_low", "difference_high"]].to_numpy("float64")
    bottom, top = (float(seeds.min()) - _LONG * span, float(seeds.max()) + _LONG * span)
    axes.vlines(at, edges[:, 0].clip(bottom), edges[:, 1].clip(None, top), color=colour, linewidth=1.4, zorder=2)
    for cut, mark, place in ((edges[:, 0] < bottom, "v", bottom), (edges[:, 1] > top, "^", top)):
        # An arrow says that it goes on.
        axes.plot(at[cut], np.full(cut.sum(), place), mark, color=colour, markersize=4)


def draw_layers_by_language(sweep: Sweep, fusion: str, gains: pd.DataFrame, bound: float) -> Figure:
    """Draw what each confirmed layer of a fusion differs from the baseline, language by language.

    Args:
        sweep: Which one.
        fusion: Whose layers.
        gains: [languages, layers], in points.
        bound: What the darkest colours stand for, in points.
    """
    languages, layers = list(gains.index), list(gains.columns)
    height = 1.4 + 0.24 * len(languages)
    figure, axes = new_figure(
        sweep, f"Fusion {fusion}: difference to the baseline", width=max(5.0, 1.8 + 0.55 * len(layers)), height=height
    )
    image = axes.imshow(
        gains.to_numpy("float64"), cmap="PuOr_r", vmin=-bound, vmax=bound, aspect="auto", interpolation="nearest"
    )
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_yticks(range(len(languages)), languages)
    axes.set_xlabel("fusion layer")
    axes.tick_params(length=0)
    if len(languages) <= _CROWDED:
        for row, values in enumerate(gains.to_numpy("float64")):
            for column, value in enumerate(values):
                colour = "white" if abs(value) > 0.55 * bound else "black"
                axes.text(column, row, signed(value), ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axes, label=f"{metric_of(sweep)}, points")
    return figure
