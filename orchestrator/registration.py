"""`dlfa-report --register`: the best model of a sweep in MLflow's registry."""

import contextlib
import io
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd

from dlfa.embedded.corpus import entailment_pairs, languages, tagged_sentences
from dlfa.errors import ConfigError, DlfaError, MachineError, system_cause
from dlfa.fusions import BASELINE
from dlfa.prediction import load_predictor
from dlfa.tasks import TASKS, Kind
from dlfa.untrusted import without_secrets
from orchestrator import serving
from orchestrator.report import Sweep, best_layers, model_runs
from orchestrator.report.arms import arm_of, described
from orchestrator.report.runs import SCORES
from orchestrator.settings import SweepSettings, read_settings
from orchestrator.tracking import default_client_settings, run_ids
from orchestrator.trainable import MODEL

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

__all__ = ["Best", "best_model", "register"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of what MLflow takes, what stands for itself in `models:/NAME/1`."""

_ANSWER_S = 60.0
"""How long MLflow may take to find a run; its client would try to reach a database for minutes."""

_PACKAGES = ("dlfa-sweep", "mlflow", "torch", "transformers")
_UNFINISHED = ("WAITING", "RUNNING")

_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Best:
    """The run whose model is a sweep's best."""

    trial: str
    """Name of the confirm run."""

    row: pd.Series
    """Of its configuration in `best_layers`."""

    why: str
    """Of which arm it is, and what all arms scored, for people."""


def best_model(sweep: Sweep) -> Best:
    """Return the best of the baseline and each fusion's selected layer, by the mean selection score of their runs.

    Test sets are not looked at. Of equals it is the first in the order of the registry, which begins with the
    simplest, the baseline. Of the runs of a configuration it is
    the one with the best selection score.

    Raises:
        ConfigError: The confirm phase has not finished, or has no run.
    """
    confirm = sweep.frame[sweep.frame["phase"].eq("confirm") & ~sweep.frame["superseded"]]
    states = confirm.drop_duplicates("trial")["state"]
    if pending := int(states.isin(_UNFINISHED).sum()):
        raise ConfigError(
            f"--register: sweep {sweep.name} has {pending} of {len(states)} confirm runs to go; allowed: a sweep whose "
            f"confirm phase has finished; dlfa-sweep --resume {sweep.name} goes on with it"
        )
    runs = model_runs(sweep.frame)
    if not runs:
        raise ConfigError(
            f"--register: sweep {sweep.name} has no finished confirm run; allowed: a sweep whose confirm phase has "
            "finished, of one seed or more"
        )
    table = best_layers(sweep.frame)
    standing = table[table["selected"] | table["fusion"].eq(BASELINE)]
    rows = {arm_of(row["fusion"]): row for _, row in standing.iterrows()}
    # Rounded, as for the selected layer: means of equal scores must not differ by the order of adding.
    dev = {arm: round(float(rows[arm]["dev"]), 9) for arm in runs}
    best = max(dev, key=lambda arm: dev[arm])
    names = {
        arm: "the baseline" if arm == "baseline" else described(rows[arm]["fusion"], rows[arm]["fusion_layer"])
        for arm in dev
    }
    # The first is the best; of others, too, the better ones come first.
    scores = ", ".join(f"{names[arm]} {dev[arm]:.2f}" for arm in sorted(dev, key=lambda arm: -dev[arm]))
    tie = "; of equals the simpler one" if list(dev.values()).count(dev[best]) > 1 else ""
    oracle = " (oracle selection)" if sweep.settings["select_on"] == "targets" else ""
    metric = TASKS[sweep.settings["task"]].metric
    return Best(
        trial=runs[best],
        row=rows[best],
        why=f"{names[best]}, by mean dev {metric}{oracle}: {scores}{tie}",
    )


def register(sweep: Sweep, folder: Path, name: str) -> list[str]:
    """Log the best model of a sweep to the MLflow run of its trial, and register it.

    The model predicts text: see `orchestrator.serving`. Its artifact holds files of settings and safetensors; the code
    is the installed package's.

    Args:
        sweep: What `orchestrator.report.load` returned.
        folder: The sweep's.
        name: Of the registered model; a further version of it if there is one.

    Returns:
        What the user should know, line by line: name, version, what it is, and how to load it.

    Raises:
        ConfigError: The name is none, the sweep has no best model yet, kept none, or MLflow has no run of its trial.
        MachineError: MLflow can't be reached or fails.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--register: {name!r} is not allowed; allowed: up to 100 letters, digits, dots, dashes and underscores"
        )
    settings = read_settings(folder)
    best = best_model(sweep)
    model = _kept(folder, best, settings)
    uri = settings.tracking_uri
    with _quiet():
        run_id = _asked(uri, lambda: _within(_ANSWER_S, lambda: _run_id(settings, best.trial, name)))
        example = _example(TASKS[settings.task].kind, settings.data.source_language)
        serving.ServedModel(load_predictor(model)).predict(example)  # before anything is written: it may be damaged
        number = _asked(uri, lambda: _log(uri, run_id, model, name, example, settings, best))
    return [
        f"registered {name} version {number}: {best.trial} of sweep {sweep.name}, {best.why}",
        f"load it with: mlflow.set_tracking_uri({uri!r}); mlflow.pyfunc.load_model('models:/{name}/{number}')",
    ]


def _kept(folder: Path, best: Best, settings: SweepSettings) -> Path:
    """Return the folder of a run's model."""
    model = folder / "trials" / best.trial / MODEL
    if model.is_dir():
        return model
    reason = "the sweep ran with --keep-models none" if settings.keep_models == "none" else f"there is no {model}"
    raise ConfigError(
        f"--register: the model of {best.trial}, {best.why.partition(',')[0]}, was not kept: {reason}; allowed: a "
        "sweep with --keep-models best, the default, which keeps the models of what is best when it first ends"
    )


def _run_id(settings: SweepSettings, trial: str, name: str) -> str:
    """Return the id of a trial's run; look up the registered model, too, so that what MLflow refuses is known early."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    missing = ConfigError(
        f"--register: no run of {trial} of sweep {settings.name} in MLflow at {_shown(settings.tracking_uri)}; "
        f"allowed: a sweep whose records have arrived; dlfa-sweep --resume {settings.name} delivers what is waiting"
    )
    path = settings.tracking_uri.removeprefix("sqlite:///").partition("?")[0]
    if settings.tracking_uri.startswith("sqlite:///") and not Path(path).is_file():
        raise missing  # MLflow would make an empty database
    client = MlflowClient(settings.tracking_uri)
    experiment = client.get_experiment_by_name(f"dlfa/{settings.task}")
    phase, _, number = trial.partition("-")
    found = {} if experiment is None else run_ids(client, experiment.experiment_id, settings.name)
    if (phase, str(int(number))) not in found:
        raise missing
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            reason = " ".join(error.message.split())
            raise ConfigError(
                f"--register: {name!r} is not allowed (MLflow: {reason}); allowed: a name that MLflow takes"
            ) from error
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return found[phase, str(int(number))]


def _log(
    uri: str, run_id: str, folder: Path, name: str, example: pd.DataFrame, settings: SweepSettings, best: Best
) -> str:
    """Log and register a model; return its version."""
    import mlflow
    from mlflow.models import Model

    client = mlflow.MlflowClient(uri)
    run = client.get_run(run_id)
    tags = {"dlfa.sweep": settings.name, "dlfa.trial": best.trial}
    # Made here, in its run's experiment: MLflow would put it into whichever is the process's.
    logged = client.create_logged_model(run.info.experiment_id, "model", run_id, tags, run.data.params)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(uri)
    try:
        # Not mlflow.pyfunc.log_model: to name a run it would have to reopen it, and change how and when it ended.
        info = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=logged.model_id,
            registered_model_name=name,
            await_registration_for=int(_ANSWER_S),
            loader_module=serving.__name__,
            data_path=str(folder),
            signature=_signature(TASKS[settings.task].kind),
            input_example=example,
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in _PACKAGES],
            metadata=_metadata(settings, best),
            tags=tags,
        )
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type] # None unsets it
    return str(info.registered_model_version)


def _signature(kind: Kind) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    text = [serving.TEXT] if kind == "tagging" else [serving.TEXT, serving.SECOND_TEXT]
    output = (
        ColSpec(Array(DataType.string), serving.LABELS)
        if kind == "tagging"
        else ColSpec(DataType.string, serving.LABEL)
    )
    return ModelSignature(Schema([ColSpec(DataType.string, column) for column in text]), Schema([output]))


def _example(kind: Kind, language: str) -> pd.DataFrame:
    """Return a row of input, of the controlled corpus: in English where it does not have the source language."""
    language = language if language in languages() else "en"
    if kind == "tagging":
        (sentence,) = tagged_sentences("panx", language, "train", 1)
        row = {serving.TEXT: " ".join(sentence.words)}
    else:
        (pair,) = entailment_pairs(language, "train", 1)
        row = {serving.TEXT: pair.first, serving.SECOND_TEXT: pair.second}
    example: pd.DataFrame = pd.DataFrame([row])
    return example


def _metadata(settings: SweepSettings, best: Best) -> dict[str, Any]:
    """Return where a model comes from; scores are means over the runs of its configuration, in percent."""
    row = best.row
    scores = {key: float(row[key]) for key in SCORES if not pd.isna(row[key])}
    layer, ratio = (None if pd.isna(row[key]) else int(row[key]) for key in ("fusion_layer", "reduction_ratio"))
    return {
        "sweep": settings.name,
        "trial": best.trial,
        "task": settings.task,
        "encoder": settings.encoder,
        "source_language": settings.data.source_language,
        "select_on": settings.select_on,
        "fusion": str(row["fusion"]),
        "fusion_layer": layer,
        "reduction_ratio": ratio,
        "learning_rate": float(row["learning_rate"]),
        "metric": TASKS[settings.task].metric,
        "seeds": int(row["seeds"]),
        "scores": scores,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to the user's settings what MLflow prints, and what it copies of the working folder."""
    default_client_settings()
    # A uv.lock beside which the command is run is none of the model's.
    for variable in ("MLFLOW_UV_AUTO_DETECT", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):
        os.environ.setdefault(variable, "false")
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _asked(uri: str, call: Callable[[], _Found]) -> _Found:
    """Return what MLflow answers; each of its stores has its own errors, and all of them are told in one line."""
    try:
        return call()
    except DlfaError:
        raise
    except Exception as error:
        raise MachineError(f"--register: MLflow at {_shown(uri)} fails ({system_cause(error)})") from error


def _shown(uri: str) -> str:
    return without_secrets(uri).partition("?")[0]


def _within(seconds: float, call: Callable[[], _Found]) -> _Found:
    """Return what a call returns, or raise what it raises.

    Raises:
        TimeoutError: It takes longer; its thread goes on, and ends with the process.
    """
    found: list[_Found] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    return found[0]
