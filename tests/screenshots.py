"""Makes the pictures of docs/mlflow.md, from a finished quickstart sweep; a reader's steps are those of the test."""

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from browser import COLUMNS, HOW_TO_GET_ONE, LAYERS, UNUSED, MlflowPage, find_browser, mlflow_page
from PIL import Image
from servers import free_port, mlflow_server

_TRIAL = "confirm-0013"
"""The quickstart's last."""


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", type=Path, help="the --storage of the sweep")
    parser.add_argument("sweep", help="its name")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    given = parser.parse_args()
    browser = find_browser()
    if browser is None:
        parser.error(HOW_TO_GET_ONE)
    with (
        tempfile.TemporaryDirectory() as logs,
        mlflow_server(given.storage.resolve(), free_port(), Path(logs)) as uri,
        mlflow_page(browser, uri) as page,
    ):
        _walk(page, given.sweep, lambda name: _write(page, given.out / f"{name}.png"))


def _walk(page: MlflowPage, sweep: str, picture: Callable[[str], None]) -> None:
    page.experiments()
    picture("experiments")
    page.open_experiment("dlfa/udpos")
    page.choose_columns(hide=UNUSED, show=COLUMNS)
    page.expand(sweep, _TRIAL)
    picture("runs")
    page.open_run(sweep)
    picture("sweep")
    page.open_artifact("tables/best_layers.json")
    page.table()
    picture("table")
    page.open_artifact("figures/best_layers.png")
    page.picture()
    picture("figure")
    page.open_artifact("report.html")
    page.document()
    picture("report")
    page.overview()
    page.open_run(_TRIAL)
    page.inputs()
    picture("data")
    page.close_inputs()
    page.curves("dev/score")
    picture("curves")
    page.experiments()
    page.open_experiment("dlfa/udpos")
    page.find(LAYERS, "test/avg_target", 12)
    picture("found")
    page.compare()
    page.parallel_coordinates(["fusion_layer", "learning_rate"], ["test/avg_target"])
    picture("parallel")
    page.scatter("fusion_layer", "test/avg_target", 12)
    picture("scatter")


def _write(page: MlflowPage, path: Path) -> None:
    page.settle()
    path.parent.mkdir(parents=True, exist_ok=True)
    shot = Image.open(io.BytesIO(page.page.screenshot()))
    shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
