import io
import re

import pandas as pd
import pytest

from orchestrator.report.best_layers import best_layers
from orchestrator.report.curves import learning_curves
from orchestrator.report.languages import per_language
from orchestrator.report.notes import notes
from orchestrator.report.render import FORMATS, Format, render, render_sweep, render_together
from orchestrator.report.search import search_trials
from orchestrator.report.trials import load

from .conftest import SEARCH, Trial, WriteSweep

NOTES = ["encoder: a_b", "50% & #1"]
BEST: pd.DataFrame = pd.DataFrame(
    {
        "fusion": pd.array(["none", "dlfa", "scalar_mix"], dtype="string"),
        "fusion_layer": pd.array([None, 10, None], dtype="Int64"),
        "learning_rate": [3e-5, 2e-5, 1.24e-6],
        "dropout": [0.1, 0.125, 0.1],
        "avg_target": [70.5, 71.234, 69.0],
        "avg_target_sd": [0.25, 0.414, float("nan")],
        "difference": [float("nan"), 0.734, -1.5],
        "difference_sd": [float("nan"), 0.1, float("nan")],
        "pairs": [0, 2, 1],
        "selected": [False, True, True],
    }
)


def test_the_terminal_gets_aligned_plain_text() -> None:
    assert render(BEST, NOTES, "Best layers", "table") == (
        "Best layers\n"
        "\n"
        "fusion      layer  learning rate  dropout    avg target    difference  pairs\n"
        "----------  -----  -------------  -------  ------------  ------------  -----\n"
        "baseline        -        3.0e-05      0.1  70.50 ± 0.25             -      0\n"
        "dlfa          10*        2.0e-05    0.125  71.23 ± 0.41  +0.73 ± 0.10      2\n"
        "scalar_mix      -        1.2e-06      0.1         69.00         -1.50      1\n"
        "\n"
        "  encoder: a_b\n"
        "  50% & #1\n"
    )


def test_an_interval_stands_beside_its_difference_in_place_of_a_standard_deviation() -> None:
    table = BEST.drop(columns=["dropout", "avg_target", "avg_target_sd"]).assign(
        difference_low=[float("nan"), -0.26, -2.5], difference_high=[float("nan"), 1.734, -0.25]
    )
    assert render(table, [], "Best layers", "table") == (
        "Best layers\n"
        "\n"
        "fusion      layer  learning rate            difference  pairs\n"
        "----------  -----  -------------  --------------------  -----\n"
        "baseline        -        3.0e-05                     -      0\n"
        "dlfa          10*        2.0e-05  +0.73 [-0.26, +1.73]      2\n"
        "scalar_mix      -        1.2e-06  -1.50 [-2.50, -0.25]      1\n"
    )
    assert r"dlfa & 10* & 2.0e-05 & +0.73 [$-$0.26, +1.73] & 2 \\" in render(table, [], "Best layers", "latex")


def test_markdown_is_a_pipe_table_with_the_notes_as_a_list() -> None:
    assert render(BEST, NOTES, "Best layers", "markdown") == (
        "**Best layers**\n"
        "\n"
        "| fusion | layer | learning rate | dropout | avg target | difference | pairs |\n"
        "| :-- | --: | --: | --: | --: | --: | --: |\n"
        "| baseline | - | 3.0e-05 | 0.1 | 70.50 ± 0.25 | - | 0 |\n"
        "| dlfa | 10* | 2.0e-05 | 0.125 | 71.23 ± 0.41 | +0.73 ± 0.10 | 2 |\n"
        "| scalar\\_mix | - | 1.2e-06 | 0.1 | 69.00 | -1.50 | 1 |\n"
        "\n"
        "- encoder: a\\_b\n"
        "- 50% & #1\n"
    )


def test_latex_is_a_booktabs_table_with_the_notes_in_its_caption() -> None:
    assert render(BEST, NOTES, "Best layers", "latex") == (
        "\\begin{table}\n"
        "\\centering\n"
        "\\caption{Best layers: encoder: a\\_b; 50\\% \\& \\#1.}\n"
        "\\begin{tabular}{lrrrrrr}\n"
        "\\toprule\n"
        "fusion & layer & learning rate & dropout & avg target & difference & pairs \\\\\n"
        "\\midrule\n"
        "baseline & - & 3.0e-05 & 0.1 & 70.50 $\\pm$ 0.25 & - & 0 \\\\\n"
        "dlfa & 10* & 2.0e-05 & 0.125 & 71.23 $\\pm$ 0.41 & +0.73 $\\pm$ 0.10 & 2 \\\\\n"
        "scalar\\_mix & - & 1.2e-06 & 0.1 & 69.00 & $-$1.50 & 1 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n"
    )


