"""Places of fusion layers along an axis, and of fusions that have none."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.report.arms import fusions_of, layered

__all__ = ["beside", "draw_layer_axis", "place_layers", "tick_layers"]


def tick_layers(searched: Iterable[int], table: pd.DataFrame) -> list[int]:
    """Return the layers that an axis shows: those that were searched and those that a table has rows of, ascending."""
    return sorted({*searched, *map(int, table["fusion_layer"].dropna())})


def place_layers(layers: pd.Series, ticks: Sequence[int]) -> NDArray[np.float64]:
    """Return where rows stand: at their layer, or behind the last one where a fusion has none."""
    return layers.astype("float64").fillna(max(ticks, default=-1) + 1).to_numpy("float64")


def beside(table: pd.DataFrame) -> tuple[dict[str, float], float]:
    """Return how far from its place each fusion of a table stands, and the distance of two fusions."""
    fusions = fusions_of(table)
    with_layers = layered(fusions)
    step = 0.7 / max(len(with_layers), 1)
    groups = (with_layers, [name for name in fusions if name not in with_layers])
    return {name: step * (at - (len(group) - 1) / 2) for group in groups for at, name in enumerate(group)}, step


def draw_layer_axis(axes: Any, ticks: Sequence[int], *, all_layers: bool) -> None:
    """Label an axis with layers, and behind them `all` for fusions of all layers, if there is one."""
    places = [*ticks, *([max(ticks, default=-1) + 1] if all_layers else [])]
    axes.set_xticks(places, [*map(str, ticks), *(["all"] if all_layers else [])])
    axes.set_xlabel("fusion layer")
