"""Picture of the equilibrium analysis."""

from typing import Final

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.report.plots.style import BLUE, GREY, ORANGE, metric_of
from orchestrator.report.trials import Sweep

__all__ = ["draw_equilibrium"]

_CURVES: Final = {
    "capability": ("C: cross-lingual capability", BLUE, "-", 1),
    "structure": ("S: language structure", ORANGE, "--", 1),
    "equilibrium": ("E: equilibrium, scaled", "black", "-.", 100),
}
"""Label, colour, line and factor to percent."""


def draw_equilibrium(sweep: Sweep, layers: pd.DataFrame) -> Figure:
    """Draw what the layers of each encoder know, and below what they are worth as fusion layers."""
    encoders = [*layers["encoder"].unique()]
    figure = Figure(figsize=(1.2 + 3.6 * len(encoders), 4.2), layout="constrained")
    figure.suptitle(f"Equilibrium: {sweep.name}", fontsize=10)
    grid = figure.subplots(2, len(encoders), sharex=True, sharey="row", squeeze=False, height_ratios=(2, 1))
    for (upper, lower), encoder in zip(grid.T, encoders, strict=True):
        of_encoder = layers[layers["encoder"].eq(encoder)]
        upper.set_title(encoder, fontsize=9)
        for name, (label, colour, style, scale) in _CURVES.items():
            low, middle, high = (scale * of_encoder[f"{name}{edge}"] for edge in ("_low", "", "_high"))
            upper.plot(of_encoder["layer"], middle, color=colour, linestyle=style, linewidth=1.4, label=label)
            upper.fill_between(of_encoder["layer"].astype(float), low, high, color=colour, alpha=0.2, linewidth=0)
        fused = of_encoder[of_encoder["target"].notna()]
        if fused["target_low"].notna().any():
            lower.vlines(fused["layer"], fused["target_low"], fused["target_high"], color=GREY, linewidth=1.2)
        lower.plot(fused["layer"], fused["target"], "o", color="black", markersize=4)
        for axes in (upper, lower):
            for layer in of_encoder.loc[of_encoder["selected"], "layer"]:
                axes.axvline(layer, color=GREY, linestyle=":", linewidth=1, zorder=0)
        lower.set_xlabel("layer")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0, 0].set_ylabel("%")
    grid[1, 0].set_ylabel(f"T: {metric_of(sweep)} (%)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
