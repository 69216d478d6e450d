"""The tracker against real MLflow stores: what arrives, and what happens when MLflow is away, slow or unwilling."""

import errno
import json
import math
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from servers import free_port, mlflow_server

from orchestrator import spool as spool_module
from orchestrator.events import SweepObserver, TrialRef
from orchestrator.spool import RefusedError, Spool
from orchestrator.tracking import InputSet, MlflowTracker

EXPERIMENT = "dlfa/udpos"
PATIENCE_S = 120.0  # for what should take moments; a test that waits this long has failed
REFUSED_CONNECTION = f"[Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}"

FUSED = TrialRef(
    phase="search",
    number=7,
    params={"fusion": "dlfa", "fusion_layer": 3, "reduction_ratio": 16, "learning_rate": 2e-05},
    seed=11,
)
BASELINE = TrialRef(phase="search", number=8, params={"fusion": "none", "learning_rate": 3e-05}, seed=12)
TABLE = pd.DataFrame(
    {
        "fusion_layer": pd.array([None, 3], dtype="Int64"),
        "learning_rate": [1.23456789e-4, 3e-4],
        "dev": [61.123456789, float("nan")],
        "selected": [False, True],
    }
)
SETS = [
    InputSet(name="udpos en train", context="training", digest="1" * 64, source="/data/ud"),
    InputSet(name="udpos en dev", context="validation", digest="2" * 64, source="/data/ud"),
    InputSet(name="udpos de test", context="test", digest="3" * 64, source="/data/ud"),
]
CONFIRM = TrialRef(phase="confirm", number=7, params={"fusion": "none", "learning_rate": 3e-05}, seed=13)


