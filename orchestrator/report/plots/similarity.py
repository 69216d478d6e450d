"""Picture of similarity across languages, beside the score."""

import pandas as pd
from matplotlib.figure import Figure

from dlfa.fusions import BASELINE
from orchestrator.report.arms import arm_of, fusions_of
from orchestrator.report.plots.places import beside, draw_layer_axis, place_layers, tick_layers
from orchestrator.report.plots.style import metric_of, style_of
from orchestrator.report.similarity import SIMILARITY
from orchestrator.report.trials import Sweep

__all__ = ["draw_similarity"]


def draw_similarity(sweep: Sweep, table: pd.DataFrame) -> Figure:
    """Draw the score and the similarities of each fusion by layer; the baseline is a horizontal line."""
    rows = table[table["fusion"].ne(BASELINE)]
    baseline = table[table["fusion"].eq(BASELINE)]
    ticks, all_layers = tick_layers((), rows), bool(rows["fusion_layer"].isna().any())
    panels = {
        "avg_target": f"mean {metric_of(sweep)} over targets (%)",
        **dict(zip(SIMILARITY, ("similarity", "similarity, unrelated", "difference of both"), strict=True)),
    }
    figure = Figure(figsize=(max(7.0, 2.4 + 0.6 * (len(ticks) + all_layers)), 5.2), layout="constrained")
    figure.suptitle(f"Score and similarity across languages: {sweep.name}", fontsize=10)
    grid = figure.subplots(2, 2, sharex=True)
    shifts = {name: shift / 2 for name, shift in beside(rows)[0].items()}
    for axes, (column, label) in zip(grid.flat, panels.items(), strict=True):
        for value in baseline[column].dropna():
            style = style_of(BASELINE)
            axes.axhline(value, color=style.colour, linestyle=style.line, linewidth=1, label=arm_of(BASELINE), zorder=1)
        for fusion in fusions_of(rows):
            of_fusion, style = rows[rows["fusion"].eq(fusion)], style_of(fusion)
            at = place_layers(of_fusion["fusion_layer"], ticks) + shifts[fusion]
            axes.plot(
                at, of_fusion[column], color=style.colour, linestyle=style.line, marker=style.marker, markersize=4,
                linewidth=1, label=fusion,
            )  # fmt: skip
        axes.set_ylabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
    for axes in grid[1]:
        draw_layer_axis(axes, ticks, all_layers=all_layers)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure
