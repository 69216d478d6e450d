"""Pictures of a sweep, drawn from its frame: readable in print, and without telling red from green."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from dlfa.files import atomic_write
from orchestrator.report.equilibrium import sweep_equilibrium
from orchestrator.report.families import similarity
from orchestrator.report.importance import complete_trials, importances, searched
from orchestrator.report.plots.equilibrium import draw_equilibrium
from orchestrator.report.plots.languages import draw_gain_by_size, draw_similarity, sizes_and_scripts
from orchestrator.report.plots.layers import draw_best_layers, draw_layers_by_language
from orchestrator.report.plots.search import draw_importance, draw_parallel, draw_search
from orchestrator.report.tables import (
    best_layers,
    families_of,
    layers_by_language,
    per_language,
    search_curves,
    search_trials,
)
from orchestrator.report.trials import Sweep

__all__ = ["plots", "write_plots"]

_FORMATS: Final = ("pdf", "png")
_LANGUAGES_NEEDED = 3
"""Fewer make neither clusters nor a trend."""


def plots(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    """Yield file name and figure of every picture that the sweep has the runs for.

    `search`: the learning curve of every search trial; a cross ends those that were pruned.
    `importance`: which parameters the scores of the search's DLFA trials depend on.
    `parallel_coordinates`: these trials, each a line through its parameters.
    `best_layers`: what every confirmed layer differs from the baseline, its interval, one small point per seed.
    `layers_by_language`: the same, language by language.
    `similarity`: which languages gain from the same layers.
    `gain_by_size`: what languages gain over the size of their Wikipedia, by script.
    `equilibrium`: what the layers of each encoder know, beside what they are worth as fusion layers.
    """
    for name, figure in _figures(sweep):
        # Its layout is found once, and not anew for every format.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        yield name, figure


def _figures(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    if not (curves := search_curves(sweep.frame)).empty:
        yield "search", draw_search(sweep, curves)
    trials = search_trials(sweep.frame)
    if not (shares := importances(trials)).empty:
        yield "importance", draw_importance(sweep, shares, len(complete_trials(trials)))
    fused = trials[trials["fusion"].eq("dlfa")]
    if len(complete_trials(trials)) > 1 and (params := searched(fused)):
        yield "parallel_coordinates", draw_parallel(sweep, fused, params)
    if not (table := best_layers(sweep.frame, sweep.intervals)).empty:
        yield "best_layers", draw_best_layers(sweep, table)
    if not (gains := layers_by_language(sweep.frame)).empty:
        yield "layers_by_language", draw_layers_by_language(sweep, gains)
    if len(alike := similarity(sweep.frame)) >= _LANGUAGES_NEEDED:
        yield "similarity", draw_similarity(sweep, alike, families_of(alike.index))
    found = sizes_and_scripts(per_language(sweep.frame), str(sweep.settings["data"]["source_language"]))
    if found["bytes"].notna().sum() >= _LANGUAGES_NEEDED:
        yield "gain_by_size", draw_gain_by_size(sweep, found)
    if not (layers := sweep_equilibrium(sweep)[0]).empty:
        yield "equilibrium", draw_equilibrium(sweep, layers)


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
