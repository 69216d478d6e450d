"""Pictures of the confirmed layers: what each gains, on average and by language."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.plots.style import BLUE, GREY, ORANGE, metric_of, new_figure, signed
from orchestrator.report.tables import differences
from orchestrator.report.trials import Sweep, confirmed_runs

__all__ = ["draw_best_layers", "draw_layers_by_language"]

_CROWDED = 20
"""More languages than this leave no room for numbers in the cells."""

_LONG = 3
"""Intervals that reach further than so many times what the runs span are cut, or they would flatten all else."""


def draw_best_layers(sweep: Sweep, table: pd.DataFrame) -> Figure:
    """Draw what each layer differs from the baseline, with its interval and a small point per seed.

    Without a baseline, its mean target score.
    """
    layers = table[table["fusion_layer"].notna()]
    compared = bool(layers["difference"].notna().any())
    value = "difference" if compared else "avg_target"
    tried = [*layers["fusion_layer"].astype(int)]
    ticks = sorted({*sweep.layers, *tried})
    figure, axes = new_figure(sweep, "Best configuration of every layer", width=max(5.5, 1.5 + 0.35 * len(ticks)))
    runs = confirmed_runs(sweep.frame)
    runs = runs[runs["metric"].eq("avg_target")]
    runs = runs.assign(difference=differences(runs, ["seed"], "value"), avg_target=runs["value"])
    runs = runs[runs["fusion"].ne("none")].dropna(subset=value)
    beside = runs["fusion_layer"].astype("float64") + 0.18  # or the interval would cover them
    axes.plot(beside, runs[value], ".", color=GREY, markersize=5, label="one seed", zorder=2)
    if compared:
        axes.axhline(0, color=ORANGE, linestyle="--", linewidth=1, label="baseline", zorder=1)
    if compared and layers["difference_low"].notna().any():
        _draw_intervals(axes, layers, runs[value])
    axes.plot(tried, layers[value], "o", color=BLUE, label="DLFA, mean", zorder=3)
    selected = layers[layers["selected"]]
    how = "selected on dev" if sweep.settings["select_on"] == "source" else "selected on target dev (oracle)"
    axes.plot(
        selected["fusion_layer"].astype(int), selected[value], "o", markersize=12, markerfacecolor="none",
        markeredgecolor=BLUE, label=how, zorder=3,
    )  # fmt: skip
    axes.set_xticks(ticks, [*map(str, ticks)])
    axes.set_xlabel("fusion layer")
    over = "over target languages"
    axes.set_ylabel(
        f"difference in mean {metric_of(sweep)}\n{over}, points" if compared else f"mean {metric_of(sweep)} {over} (%)"
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _draw_intervals(axes: Any, layers: pd.DataFrame, seeds: pd.Series) -> None:
    span = max(float(seeds.max()), 0.0) - min(float(seeds.min()), 0.0)
    edges = layers[["difference_low", "difference_high"]].to_numpy("float64")
    bottom, top = (float(seeds.min()) - _LONG * span, float(seeds.max()) + _LONG * span)
    at = layers["fusion_layer"].to_numpy("float64")
    axes.vlines(at, edges[:, 0].clip(bottom), edges[:, 1].clip(None, top), color=BLUE, linewidth=1.4, zorder=2,
                label="95 % interval")  # fmt: skip
    for cut, mark, place in ((edges[:, 0] < bottom, "v", bottom), (edges[:, 1] > top, "^", top)):
        # An arrow says that it goes on.
        axes.plot(at[cut], np.full(cut.sum(), place), mark, color=BLUE, markersize=4)


def draw_layers_by_language(sweep: Sweep, gains: pd.DataFrame) -> Figure:
    """Draw each confirmed layer's difference to the baseline, language by language."""
    languages, layers = list(gains.index), list(gains.columns)
    height = 1.4 + 0.24 * len(languages)
    figure, axes = new_figure(
        sweep, "Difference to the baseline", width=max(5.0, 1.8 + 0.55 * len(layers)), height=height
    )
    bound = max(float(gains.abs().max(axis=None)), 0.01)
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
