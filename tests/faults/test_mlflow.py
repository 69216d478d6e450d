"""A tracking server that is absent, comes, dies, comes back, and refuses, under a sweep of the real command."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from servers import free_port, mlflow_server
from sweeps import Storage, assert_accounted, driving, space, with_faults

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = space(trials=4, layers=2, confirm_seeds=1, epochs=2)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.2)


def _points(uri: str) -> int:
    """Return how many reports MLflow knows of."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("dlfa/udpos")
    runs = client.search_runs([experiment.experiment_id]) if experiment is not None else []
    return sum(len(client.get_metric_history(run.info.run_id, "dev/score")) for run in runs)


def test_a_server_that_comes_and_goes_misses_nothing(tmp_path: Path) -> None:
    storage, port, struck = Storage.make(tmp_path, SPACE), free_port(), tmp_path / "struck"
    uri = f"http://127.0.0.1:{port}"
    command = storage.command("--name", "away", "--tracking-uri", uri, "--pruner", "none")
    # The baseline waits right before its second report, so that the sweep does not end before the server is there.
    environment = with_faults(struck, {"layer": 0, "does": "wait", "times": 1})
    with driving(command, environment) as driver:
        driver.until("search-0000 report 1/3")
        with mlflow_server(storage.folder, port):  # absent at first, there now, killed at the end of this block
            _until(lambda: _points(uri) >= 1)
        (struck / "go").touch()
        assert driver.end() == 0, driver.printed
    told = driver.printed
    assert f"MLflow at {uri} can't be reached (" in told
    assert f"MLflow at {uri} is back; the records kept for it are being delivered" in told
    assert "not reached MLflow; what is left is kept, and `dlfa-sweep --resume away" in told
    assert "Best fusion layers of sweep away" in told, "the sweep itself misses nothing"

    with mlflow_server(storage.folder, port):
        done = storage.resume("away")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "started" not in done.stdout
    assert_accounted(storage.folder / "away", search=4)


class _Refusing(BaseHTTPRequestHandler):
    """Answers as a server that the user has no rights on."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = b'{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}'
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PATCH = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_refuses_stops_nothing_and_another_gets_everything(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    try:
        done = storage.run("--name", "refused", "--tracking-uri", uri)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"MLflow at {uri} ") == 1, "told once"
    assert "Permission denied" in done.stdout
    assert "not reached MLflow; what is left is kept" in done.stdout

    done = storage.resume("refused", "--tracking-uri", f"sqlite:///{storage.folder}/mlflow.db")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(storage.folder / "refused", search=4)