class Notices(list[str]):
    """What the user was told, and a way to wait for the next of it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, notice: str) -> None:
        with self._changed:
            self.append(notice)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self) >= count, PATIENCE_S), f"only {list(self)}"


class Sweep:
    """One sweep's spool folder and the store it is mirrored to."""

    def __init__(self, uri: str, name: str, folder: Path) -> None:
        self.uri, self.name, self.folder = uri, name, folder
        self.experiment = EXPERIMENT
        self.notices = Notices()

    def driver(self, uri: str | None = None) -> MlflowTracker:
        return MlflowTracker(
            uri=uri or self.uri, experiment=self.experiment, sweep=self.name, spool=self.folder, notify=self.notices
        )

    def runs(self) -> dict[str, Run]:
        """The sweep's runs by name; fails when two have the same."""
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], f"tags.`dlfa.sweep` = '{self.name}'")
        by_name = {str(run.info.run_name): run for run in found}
        assert len(by_name) == len(found), sorted(str(run.info.run_name) for run in found)
        return by_name

    def history(self, run: str, metric: str) -> list[tuple[int, float]]:
        points = MlflowClient(self.uri).get_metric_history(self.runs()[run].info.run_id, metric)
        return [(point.step, point.value) for point in points]

    def lines(self, name: str = "records.jsonl") -> list[Any]:
        return [json.loads(line) for line in (self.folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: making one takes seconds. The folder's name needs quoting in a URI."""
    return f"sqlite:///{tmp_path_factory.mktemp('a store')}/mlflow.db"


@pytest.fixture
def sweep(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> Sweep:
    """A sweep that no other test uses."""
    return Sweep(database, request.node.name, tmp_path / "mlflow-spool")


class HangingClient(MlflowClient):
    """Every delivery begins by looking for the experiment, and hangs there."""

    released = threading.Event()

    def get_experiment_by_name(self, name: str) -> Any:
        self.released.wait(PATIENCE_S)
        raise ConnectionError("the test is over")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """MLflow hangs, until the function that this gives is called: then it is as usual for whoever asks anew."""
    real = mlflow.MlflowClient
    monkeypatch.setattr(HangingClient, "released", threading.Event())
    monkeypatch.setattr(mlflow, "MlflowClient", HangingClient)
    yield lambda: monkeypatch.setattr(mlflow, "MlflowClient", real)
    HangingClient.released.set()


def run_trial(observer: SweepObserver, trial: TrialRef) -> None:
    observer.trial_started(trial)
    observer.trial_reported(trial, 1, 61.5, {"dev/en/f1": 61.5, "train/loss": 0.7})
    observer.trial_reported(trial, 2, 63.25, {"dev/en/f1": 63.25, "train/loss": 0.1 + 0.2})


def test_a_sweep_arrives_as_a_parent_run_and_one_run_per_trial(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.md").write_text("| layer |", encoding="utf-8")
    before = time.time_ns() // 1_000_000
    tracker = sweep.driver()
    tracker.sweep_started({"trials": 3, "task": "udpos"}, {"dlfa.version": "0.1.0"})
    for trial in (FUSED, BASELINE, CONFIRM):
        run_trial(tracker, trial)
    tracker.trial_ended(FUSED, "COMPLETE", {"test/de/f1": 50.5, "test/avg": 51.0}, None)
    tracker.trial_ended(BASELINE, "PRUNED", {}, None)
    tracker.trial_ended(CONFIRM, "FAIL", {}, "loss is not finite")
    tracker.sweep_ended("FINISHED", {"best/dev": 63.25})
    tracker.sweep_reported(files={"": [Path("table.md")]}, description="- oracle selection")
    after = time.time_ns() // 1_000_000
    assert tracker.close(PATIENCE_S) == 0
    assert sweep.notices == []

    runs = sweep.runs()
    assert sorted(runs) == sorted([sweep.name, "search-0007", "search-0008", "confirm-0007"])
    parent, fused, baseline, confirm = (
        runs[name] for name in (sweep.name, "search-0007", "search-0008", "confirm-0007")
    )
    assert parent.data.params == {"trials": "3", "task": "udpos"}
    assert parent.data.metrics == {"best/dev": 63.25}
    assert parent.data.tags == {
        "mlflow.runName": sweep.name,
        "dlfa.sweep": sweep.name,
        "dlfa.state": "FINISHED",
        "dlfa.version": "0.1.0",
        "mlflow.note.content": "- oracle selection",
    }
    assert fused.data.params == {
        "fusion": "dlfa",
        "fusion_layer": "3",
        "reduction_ratio": "16",
        "learning_rate": "2e-05",
        "seed": "11",
    }
    assert fused.data.tags == {
        "mlflow.runName": "search-0007",
        "mlflow.parentRunId": parent.info.run_id,
        "dlfa.sweep": sweep.name,
        "dlfa.phase": "search",
        "dlfa.trial": "7",
        "dlfa.state": "COMPLETE",
    }
    assert fused.data.metrics == {
        "dev/en/f1": 63.25,
        "dev/score": 63.25,
        "train/loss": 0.1 + 0.2,
        "test/de/f1": 50.5,
        "test/avg": 51.0,
    }
    assert sweep.history("search-0007", "dev/en/f1") == [(1, 61.5), (2, 63.25)]
    assert [run.info.status for run in (parent, fused, baseline, confirm)] == [
        "FINISHED",
        "FINISHED",
        "KILLED",
        "FAILED",
    ]
    assert baseline.data.tags["dlfa.state"] == "PRUNED"
    assert "dlfa.reason" not in baseline.data.tags
    assert (confirm.data.tags["dlfa.state"], confirm.data.tags["dlfa.reason"]) == ("FAIL", "loss is not finite")
    assert confirm.data.tags["dlfa.phase"] == "confirm"

    [uploaded] = MlflowClient(sweep.uri).list_artifacts(parent.info.run_id)
    store = Path(sweep.uri.removeprefix("sqlite:///")).parent
    [copy] = store.glob(f"mlartifacts/{parent.info.run_id}/artifacts/*")
    assert (uploaded.path, copy.read_text(encoding="utf-8")) == ("table.md", "| layer |")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow-spool", "table.md"]
    for run in runs.values():
        assert before <= run.info.start_time <= run.info.end_time <= after


def artifacts(sweep: Sweep) -> list[str]:
    """Paths of all files of the sweep's own run."""
    client, run = MlflowClient(sweep.uri), sweep.runs()[sweep.name].info.run_id
    found, folders = [], [""]
    while folders:
        entries = client.list_artifacts(run, folders.pop())
        found += [entry.path for entry in entries if not entry.is_dir]
        folders += [entry.path for entry in entries if entry.is_dir]
    return sorted(found)


def test_every_run_names_its_data_once_however_often_it_is_told(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class CountingClient(MlflowClient):
        def log_inputs(self, run_id: str, *args: Any, **kwargs: Any) -> None:
            calls.append(run_id)
            super().log_inputs(run_id, *args, **kwargs)

    monkeypatch.setattr(mlflow, "MlflowClient", CountingClient)
    first = sweep.driver()
    first.sweep_started({}, {}, SETS)
    first.trial_started(FUSED)
    first.trial_ended(FUSED, "WAITING", {}, None)
    first.sweep_ended("KILLED")
    assert first.close(PATIENCE_S) == 0
    runs = sweep.runs()
    ids = [runs[name].info.run_id for name in (sweep.name, "search-0007")]
    assert calls == ids, "one call for all sets of a run"

    second = sweep.driver()
    second.sweep_started({}, {}, SETS)
    second.trial_started(FUSED)
    second.trial_started(BASELINE)
    assert second.close(PATIENCE_S) == 0
    (sweep.folder / "position").write_text("0\n", encoding="ascii")
    assert sweep.driver().close(PATIENCE_S) == 0
    for name in (sweep.name, "search-0007", "search-0008"):
        logged = sweep.runs()[name].inputs
        assert logged is not None
        inputs = logged.dataset_inputs
        found = [(e.dataset.name, e.dataset.digest, e.dataset.source, e.tags[0].value) for e in inputs]
        assert sorted(found) == [
            ("udpos de test", "3" * 36, '{"uri": "/data/ud"}', "test"),
            ("udpos en dev", "2" * 36, '{"uri": "/data/ud"}', "validation"),
            ("udpos en train", "1" * 36, '{"uri": "/data/ud"}', "training"),
        ]
        assert {tag.key for entry in inputs for tag in entry.tags} == {"mlflow.data.context"}


def test_tables_are_those_of_mlflow_and_grow_by_nothing_when_told_again(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep.driver()
    first.sweep_reported(files={}, tables={"best": TABLE, "empty": TABLE.iloc[:0]})
    assert first.close(PATIENCE_S) == 0
    (sweep.folder / "position").write_text("0\n", encoding="ascii")
    second = sweep.driver()
    second.sweep_reported(files={}, tables={"best": TABLE, "empty": TABLE.iloc[:0]})
    assert second.close(PATIENCE_S) == 0
    assert artifacts(sweep) == ["tables/best.json", "tables/empty.json"]

    parent = sweep.runs()[sweep.name]
    client = MlflowClient(sweep.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sweep.uri)  # load_table asks there, whatever the client's own is
    loaded = client.load_table(parent.info.experiment_id, "tables/best.json", [parent.info.run_id])
    rounded = TABLE.assign(learning_rate=[1.23457e-4, 3e-4], dev=[61.1235, float("nan")])
    pd.testing.assert_frame_equal(loaded, rounded.astype({"fusion_layer": "float64"}))
    # As log_table itself would have it, for whatever reads these files.
    own = client.create_run(parent.info.experiment_id)
    client.log_table(own.info.run_id, TABLE, "tables/best.json")
    client.log_table(own.info.run_id, TABLE.iloc[:0], "tables/empty.json")
    tag = "mlflow.loggedArtifacts"
    assert json.loads(parent.data.tags[tag]) == json.loads(client.get_run(own.info.run_id).data.tags[tag])
    theirs, ours = (
        json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/tables/best.json")) for run in (own, parent)
    )
    assert (ours.keys(), ours["columns"]) == (theirs.keys(), theirs["columns"])


def test_files_go_to_their_folders_and_replace_those_of_an_earlier_driver(sweep: Sweep, tmp_path: Path) -> None:
    settings, picture = tmp_path / "sweep.yaml", tmp_path / "curves.png"
    for text in ("old", "new"):
        settings.write_text(text, encoding="utf-8")
        picture.write_text(text, encoding="utf-8")
        driver = sweep.driver()
        driver.sweep_reported(files={"": [settings], "figures": [picture]})
        assert driver.close(PATIENCE_S) == 0
    assert artifacts(sweep) == ["figures/curves.png", "sweep.yaml"]
    uri = sweep.runs()[sweep.name].info.artifact_uri
    assert [mlflow.artifacts.load_text(f"{uri}/{name}") for name in artifacts(sweep)] == ["new", "new"]


def test_a_finding_is_a_second_point_only_where_it_has_changed(sweep: Sweep) -> None:
    for layer, target in ((3, 61.5), (3, 61.5), (3, 62.0)):
        driver = sweep.driver()
        driver.sweep_ended("FINISHED", {"best/fusion_layer": layer, "best/avg_target": target})
        assert driver.close(PATIENCE_S) == 0
    assert sweep.history(sweep.name, "best/fusion_layer") == [(0, 3)]
    assert sweep.history(sweep.name, "best/avg_target") == [(0, 61.5), (0, 62.0)]
    assert sweep.runs()[sweep.name].data.metrics["best/avg_target"] == 62.0


def test_times_are_those_of_the_events_not_of_the_delivery(sweep: Sweep, hanging: Callable[[], None]) -> None:
    tracker = sweep.driver()
    run_trial(tracker, FUSED)
    tracker.trial_ended(FUSED, "COMPLETE", {"test/avg": 1.0}, None)
    assert tracker.close(0) == 4
    started, first, _, ended = (line["time_ms"] for line in sweep.lines())
    hanging()
    time.sleep(0.01)
    resumed = time.time_ns() // 1_000_000
    assert sweep.driver().close(PATIENCE_S) == 0
    run = sweep.runs()["search-0007"]
    assert (run.info.start_time, run.info.end_time) == (started, ended)
    assert ended < resumed
    history = MlflowClient(sweep.uri).get_metric_history(run.info.run_id, "dev/score")
    assert history[0].timestamp == first


def test_a_hanging_mlflow_holds_up_nobody_and_the_next_driver_delivers(
    sweep: Sweep, hanging: Callable[[], None]
) -> None:
    first = sweep.driver()
    first.sweep_started({"trials": 2}, {})
    for trial in (FUSED, BASELINE):
        run_trial(first, trial)
    first.trial_ended(FUSED, "COMPLETE", {"test/avg": 51.0}, None)
    first.trial_ended(BASELINE, "WAITING", {}, None)
    first.sweep_ended("KILLED")
    assert not HangingClient.released.is_set()
    assert first.close(0) == 10
    hanging()

    second = sweep.driver()
    second.sweep_started({"trials": 2}, {})
    second.trial_started(BASELINE)
    assert second.close(PATIENCE_S) == 0
    runs = sweep.runs()
    assert sorted(runs) == sorted([sweep.name, "search-0007", "search-0008"])
    assert {name: (run.info.status, run.data.tags["dlfa.state"]) for name, run in runs.items()} == {
        sweep.name: ("RUNNING", "RUNNING"),
        "search-0007": ("FINISHED", "COMPLETE"),
        "search-0008": ("RUNNING", "RUNNING"),
    }


def test_a_waiting_trial_goes_on_in_its_own_run(sweep: Sweep) -> None:
    first = sweep.driver()
    first.sweep_started({}, {})
    run_trial(first, FUSED)
    first.trial_ended(FUSED, "WAITING", {}, None)
    first.sweep_ended("KILLED")
    assert first.close(PATIENCE_S) == 0
    interrupted = sweep.runs()
    assert interrupted["search-0007"].info.status == "KILLED"
    assert interrupted["search-0007"].data.tags["dlfa.state"] == "WAITING"

    second = sweep.driver()
    second.sweep_started({}, {})
    second.trial_started(FUSED)
    second.trial_reported(FUSED, 3, 64.0, {"dev/en/f1": 64.0})
    second.trial_ended(FUSED, "COMPLETE", {"test/avg": 51.0}, None)
    second.sweep_ended("FINISHED")
    assert second.close(PATIENCE_S) == 0
    resumed = sweep.runs()
    assert {name: run.info.run_id for name, run in resumed.items()} == {
        name: run.info.run_id for name, run in interrupted.items()
    }
    assert {run.info.status for run in resumed.values()} == {"FINISHED"}
    assert sweep.history("search-0007", "dev/en/f1") == [(1, 61.5), (2, 63.25), (3, 64.0)]


@pytest.mark.parametrize("told", [0, 1, 2, 3, 4])
def test_what_an_earlier_driver_did_not_come_to_record_is_recorded_once(sweep: Sweep, told: int) -> None:
    trial = TrialRef(phase="search", number=3, params={"fusion": "none", "learning_rate": 1e-4}, seed=1)
    reports = {1: (61.5, {"dev/en/f1": 61.5}), 2: (63.25, {"dev/en/f1": 63.25})}
    scores = {"test/de/f1": 50.0}
    first = sweep.driver()
    events: list[Callable[[], None]] = [
        lambda: first.trial_started(trial),
        lambda: first.trial_reported(trial, 1, *reports[1]),
        lambda: first.trial_reported(trial, 2, *reports[2]),
        lambda: first.trial_ended(trial, "COMPLETE", scores, None),
    ]
    for event in events[:told]:
        event()
    assert first.close(PATIENCE_S) == 0

    for _ in range(2):
        driver = sweep.driver()
        driver.catch_up(trial, reports, ("COMPLETE", scores, None))
        assert driver.close(PATIENCE_S) == 0
    run = sweep.runs()["search-0003"]
    assert (run.info.status, run.data.tags["dlfa.state"]) == ("FINISHED", "COMPLETE")
    assert run.data.metrics["test/de/f1"] == 50.0
    assert sweep.history("search-0003", "dev/score") == [(1, 61.5), (2, 63.25)]
    assert len(sweep.lines()) == 4


def test_a_trial_that_waits_is_not_taken_for_one_that_ended(sweep: Sweep) -> None:
    trial = TrialRef(phase="search", number=0, params={"fusion": "none"}, seed=1)
    first = sweep.driver()
    first.trial_started(trial)
    first.trial_ended(trial, "WAITING", {}, None)
    assert first.close(PATIENCE_S) == 0
    driver = sweep.driver()
    driver.catch_up(trial, {}, ("FAIL", {}, "killed"))
    assert driver.close(PATIENCE_S) == 0
    assert sweep.runs()["search-0000"].info.status == "FAILED"


def test_a_trial_s_deaths_are_recorded(sweep: Sweep) -> None:
    trial = TrialRef(phase="search", number=0, params={"fusion": "none"}, seed=1)
    driver = sweep.driver()
    driver.trial_started(trial)
    driver.trial_restarted(trial, 2, "out of memory")
    assert driver.close(PATIENCE_S) == 0
    run = sweep.runs()["search-0000"]
    assert (run.data.tags["dlfa.deaths"], run.data.tags["dlfa.last_death"]) == ("2", "out of memory")
    assert run.info.status == "RUNNING"


def as_text(runs: dict[str, Run]) -> str:
    """All of the runs; as text, NaN equals itself."""
    return json.dumps({name: run.to_dictionary() for name, run in runs.items()}, sort_keys=True, indent=1)


@pytest.mark.parametrize("position", ["0\n", "last", "", None], ids=["all again", "last again", "empty", "missing"])
def test_delivering_again_after_a_crash_duplicates_nothing(sweep: Sweep, position: str | None) -> None:
    first = sweep.driver()
    first.sweep_started({"trials": 1}, {})
    run_trial(first, FUSED)
    first.trial_reported(FUSED, 3, math.nan, {"dev/de/f1": math.inf})
    first.trial_ended(FUSED, "COMPLETE", {"test/avg": 51.0}, None)
    assert first.close(PATIENCE_S) == 0
    metrics = ("dev/en/f1", "dev/score", "dev/de/f1", "train/loss", "test/avg")
    before, histories = as_text(sweep.runs()), [str(sweep.history("search-0007", name)) for name in metrics]

    written = (sweep.folder / "records.jsonl").read_bytes()
    start_of_last = written.rindex(b"\n", 0, -1) + 1
    if position is None:
        (sweep.folder / "position").unlink()
    else:
        text = f"{start_of_last}\n" if position == "last" else position
        (sweep.folder / "position").write_text(text, encoding="ascii")
    second = sweep.driver()
    assert second.close(PATIENCE_S) == 0
    assert as_text(sweep.runs()) == before
    assert [str(sweep.history("search-0007", name)) for name in metrics] == histories
    assert (sweep.folder / "position").read_text(encoding="ascii") == f"{len(written)}\n"
    assert sweep.notices == []


def test_a_run_whose_making_was_not_confirmed_is_found_and_not_made_again(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    class ForgetfulClient(MlflowClient):
        def create_run(self, *args: Any, **kwargs: Any) -> Run:
            run = super().create_run(*args, **kwargs)
            made.append(str(run.info.run_name))
            raise TimeoutError("the answer got lost")

    monkeypatch.setattr(mlflow, "MlflowClient", ForgetfulClient)
    monkeypatch.setattr(spool_module, "_FIRST_RETRY_S", 0.01)
    tracker = sweep.driver()
    tracker.sweep_started({}, {})
    tracker.trial_started(FUSED)
    assert tracker.close(PATIENCE_S) == 0
    assert made == [sweep.name, "search-0007"]
    assert sorted(sweep.runs()) == sorted(made)
    assert sweep.notices[:2] == [
        f"MLflow at {sweep.uri} can't be reached (the answer got lost); "
        f"records are kept in {sweep.folder} and delivered when it is back",
        f"MLflow at {sweep.uri} is back; the records kept for it are being delivered",
    ]


def test_values_that_are_no_numbers_arrive(sweep: Sweep) -> None:
    tracker = sweep.driver()
    tracker.trial_reported(FUSED, 1, math.nan, {"dev/en/f1": math.inf, "dev/de/f1": -math.inf})
    assert tracker.close(PATIENCE_S) == 0
    assert sweep.notices == []
    [(step, value)] = sweep.history("search-0007", "dev/score")
    assert step == 1
    assert math.isnan(value)
    assert sweep.history("search-0007", "dev/en/f1") == [(1, sys.float_info.max)]  # MLflow's word for infinity
    assert sweep.history("search-0007", "dev/de/f1") == [(1, -sys.float_info.max)]


def test_no_call_holds_more_than_mlflow_takes(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[dict[str, int]] = []

    class CountingClient(MlflowClient):
        def log_batch(self, *args: Any, **kwargs: Any) -> Any:
            sizes.append({kind: len(kwargs.get(kind, ())) for kind in ("metrics", "params", "tags")})
            return super().log_batch(*args, **kwargs)

    monkeypatch.setattr(mlflow, "MlflowClient", CountingClient)
    tracker = sweep.driver()
    tracker.sweep_started({f"p{i}": i for i in range(101)}, {f"t{i}": str(i) for i in range(100)})
    tracker.sweep_ended("FINISHED", {f"m{i}": float(i) for i in range(1001)})
    assert tracker.close(PATIENCE_S) == 0
    assert {kind: max(size[kind] for size in sizes) for kind in sizes[0]} == {
        "metrics": 1000,
        "params": 100,
        "tags": 100,
    }
    data = sweep.runs()[sweep.name].data
    assert data.params == {f"p{i}": str(i) for i in range(101)}
    assert data.metrics == {f"m{i}": float(i) for i in range(1001)}
    assert {f"t{i}": str(i) for i in range(100)}.items() <= data.tags.items()


def test_an_overlong_reason_is_cut_with_a_mark(sweep: Sweep) -> None:
    tracker = sweep.driver()
    tracker.trial_ended(FUSED, "FAIL", {}, "x" * 5001)
    assert tracker.close(PATIENCE_S) == 0
    assert sweep.runs()["search-0007"].data.tags["dlfa.reason"] == "x" * 4999 + "…"


def test_a_server_that_is_away_is_told_once_and_the_next_driver_delivers(sweep: Sweep) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    first = sweep.driver(away)
    first.sweep_started({}, {})
    sweep.notices.wait_for(1)
    run_trial(first, FUSED)
    assert first.close(2.0) == 4  # long enough for a second try
    assert sweep.notices == [
        f"MLflow at {away} can't be reached ({REFUSED_CONNECTION}); "
        f"records are kept in {sweep.folder} and delivered when it is back"
    ]
    assert sweep.driver().close(PATIENCE_S) == 0
    assert sorted(sweep.runs()) == sorted([sweep.name, "search-0007"])


def test_closing_does_not_wait_out_the_pause_between_tries(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_FIRST_RETRY_S", 10 * PATIENCE_S)
    real = mlflow.MlflowClient
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: real(f"http://127.0.0.1:{free_port()}"))
    tracker = sweep.driver()
    tracker.sweep_started({}, {})
    sweep.notices.wait_for(1)
    monkeypatch.setattr(mlflow, "MlflowClient", real)
    assert tracker.close(PATIENCE_S) == 0
    assert sorted(sweep.runs()) == [sweep.name]
    assert sweep.notices[1:] == [f"MLflow at {sweep.uri} is back; the records kept for it are being delivered"]


def test_a_record_that_mlflow_refuses_is_put_aside_and_later_ones_arrive(sweep: Sweep, tmp_path: Path) -> None:
    tracker = sweep.driver()
    tracker.trial_started(FUSED)
    tracker.trial_reported(FUSED, 1, 61.5, {"dev/en/f1?": 61.5})
    tracker.trial_reported(FUSED, 2, 62.5, {"dev/en/f1": 62.5})
    tracker.trial_ended(FUSED, "COMPLETE", {"test/avg": 51.0}, None)
    tracker.sweep_reported(files={"": [tmp_path / "missing.md", Path(__file__)]})
    assert tracker.close(PATIENCE_S) == 0
    runs = sweep.runs()
    assert runs["search-0007"].info.status == "FINISHED"
    assert sweep.history("search-0007", "dev/score") == [(2, 62.5)]
    [artifact] = MlflowClient(sweep.uri).list_artifacts(runs[sweep.name].info.run_id)
    assert artifact.path == Path(__file__).name

    name, file = sweep.lines("rejected.jsonl")
    assert name["reason"].startswith('Invalid value "dev/en/f1?" for parameter')
    assert json.loads(name["record"])["metrics"] == {"dev/en/f1?": 61.5, "dev/score": 61.5}
    assert file["reason"].startswith(f"{tmp_path / 'missing.md'}: ")
    [notice] = sweep.notices
    assert notice.startswith(f'MLflow at {sweep.uri} refuses a record (Invalid value "dev/en/f1?" for parameter')
    assert notice.endswith(f"; it is put aside in {sweep.folder / 'rejected.jsonl'}, and so are any that follow")


def test_a_changed_parameter_is_put_aside_and_the_rest_of_its_record_arrives(sweep: Sweep) -> None:
    first = sweep.driver()
    first.sweep_started({"trials": 20}, {})
    first.sweep_ended("KILLED")
    assert first.close(PATIENCE_S) == 0
    second = sweep.driver()
    second.sweep_started({"trials": 40}, {"dlfa.resumed": "yes"})
    assert second.close(PATIENCE_S) == 0
    run = sweep.runs()[sweep.name]
    assert (run.info.status, run.data.params, run.data.tags["dlfa.resumed"]) == ("RUNNING", {"trials": "20"}, "yes")
    assert sweep.lines("rejected.jsonl")[0]["reason"].startswith("Changing param values is not allowed")


def test_a_run_deleted_meanwhile_gets_a_successor(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    reported = threading.Event()

    class TellingClient(MlflowClient):
        def log_batch(self, *args: Any, **kwargs: Any) -> Any:
            super().log_batch(*args, **kwargs)
            reported.set()

    monkeypatch.setattr(mlflow, "MlflowClient", TellingClient)
    tracker = sweep.driver()
    tracker.trial_reported(FUSED, 1, 61.5, {})
    assert reported.wait(PATIENCE_S)
    deleted = sweep.runs()["search-0007"].info.run_id
    MlflowClient(sweep.uri).delete_run(deleted)
    tracker.trial_reported(FUSED, 2, 62.5, {})
    assert tracker.close(PATIENCE_S) == 0
    assert sweep.notices == []
    assert sweep.runs()["search-0007"].info.run_id != deleted
    assert sweep.history("search-0007", "dev/score") == [(2, 62.5)]


def test_a_deleted_experiment_is_no_record_s_fault(sweep: Sweep) -> None:
    sweep.experiment = "dlfa/deleted"
    client = MlflowClient(sweep.uri)
    experiment = client.create_experiment(sweep.experiment)
    client.delete_experiment(experiment)
    tracker = sweep.driver()
    tracker.sweep_started({}, {})
    sweep.notices.wait_for(1)
    client.restore_experiment(experiment)
    assert tracker.close(PATIENCE_S) == 0
    assert sorted(sweep.runs()) == [sweep.name]
    assert sweep.notices[0] == (
        f"MLflow at {sweep.uri} can't be reached (experiment 'dlfa/deleted' is deleted there; restore it); "
        f"records are kept in {sweep.folder} and delivered when it is back"
    )


def test_passwords_are_neither_told_nor_written(sweep: Sweep) -> None:
    port = free_port()
    tracker = sweep.driver(f"http://me:hunter2@127.0.0.1:{port}?token=hunter3")
    tracker.sweep_started(
        {"remote": "https://me:hunter2@git.example/x.git", "learning_rate": 2e-05}, {"note": "see s3://k:hunter2@b/c"}
    )
    tracker.trial_ended(FUSED, "FAIL", {}, f"no answer from http://me:hunter2@127.0.0.1:{port}/x")
    sweep.notices.wait_for(1)
    assert tracker.close(0) == 2
    [notice] = sweep.notices
    assert notice.startswith(f"MLflow at http://***@127.0.0.1:{port} can't be reached (")
    written = "".join(path.read_text(encoding="utf-8") for path in sweep.folder.iterdir())
    assert "hunter" not in notice + written
    sweep_record, trial_record = sweep.lines()
    assert sweep_record["params"] == {"remote": "https://***@git.example/x.git", "learning_rate": "2e-05"}
    assert sweep_record["tags"]["note"] == "see s3://***@b/c"
    assert trial_record["tags"]["dlfa.reason"] == f"no answer from http://***@127.0.0.1:{port}/x"


def test_a_password_alone_in_an_error_is_not_told(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    class IndiscreetClient(MlflowClient):
        def create_run(self, *args: Any, **kwargs: Any) -> Run:
            raise MlflowException("bad port 'hunter2/x'", INVALID_PARAMETER_VALUE)

        def get_experiment_by_name(self, name: str) -> Any:
            return MlflowClient(sweep.uri).get_experiment_by_name("Default")

        def search_runs(self, *args: Any, **kwargs: Any) -> Any:
            return MlflowClient(sweep.uri).search_runs(["0"])

    monkeypatch.setattr(mlflow, "MlflowClient", IndiscreetClient)
    tracker = sweep.driver("http://me:hunter2/x@127.0.0.1")
    tracker.sweep_started({}, {})
    assert tracker.close(PATIENCE_S) == 0
    assert sweep.notices == [
        "MLflow at http://***@127.0.0.1 refuses a record (bad port '***'); "
        f"it is put aside in {sweep.folder / 'rejected.jsonl'}, and so are any that follow"
    ]
    assert sweep.lines("rejected.jsonl")[0]["reason"] == "bad port '***'"


def test_settings_of_the_client_that_the_user_has_made_stay(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    assert sweep.driver().close(PATIENCE_S) == 0
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "30"


FIRST_USE = """
import sys
from pathlib import Path
from orchestrator.tracking import MlflowTracker
tracker = MlflowTracker(
    uri=sys.argv[1], experiment="dlfa/xnli", sweep="quiet", spool=Path("mlflow-spool"), notify=print
)
assert "mlflow" not in sys.modules
tracker.sweep_started({}, {})
tracker.sweep_ended("FINISHED")
assert tracker.close(120) == 0
"""


def first_use(uri: str, folder: Path) -> str:
    """All that a driver's process prints, with MLflow's settings as they come."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE, uri],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_making_a_new_store_prints_nothing_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    assert first_use("sqlite:///mlflow.db", tmp_path) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow-spool", "mlflow.db"]


@pytest.mark.slow
def test_a_server_that_comes_late_gets_everything(sweep: Sweep, tmp_path: Path) -> None:
    port = free_port()
    sweep.uri = f"http://127.0.0.1:{port}"
    (tmp_path / "table.md").write_text("| layer |", encoding="utf-8")
    tracker = sweep.driver()
    tracker.sweep_started({"trials": 1}, {})
    run_trial(tracker, FUSED)
    sweep.notices.wait_for(1)
    with mlflow_server(tmp_path, port):
        tracker.trial_reported(FUSED, 3, math.nan, {"dev/en/f1": math.inf})
        tracker.trial_ended(FUSED, "COMPLETE", {"test/avg": 51.0}, None)
        tracker.sweep_ended("FINISHED")
        tracker.sweep_reported(files={"reports": [tmp_path / "table.md"]}, tables={"best": TABLE})
        assert tracker.close(PATIENCE_S) == 0
        runs = sweep.runs()
        assert {name: run.info.status for name, run in runs.items()} == {
            sweep.name: "FINISHED",
            "search-0007": "FINISHED",
        }
        assert sweep.history("search-0007", "dev/en/f1") == [(1, 61.5), (2, 63.25), (3, sys.float_info.max)]
        assert [step for step, _ in sweep.history("search-0007", "dev/score")] == [1, 2, 3]
        assert artifacts(sweep) == ["reports/table.md", "tables/best.json"]
        assert sweep.notices == [
            f"MLflow at {sweep.uri} can't be reached ({REFUSED_CONNECTION}); "
            f"records are kept in {sweep.folder} and delivered when it is back",
            f"MLflow at {sweep.uri} is back; the records kept for it are being delivered",
        ]
        assert first_use(sweep.uri, tmp_path) == ""


# The spool by itself: what a crash or a bad disk leaves behind.


def take_all(folder: Path, notices: Notices, *records: dict[str, object]) -> list[dict[str, object]]:
    """What a new spool in the folder delivers, with some records appended."""
    delivered: list[dict[str, object]] = []
    queue = Spool(folder, delivered.append, "The receiver", notices)
    for record in records:
        queue.append(record)
    assert queue.close(PATIENCE_S) == 0
    return delivered


HANGING_PROCESS = """
import sys, threading
from pathlib import Path
from orchestrator.spool import Spool
begun = threading.Event()
def deliver(record):
    begun.set()
    threading.Event().wait()
queue = Spool(Path(sys.argv[1]), deliver, "The receiver", print)
queue.append({"n": 1})
queue.append({"n": 2})
assert begun.wait(120)
print(queue.close(0))
"""


def test_a_hanging_delivery_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING_PROCESS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
    assert take_all(tmp_path, Notices()) == [{"n": 1}, {"n": 2}]


def test_what_comes_while_the_thread_looks_for_the_last_time_is_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, closed = threading.Event(), threading.Event()
    look, join = Spool._oldest, threading.Thread.join

    def slow_look(queue: Spool) -> bytes | None:
        found = look(queue)
        if not looked.is_set():
            looked.set()
            assert closed.wait(PATIENCE_S)
        return found

    def telling_join(thread: threading.Thread, timeout: float | None = None) -> None:
        closed.set()  # by now the record is written and the order to close given
        join(thread, timeout)

    monkeypatch.setattr(Spool, "_oldest", slow_look)
    monkeypatch.setattr(threading.Thread, "join", telling_join)
    delivered: list[dict[str, object]] = []
    queue = Spool(tmp_path, delivered.append, "The receiver", Notices())
    assert looked.wait(PATIENCE_S)
    queue.append({"n": 1})
    assert queue.close(PATIENCE_S) == 0
    assert delivered == [{"n": 1}]


def test_a_record_cut_short_by_a_crash_is_put_aside(tmp_path: Path) -> None:
    notices = Notices()
    (tmp_path / "records.jsonl").write_text('{"n": 1}\n{"n": 2, "me', encoding="utf-8")
    assert take_all(tmp_path, notices, {"n": 3}) == [{"n": 1}, {"n": 3}]
    assert (tmp_path / "records.jsonl").read_text(encoding="utf-8") == '{"n": 1}\n{"n": 3}\n'
    aside = (tmp_path / "rejected.jsonl").read_text(encoding="utf-8")
    assert json.loads(aside) == {"reason": "cut short by a crash", "record": '{"n": 2, "me'}
    assert notices == [
        f"{tmp_path / 'records.jsonl'}: a crash cut the last record short; "
        f"what is left of it is in {tmp_path / 'rejected.jsonl'}"
    ]


def test_a_record_that_lacks_only_the_line_break_is_delivered(tmp_path: Path) -> None:
    notices = Notices()
    (tmp_path / "records.jsonl").write_text('{"n": 1}\n{"n": 2}', encoding="utf-8")
    assert take_all(tmp_path, notices, {"n": 3}) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert notices == []


@pytest.mark.parametrize("damage", [b"\0\0\0\0", b"\xff\xfe", b"[1]"])
def test_a_damaged_record_is_put_aside_and_later_ones_are_delivered(tmp_path: Path, damage: bytes) -> None:
    notices = Notices()
    (tmp_path / "records.jsonl").write_bytes(b'{"n": 1}\n' + damage + b'\n{"n": 3}\n')
    assert take_all(tmp_path, notices) == [{"n": 1}, {"n": 3}]
    assert len((tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert len(notices) == 1


def test_a_position_behind_the_end_skips_no_new_record(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"n": 1}\n', encoding="utf-8")
    (tmp_path / "position").write_text("500\n", encoding="ascii")
    assert take_all(tmp_path, Notices(), {"n": 2}, {"n": 3}) == [{"n": 2}, {"n": 3}]


def test_a_record_of_another_version_is_put_aside(sweep: Sweep) -> None:
    sweep.folder.mkdir()
    (sweep.folder / "records.jsonl").write_text('{"future": 1}\n', encoding="utf-8")
    tracker = sweep.driver()
    tracker.sweep_started({}, {})
    assert tracker.close(PATIENCE_S) == 0
    assert sorted(sweep.runs()) == [sweep.name]
    assert "'future'" in sweep.lines("rejected.jsonl")[0]["reason"]


def test_what_a_full_disk_refuses_waits_in_memory(tmp_path: Path) -> None:
    notices = Notices()
    delivered: list[dict[str, object]] = []
    queue = Spool(tmp_path, delivered.append, "The receiver", notices)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12, hard))  # a record and a half
    try:
        for n in (1, 2, 3):
            queue.append({"n": n})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "records.jsonl").read_bytes() == b'{"n": 1}\n{"n'
    queue.append({"n": 4})
    assert queue.close(PATIENCE_S) == 0
    assert delivered == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]
    assert notices == [
        f"{tmp_path} can't be used ([Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}); records that can't be "
        "written there wait in memory, and are lost if the sweep ends first"
    ]


def test_a_refusal_is_believed_the_second_time_and_told_once(tmp_path: Path) -> None:
    tries: list[dict[str, object]] = []

    def deliver(record: dict[str, object]) -> None:
        tries.append(record)
        if record["n"] in (1, 2) or (record["n"] == 3 and tries.count(record) == 1):
            raise RefusedError("not wanted")

    notices = Notices()
    queue = Spool(tmp_path, deliver, "The receiver", notices)
    for n in (1, 2, 3, 4):
        queue.append({"n": n})
    assert queue.close(PATIENCE_S) == 0
    assert [record["n"] for record in tries] == [1, 1, 2, 2, 3, 3, 4]
    aside = (tmp_path / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["record"] for line in aside] == ['{"n": 1}', '{"n": 2}']
    assert notices == [
        "The receiver refuses a record (not wanted); "
        f"it is put aside in {tmp_path / 'rejected.jsonl'}, and so are any that follow"
    ]


def test_refusals_with_an_outage_in_between_are_not_two_in_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_FIRST_RETRY_S", 0.01)
    answers = iter([RefusedError("not wanted"), ConnectionError("gone"), RefusedError("not wanted"), None])

    def deliver(_record: dict[str, object]) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    notices = Notices()
    queue = Spool(tmp_path, deliver, "The receiver", notices)
    queue.append({"n": 1})
    assert queue.close(PATIENCE_S) == 0
    assert notices == [
        f"The receiver can't be reached (gone); records are kept in {tmp_path} and delivered when it is back",
        "The receiver is back; the records kept for it are being delivered",
    ]


def test_pauses_between_tries_double_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float | None] = []
    away = [True] * 9

    class Recorder(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is not None:
                pauses.append(timeout)
                return False
            return super().wait(timeout)

    def deliver(_record: dict[str, object]) -> None:
        if away:
            away.pop()
            raise ConnectionError("gone")

    monkeypatch.setattr(threading, "Event", Recorder)
    queue = Spool(tmp_path, deliver, "The receiver", Notices())
    monkeypatch.undo()
    queue.append({"n": 1})
    assert queue.close(PATIENCE_S) == 0
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
