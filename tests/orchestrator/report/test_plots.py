"""What the pictures show, read back from their own artists."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.distributions import IntDistribution

from orchestrator.report.plots import plots, write_plots
from orchestrator.report.trials import load

from .conftest import COMPLETE, CONFIRM, RUNNING, SEARCH, SPACE, Trial, WriteSweep, dlfa, none, report, scores


def drawn(folder: Path) -> dict[str, Figure]:
    return dict(plots(load(folder)))


def curves(figure: Figure) -> list[tuple[list[float], list[float], str]]:
    """Abscissae, ordinates and marker of every line with points."""
    return [
        (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), str(line.get_marker()))
        for line in figure.axes[0].get_lines()
        if np.size(line.get_xdata())
    ]


def test_every_search_trial_is_a_curve_that_a_cross_ends_if_pruned(write_sweep: WriteSweep) -> None:
    assert curves(drawn(write_sweep())["search"]) == [
        ([1, 2], [80, 81], "o"),
        ([2, 10], [82, 79], "o"),
        ([1], [70], "x"),
    ]


def test_an_interrupted_trial_has_no_end(write_sweep: WriteSweep) -> None:
    trials = [("search", RUNNING, None, dlfa(2), {"seed": 1, "report:1": report(70.0)})]
    assert curves(drawn(write_sweep(trials))["search"]) == [([1], [70], "")]


def test_layers_are_means_with_their_seeds_beside_the_baseline(write_sweep: WriteSweep) -> None:
    figure = drawn(write_sweep())["best_layers"]
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    points = {label: np.c_[line.get_xdata(), line.get_ydata()].tolist() for label, line in lines.items()}
    left = points["baseline, mean"][0][0]
    assert points["baseline, mean"] == [[left, 55.25]]
    assert points["DLFA, mean"] == points["selected on dev"] == [[1, 56.5]]
    assert sorted(points["one seed"]) == [[left, 55], [left, 55.5], [1, 55.5], [1, 57.5]]
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == ["baseline", "1", "2", "3", "4"], "layers that were never tried have their places"


def test_differences_per_language_are_paired_by_seed(write_sweep: WriteSweep) -> None:
    trials: list[Trial] = [
        *SEARCH,
        ("confirm", COMPLETE, 81.0, none(), {"seed": 1, "best_step": 2, "scores": scores(60.0)}),
        ("confirm", COMPLETE, 81.0, none(), {"seed": 2, "best_step": 2, "scores": scores(64.0, en=80.0)}),
        ("confirm", COMPLETE, 81.0, dlfa(1), {"seed": 1, "best_step": 2, "scores": scores(61.0, en=89.0)}),
        ("confirm", COMPLETE, 81.0, dlfa(1), {"seed": 3, "best_step": 2, "scores": scores(99.0)}),
        ("confirm", COMPLETE, 81.0, dlfa(4), {"seed": 1, "best_step": 2, "scores": scores(60.0, fr=45.0)}),
        ("confirm", COMPLETE, 81.0, dlfa(4), {"seed": 2, "best_step": 2, "scores": scores(67.0)}),
    ]
    axes = drawn(write_sweep(trials, superseded=()))["layers_by_language"].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["en", "de", "fr"]
    [image] = axes.get_images()
    values = image.get_array()
    assert values is not None
    assert values.tolist() == [[-1, 5], [1, 1.5], [0, -2.5]]
    assert image.get_clim() == (-5, 5), "white is no difference"
    assert [text.get_text() for text in axes.texts][:2] == ["\N{MINUS SIGN}1.0", "+5.0"]


def test_what_has_no_run_has_no_picture(write_sweep: WriteSweep) -> None:
    assert list(drawn(write_sweep(SEARCH))) == ["search"]
    without_baseline = [*SEARCH, *CONFIRM[3:]]
    assert list(drawn(write_sweep(without_baseline, "other"))) == ["search", "best_layers"]


def test_forty_languages_and_twenty_layers_leave_every_label_readable(
    write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    languages = [f"{a}{b}" for a in "abcdefgh" for b in "vwxyz"]
    tests = {f"test/{language}/f1": 50.0 + n for n, language in enumerate(["en", *languages])}
    trials: list[Trial] = [
        ("confirm", COMPLETE, 81.0, params, {"seed": 1, "best_step": 2, "scores": tests | {"test/avg_target": 60.0}})
        for params in (none(), *map(dlfa, range(1, 21)))
    ]
    monkeypatch.setitem(SPACE, "fusion_layer", IntDistribution(1, 20))
    for name, figure in drawn(write_sweep(trials, superseded=())).items():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        axes = figure.axes[0]
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes)), name


def test_files_are_the_same_again(write_sweep: WriteSweep, tmp_path: Path) -> None:
    sweep, first, second = load(write_sweep()), tmp_path / "1", tmp_path / "2"
    written: list[Any] = []
    for folder in (first, second):
        folder.mkdir()
        written.append(write_plots(sweep, folder))
    assert [path.name for path in written[0]] == [
        f"{name}.{suffix}" for name in ("search", "best_layers", "layers_by_language") for suffix in ("pdf", "png")
    ]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes().startswith(b"%PDF" if one.suffix == ".pdf" else b"\x89PNG")
