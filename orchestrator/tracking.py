"""A sweep's records in MLflow, which mirrors the study: the only writer of runs.

A record says what changed in one run. It is written down at once and delivered by the spool's thread when MLflow
is there. Delivering it again changes nothing: runs are found by their tags before they are made, and a metric of
the same time, step and value is one point in MLflow's databases.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd
from pandas.api.types import is_float_dtype

from orchestrator.events import TrialRef, TrialState
from orchestrator.spool import RefusedError, Spool

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["InputSet", "MlflowTracker", "default_client_settings", "run_ids"]

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
_DIGEST_LENGTH = 36
_TABLES: Final = "tables"
"""Folder of a sweep's tables among its run's artifacts."""

# The MLflow client reads these from the environment only; what the user has set wins. Retries are the spool's; what
# is used how often is nobody's business.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True, kw_only=True)
class InputSet:
    """A set of examples that every trial of a sweep reads."""

    name: str
    """Such as `udpos de test`."""

    context: Literal["training", "validation", "test"]
    digest: str
    """Of its files; MLflow takes the first 36 characters."""

    source: str
    """Folder that the files are in."""


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
    inputs: Sequence[Mapping[str, str]] = ()
    artifact: str | None = None
    """A file to upload."""

    folder: str | None = None
    """Where among the run's artifacts the file goes."""

    table: str | None = None
    """File among the run's artifacts that is to hold `content`."""

    content: str | None = None


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
        default_client_settings()
        receiver = f"MLflow at {self._shown_uri}"
        self._told: set[tuple[str | None, str | None, str]] = set()
        """Phase, trial and what has been recorded of it once and for all: `started`, `report 2`, `ended`."""
        self._findings: dict[str, float] = {}
        """Metrics of the parent run as they were last recorded."""
        self._inputs: list[dict[str, str]] = []
        self._spool = Spool(spool, self._deliver, receiver, lambda notice: notify(self._redacted(notice)))
        for fields in self._spool.records():
            self._remember(fields)

    def sweep_started(
        self, params: Mapping[str, str | int | float], tags: Mapping[str, str], inputs: Sequence[InputSet] = ()
    ) -> None:
        """The sweep starts, or goes on after an interruption.

        Args:
            params: Of the parent run.
            tags: Of the parent run.
            inputs: What all trials read: inputs of the parent run, and of the run of every trial that starts now.
        """
        self._inputs = [asdict(entry) for entry in inputs]
        tags = {**tags, "dlfa.state": "RUNNING"}
        self._record(None, status="RUNNING", params=params, tags=tags, inputs=self._inputs)

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
        inputs = [] if self._knows(trial, "started") else self._inputs
        self._record(trial, status="RUNNING", params=params, tags={"dlfa.state": "RUNNING"}, inputs=inputs)

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
        # MLflow's charts offer metrics in the order that they came in: means before 40 languages.
        ordered = {name: metrics[name] for name in sorted(metrics, key=lambda name: name.count("/"))}
        self._record(trial, status=_STATUS[state], tags=tags, metrics=ordered)

    def sweep_ended(
        self, status: Literal["FINISHED", "FAILED", "KILLED"], findings: Mapping[str, float] | None = None
    ) -> None:
        """The sweep ends, or is interrupted (KILLED).

        Args:
            status: Of the parent run.
            findings: Metrics of the parent run; those that are as they were are not recorded again.
        """
        new = {name: value for name, value in (findings or {}).items() if self._findings.get(name) != value}
        self._record(None, status=status, tags={"dlfa.state": status}, metrics=new)

    def sweep_reported(
        self,
        *,
        files: Mapping[str, Sequence[Path]],
        tables: Mapping[str, pd.DataFrame] | None = None,
        description: str | None = None,
    ) -> None:
        """Files and tables of a sweep, for the parent run; they replace what it had under these names.

        Args:
            files: By folder in the run's artifacts, such as `figures`, or "" for none; they must stay where they are
                until delivered.
            tables: By name; numbers are rounded to six significant digits.
            description: Markdown.
        """
        if description is not None:
            self._record(None, tags={"mlflow.note.content": description})
        for folder, paths in files.items():  # one record each: a file that is refused takes nothing else with it
            for path in paths:
                self._record(None, artifact=str(path.absolute()), folder=folder or None)
        contents = {f"{_TABLES}/{name}.json": _content(table) for name, table in (tables or {}).items()}
        for name, content in contents.items():
            self._record(None, table=name, content=content)
        if contents:  # by this tag MLflow's page and its load_table know them
            logged = [{"path": name, "type": "table"} for name in contents]
            self._record(None, tags={"mlflow.loggedArtifacts": json.dumps(logged)})

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
        if fields.get("phase") is None:
            self._findings |= fields.get("metrics", {})
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


