"""Every table as LaTeX and the whole page, through strict parsers, with names that mean something in both."""

import re
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexMacroNode, LatexWalker, LatexWalkerParseError

from orchestrator.report.documents import to_html
from orchestrator.report.folder import write_reports
from orchestrator.report.render import render
from orchestrator.report.trials import Sweep, load

from .conftest import SEARCH, WriteSweep
from .simulated import simulate

NASTY = r"a_b & 50% of #1 {x} $y$ \z ~ ^ <b> ± 'q' é"
LINKS = {"src", "href", "action", "data", "poster", "srcset", "formaction", "background"}


@pytest.fixture(scope="module")
def nasty() -> Sweep:
    """A sweep with all tables and pictures, whose names and remarks are full of markup."""
    sweep = simulate(
        lambda layer, _: float(layer), np.random.default_rng(1), languages=("de", "fr", "fi", "et", "<&>_%"),
        layers=range(1, 6), trials=20, name=NASTY, examples=20,
    )  # fmt: skip
    settings: dict[str, Any] = dict(sweep.settings)
    settings |= {"encoder": f"org/{NASTY}", "provenance": {"layout": NASTY, "remarks": [NASTY, "a\\", "{"]}}
    return Sweep(name=NASTY, settings=settings, layers=sweep.layers, frame=sweep.frame, examples=sweep.examples)


def check_latex(text: str) -> None:
    """Fail on what LaTeX would not take: a strict parser, macros that booktabs has, as many cells as columns."""
    walker = LatexWalker(text, tolerant_parsing=False)
    nodes, _, length = walker.get_latex_nodes()
    assert length == len(text)
    (table,) = [node for node in nodes if node.isNodeType(LatexEnvironmentNode)]
    assert table.environmentname == "table"
    (tabular,) = [node for node in table.nodelist if node.isNodeType(LatexEnvironmentNode)]
    assert tabular.environmentname == "tabular"
    assert {node.macroname for node in table.nodelist if node.isNodeType(LatexMacroNode)} == {"centering", "caption"}
    macros = [node.macroname for node in tabular.nodelist if node.isNodeType(LatexMacroNode)]
    rules = [name for name in macros if name.endswith("rule")]
    assert rules == ["toprule", "midrule", "bottomrule"]
    known = {"\\", "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", *"_%&#${}"}
    assert set(macros) - set(rules) <= known
    begun = re.search(r"\\begin\{tabular\}\{([rl]+)\}", text)
    assert begun
    # Cells are told apart by & in the source: what is escaped is a macro to the parser, and no part of these.
    body = text[begun.end() : text.index(r"\bottomrule")]
    body = re.sub(r"\\(top|mid)rule", "", body)
    for row in re.split(r"(?<!\\)\\\\", body.strip())[:-1]:
        assert len(re.split(r"(?<!\\)&", row)) == len(begun[1]), row
    # Each of these is set in math, or is an error outside of it.
    for character in "^_~#%":
        assert not re.search(rf"(?<!\\){re.escape(character)}", text)


def test_every_table_is_latex_whatever_is_in_it(nasty: Sweep, tmp_path: Path) -> None:
    write_reports(nasty, tmp_path)
    files = sorted(tmp_path.glob("*.tex"))
    assert len(files) >= 6
    for path in files:
        check_latex(path.read_text(encoding="utf-8"))
    assert r"a\_b \& 50\% of \#1 \{x\} \$y\$ \textbackslash{}z" in (tmp_path / "best_layers.tex").read_text("utf-8")


@pytest.mark.parametrize("broken", ["{", "}", r"\end{tabular}", "$x", "a & b"])
def test_the_check_of_latex_sees_what_is_wrong(nasty: Sweep, broken: str) -> None:
    text = render(nasty.intervals.head(2), ["note"], "title", "latex")
    check_latex(text)
    with pytest.raises((LatexWalkerParseError, AssertionError)):
        check_latex(text.replace(r"\midrule", r"\midrule" + "\n" + broken, 1))


def check_page(text: str) -> None:
    """Fail on a page that a strict parser doesn't take, or that would load anything from elsewhere."""
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    for element in tree.iter():
        assert element.tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name, value in element.attrib.items():
            plain = name.split("}")[-1].lower()
            assert not plain.startswith("on"), (element.tag, name)
            if plain in LINKS:
                assert value.startswith(("#", "data:image/png;base64,")), (element.tag, name, value[:50])
            assert not re.search(r"url\((?!['\"]?#)", value), (element.tag, name, value[:50])
    styles = " ".join(element.text or "" for element in tree.iter() if str(element.tag).split("}")[-1] == "style")
    assert "@import" not in styles
    assert "url(" not in styles
    # Elsewhere a name of a vocabulary, which no one fetches, is all that looks like an address.
    addresses = set(re.findall(r"https?://[^\s\"'<>]*", re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_page_is_valid_and_needs_no_network(nasty: Sweep) -> None:
    text = to_html([nasty])
    check_page(text)
    assert text.count("<svg") == text.count("</svg>") >= 6


@pytest.mark.parametrize("trials", [None, SEARCH, []])
def test_pages_of_sweeps_that_are_not_finished_are_valid_too(write_sweep: WriteSweep, trials: Any) -> None:
    check_page(to_html([load(write_sweep(trials))]))


@pytest.mark.parametrize(
    "broken",
    [
        '<img src="https://example.org/x.png">',
        "<p><div></p>",
        "<b>",
        '<a href="//example.org">x</a>',
        "<i onclick='x'>",
    ],
)
def test_the_check_of_pages_sees_what_is_wrong(broken: str) -> None:
    page = "<!doctype html>\n<html lang='en'><head><title>t</title></head><body>{}</body></html>"
    check_page(page.format("<p>x</p>"))
    with pytest.raises((html5lib.html5parser.ParseError, AssertionError)):
        check_page(page.format(broken))
