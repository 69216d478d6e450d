"""What the pictures show, read back from their own artists."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from dlfa.tasks.languages import LANGUAGES
from orchestrator.report.best_layers import best_layers
from orchestrator.report.plots import plots, write_plots
from orchestrator.report.search import search_trials
from orchestrator.report.trials import Sweep, load

from .conftest import COMPLETE, CONFIRM, RUNNING, SEARCH, Trial, WriteSweep, dlfa, none, report, scores
from .simulated import simulate

SEVERAL = {"dlfa": 0.0, "gate": 1.0, "scalar_mix": 0.5}


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


def lines_of(figure: Figure) -> dict[str, list[list[float]]]:
    """Points of every labelled line."""
    return {
        str(line.get_label()): np.c_[np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)].tolist()
        for line in figure.axes[0].get_lines()
    }


def test_layers_are_differences_to_the_baseline_with_their_seeds(write_sweep: WriteSweep) -> None:
    figure = drawn(write_sweep())["best_layers"]
    points = lines_of(figure)
    assert points["dlfa"] == points["selected on dev"] == [[1, 1.25]]
    assert [y for _, y in sorted(points["one seed"])] == [0.5, 2.0]
    assert [y for _, y in points["baseline"]] == [0, 0]
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == ["1", "2", "3", "4"], "layers that were never tried have their places"
    assert "95 % interval" not in [text.get_text() for text in figure.legends[0].get_texts()], "it has no examples"


def test_without_a_baseline_layers_are_means(write_sweep: WriteSweep) -> None:
    points = lines_of(drawn(write_sweep([*SEARCH, *CONFIRM[3:]]))["best_layers"])
    assert points["dlfa"] == [[1, 56.5]]
    assert sorted(y for _, y in points["one seed"]) == [55.5, 57.5]
    assert "baseline" not in points


def bars_of(figure: Figure) -> list[tuple[float, float, float]]:
    (bars,) = figure.axes[0].collections
    assert isinstance(bars, LineCollection)
    return [(float(bar[0, 0]), float(bar[0, 1]), float(bar[1, 1])) for bar in map(np.asarray, bars.get_segments())]


def test_intervals_are_bars_and_those_that_are_far_too_long_end_in_an_arrow() -> None:
    sweep = simulate(lambda layer, _: 5.0, np.random.default_rng(1), layers=(1, 2), seeds=6, seed_sd=0.1)
    table = best_layers(sweep.frame, sweep.intervals).dropna(subset="fusion_layer")
    columns = ["fusion_layer", "difference_low", "difference_high"]
    assert bars_of(dict(plots(sweep))["best_layers"]) == [pytest.approx(row) for row in table[columns].to_numpy(float)]

    two = simulate(
        lambda layer, _: 0.0, np.random.default_rng(2), layers=(1, 2, 3), seeds=2, seed_sd=3.0, layer_sd=0.1, own_sd=0.1
    )
    table = best_layers(two.frame, two.intervals).dropna(subset="fusion_layer")
    figure = dict(plots(two))["best_layers"]
    bars = bars_of(figure)
    is_cut = [low > real for (_, low, _), real in zip(bars, table["difference_low"], strict=True)]
    assert any(is_cut)
    (arrows,) = [line for line in figure.axes[0].get_lines() if line.get_marker() == "v"]
    assert np.asarray(arrows.get_xdata()).tolist() == [at for (at, _, _), cut in zip(bars, is_cut, strict=True) if cut]


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


def boxes_of(axes: Any) -> Iterator[tuple[str, list[Any]]]:
    """Places of the labels that could overlap, axis by axis, and those inside the picture."""
    for name in ("x", "y"):
        labels = getattr(axes, f"get_{name}ticklabels")()
        yield name, [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]
    yield "texts", [Text.get_window_extent(text) for text in axes.texts]


@pytest.fixture(scope="module")
def large() -> Sweep:
    """Forty languages, eleven layers, sixty trials, of which a name that is long."""
    languages = [code for code in LANGUAGES if code != "en"][:39]
    return simulate(
        lambda layer, language: float(len(languages) + layer - ord(language[0])) / 10, np.random.default_rng(2),
        languages=[*languages, "xx"], layers=range(1, 12), trials=60, examples=10, seeds=2,
        name="udpos-20261124-a-long-name-of-a-sweep-2",
    )  # fmt: skip


def test_no_two_labels_overlap_and_none_is_cut(large: Sweep) -> None:
    pictures = dict(plots(large))
    assert list(pictures) == [
        "search", "importance", "parallel_coordinates", "best_layers", "layers_by_language", "gain_similarity",
        "gain_by_size",
    ]  # fmt: skip
    assert_readable(pictures)


def test_pictures_of_several_fusions_are_readable_too() -> None:
    sweep = simulate(
        lambda layer, _: float(layer), np.random.default_rng(2), fusions=SEVERAL, languages=("de", "fr", "fi", "tr"),
        layers=range(1, 12), trials=90, examples=10, seeds=2, similar=True,
    )  # fmt: skip
    pictures = dict(plots(sweep))
    assert list(pictures) == [
        "search",
        *(f"importance_{fusion}" for fusion in ("dlfa", "gate")),
        *(f"parallel_coordinates_{fusion}" for fusion in ("dlfa", "gate")),
        "best_layers",
        *(f"layers_by_language_{fusion}" for fusion in ("dlfa", "gate")),
        "gain_similarity",
        *(f"gain_by_size_{fusion}" for fusion in SEVERAL),
        "similarity",
    ]
    assert_readable(pictures)
    panels = [pictures[f"layers_by_language_{fusion}"].axes[0] for fusion in ("dlfa", "gate")]
    assert len({axes.get_images()[0].get_clim() for axes in panels}) == 1, "colours can be compared"


def test_every_fusion_is_a_series_beside_the_others() -> None:
    sweep = simulate(
        lambda layer, _: float(layer), np.random.default_rng(2), fusions=SEVERAL, layers=(1, 2), trials=20, seeds=6
    )
    pictures = dict(plots(sweep))
    points = lines_of(pictures["best_layers"])
    table = best_layers(sweep.frame)
    places = {}
    for fusion in SEVERAL:
        assert [y for _, y in points[fusion]] == pytest.approx(table.loc[table["fusion"].eq(fusion), "difference"])
        places[fusion] = [x for x, _ in points[fusion]]
    assert places["dlfa"] == pytest.approx([0.825, 1.825])
    assert places["gate"] == pytest.approx([1.175, 2.175])
    assert places["scalar_mix"] == [3]
    assert [text.get_text() for text in pictures["best_layers"].axes[0].get_xticklabels()] == ["1", "2", "all"]
    assert len(points["selected on dev"]) == 2
    lines = pictures["best_layers"].axes[0].get_lines()
    assert len({str(line.get_color()) for line in lines if line.get_label() in SEVERAL}) == 3
    names = [text.get_text() for text in pictures["search"].legends[0].get_texts()]
    assert names == ["baseline", *SEVERAL, "pruned", "full budget"]
    assert len(pictures["search"].axes) == 3


def assert_readable(pictures: Mapping[str, Figure]) -> None:
    """Fail on labels that overlap or are cut."""
    for name, figure in pictures.items():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        for axes in figure.axes:
            for kind, boxes in boxes_of(axes):
                for one, other in itertools.combinations(boxes, 2):
                    assert not one.overlaps(other), (name, kind)
        # Half a pixel, as texts are placed between pixels.
        whole = figure.bbox.padded(0.5)
        inside = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
        assert whole.containsx(inside.x0) and whole.containsx(inside.x1), name  # noqa: PT018
        assert whole.containsy(inside.y0) and whole.containsy(inside.y1), name  # noqa: PT018


def test_languages_of_known_size_have_their_labels_and_the_others_are_named(large: Sweep) -> None:
    axes = dict(plots(large))["gain_by_size"].axes[0]
    texts = {text.get_text() for text in axes.texts}
    without = axes.get_xlabel().split(": ")[1].split(", ")
    sized = {code for code, language in LANGUAGES.items() if language.wikipedia_bytes is not None}
    targets = set(large.examples["language"]) - {"en"}
    assert texts <= targets & sized
    assert len(texts) >= 0.9 * len(targets & sized)
    assert set(without) == targets - sized
    assert "xx" in without


def test_alike_languages_stand_together_with_their_families() -> None:
    def gain(layer: int, language: str) -> float:
        return float(layer if language in ("de", "sv", "nl") else 6 - layer)

    sweep = simulate(gain, np.random.default_rng(3), languages=("de", "fi", "nl", "et", "sv"), layers=range(1, 6))
    axes = dict(plots(sweep))["gain_similarity"].axes[1]
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert {rows.index(f"Uralic  {code}") for code in ("fi", "et")} in ({0, 1}, {3, 4})
    assert [row.split()[-1] for row in rows] == [text.get_text() for text in axes.get_xticklabels()]
    (image,) = axes.get_images()
    values = np.asarray(image.get_array())
    assert np.diag(values) == pytest.approx(1)
    assert image.get_clim() == (-1, 1)


def test_every_dlfa_trial_is_a_line_and_only_complete_ones_reach_the_score() -> None:
    sweep = simulate(lambda layer, _: 0.0, np.random.default_rng(4), trials=30)
    axes = dict(plots(sweep))["parallel_coordinates"].axes[0]
    trials = search_trials(sweep.frame)
    dlfa_trials = trials[trials["fusion"].eq("dlfa")]
    lengths = [np.size(line.get_xdata()) for line in axes.get_lines() if np.size(line.get_xdata()) > 2]
    complete = int(dlfa_trials["state"].eq("COMPLETE").sum())
    assert sorted(lengths) == [3] * (len(dlfa_trials) - complete) + [4] * complete
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["fusion\nlayer", "reduction\nratio", "learning\nrate", "dev F1\n(%)"]


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
