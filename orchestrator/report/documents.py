"""What sweeps found as one JSON document, and as one HTML page that needs no other file."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from io import StringIO
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from orchestrator.report.plots import plots
from orchestrator.report.render import numeric_columns, sweep_notes, sweep_tables, text_cells, together
from orchestrator.report.trials import Sweep

__all__ = ["to_html", "to_json"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: left; }
thead { border-top: 2px solid; border-bottom: 1px solid; }
tbody { border-bottom: 2px solid; }
.number { text-align: right; white-space: nowrap; }
div { overflow-x: auto; }
ul { color: #555; font-size: 14px; }
svg { max-width: 100%; height: auto; }
"""


def to_json(sweeps: Sequence[Sweep]) -> str:
    """Return sweeps as JSON: numbers in full precision, null where there is none.

    `sweeps` has for each its name, task, notes and tables, each a list of rows; `together`, for several sweeps, the
    rows of the table of all of them.
    """
    found: dict[str, Any] = {
        "sweeps": [
            {
                "sweep": sweep.name,
                "task": sweep.settings["task"],
                "notes": sweep_notes(sweep),
                "tables": {name: _rows(table) for name, (_, table) in sweep_tables(sweep).items()},
            }
            for sweep in sweeps
        ]
    }
    if len(sweeps) > 1:
        found["together"] = _rows(together(sweeps)[1])
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows


def to_html(sweeps: Sequence[Sweep]) -> str:
    """Return sweeps as a page: of each its notes, tables and pictures; of several first the table of all."""
    names = ", ".join(sweep.name for sweep in sweeps)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{escape(names)}</title><style>{_STYLE}</style></head>',
            "<body>",
            *(_together(sweeps) if len(sweeps) > 1 else ()),
            *(part for sweep in sweeps for part in _section(sweep)),
            "</body>",
            "</html>\n",
        ]
    )


def _together(sweeps: Sequence[Sweep]) -> Iterator[str]:
    title, table, lines = together(sweeps)
    yield f"<h1>{escape(title)}</h1>"
    yield _table(table)
    yield _list(lines)


def _section(sweep: Sweep) -> Iterator[str]:
    yield f"<h1>Sweep {escape(sweep.name)} ({escape(sweep.settings['task'])})</h1>"
    yield _list(sweep_notes(sweep))
    for title, table in sweep_tables(sweep).values():
        if not table.empty:
            yield f"<h2>{escape(title)}</h2>"
            yield _table(table)
    for name, figure in plots(sweep):
        yield _picture(f"{sweep.name} {name}", figure)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(table: pd.DataFrame) -> str:
    text = text_cells(table)
    kinds = [' class="number"' if is_number else "" for is_number in numeric_columns(table, text)]
    head = "".join(f"<th{kind}>{escape(str(name))}</th>" for name, kind in zip(text, kinds, strict=True))
    rows = (
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in text.to_numpy()
    )
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _picture(name: str, figure: Figure) -> str:
    content = StringIO()
    # The same sweep gives the same page, and no two pictures of it share an id.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue()
    return f'<figure role="img" aria-label="{escape(name)}">{text[text.index("<svg") :]}</figure>'