def default_client_settings() -> None:
    """Have MLflow's client fail soon and keep to itself, unless the user has set it otherwise; before its import."""
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)


def run_ids(client: "MlflowClient", experiment_id: str, sweep: str) -> dict[tuple[str | None, str | None], str]:
    """Return the ids of a sweep's runs by the tags for phase and trial; the parent has neither."""
    quote = '"' if "'" in sweep else "'"
    query = f"tags.`dlfa.sweep` = {quote}{sweep}{quote}"
    found: dict[tuple[str | None, str | None], str] = {}
    token = None
    while True:
        page = client.search_runs([experiment_id], query, page_token=token)
        for run in page:
            found[run.data.tags.get("dlfa.phase"), run.data.tags.get("dlfa.trial")] = run.info.run_id
        token = page.token
        if not token:
            return found


class _Mirror:
    """One sweep's runs in MLflow, as one client knows them; raises what MLflow raises when it can't be reached."""

    def __init__(self, uri: str, experiment: str, sweep: str) -> None:
        from mlflow import MlflowClient  # takes seconds: only in the spool's thread, only when needed

        if "MLFLOW_LOGGING_LEVEL" not in os.environ:
            logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # what it fails at, the spool tells
        self._sweep = sweep
        self._client = MlflowClient(uri)
        self._experiment_id = self._open_experiment(experiment, _artifact_location(uri))
        self._run_ids = run_ids(self._client, self._experiment_id, sweep)

    def _open_experiment(self, name: str, artifact_location: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return self._client.create_experiment(name, artifact_location=artifact_location)
        if found.lifecycle_stage == "deleted":
            raise LookupError(f"experiment {name!r} is deleted there; restore it")
        return found.experiment_id

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
        try:
            if record.artifact is not None:
                self._client.log_artifact(run_id, record.artifact, record.folder)
            if record.table is not None:
                # As log_table writes it; that would append the table to itself when it is delivered again.
                self._client.log_text(run_id, record.content or "", record.table)
        except Exception as error:
            # Each artifact store has its own errors, and no file may hold up all records behind it.
            raise RefusedError(f"{record.artifact or record.table}: {error}") from error

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

        inputs = [_dataset(entry) for entry in record.inputs]
        tags = [RunTag(*item) for item in record.tags.items()]
        metrics = [Metric(*item, record.time_ms, record.step) for item in record.metrics.items()]
        params = [Param(*item) for item in record.params.items()]
        for i in range(0, len(tags), _MAX_TAGS):
            self._client.log_batch(run_id, tags=tags[i : i + _MAX_TAGS], synchronous=True)
        for i in range(0, len(metrics), _MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[i : i + _MAX_METRICS], synchronous=True)
        if inputs:
            self._client.log_inputs(run_id, inputs)
        if record.status == "RUNNING":
            self._client.update_run(run_id, status="RUNNING")
        elif record.status is not None:
            self._client.set_terminated(run_id, record.status, end_time=record.time_ms)
        for i in range(0, len(params), _MAX_PARAMS):  # last: changing a parameter is refused
            self._client.log_batch(run_id, params=params[i : i + _MAX_PARAMS], synchronous=True)


def _content(table: pd.DataFrame) -> str:
    """Return a table as MLflow's log_table writes it."""
    rounded = table.copy()
    for column in table:
        if is_float_dtype(table[column]):
            rounded[column] = [float(f"{value:.6g}") for value in table[column].astype("float64")]
    return str(rounded.to_json(orient="split", index=False, double_precision=12))


def _dataset(entry: Mapping[str, str]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": entry["source"]})
    dataset = Dataset(entry["name"], entry["digest"][:_DIGEST_LENGTH], "local", source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", entry["context"])])


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
