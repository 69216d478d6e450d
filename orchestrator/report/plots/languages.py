"""Pictures of the languages: which gain alike, and whether those with more text to learn from gain more."""

import textwrap
from collections.abc import Mapping
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from dlfa.tasks.languages import find_language
from orchestrator.report.plots.style import COLOURS, GREY, label_points, metric_of, new_figure
from orchestrator.report.trials import Sweep

__all__ = ["draw_gain_by_size", "draw_gain_similarity", "sizes_and_scripts"]

_MARKERS: Final = "os^DvP*Xph<>d8"


def draw_gain_similarity(sweep: Sweep, alike: pd.DataFrame, family: Mapping[str, str]) -> Figure:
    """Draw how alike languages' gain profiles are, the alike ones together (average linkage), each with its family."""
    count = len(alike)
    distances = squareform((1 - alike.to_numpy("float64")).clip(0), checks=False)
    tree = linkage(distances, "average", optimal_ordering=True)
    size = 0.5 + 0.2 * max(count, 8)
    figure = Figure(figsize=(size + 3.4, size + 1.3), layout="constrained")
    title = f"Similarity of what languages gain, layer by layer: {sweep.name}"
    figure.suptitle(textwrap.fill(title, int(11 * (size + 3.4))), fontsize=10)
    beside, axes = figure.subplots(1, 2, width_ratios=(1, 6))
    beside.set_axis_off()
    order = dendrogram(tree, orientation="left", ax=beside, no_labels=True, color_threshold=0,
                       above_threshold_color="black")["leaves"]  # fmt: skip
    # Leaves stand at 5, 15, 25, ...; the first one is on top, as in the picture beside.
    beside.set_ylim(10 * count, 0)
    names = [alike.index[place] for place in order]
    image = axes.imshow(
        alike.to_numpy("float64")[np.ix_(order, order)],
        cmap="PuOr_r",
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xticks(range(count), names, rotation=90)
    axes.set_yticks(range(count), [f"{family.get(name, 'unknown')}  {name}" for name in names])
    axes.yaxis.tick_right()
    axes.tick_params(length=0, labelsize=8)
    figure.colorbar(image, ax=axes, label="correlation of gain profiles", location="bottom", shrink=0.6, aspect=40)
    return figure


def sizes_and_scripts(languages: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return what a picture of gains against sizes needs of a fusion's rows of `per_language`.

    Returns:
        One row per target language with a difference: language, difference, bytes (of its Wikipedia; NaN: none that
        mBERT was trained on, or nothing is known of the language), script.
    """
    targets = languages.loc[languages["language"].ne(source), ["language", "difference"]].dropna()
    known = [find_language(str(name)) for name in targets["language"]]
    found: pd.DataFrame = targets.assign(
        bytes=[np.nan if one is None or one.wikipedia_bytes is None else float(one.wikipedia_bytes) for one in known],
        script=["" if one is None else one.script for one in known],
    )
    return found


def draw_gain_by_size(sweep: Sweep, fusion: str, found: pd.DataFrame) -> Figure:
    """Draw each language's gain with a fusion over the size of its Wikipedia, a marker per script."""
    sized, missing = found.dropna(subset="bytes"), found.loc[found["bytes"].isna(), "language"]
    figure, axes = new_figure(
        sweep, f"Gain with fusion {fusion}, selected layer, and text to learn from", width=7.0, height=4.6
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelsize=8)
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1, zorder=1)
    scripts = sized["script"].value_counts()
    for number, script in enumerate(sorted(scripts.index, key=lambda name: (-scripts[name], name))):
        points = sized[sized["script"].eq(script)]
        axes.plot(
            points["bytes"], points["difference"], _MARKERS[number % len(_MARKERS)],
            color=COLOURS[number % len(COLOURS)], markersize=5, linestyle="", label=script, zorder=3,
        )  # fmt: skip
    axes.margins(0.08, 0.1)
    label = "size of the language's Wikipedia in bytes, compressed (2020)"
    if len(missing):
        label += "\n" + textwrap.fill(f"not in mBERT's, or unknown: {', '.join(missing)}", 80)
    axes.set_xlabel(label, fontsize=9)
    axes.set_ylabel(f"difference to the baseline, {metric_of(sweep)} points")
    figure.legend(title="script", loc="outside right upper", frameon=False, fontsize=8, title_fontsize=8)
    label_points(figure, axes, [*sized["bytes"]], [*sized["difference"]], [*sized["language"]])
    return figure