def test_latex_escapes_every_special_character() -> None:
    table = pd.DataFrame({"note_a": ["\\ {x} _ % # & $ ~ ^ < > ±"]})
    escaped = (
        r"\textbackslash{} \{x\} \_ \% \# \& \$ \textasciitilde{} \textasciicircum{} \textless{} \textgreater{} $\pm$"
    )
    text = render(table, ["{_"], "100%", "latex")
    assert f"\n{escaped} \\\\\n" in text
    assert "\\caption{100\\%: \\{\\_.}" in text
    assert "\\begin{tabular}{l}\n\\toprule\nnote a \\\\" in text


def test_markdown_cells_cannot_end_their_column() -> None:
    assert "| a\\|b\\_ |" in render(pd.DataFrame({"x": ["a|b_"]}), [], "t", "markdown")


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_the_fusion_none_is_the_baseline_and_a_trial_without_parameters_has_none(format: Format) -> None:
    table = pd.DataFrame(
        {
            "number": [0, 1, 2],
            "fusion": pd.array(["none", "dlfa", None], dtype="string"),
            "fusion_layer": pd.array([None, 4, None], dtype="Int64"),
        }
    )
    text = render(table, [], "t", format)
    found = re.findall(r"\b([012])\b\W+?(baseline|dlfa|-)\W+?(\d|-)", text)
    assert found == [("0", "baseline", "-"), ("1", "dlfa", "4"), ("2", "-", "-")]


def test_csv_reads_back_to_the_same_numbers(write_sweep: WriteSweep) -> None:
    frame = load(write_sweep()).frame
    for table in (best_layers(frame), per_language(frame), learning_curves(frame), search_trials(frame)):
        text = render(table, NOTES, "title", "csv")
        read = pd.read_csv(io.StringIO(text)).astype(table.dtypes.to_dict())
        pd.testing.assert_frame_equal(read, table, rtol=1e-15, atol=0)
    assert render(BEST.assign(avg_target=0.1 + 0.2), [], "t", "csv").count("0.30000000000000004") == 3


@pytest.mark.parametrize("format", FORMATS)
def test_a_finished_sweep_shows_layers_and_languages_with_its_notes_once(
    write_sweep: WriteSweep, format: Format
) -> None:
    sweep = load(write_sweep())
    text = render_sweep(sweep, format)
    if format == "csv":
        assert text == render(best_layers(sweep.frame, sweep.intervals), [], "", "csv")
        return
    titles = ["Best fusion layers of sweep udpos-1 (udpos)", "Scores per language of sweep udpos-1 (udpos)"]
    titles.append("Learning curves of sweep udpos-1 (udpos)")
    titles.append("Strict and oracle selection of sweep udpos-1 (udpos)")
    assert [text.count(title) for title in titles] == [1, 1, 1, 1]
    # LaTeX tables float apart, so all four have the notes.
    assert [text.count(note) for note in _as_text(notes(sweep), format)] == [4 if format == "latex" else 1] * 18
    assert "\n\n\n" not in text


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("trials", [[], SEARCH])
def test_a_sweep_interrupted_in_search_shows_its_search_trials(
    write_sweep: WriteSweep, format: Format, trials: list[Trial]
) -> None:
    sweep = load(write_sweep(trials))
    text = render_sweep(sweep, format)
    if format == "csv":
        assert text == render(search_trials(sweep.frame), [], "", "csv")
        return
    assert "Search trials of sweep udpos-1 (udpos)" in text
    assert "Best fusion layers" not in text
    assert text.count("the confirm phase has not finished: nothing has a confirmed run") == 1


def _as_text(lines: list[str], format: Format) -> list[str]:
    if format == "latex":
        return lines
    return [f"- {line}" if format == "markdown" else f"  {line}\n" for line in lines]


def test_several_sweeps_are_one_table_whose_common_notes_stand_once(write_sweep: WriteSweep) -> None:
    sweeps = [load(write_sweep(name="one")), load(write_sweep(SEARCH, name="two"))]
    text = render_together(sweeps, "table")
    title, _, heading, _, row, *rest = text.splitlines()
    assert title == "Best fusion layer of each sweep"
    assert heading.split()[:5] == ["sweep", "task", "metric", "fusion", "layer"]
    assert row.split()[:5] == ["one", "udpos", "f1", "dlfa", "1"]
    assert rest.count("  encoder: some/encoder") == 1
    assert "  two: the confirm phase has not finished: nothing has a confirmed run" in rest
    assert not any(line.startswith("  one: encoder") for line in rest)
    assert render_together(sweeps, "csv").startswith("sweep,task,metric,fusion,fusion_layer,")
