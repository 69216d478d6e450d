"""Pictures of a sweep, drawn from its frame: readable in print, and without telling red from green."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from dlfa.files import atomic_write
from orchestrator.report.arms import columns_of, fusions_of, layered
from orchestrator.report.best_layers import best_layers
from orchestrator.report.curves import search_curves
from orchestrator.report.equilibrium import sweep_equilibrium
from orchestrator.report.families import gain_similarity
from orchestrator.report.importance import complete_trials, importances, searched, searched_fusions
from orchestrator.report.languages import families_of, gains_by_language, per_language
from orchestrator.report.plots.equilibrium import draw_equilibrium
from orchestrator.report.plots.languages import draw_gain_by_size, draw_gain_similarity, sizes_and_scripts
from orchestrator.report.plots.layers import draw_best_layers, draw_layers_by_language
from orchestrator.report.plots.search import draw_importance, draw_parallel, draw_search
from orchestrator.report.plots.similarity import draw_similarity
from orchestrator.report.search import search_trials
from orchestrator.report.similarity import similarity
from orchestrator.report.trials import Sweep

__all__ = ["plots", "write_plots"]

_FORMATS: Final = ("pdf", "png")
_LANGUAGES_NEEDED = 3
"""Fewer make neither clusters nor a trend."""


def plots(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    """Yield file name and figure of every picture that the sweep has the runs for.

    `search`: the learning curve of every search trial; a cross ends those that were pruned.
    `importance`: which parameters the scores of the search's trials of a fusion depend on.
    `parallel_coordinates`: these trials, each a line through its parameters.
    `best_layers`: what every confirmed layer differs from the baseline, its interval, one small point per seed.
    `layers_by_language`: the same for a fusion, language by language.
    `gain_similarity`: which languages gain from the same fusions and layers.
    `gain_by_size`: what languages gain with a fusion over the size of their Wikipedia, by script.
    `similarity`: how similar the versions of an example in two languages are, beside the score.
    `equilibrium`: what the layers of each encoder know, beside what they are worth as fusion layers.

    Pictures of one fusion each are named after it where there are several: `importance_gate`.
    """
    for name, figure in _figures(sweep):
        # Its layout is found once, and not anew for every format.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        yield name, figure


def _figures(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    if not (curves := search_curves(sweep.frame)).empty:
        yield "search", draw_search(sweep, curves)
    yield from _searches(sweep)
    table = best_layers(sweep.frame, sweep.intervals)
    if not table.empty:
        yield "best_layers", draw_best_layers(sweep, table)
    yield from _languages(sweep)
    if not (similar := similarity(sweep.frame)).empty:
        yield "similarity", draw_similarity(sweep, similar)
    if not (layers := sweep_equilibrium(sweep)[0]).empty:
        yield "equilibrium", draw_equilibrium(sweep, layers)


def _searches(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    trials = search_trials(sweep.frame)
    fusions = searched_fusions(trials)
    for fusion in fusions:
        if not (shares := importances(trials, fusion)).empty:
            name = _named("importance", fusion, fusions)
            yield name, draw_importance(sweep, fusion, shares, len(complete_trials(trials, fusion)))
    for fusion in fusions:
        fused = trials[trials["fusion"].eq(fusion)]
        if len(complete_trials(trials, fusion)) > 1 and (params := searched(fused)):
            yield _named("parallel_coordinates", fusion, fusions), draw_parallel(sweep, fusion, fused, params)


def _languages(sweep: Sweep) -> Iterator[tuple[str, Figure]]:
    gains = gains_by_language(sweep.frame)
    fusions = layered(dict.fromkeys(gains.columns.get_level_values("fusion")))
    # One scale for all of them, so that colours can be compared.
    bound = max((float(columns_of(gains, fusion).abs().max(axis=None)) for fusion in fusions), default=0.0)
    for fusion in fusions:
        figure = draw_layers_by_language(sweep, fusion, columns_of(gains, fusion), max(bound, 0.01))
        yield _named("layers_by_language", fusion, fusions), figure
    if len(alike := gain_similarity(sweep.frame)) >= _LANGUAGES_NEEDED:
        yield "gain_similarity", draw_gain_similarity(sweep, alike, families_of(alike.index))
    languages = per_language(sweep.frame)
    compared = fusions_of(languages)
    for fusion in compared:
        of_fusion = languages[languages["fusion"].eq(fusion)]
        found = sizes_and_scripts(of_fusion, str(sweep.settings["data"]["source_language"]))
        if found["bytes"].notna().sum() >= _LANGUAGES_NEEDED:
            yield _named("gain_by_size", fusion, compared), draw_gain_by_size(sweep, fusion, found)


def _named(name: str, fusion: str, fusions: Sequence[str]) -> str:
    return name if len(fusions) == 1 else f"{name}_{fusion}"


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
