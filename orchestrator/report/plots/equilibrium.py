"""Picture of the equilibrium analysis."""

from typing import Final

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from orchestrator.report.arms import fusions_of
from orchestrator.report.plots.places import beside
from orchestrator.report.plots.style import BLUE, GREY, ORANGE, metric_of, style_of
from orchestrator.report.trials import Sweep

__all__ = ["draw_equilibrium"]

_CURVES: Final = {
    "capability": ("C: cross-lingual capability", BLUE, "-", 1),
    "structure": ("S: language structure", ORANGE, "--", 1),
    "equilibrium": ("E: equilibrium, scaled", "black", "-.", 100),
}
"""Label, colour, line and factor to percent."""


def draw_equilibrium(sweep: Sweep, layers: pd.DataFrame) -> Figure:
    """Draw what the layers of each encoder know, and below what they are worth as layers of each fusion."""
    encoders, fusions = [*layers["encoder"].unique()], fusions_of(layers)
    width = 1.2 + (3.6 if len(encoders) < 4 else 2.8) * len(encoders)
    figure = Figure(figsize=(width, 4.2 if len(fusions) < 2 else 5.0), layout="constrained")
    figure.suptitle(f"Equilibrium: {sweep.name}", fontsize=10)
    grid = figure.subplots(
        2, len(encoders), sharex=True, sharey="row", squeeze=False, height_ratios=(2, 1 if len(fusions) < 2 else 1.5)
    )
    shifts = beside(layers)[0]
    for (upper, lower), encoder in zip(grid.T, encoders, strict=True):
        of_encoder = layers[layers["encoder"].eq(encoder)]
        # What an encoder's layers know stands there once for each fusion.
        measured = of_encoder.drop_duplicates("layer")
        upper.set_title(encoder, fontsize=9)
        for name, (label, colour, style, scale) in _CURVES.items():
            low, middle, high = (scale * measured[f"{name}{edge}"] for edge in ("_low", "", "_high"))
            upper.plot(measured["layer"], middle, color=colour, linestyle=style, linewidth=1.4, label=label)
            upper.fill_between(measured["layer"].astype(float), low, high, color=colour, alpha=0.2, linewidth=0)
        for fusion in fusions:
            fused = of_encoder[of_encoder["fusion"].eq(fusion) & of_encoder["target"].notna()]
            at = fused["layer"].to_numpy("float64") + shifts[fusion]
            colour = style_of(fusion).colour if len(fusions) > 1 else "black"
            if fused["target_low"].notna().any():
                lower.vlines(at, fused["target_low"], fused["target_high"],
                             color=colour if len(fusions) > 1 else GREY, linewidth=1.2)  # fmt: skip
            lower.plot(at, fused["target"], style_of(fusion).marker, color=colour, markersize=4,
                       label=f"T: {fusion}" if len(fusions) > 1 else None)  # fmt: skip
        for axes in (upper, lower):
            for layer in of_encoder.loc[of_encoder["selected"], "layer"].unique():
                axes.axvline(layer, color=GREY, linestyle=":", linewidth=1, zorder=0)
        lower.set_xlabel("layer")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0, 0].set_ylabel("%")
    grid[1, 0].set_ylabel(f"T: {metric_of(sweep)} (%)")
    legends = [axes.get_legend_handles_labels() for axes in grid[:, 0]]
    handles, labels = ([*above, *below] for above, below in zip(*legends, strict=True))
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
