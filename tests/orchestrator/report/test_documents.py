"""JSON that reads back, and a page that is whole and needs nothing else."""

import json
import re
from html.parser import HTMLParser

import pytest

from orchestrator.report.best_layers import best_layers
from orchestrator.report.documents import to_html, to_json
from orchestrator.report.notes import notes
from orchestrator.report.trials import load

from .conftest import SEARCH, WriteSweep

_VOID = {"meta", "path", "use", "image"}


class Page(HTMLParser):
    """Texts by tag; fails on a tag that does not end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert name not in ("src", "onload"), "it needs another file"
            assert not (name.endswith("href") and not str(value).startswith(("#", "data:")))
        assert tag not in ("script", "link", "iframe")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


def test_json_has_the_numbers_of_the_tables(write_sweep: WriteSweep) -> None:
    sweep = load(write_sweep())
    (found,) = json.loads(to_json([sweep]))["sweeps"]
    assert (found["sweep"], found["task"], found["notes"]) == ("udpos-1", "udpos", notes(sweep))
    table = best_layers(sweep.frame, sweep.intervals)
    rows = found["tables"]["best_layers"]
    assert [row["fusion_layer"] for row in rows] == [None, 1]
    for name in ("avg_target", "difference", "learning_rate"):
        for row, value in zip(rows, table[name], strict=True):
            assert row[name] == (None if value != value else pytest.approx(value, rel=1e-14))
    assert rows[1]["selected"] is True
    assert set(found["tables"]) == {
        "best_layers", "selection", "per_language", "learning_curves", "layers_by_language",
        "families", "search",
    }  # fmt: skip


def test_several_sweeps_are_one_document_of_each_kind(write_sweep: WriteSweep) -> None:
    sweeps = [load(write_sweep(name="one")), load(write_sweep(SEARCH, name="two"))]
    found = json.loads(to_json(sweeps))
    assert [sweep["sweep"] for sweep in found["sweeps"]] == ["one", "two"]
    assert [row["sweep"] for row in found["together"]] == ["one"]
    page = Page(to_html(sweeps))
    assert page.texts["h1"] == ["Best fusion layer of each sweep", "Sweep one (udpos)", "Sweep two (udpos)"]
    assert page.texts["title"] == ["one, two"]


def test_a_page_has_notes_tables_and_pictures_and_needs_nothing_else(write_sweep: WriteSweep) -> None:
    sweep = load(write_sweep())
    text = to_html([sweep])
    page = Page(text)
    assert page.texts["li"] == notes(sweep)
    # Of the runs that count, none has a learning curve here.
    assert [title.split(" of ")[0] for title in page.texts["h2"]] == [
        "Best fusion layers", "Strict and oracle selection", "Scores per language", "Differences by layer and language",
        "Families", "Search trials",
    ]  # fmt: skip
    assert {"baseline", "1*", "56.50 ± 1.41"} <= set(page.texts["td"])
    assert text.count("<svg") == text.count("</svg>") == 3
    ids = re.findall(r'<clipPath id="([^"]+)"', text)
    assert len(set(ids)) == len(ids) > 0
    assert to_html([sweep]) == text, "the same sweep, the same page"


def test_what_a_name_has_of_markup_stays_text(write_sweep: WriteSweep) -> None:
    sweep = load(write_sweep(name="<b>&amp;"))
    page = Page(to_html([sweep]))
    assert page.texts["h1"] == ["Sweep <b>&amp; (udpos)"]
    assert "b" not in page.texts


def test_a_sweep_without_results_is_a_page_too(write_sweep: WriteSweep) -> None:
    sweep = load(write_sweep([]))
    page = Page(to_html([sweep]))
    assert page.texts["h1"] == ["Sweep udpos-1 (udpos)"]
    assert json.loads(to_json([sweep]))["sweeps"][0]["tables"]["best_layers"] == []
