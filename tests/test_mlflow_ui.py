"""What a reader finds in MLflow of a finished sweep: its artifacts, and MLflow's own page in a headless browser."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
import yaml
from browser import COLUMNS, HOW_TO_GET_ONE, LAYERS, UNUSED, MlflowPage, find_browser, mlflow_page
from mlflow import MlflowClient
from servers import free_port, mlflow_server
from sweeps import entry, run, runs_of, states_of

pytestmark = pytest.mark.slow

_LANGUAGES: Final = ("de", "fr", "zh")


@dataclass(frozen=True)
class Finished:
    """A sweep, and MLflow's server that has it."""

    folder: Path
    uri: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """The quickstart with fewer trials, languages and sentences."""
    storage = tmp_path_factory.mktemp("quickstart")
    which = f"--task udpos --profile quickstart --name shown --languages {','.join(_LANGUAGES)} --storage {storage}"
    size = "--trials 6 --confirm-seeds 1 --train-limit 48 --eval-limit 8"
    done = run([*entry("sweep"), *which.split(), *size.split()])
    assert done.returncode == 0, done.stdout + done.stderr
    with mlflow_server(storage, free_port()) as uri:
        yield Finished(storage / "shown", uri)


@pytest.fixture(scope="module")
def browser() -> str:
    """Its path."""
    found = find_browser()
    if found is None:
        pytest.skip(HOW_TO_GET_ONE)
    return found


@pytest.fixture
def page(browser: str, finished: Finished) -> Iterator[MlflowPage]:
    """The list of the sweep's experiment, in a browser that was never there before."""
    with mlflow_page(browser, finished.uri) as page:
        assert "dlfa/udpos" in page.experiments()
        page.open_experiment("dlfa/udpos")
        yield page


def test_a_sweep_s_run_has_all_that_was_written_and_its_study(finished: Finished) -> None:
    folder = finished.folder
    parent = MlflowClient(finished.uri).get_parent_run(runs_of(folder)["confirm-0000"].info.run_id)
    assert parent is not None
    uploaded = Path(parent.info.artifact_uri.removeprefix("file://"))
    found = {path.relative_to(uploaded).as_posix() for path in uploaded.rglob("*") if path.is_file()}
    written = {path.relative_to(folder / "reports").as_posix() for path in (folder / "reports").iterdir()}
    figures = {name for name in written if name.endswith((".png", ".pdf"))}
    tables = {name.replace(".csv", ".json") for name in written if name.endswith(".csv")}
    assert {"best_layers.json", "per_language.json", "search.json"} <= tables
    assert {"best_layers.png", "best_layers.pdf"} <= figures
    own = {"report.html", "sweep.yaml", "study.db"}
    reports = {f"reports/{name}" for name in written - figures - own}
    assert found == own | reports | {f"figures/{name}" for name in figures} | {f"tables/{name}" for name in tables}
    assert (uploaded / "sweep.yaml").read_bytes() == (folder / "sweep.yaml").read_bytes()
    for phase in ("search", "confirm"):
        assert states_of(uploaded, phase) == states_of(folder, phase)
    assert "- dev and test sets: first 8 sentences per language\n" in parent.data.tags["mlflow.note.content"]


def test_all_metrics_can_be_columns(page: MlflowPage) -> None:
    tests = [f"test/{language}/{metric}" for language in ("en", *_LANGUAGES) for metric in ("f1", "accuracy")]
    means = [f"test/{name}" for name in ("avg", "avg_target", "worst", "gap", "near", "far", "enf")]
    dev = ["dev/en/f1", "dev/en/accuracy", "dev/score", "train/loss"]
    best = [f"best/{name}" for name in ("fusion_layer", "avg_target", "baseline_avg_target", "difference")]
    assert [name for name in (*tests, *means, *dev, *best) if not page.offers_column(name)] == []
    assert not page.offers_column("test/xx/f1")


def test_trials_are_below_their_sweep_with_what_they_tried_and_scored(finished: Finished, page: MlflowPage) -> None:
    assert list(page.runs()) == ["shown"]
    page.choose_columns(hide=UNUSED, show=COLUMNS)
    page.expand("shown", "search-0000")
    shown, trials = page.runs(), runs_of(finished.folder)
    assert shown.keys() == {"shown", *trials}
    best = pd.read_csv(finished.folder / "reports" / "best_layers.csv")
    selected = best[best["selected"]].squeeze()
    assert float(shown["shown"]["best/fusion_layer"]) == selected["fusion_layer"]
    assert float(shown["shown"]["best/difference"]) == pytest.approx(selected["difference"])
    for name, trial in trials.items():
        assert shown[name]["fusion_layer"] == trial.data.params.get("fusion_layer", "-")
        for metric in ("dev/score", "test/avg_target"):
            _assert_shown(shown[name][metric], trial.data.metrics.get(metric))


def _assert_shown(text: str, value: float | None) -> None:
    assert (text == "-") if value is None else (float(text) == pytest.approx(value)), (text, value)


def test_runs_are_compared_by_fusion_layer(finished: Finished, page: MlflowPage) -> None:
    layers = [
        trial.data.params["fusion_layer"]
        for name, trial in runs_of(finished.folder).items()
        if name.startswith("confirm") and trial.data.params["fusion"] == "dlfa"
    ]
    assert len(layers) == 3
    page.choose_columns(show=["fusion_layer"])
    page.find(LAYERS, "test/avg_target", len(layers))
    assert sorted(row["fusion_layer"] for row in page.runs().values()) == sorted(layers)
    page.compare()
    page.parallel_coordinates(["fusion_layer", "learning_rate"], ["test/avg_target"])
    page.scatter("fusion_layer", "test/avg_target", len(layers))


def test_a_sweep_shows_its_tables_figures_and_report(finished: Finished, page: MlflowPage) -> None:
    page.open_run("shown")
    page.open_artifact("tables/best_layers.json")
    head, *rows = page.table()
    best = pd.read_csv(finished.folder / "reports" / "best_layers.csv")
    assert head[:5] == ["fusion", "fusion_layer", "selected", "avg_target", "difference"]
    assert {row[0]: row[1] for row in rows[:1]} == {"none": "null"}
    assert [float(row[3]) for row in rows] == pytest.approx(list(best["avg_target"]), rel=1e-5)
    page.open_artifact("figures/best_layers.png")
    assert min(page.picture()) > 100
    page.open_artifact("report.html")
    assert "Best fusion layers of sweep shown (udpos)" in page.document()


def test_a_trial_names_its_data_and_shows_how_it_learnt(finished: Finished, page: MlflowPage) -> None:
    settings: Any = yaml.safe_load((finished.folder / "sweep.yaml").read_text("utf-8"))
    expected = {f"udpos {name}": digest[:36] for name, digest in settings["data"]["fingerprints"].items()}
    assert len(expected) == 6  # train, dev and four test sets
    page.expand("shown", "confirm-0000")
    page.open_run("confirm-0000")
    assert page.inputs() == expected
    page.close_inputs()
    page.curves("dev/score")
