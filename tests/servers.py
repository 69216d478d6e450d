"""MLflow's own server on loopback, for tests of what writes to it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["free_port", "mlflow_server"]

_PATIENCE_S = 300.0


def free_port() -> int:
    """Return a port of loopback where nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, port: int, logs: Path | None = None) -> Iterator[str]:
    """Run a server over `mlflow.db` in a folder, the same whenever it starts; yield its URI, and kill it in the end.

    Args:
        folder: With the database; what is uploaded goes there, too.
        port: Of loopback.
        logs: Folder for what the server prints; none: the same.
    """
    uri = f"http://127.0.0.1:{port}"
    store = f"--backend-store-uri sqlite:///{folder}/mlflow.db --artifacts-destination {folder}/artifacts"
    command = f"{sys.executable} -m mlflow server --host 127.0.0.1 --port {port} --workers 1 {store}"
    log = (logs or folder) / "server.log"
    with log.open("a") as file:
        server = subprocess.Popen(command.split(), stdout=file, stderr=file, cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _answers(uri):
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(_PATIENCE_S)


def _answers(uri: str) -> bool:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=5).close()
    except OSError:
        return False
    return True
