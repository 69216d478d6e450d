"""A sweep's records in MLflow, which mirrors the study: the only writer to MLflow.

A record says what changed in one run. It is written down at once and delivered by the spool's thread when MLflow
is there. Delivering it again changes nothing: runs are found by their tags before they are made, and a metric of
the same time, step and value is one point in MLflow's databases.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.events import TrialRef, TrialState
from orchestrator.spool import RefusedError, Spool

__all__ = ["MlflowTracker"]

_STATUS: dict[TrialState, str] = {
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
    "WAITING": "KILLED",  # MLflow has no word for it; the tag dlfa.state says that it goes on
}
# MLflow's error codes that stay however often a record is sent; others, such as no login, may pass.
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "MALFORMED_REQUEST",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_MAX_METRICS, _MAX_PARAMS, _MAX_TAGS = 1000, 100, 100  # per call of log_batch
_MAX_TAG_LENGTH = 5000

# The MLflow client reads these from the environment only; what the user has set wins. Retries are the spool's.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What changed in one run: a trial's, or the sweep's own where phase and trial are None."""

    time_ms: int
    name: str
    phase: str | None
    trial: str | None
    status: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    artifact: str | None = None


class MlflowTracker:
    """Implements SweepObserver: one parent run for the sweep, one child run per trial.

    Args:
        uri: MLflow's tracking URI; credentials in it are never shown or written down.
        experiment: Name of the experiment, such as `dlfa/udpos`; made when missing.
        sweep: The sweep's name.
        spool: Folder for records on their way, one per sweep; what an earlier driver left is delivered first.
        notify: Told in one line what the user should know; called from two threads.

    Raises:
        OSError: The spool folder can't be made, read or written.
    """

    def __init__(self, *, uri: str, experiment: str, sweep: str, spool: Path, notify: Callable[[str], None]) -> None:
        self._uri, self._experiment, self._sweep = uri, experiment, sweep
        self._shown_uri = _without_credentials(uri).partition("?")[0]
        self._mirror: _Mirror | None = None
        for name, value in _CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        receiver = f"MLflow at {self._shown_uri}"
        self._told: set[tuple[str | None, str | None, str]] = set()
        """Phase, trial and what has been recorded of it once and for all: `started`, `report 2`, `ended`."""
        self._spool = Spool(spool, self._deliver, receiver, lambda notice: notify(self._redacted(notice)))
        for fields in self._spool.records():
            self._remember(fields)

    def sweep_started(self, params: Mapping[str, str | int | float], tags: Mapping[str, str]) -> None:
        """The sweep starts, or goes on after an interruption."""
        self._record(None, status="RUNNING", params=params, tags={**tags, "dlfa.state": "RUNNING"})

    def catch_up(
        self,
        trial: TrialRef,
        reports: Mapping[int, tuple[float, Mapping[str, float]]],
        end: tuple[TrialState, Mapping[str, float], str | None] | None,
    ) -> None:
        """Record what the study knows of a trial and an earlier driver died before it recorded.

        Args:
            trial: Which one.
            reports: Step to score and metrics.
            end: State, metrics and reason as for `trial_ended`; none: it has not ended.
        """
        if not self._knows(trial, "started"):
            self.trial_started(trial)
        for step, (score, metrics) in reports.items():
            self.trial_reported(trial, step, score, metrics)
        if end is not None and not self._knows(trial, "ended"):
            self.trial_ended(trial, *end)

    def trial_started(self, trial: TrialRef) -> None:
        """See SweepObserver."""
        params = {**trial.params, "seed": trial.seed}
        self._record(trial, status="RUNNING", params=params, tags={"dlfa.state": "RUNNING"})

    def trial_reported(self, trial: TrialRef, step: int, score: float, metrics: Mapping[str, float]) -> None:
        """See SweepObserver; the score becomes the metric `dev/score`. A repeated report is not recorded again."""
        if self._knows(trial, f"report {step}"):
            return
        self._record(trial, metrics={**metrics, "dev/score": score}, step=step)

    def trial_restarted(self, trial: TrialRef, deaths: int, cause: str) -> None:
        """See SweepObserver."""
        self._record(trial, tags={"dlfa.deaths": str(deaths), "dlfa.last_death": cause})

    def trial_ended(self, trial: TrialRef, state: TrialState, metrics: Mapping[str, float], reason: str | None) -> None:
        """See SweepObserver."""
        tags = {"dlfa.state": str(state)} | ({} if reason is None else {"dlfa.reason": reason})
        self._record(trial, status=_STATUS[state], tags=tags, metrics=metrics)

    def sweep_ended(
        self,
        status: Literal["FINISHED", "FAILED", "KILLED"],
        metrics: Mapping[str, float],
        artifacts: Sequence[Path],
    ) -> None:
        """The sweep ends, or is interrupted (KILLED).

        Args:
            status: Of the parent run.
            metrics: For the parent run.
            artifacts: Files for the parent run; they must stay where they are until delivered.
        """
        self._record(None, status=status, tags={"dlfa.state": status}, metrics=metrics)
        for path in artifacts:  # one record each: a file that is refused takes nothing else with it
            self._record(None, artifact=str(path.absolute()))

    def close(self, timeout: float) -> int:
        """Waits at most `timeout` seconds for delivery, ends it, and returns the number of records left."""
        return self._spool.close(timeout)

    def _record(
        self,
        trial: TrialRef | None,
        *,
        params: Mapping[str, str | int | float] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        **rest: Any,
    ) -> None:
        record = _Record(
            time_ms=time.time_ns() // 1_000_000,
            name=self._sweep if trial is None else trial.name,
            phase=None if trial is None else trial.phase,
            trial=None if trial is None else str(trial.number),
            params={key: _without_credentials(str(value)) for key, value in (params or {}).items()},
            tags={key: _fitting(_without_credentials(value)) for key, value in (tags or {}).items()},
            metrics={key: float(value) for key, value in (metrics or {}).items()},
            **rest,
        )
        fields = asdict(record)
        self._remember(fields)
        self._spool.append(fields)

    def _knows(self, trial: TrialRef, what: str) -> bool:
        return (trial.phase, str(trial.number), what) in self._told

    def _remember(self, fields: Mapping[str, Any]) -> None:
        what = []
        if fields.get("status") == "RUNNING":
            what.append("started")
        elif fields.get("status") is not None and fields.get("tags", {}).get("dlfa.state") != "WAITING":
            what.append("ended")
        if "dev/score" in fields.get("metrics", {}):
            what.append(f"report {fields.get('step')}")
        self._told |= {(fields.get("phase"), fields.get("trial"), entry) for entry in what}

    def _deliver(self, fields: dict[str, Any]) -> None:
        try:
            record = _Record(**fields)
        except TypeError as error:  # another version of this program wrote it
            raise RefusedError(str(error)) from error
        try:
            if self._mirror is None:
                self._mirror = _Mirror(self._uri, self._experiment, self._sweep)
            self._mirror.apply(record)
        except Exception as error:
            self._mirror = None  # the runs it knew may be gone
            if isinstance(error, RefusedError):
                raise RefusedError(self._redacted(str(error))) from error
            raise

    def _redacted(self, text: str) -> str:
        """For what others wrote: they may quote the URI, or only the password in it."""
        text = _without_credentials(text.replace(self._uri, self._shown_uri))
        password = re.search(r"://[^/@:\s]*:(\S+)@", self._uri)
        return text.replace(password[1], "***") if password else text


