"""What runs in a trial's process: `run_trial`, with its reports sent to the driver."""

import ctypes
import errno
import faulthandler
import gc
import json
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from dlfa.checkpoint import CheckpointFile
from dlfa.config import TrialConfig, from_mapping
from dlfa.errors import CheckpointError, DivergedError, DlfaError
from dlfa.files import atomic_write
from dlfa.progress import Report
from dlfa.trial import identity, run_trial
from orchestrator.restarts import HANG_LOG

__all__ = ["CHECKPOINT", "ERROR_LOG", "MODEL", "train"]

CHECKPOINT = "checkpoint.safetensors"
ERROR_LOG = "error.txt"
MODEL = "model"
_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EIO}
"""Of the file system, not of the trial that meets them."""

_Context = Callable[[], AbstractContextManager[None]]


def train(assignment: dict[str, Any]) -> None:
    """Run one trial and report to Tune; the driver knows a trial by what it reports.

    Every report has `step`, `score` and `metrics`; the last message has `summary` (the trial ran its full
    budget), `error` (one line; the traceback is in the trial's folder) or `fault` (one line: what keeps this
    trial and every other from going on).

    Args:
        assignment: `config`, a `TrialConfig` as a mapping, `folder`, the trial's own, `report_timeout`, seconds
            without a report after which this process ends itself, and `keep_model`, whether to write the model.
    """
    _release_memory()
    folder = Path(assignment["folder"])
    config = from_mapping(TrialConfig, assignment["config"])
    if not folder.is_dir():
        tune.report({"fault": f"{folder} is not there on {os.uname().nodename}: every node needs the same --storage"})
        return
    try:
        with _watched(folder / HANG_LOG, assignment["report_timeout"]) as unwatched:
            summary = _finished(folder / "scores.json", config) or _run(
                config, folder, unwatched, keep_model=assignment["keep_model"]
            )
    # Whatever a trial dies of is the trial's result: recorded, shown, and no reason to end the sweep.
    except Exception as error:  # noqa: BLE001
        tune.report(_ending(error, folder))
    else:
        tune.report({"summary": json.dumps(summary)})


def _ending(error: Exception, folder: Path) -> dict[str, str]:
    """Return a trial's last message."""
    node = os.uname().nodename
    if isinstance(error, DlfaError) and not isinstance(error, (CheckpointError, DivergedError)):
        # Encoder and data were read before any trial began: what is wrong with them now is wrong for every trial.
        return {"fault": f"{error} (on {node})"}
    if isinstance(error, OSError) and error.errno in _FAULTS:
        return {"fault": f"{error.filename or folder}: {os.strerror(error.errno)} on {node}"}
    try:
        atomic_write(folder / ERROR_LOG, f"on {node}\n{traceback.format_exc()}")
    except OSError as unwritable:
        return {"fault": f"{folder / ERROR_LOG}: {unwritable.strerror} on {node}"}
    name = "" if isinstance(error, DlfaError) else f"{type(error).__name__}: "
    return {"error": name + " ".join(str(error).split())}


@contextmanager
def _watched(log: Path, timeout: float) -> Iterator[_Context]:
    """End this process when `timeout` seconds pass inside, after it has written to `log` where it hangs.

    The watch is faulthandler's: it needs no lock of Python's, so that what hangs in native code ends, too.

    Yields:
        A context that is not watched, and after which the time begins again.
    """
    with log.open("w") as file:

        @contextmanager
        def unwatched() -> Iterator[None]:
            faulthandler.cancel_dump_traceback_later()
            yield
            faulthandler.dump_traceback_later(timeout, file=file, exit=True)

        faulthandler.dump_traceback_later(timeout, file=file, exit=True)
        try:
            yield unwatched
        finally:
            faulthandler.cancel_dump_traceback_later()
            log.unlink()


def _run(config: TrialConfig, folder: Path, unwatched: _Context, *, keep_model: bool) -> dict[str, Any]:
    def report(entry: Report) -> None:
        with unwatched():  # the driver may take its time
            _send(entry)

    result = run_trial(config, report, CheckpointFile(folder / CHECKPOINT))
    if keep_model:
        result.save_model(folder / MODEL)
    result.save(folder)  # last: its scores.json says that the rest is there
    return result.summary()


def _release_memory() -> None:
    """Give back what this process's trial before has left: Python's cycles, and what the C library keeps for itself.

    Each trial runs in a thread of its own, whose heap glibc does not return by itself.
    """
    gc.collect()
    _spare_imports()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@cache
def _spare_imports() -> None:
    """Spare every later collection the million objects that were there before this process's first trial."""
    gc.freeze()


def _send(report: Report) -> None:
    tune.report({"step": report.step, "score": report.score, "metrics": json.dumps(dict(report.metrics))})


def _finished(path: Path, config: TrialConfig) -> dict[str, Any] | None:
    """Return the summary of the same trial if an earlier driver died before it heard of it."""
    if not path.exists():
        return None
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary if identity(from_mapping(TrialConfig, summary["config"])) == identity(config) else None
