"""Tables as text: for the terminal, as CSV, Markdown and LaTeX."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, get_args

import pandas as pd
from pandas.api.types import is_numeric_dtype

from orchestrator.report.arms import arm_of
from orchestrator.report.best_layers import best_layers, best_of_each
from orchestrator.report.curves import learning_curves
from orchestrator.report.equilibrium import sweep_equilibrium
from orchestrator.report.families import alikeness, families, gain_similarity
from orchestrator.report.languages import families_of, layer_profiles, per_language
from orchestrator.report.notes import notes
from orchestrator.report.search import search_trials
from orchestrator.report.selection import selection
from orchestrator.report.similarity import similarity, similarity_by_language
from orchestrator.report.trials import Sweep

__all__ = [
    "FORMATS",
    "Format",
    "numeric_columns",
    "render",
    "render_sweep",
    "render_together",
    "sweep_notes",
    "sweep_tables",
    "text_cells",
    "together",
]

Format = Literal["table", "csv", "markdown", "latex"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

_PERCENT = (
    "dev", "avg_target", "source", "near", "far", "enf", "worst", "gap", "baseline", "fused", "score", "value",
    "published", "ours",
    "retrieval", "language", "capability", "upos", "structure", "majority", "equilibrium", "target",
)  # fmt: skip
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    **{character: f"\\{character}" for character in "_%&#$" + "{}"},
}


def render(table: pd.DataFrame, notes: Sequence[str], title: str, format: Format) -> str:
    """Return a table as text that ends in a newline.

    Args:
        table: One of this package's tables, or any frame.
        notes: Facts that stand beside it; CSV has no place for them, nor for the title.
        title: One line.
        format: CSV holds the numbers in full precision; the others hold percent with two decimals,
            means with their standard deviation, differences with their interval if there is one, cosines with four
            decimals, and `*` behind a selected layer.
    """
    return _RENDERERS[format](table, notes, title)


def render_sweep(sweep: Sweep, format: Format) -> str:
    """Return what a sweep found: its best layers and their languages; before those, its search trials.

    CSV is the first of these tables alone.
    """
    lines = sweep_notes(sweep)
    tables = sweep_tables(sweep)
    shown = (
        ["search"]
        if tables["best_layers"][1].empty
        else ["best_layers", "selection", "per_language", "similarity", "learning_curves"]
    )
    shown = [name for name in (*shown, "equilibrium") if name in tables]
    if format == "csv":
        shown = shown[:1]
    # LaTeX tables float apart, so each has the notes in its caption; else they stand once, at the end.
    parts = [
        render(tables[name][1], lines if format == "latex" or name == shown[-1] else [], tables[name][0], format)
        for name in shown
    ]
    return "\n".join(parts)


def render_together(sweeps: Sequence[Sweep], format: Format) -> str:
    """Return the table of several sweeps: see `together`."""
    title, table, lines = together(sweeps)
    return render(table, lines, title, format)


def together(sweeps: Sequence[Sweep]) -> tuple[str, pd.DataFrame, list[str]]:
    """Return title, table and notes of several sweeps: the selected layer of each fusion beside the baseline."""
    lines = {sweep.name: notes(sweep) for sweep in sweeps}
    common = [line for line in lines[sweeps[0].name] if all(line in others for others in lines.values())]
    own = [f"{name}: {line}" for name, found in lines.items() for line in found if line not in common]
    return "Best fusion layer of each sweep", best_of_each(sweeps), common + own


def sweep_tables(sweep: Sweep) -> dict[str, tuple[str, pd.DataFrame]]:
    """Return title and table by file name."""
    of_sweep = f"of sweep {sweep.name} ({sweep.settings['task']})"
    alike = gain_similarity(sweep.frame)
    found = alikeness(alike, families_of(alike.index))
    profiles = "" if found is None else f": {found.told}"
    balanced = sweep_equilibrium(sweep)[0]
    measured = {} if balanced.empty else {"equilibrium": (f"Layers of the encoder {of_sweep}", balanced)}
    similar = similarity(sweep.frame)
    aligned = (
        {}
        if similar.empty
        else {
            "similarity": (f"Similarity across languages {of_sweep}", similar),
            "similarity_by_language": (
                f"Similarity by layer and language {of_sweep}",
                similarity_by_language(sweep.frame),
            ),
        }
    )
    return {
        "best_layers": (f"Best fusion layers {of_sweep}", best_layers(sweep.frame, sweep.intervals)),
        "selection": (
            f"Strict and oracle selection {of_sweep}",
            selection(sweep.frame, sweep.intervals, sweep.target_draws),
        ),
        "per_language": (f"Scores per language {of_sweep}", per_language(sweep.frame, sweep.intervals)),
        **aligned,
        "learning_curves": (f"Learning curves {of_sweep}", learning_curves(sweep.frame)),
        "layers_by_language": (f"Differences by layer and language {of_sweep}", layer_profiles(sweep.frame)),
        "families": (f"Families {of_sweep}{profiles}", families(sweep.frame)),
        **measured,
        "search": (f"Search trials {of_sweep}", search_trials(sweep.frame)),
    }


def sweep_notes(sweep: Sweep) -> list[str]:
    """Return the facts, one line each, that stand beside the tables of a sweep."""
    return [*notes(sweep), *sweep_equilibrium(sweep)[1]]


def text_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, column names being headings; intervals, or else standard deviations, join their means."""
    text: dict[str, list[str]] = {}
    hidden = ["selected", *(f"{column}_{what}" for column in table for what in ("sd", "low", "high"))]
    if "difference_p" in table and table["difference_p"].isna().all():
        hidden.append("difference_p")
    for column in table.columns.difference(hidden, sort=False):
        cells = [_cell(column, value) for value in table[column]]
        if f"{column}_low" in table and table[f"{column}_low"].notna().any():
            edges = zip(table[f"{column}_low"], table[f"{column}_high"], strict=True)
            sign = "+" if column.startswith(("difference", "cost")) else ""
            interval = ["" if pd.isna(low) else f" [{low:{sign}.2f}, {high:{sign}.2f}]" for low, high in edges]
            cells = [mean + text for mean, text in zip(cells, interval, strict=True)]
        elif f"{column}_sd" in table:
            spread = ["" if pd.isna(sd) else f" ± {sd:.2f}" for sd in table[f"{column}_sd"]]
            cells = [mean + sd for mean, sd in zip(cells, spread, strict=True)]
        text[_heading(column)] = cells
    result: pd.DataFrame = pd.DataFrame(text, index=table.index, dtype="string")
    if "selected" in table:
        result["layer"] += (table["selected"] & result["layer"].ne("-")).map({True: "*", False: ""})
    return result


