"""MLflow's own page in a headless browser: the steps of a reader, for the test of the page and for the screenshots."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Locator, Page, Route, TimeoutError, expect, sync_playwright

__all__ = ["COLUMNS", "HOW_TO_GET_ONE", "LAYERS", "UNUSED", "MlflowPage", "find_browser", "mlflow_page"]

HOW_TO_GET_ONE: Final = "no Chromium here; get one by `apt-get install chromium` or `playwright install chromium`"
UNUSED: Final = ["Dataset", "Source", "Models"]
COLUMNS: Final = ["best/difference", "best/fusion_layer", "dev/score", "test/avg_target", "fusion_layer"]
"""What a reader of sweeps hides and shows in the list of runs."""

LAYERS: Final = "tags.`dlfa.phase` = 'confirm' and params.fusion = 'dlfa'"
"""Finds the runs that are compared by fusion layer."""

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SIZE: Final = (1280, 800)
_PATIENCE_MS: Final = 60_000
_COUNTS_POINTS: Final = """
count => Array.from(document.querySelectorAll(".js-plotly-plot"))
    .some(plot => plot.data.reduce((sum, trace) => sum + trace.x.length, 0) === count)
"""
"""JavaScript: Plotly draws points on a canvas, and keeps what it draws beside it."""

_DRAWN: Final = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"


def find_browser() -> str | None:
    """Return the path of a Chromium: the system's, or the one that Playwright has installed."""
    for found in map(shutil.which, _NAMES):
        if found is not None:
            return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@contextmanager