class _Mirror:
    """One sweep's runs in MLflow, as one client knows them; raises what MLflow raises when it can't be reached."""

    def __init__(self, uri: str, experiment: str, sweep: str) -> None:
        from mlflow import MlflowClient  # takes seconds: only in the spool's thread, only when needed

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # what it fails at, the spool tells
        self._sweep = sweep
        self._client = MlflowClient(uri)
        self._experiment_id = self._open_experiment(experiment, _artifact_location(uri))
        self._run_ids = self._find_runs()

    def _open_experiment(self, name: str, artifact_location: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return self._client.create_experiment(name, artifact_location=artifact_location)
        if found.lifecycle_stage == "deleted":
            raise LookupError(f"experiment {name!r} is deleted there; restore it")
        return found.experiment_id

    def _find_runs(self) -> dict[tuple[str | None, str | None], str]:
        """Run ids by phase and trial; the parent has neither tag."""
        quote = '"' if "'" in self._sweep else "'"
        query = f"tags.`dlfa.sweep` = {quote}{self._sweep}{quote}"
        found: dict[tuple[str | None, str | None], str] = {}
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], query, page_token=token)
            for run in page:
                found[run.data.tags.get("dlfa.phase"), run.data.tags.get("dlfa.trial")] = run.info.run_id
            token = page.token
            if not token:
                return found

    def apply(self, record: _Record) -> None:
        """Brings one run up to date; raises RefusedError when MLflow does not want the record."""
        from mlflow.exceptions import MlflowException

        try:
            run_id = self._run_id(record)
            self._log(run_id, record)
        except MlflowException as error:
            if error.error_code in _REFUSALS:
                raise RefusedError(str(error)) from error
            raise
        if record.artifact is not None:
            try:
                self._client.log_artifact(run_id, record.artifact)
            except Exception as error:
                # Each artifact store has its own errors, and no file may hold up all records behind it.
                raise RefusedError(f"{record.artifact}: {error}") from error

    def _run_id(self, record: _Record) -> str:
        key = (record.phase, record.trial)
        if key not in self._run_ids:
            tags = {"dlfa.sweep": self._sweep}
            if record.phase is not None and record.trial is not None:
                parent = _Record(time_ms=record.time_ms, name=self._sweep, phase=None, trial=None)
                tags |= {"dlfa.phase": record.phase, "dlfa.trial": record.trial}
                tags |= {"mlflow.parentRunId": self._run_id(parent)}
            run = self._client.create_run(self._experiment_id, record.time_ms, tags, run_name=record.name)
            self._run_ids[key] = run.info.run_id
        return self._run_ids[key]

    def _log(self, run_id: str, record: _Record) -> None:
        from mlflow.entities import Metric, Param, RunTag

        tags = [RunTag(*item) for item in record.tags.items()]
        metrics = [Metric(*item, record.time_ms, record.step) for item in record.metrics.items()]
        params = [Param(*item) for item in record.params.items()]
        for i in range(0, len(tags), _MAX_TAGS):
            self._client.log_batch(run_id, tags=tags[i : i + _MAX_TAGS], synchronous=True)
        for i in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[i : i + _MAX_METRICS], synchronous=True)
        if record.status == "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        elif record.status is not None:
            self._client.set_terminated(run_id, record.status, end_time=record.time_ms)
        for i in range(0, len(params), _MAX_PARAMS):  # last: changing a parameter is refused
            self._client.log_batch(run_id, params=params[i : i + _MAX_PARAMS], synchronous=True)


def _artifact_location(uri: str) -> str | None:
    """Beside a SQLite database, since MLflow would use the working directory; None leaves the choice to it."""
    if not uri.startswith("sqlite:///"):
        return None
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    return (database.absolute().parent / "mlartifacts").as_uri()


def _without_credentials(text: str) -> str:
    """`text` with user and password taken out of every URI in it."""
    return re.sub(r"(?<=://)(?:[^/@:\s]*:\S*|[^/@\s]*)@", "***@", text)


def _fitting(tag: str) -> str:
    """MLflow would cut a longer tag without a mark."""
    return tag if len(tag) <= _MAX_TAG_LENGTH else tag[: _MAX_TAG_LENGTH - 1] + "…"