def _heading(column: str) -> str:
    named = {"fusion_layer": "layer", "reduction_ratio": "ratio", "difference_p": "p"}
    return named.get(column, column.replace("_", " "))


def numeric_columns(table: pd.DataFrame, cells: pd.DataFrame) -> list[bool]:
    """Tell which columns of the text are numbers, which align right."""
    numeric = {_heading(str(column)) for column in table if is_numeric_dtype(table[column])}
    return [heading in numeric for heading in cells]


def _cell(column: str, value: Any) -> str:
    if pd.isna(value):
        return "-"
    if column == "fusion":
        return arm_of(value)
    if not isinstance(value, float):
        return str(value)
    if "learning_rate" in column:
        return f"{value:.1e}"
    if column == "difference_p":
        return f"{value:.3f}"
    if column.startswith("similarity"):
        return f"{value:+.4f}" if column.endswith("difference") else f"{value:.4f}"
    if column.startswith(("difference", "layer_", "cost")):
        return f"{value:+.2f}"
    return f"{value:.2f}" if column.startswith(_PERCENT) else f"{value:.4g}"


def _plain(table: pd.DataFrame, notes: Sequence[str], title: str) -> str:
    cells = text_cells(table)
    columns = [[str(heading), *cells[heading]] for heading in cells]
    aligned = []
    for (first, *_), column, right in zip(columns, columns, numeric_columns(table, cells), strict=True):
        width = max(map(len, column))
        aligned.append([c.rjust(width) if right else c.ljust(width) for c in [first, "-" * width, *column[1:]]])
    rows = ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]
    return "\n".join([title, "", *rows, "", *(f"  {note}" for note in notes)]).rstrip() + "\n"


def _csv(table: pd.DataFrame, notes: Sequence[str], title: str) -> str:
    return table.to_csv(index=False, lineterminator="\n")


def _markdown(table: pd.DataFrame, notes: Sequence[str], title: str) -> str:
    cells = text_cells(table)
    rule = ["--:" if right else ":--" for right in numeric_columns(table, cells)]
    rows = [list(cells.columns), rule, *([_escape_markdown(c) for c in row] for row in cells.to_numpy())]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    listed = [f"- {_escape_markdown(note)}" for note in notes]
    return "\n".join([f"**{_escape_markdown(title)}**", "", *lines, "", *listed]).rstrip() + "\n"


def _latex(table: pd.DataFrame, notes: Sequence[str], title: str) -> str:
    cells = text_cells(table)
    caption = f"{title}: {'; '.join(notes)}." if notes else f"{title}."
    alignment = "".join("r" if right else "l" for right in numeric_columns(table, cells))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape_latex(caption)}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            _latex_row(cells.columns),
            r"\midrule",
            *(_latex_row(row) for row in cells.to_numpy()),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_row(cells: Iterable[str]) -> str:
    # A hyphen before a digit is a minus sign, but not inside 2.0e-05.
    escaped = [re.sub(r"(?<![\w.-])-(?=\d)", "$-$", _escape_latex(cell)) for cell in cells]
    return " & ".join(escaped) + r" \\"


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|`_<])", r"\\\1", text)


_RENDERERS: Final[dict[Format, Callable[[pd.DataFrame, Sequence[str], str], str]]] = {
    "table": _plain,
    "csv": _csv,
    "markdown": _markdown,
    "latex": _latex,
}