def mlflow_page(browser: str, uri: str) -> Iterator["MlflowPage"]:
    """Open a server's page as on a first visit; it reaches nothing but that server."""

    def only_there(route: Route) -> None:
        if route.request.url.startswith((f"{uri}/", "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        try:
            context = chromium.new_context(viewport={"width": _SIZE[0], "height": _SIZE[1]}, timezone_id="UTC")
            context.set_default_timeout(_PATIENCE_MS)
            context.route("**/*", only_there)
            page = context.new_page()
            page.goto(f"{uri}/")
            page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").first.click()
            page.get_by_text("Model training", exact=True).click()
            yield MlflowPage(page, uri)
        finally:
            chromium.close()


class MlflowPage:
    """The page. Methods do what a reader does, and wait until it is there."""

    def __init__(self, page: Page, uri: str) -> None:
        self.page, self._uri = page, uri

    def experiments(self) -> list[str]:
        """Go to the list of experiments; return their names."""
        self.page.goto(f"{self._uri}/#/experiments")
        names = self.page.get_by_role("row").get_by_role("link")
        names.first.wait_for()
        return names.all_inner_texts()

    def open_experiment(self, name: str) -> None:
        """Go from the list of experiments to the runs of one."""
        self.page.get_by_role("row").get_by_role("link", name=name, exact=True).click()
        self._runs.first.wait_for()

    def offers_column(self, name: str) -> bool:
        """Return whether the list of runs can show a column."""
        self._columns.click()
        self._search_columns(name)
        try:
            self._column(name).first.wait_for(timeout=5_000)
            return True
        except TimeoutError:
            return False
        finally:
            self._close_columns()

    def choose_columns(self, *, hide: Sequence[str] = (), show: Sequence[str] = ()) -> None:
        """Hide and show columns of the list of runs."""
        self._columns.click()
        for name in (*hide, *show):
            self._search_columns(name)
            self._column(name).locator("[class*=tree-checkbox]").first.click()
        self._close_columns()
        for name in show:
            expect(self.page.locator(".ag-header-cell").filter(has_text=_exactly(name))).to_have_count(1)

    def expand(self, sweep: str, trial: str) -> None:
        """Show the runs of a sweep's trials below its own; one of them is `trial`."""
        row = self.page.locator(".ag-row").filter(has=self.page.get_by_role("link", name=sweep, exact=True))
        row.get_by_role("button").first.click()
        self.page.get_by_role("link", name=trial, exact=True).wait_for()

    def runs(self) -> dict[str, dict[str, str]]:
        """Return what the list of runs shows: name of the run to name of the column to text."""
        headers = self.page.locator(".ag-header-cell").all()
        names = {header.get_attribute("col-id"): header.inner_text().strip() for header in headers}
        found: dict[str, dict[str, str]] = {}
        for cell in self.page.locator(".ag-row .ag-cell").all():  # a row is in two parts: what stays, what scrolls
            row = cell.locator("xpath=ancestor::*[@row-id]").get_attribute("row-id") or ""
            found.setdefault(row, {})[names[cell.get_attribute("col-id")]] = cell.inner_text().strip()
        return {row["Run Name"].split()[-1]: row for row in found.values()}  # what is before it is not to be seen

    def find(self, query: str, sort_by: str, count: int) -> None:
        """Show the runs that a query finds; sorted by a metric they stand alone, not below their sweeps."""
        self.page.get_by_role("button", name="Sort").click()
        self.page.get_by_placeholder("Search", exact=True).fill(sort_by)
        with self.page.expect_response("**/runs/search"):  # the page shows what comes last, asked last or not
            self.page.get_by_role("menuitemcheckbox", name=sort_by, exact=True).click()
        search = self.page.get_by_placeholder("metrics.rmse")
        search.fill(query)
        search.press("Enter")
        expect(self._runs).to_have_count(count)

    def compare(self) -> None:
        """Compare all runs of the list."""
        self.page.locator(".ag-header input[type=checkbox]:visible").first.click()
        self.page.get_by_role("button", name="Compare", exact=True).click()
        self.page.get_by_role("heading", name="Comparing").wait_for()

    def parallel_coordinates(self, parameters: Sequence[str], metrics: Sequence[str]) -> None:
        """Draw runs that are compared over some axes, which must be among the first that are offered."""
        self.page.get_by_role("tab", name="Parallel Coordinates Plot").click()
        self.page.get_by_role("button", name="Clear All").click()
        for label, names in (("Parameters:", parameters), ("Metrics:", metrics)):
            box = self.page.get_by_text(label, exact=True).locator("xpath=following-sibling::*[1]")
            box.click()
            for name in names:
                self.page.locator("[class*=select-item-option]").get_by_text(name, exact=True).click()
            self.page.keyboard.press("Escape")
        expect(self.page.locator(".parcoords .axis-title")).to_have_text([*parameters, *metrics])

    def scatter(self, x: str, y: str, points: int) -> None:
        """Draw runs that are compared as points."""
        self.page.get_by_role("tab", name="Scatter Plot").click()
        for axis, name in (("x", x), ("y", y)):
            self.page.locator(f"#{axis}-axis-selector").click()
            self.page.get_by_role("option", name=name, exact=True).click()
            expect(self.page.locator(f".{axis}title")).to_have_text(name)
        self.page.wait_for_function(_COUNTS_POINTS, arg=points)

    def open_run(self, name: str) -> None:
        """Follow the link to a run, in the list of runs or from a sweep's own to a trial's."""
        self.page.get_by_role("link", name=name, exact=True).click()
        self.page.get_by_role("heading", name=name, exact=True).wait_for()

    def overview(self) -> None:
        """Show what the run that is open begins with."""
        self.page.get_by_role("tab", name="Overview").click()

    def inputs(self) -> dict[str, str]:
        """Show the data of the run that is open; return the digest of each set by its name."""
        section = self.page.get_by_text("Datasets", exact=True).locator("xpath=following-sibling::*[1]")
        section.get_by_role("button").first.click()
        drawer = self.page.get_by_role("dialog")
        drawer.get_by_text("datasets used").wait_for()
        return dict(re.findall(r"^(.+) \((\w+)\)$", drawer.inner_text(), re.MULTILINE))

    def close_inputs(self) -> None:
        """Go back from the data of a run to the run."""
        self.page.keyboard.press("Escape")
        self.page.get_by_role("dialog").wait_for(state="hidden")

    def curves(self, metric: str) -> None:
        """Show the metrics of the run that is open; one of them over more than one report."""
        self.page.get_by_role("tab", name="Model metrics").click()
        self.page.get_by_text(f"({metric})").first.wait_for()
        self.page.locator(".js-line").first.wait_for()

    def open_artifact(self, path: str) -> None:
        """Show a file of the run that is open, whose folder is not."""
        self.page.get_by_role("tab", name="Artifacts").click()
        for name in path.split("/"):
            self.page.get_by_text(name, exact=True).click()
        self.page.locator(f"[title='{path}']").wait_for()

    def table(self) -> list[list[str]]:
        """Return the rows of the table that is on show, its head first."""
        rows = self.page.get_by_role("table").get_by_role("row")
        rows.nth(1).wait_for()
        return [row.locator("[role=columnheader], [role=cell]").all_inner_texts() for row in rows.all()]

    def document(self) -> str:
        """Return the text of the HTML page that is on show."""
        body = self.page.frame_locator("iframe").locator("body")
        expect(body).not_to_be_empty()
        return body.inner_text()

    def picture(self) -> tuple[int, int]:
        """Return the size in pixels of the picture that is on show; it is drawn."""
        size = self.page.locator("img[src^='blob:']").first.evaluate(
            "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
        )
        return size[0], size[1]

    def settle(self) -> None:
        """Wait until nothing moves."""
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(2000)

    @property
    def _runs(self) -> Locator:
        return self.page.locator(".ag-center-cols-container .ag-row")

    @property
    def _columns(self) -> Locator:
        return self.page.get_by_role("button", name="Columns")

    def _column(self, name: str) -> Locator:
        return self.page.locator("[class*=tree-treenode]").filter(has_text=_exactly(name))

    def _search_columns(self, name: str) -> None:
        self.page.get_by_placeholder("Search columns").fill(name)

    def _close_columns(self) -> None:
        self.page.keyboard.press("Escape")
        self.page.get_by_placeholder("Search columns").wait_for(state="hidden")


def _exactly(text: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(text)}\s*$")
