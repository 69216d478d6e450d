"""What all pictures share: colours, a figure with its title, and places for labels that do not overlap."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dlfa.fusions import BASELINE, FUSIONS
from dlfa.tasks import TASKS
from orchestrator.report.trials import Sweep

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "ORANGE",
    "FusionStyle",
    "label_points",
    "metric_of",
    "new_figure",
    "signed",
    "style_of",
]

# Colours of Okabe and Ito (2008), which colour-blind readers tell apart.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
COLOURS: Final = (BLUE, ORANGE, "#009E73", "#CC79A7", "black", "#56B4E9", "#E69F00")
"""In the order in which series take them."""

_BASELINE_COLOUR: Final = ORANGE
_FUSION_COLOURS: Final = [colour for colour in COLOURS if colour != _BASELINE_COLOUR]
_FUSION_MARKERS: Final = "os^Dv*"

_REACH = (8, 12, 16, 22, 30, 40)
"""Distances of a label from its point, in points of 1/72 inch; a line joins the further ones with it."""

_NEAR = 12


@dataclass(frozen=True, kw_only=True)
class FusionStyle:
    """How a fusion is drawn in every picture."""

    colour: str
    """As matplotlib takes it."""

    marker: str
    """Of points."""

    line: str
    """Style of lines."""


def style_of(fusion: str) -> FusionStyle:
    """Return how a fusion is drawn; the baseline is a dashed line."""
    if fusion == BASELINE:
        return FusionStyle(colour=_BASELINE_COLOUR, marker="", line="--")
    place = [name for name in FUSIONS if name != BASELINE].index(fusion)
    return FusionStyle(
        colour=_FUSION_COLOURS[place % len(_FUSION_COLOURS)],
        marker=_FUSION_MARKERS[place % len(_FUSION_MARKERS)],
        line="-",
    )


def new_figure(sweep: Sweep, title: str, width: float = 5.5, height: float = 3.4) -> tuple[Figure, Any]:
    """Return a figure of so many inches and its axes, titled with what it shows and the sweep's name."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    # Of the figure, not of the axes: beside long labels these are narrow, and their title would be cut.
    figure.suptitle(textwrap.fill(f"{title}: {sweep.name}", int(10 * width)), fontsize=10)
    return figure, axes


def metric_of(sweep: Sweep) -> str:
    """Return the main metric as readers know it."""
    return {"f1": "F1"}.get(metric := TASKS[sweep.settings["task"]].metric, metric)


def signed(value: float) -> str:
    """Return a difference with its sign and one decimal, empty if there is none."""
    return "" if np.isnan(value) else f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def label_points(figure: Figure, axes: Any, x: Sequence[float], y: Sequence[float], texts: Sequence[str]) -> None:
    """Write a label beside each point, where it covers neither a point nor another label.

    What else is in the figure must be there already: places are found in the layout as it is now.
    """
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    at = axes.transData.transform(np.c_[x, y])
    taken = [Bbox.from_bounds(left - 3 * scale, low - 3 * scale, 6 * scale, 6 * scale) for left, low in at]
    inside = axes.get_window_extent()
    for (left, low), x_data, y_data, text in zip(at, x, y, texts, strict=True):
        label = axes.annotate(
            text, (x_data, y_data), (0, 0), textcoords="offset points", ha="center", va="center", fontsize=7,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        label.set_in_layout(False)
        size = Text.get_window_extent(label)  # an annotation's own has its line, too
        for reach, angle in product(_REACH, np.arange(0, 2 * np.pi, np.pi / 6)):
            # Texts are wide: a label to the side of its point keeps half its own width away.
            across = (reach * scale + max(0, size.width / 2 - 2 * scale)) * np.cos(angle)
            up = reach * scale * np.sin(angle)
            box = Bbox.from_bounds(left + across - size.width / 2, low + up - size.height / 2, size.width, size.height)
            fits = inside.x0 < box.x0 and box.x1 < inside.x1 and inside.y0 < box.y0 and box.y1 < inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                break
        else:
            # Nowhere is it free: better no label than two on top of each other.
            label.remove()
            continue
        taken.append(box)
        label.set_position((across / scale, up / scale))
        label.arrow_patch.set_visible(reach > _NEAR)
