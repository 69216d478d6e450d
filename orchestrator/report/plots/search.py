"""Pictures of the search: how its trials learnt, what they were, and which parameters mattered."""

import textwrap
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dlfa.fusions import BASELINE
from orchestrator.report.arms import arm_of, fusions_of
from orchestrator.report.importance import is_log
from orchestrator.report.plots.style import BLUE, GREY, metric_of, new_figure, style_of
from orchestrator.report.trials import Sweep

__all__ = ["draw_importance", "draw_parallel", "draw_search"]

_ENDS: Final = {"COMPLETE": "o", "PRUNED": "x"}
_MOST_TICKS = 12
_GOOD: Final = "cividis_r"
"""Of scores: the best are the darkest, in print as for colour-blind readers."""


def draw_search(sweep: Sweep, curves: pd.DataFrame) -> Figure:
    """Draw the learning curve of every search trial; a cross ends those that were pruned.

    Each fusion has its own axes, with the baseline's curves in them, too.
    """
    fusions = fusions_of(curves)
    panels = max(1, len(fusions))
    figure = Figure(figsize=(5.5 if panels == 1 else 1.2 + 2.6 * panels, 3.4), layout="constrained")
    figure.suptitle(textwrap.fill(f"Search trials: {sweep.name}", 55 * min(panels, 2)), fontsize=10)
    grid = figure.subplots(1, panels, sharex=True, sharey=True, squeeze=False)[0]
    for number, axes in enumerate(grid):
        drawn = curves[curves["fusion"].isin([BASELINE, *fusions[number : number + 1]])]
        for _, curve in drawn.groupby("trial"):
            style = style_of(curve["fusion"].iloc[0])
            axes.plot(
                curve["step"], curve["value"], color=style.colour, linestyle=style.line, linewidth=1,
                marker=_ENDS.get(curve["state"].iloc[0], ""), markersize=5, markevery=[-1],
            )  # fmt: skip
        axes.set_xlabel("report")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes = grid[0]
    for fusion in (BASELINE, *fusions):
        axes.plot([], [], color=style_of(fusion).colour, linestyle=style_of(fusion).line, label=arm_of(fusion))
    axes.plot([], [], color=GREY, marker="x", linestyle="", label="pruned")
    axes.plot([], [], color=GREY, marker="o", linestyle="", label="full budget")
    figure.legend(loc="outside lower center", ncols=4 if panels == 1 else 7, frameon=False, fontsize=8)
    axes.set_ylabel(f"dev {metric_of(sweep)} (%)")
    return figure


def draw_importance(sweep: Sweep, fusion: str, shares: pd.Series, trials: int) -> Figure:
    """Draw which parameters the scores of so many search trials of a fusion depend on."""
    figure, axes = new_figure(
        sweep,
        f"Importance of parameters in {trials} full trials of fusion {fusion}",
        height=1.2 + 0.35 * len(shares),
    )
    names = [name.replace("_", " ") for name in shares.index]
    axes.barh(range(len(shares)), 100 * shares, color=BLUE, height=0.6)
    for place, share in enumerate(100 * shares):
        axes.text(share + 1, place, f"{share:.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(shares)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("share of the variance in the selection score (%)")
    return figure


def draw_parallel(sweep: Sweep, fusion: str, trials: pd.DataFrame, params: list[str]) -> Figure:
    """Draw every search trial of a fusion as a line through its parameters, to its score if it ran to its end."""
    figure, axes = new_figure(sweep, f"Search trials of fusion {fusion}", width=2.0 + 1.6 * len(params), height=4.2)
    ended = trials[trials["state"].eq("COMPLETE") & trials["score"].notna()].sort_values("score")
    others = trials.drop(ended.index)
    places = {name: _scaled(name, trials[name]) for name in params}
    height = pd.DataFrame({name: place for name, (place, _) in places.items()}, index=trials.index)
    scores, ticks = _scaled("score", ended["score"])
    height["score"] = pd.Series(scores, index=ended.index)
    for number in others.index:
        axes.plot(range(len(params)), height.loc[number, params], color="#cccccc", linewidth=0.8, linestyle="--")
    colours = mpl.colormaps[_GOOD]
    for number in ended.index:
        colour = colours(0.15 + 0.85 * height.loc[number, "score"])
        axes.plot(range(len(params) + 1), height.loc[number], color=colour, linewidth=1.2, alpha=0.9)
    for place, name in enumerate([*params, "score"]):
        axes.axvline(place, color="black", linewidth=0.8, zorder=3)
        for at, text in ticks if name == "score" else places[name][1]:
            axes.text(
                place - 0.04, at, text, ha="right", va="center", fontsize=7, zorder=4,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
            )  # fmt: skip
    labels = [name.replace("_", "\n") for name in params]
    axes.set_xticks(range(len(params) + 1), [*labels, f"dev {metric_of(sweep)}\n(%)"])
    axes.set_yticks([])
    axes.set_xlim(-0.25, len(params) + 0.2)
    axes.set_ylim(-0.05, 1.05)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.plot([], [], color=colours(1.0), label="full budget, dark: best")
    if len(others):
        axes.plot([], [], color="#cccccc", linestyle="--", label="pruned, failed or unfinished")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _scaled(name: str, values: Any) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
    """Return values as places in 0..1, and places and texts of ticks: the values themselves if they are few."""
    numbers = values.to_numpy("float64")
    found = np.unique(numbers[~np.isnan(numbers)])
    ticks = found if len(found) <= _MOST_TICKS else np.linspace(found[0], found[-1], 6)
    if log := is_log(name) and found[0] > 0:
        numbers, found = np.log(numbers), np.log(found)
        ticks = np.log(ticks) if len(found) <= _MOST_TICKS else np.linspace(found[0], found[-1], 6)
    low, span = found[0], found[-1] - found[0]
    middle = 0.5 if span == 0 else 0.0
    texts = [_text(name, float(np.exp(tick) if log else tick)) for tick in ticks]
    at = [float((tick - low) / (span or 1) + middle) for tick in ticks]
    kept: list[tuple[float, str]] = []
    for place, text in zip(at, texts, strict=True):
        if not kept or place - kept[-1][0] > 0.045:
            kept.append((place, text))
    return (numbers - low) / (span or 1) + middle, kept


def _text(name: str, value: float) -> str:
    if "learning_rate" in name:
        return f"{value:.1e}"
    return f"{value:.1f}" if name == "score" else f"{value:.3g}"
