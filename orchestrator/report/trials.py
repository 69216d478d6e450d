"""A sweep's folder as one tidy frame, a row per number; every table is derived from it."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from dlfa.config import suggestion
from dlfa.errors import ConfigError, DataError
from dlfa.fusions import FUSIONS
from dlfa.probing import LAYER_COLUMNS
from dlfa.tasks import TASKS
from dlfa.trial import EXAMPLES
from dlfa.untrusted import load_yaml
from orchestrator.report.arms import KEY, arm_of
from orchestrator.report.balance import Balance, balance
from orchestrator.report.intervals import intervals, target_draws
from orchestrator.settings import is_name, known_sweeps

__all__ = ["COLUMNS", "ENCODERS", "MEASURES", "Sweep", "confirmed_runs", "load", "load_many"]

COLUMNS = {
    "sweep": "string",
    "task": "string",
    "source_language": "string",
    "select_on": "string",
    "trial": "string",
    "phase": "string",
    "number": "Int64",
    "state": "string",
    "reason": "string",
    "superseded": "bool",
    "seed": "Int64",
    "fusion": "string",
    "fusion_layer": "Int64",
    "reduction_ratio": "Int64",
    "learning_rate": "float64",
    "split": "string",
    "language": "string",
    "metric": "string",
    "step": "Int64",
    "value": "float64",
}
"""Columns of a sweep's frame and their types; other searched parameters follow under their own names."""

MEASURES = "probing"
"""Folder of a sweep that has what the layers of its encoders know, a file per encoder."""

ENCODERS = ("pretrained", *map(arm_of, FUSIONS))
"""Whose layers are measured: before fine-tuning, and after it without fusion and with each."""

_EXAMPLE_TYPES = {"language": "string", "example": "int64", "numerator": "float64", "denominator": "float64"}
_EXAMPLE = ["trial", *_EXAMPLE_TYPES]
_NUMBERS = ["trial", "split", "language", "metric", "step", "value"]
_REQUIRED = {"name": str, "task": str, "encoder": str, "data": dict, "select_on": str, "provenance": dict}
_REQUIRED_DATA = {"path": str, "source_language": str}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep as it stands now, finished or not."""

    name: str
    """Name of the sweep, as in its `sweep.yaml`."""

    settings: Mapping[str, Any]
    """The resolved configuration: the contents of `sweep.yaml`."""

    layers: tuple[int, ...]
    """Fusion layers that the search chooses from, ascending; empty before its first trial with one."""

    frame: pd.DataFrame
    """One row per number of a trial, with the columns of `COLUMNS`.

    split is `dev` or `train` (one row per report), `test` (step: the best one) or `selection` (a
    COMPLETE trial's selection score, under the task's main metric). language is missing for train,
    selection and aggregates. Scores are in percent. A trial without any number has one row.
    """

    examples: pd.DataFrame
    """What each test example adds to the main score of each run that tables of best layers rest on.

    trial, language, example (from 0), numerator, denominator: 100 times the ratio of their sums is the score. Runs
    of versions that wrote no examples have none.
    """

    measures: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """Those of `ENCODERS` that `dlfa-report --equilibrium` has measured, to what it found."""

    @cached_property
    def balances(self) -> Mapping[str, Balance]:
        """Capability and structure of the layers of each encoder that was measured."""
        source = str(self.settings["data"]["source_language"])
        return {name: balance(measured, source) for name, measured in self.measures.items()}

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """95 % intervals of differences to the baseline: see `orchestrator.report.intervals`."""
        runs = confirmed_runs(self.frame).drop_duplicates("trial")
        return intervals(runs, self.examples, str(self.settings["data"]["source_language"]))

    @cached_property
    def target_draws(self) -> pd.DataFrame:
        """Draws of the mean target score of every fusion and layer: see `orchestrator.report.intervals`."""
        runs = confirmed_runs(self.frame).drop_duplicates("trial")
        return target_draws(runs, self.examples, str(self.settings["data"]["source_language"]))


def load_many(names: Sequence[str], storage: Path) -> list[Sweep]:
    """Read several sweeps of a storage folder.

    Raises:
        ConfigError: Naming every sweep that cannot be read.
    """
    sweeps: list[Sweep] = []
    errors: list[str] = []
    for name in dict.fromkeys(names):
        try:
            if not is_name(name):
                raise ConfigError(f"{name!r} is no sweep's name{_others(storage, Path(name).name)}")
            sweeps.append(load(storage / name))
        except ConfigError as error:
            errors.append(str(error))
    if errors:
        raise ConfigError("; ".join(errors))
    return sweeps


def load(folder: Path) -> Sweep:
    """Read a sweep's folder, also while the sweep runs; nothing in it is created or changed.

    Raises:
        ConfigError: The folder is missing or holds no readable sweep.
        DataError: Two confirm runs contradict each other, or a run's examples cannot be read.
    """
    settings = _read_settings(folder)
    try:
        studies = _read_studies(folder / "study.db")
        frame = _frame(settings, studies)
    except (sqlite3.Error, SQLAlchemyError, RuntimeError) as error:  # RuntimeError: of another Optuna's schema
        reason = " ".join(str(error).split())
        if "readonly" in reason:
            reason += f"; dlfa-sweep --resume {folder.name} mends what a killed sweep left half-written"
        raise ConfigError(f"{folder}: study.db cannot be read: {reason}") from error
    # Optuna and pandas take what stands in a study for what Optuna has written there.
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{folder}: study.db cannot be read: it is no sweep's ({reason})") from error
    _check_fusions(folder, frame)
    _check_confirmed(folder, frame)
    return Sweep(
        name=settings["name"],
        settings=settings,
        layers=_layers(studies["search"]),
        frame=frame,
        examples=_examples(folder, frame, TASKS[settings["task"]].metric),
        measures=_measures(folder / MEASURES),
    )


def confirmed_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that tables of best layers rest on: COMPLETE confirm runs that still count."""
    counts = frame["phase"].eq("confirm") & frame["state"].eq("COMPLETE") & ~frame["superseded"]
    rows: pd.DataFrame = frame[counts]
    return rows


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / "sweep.yaml"
    try:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such sweep{_others(folder.parent, folder.name)}")
        for name in ("sweep.yaml", "study.db"):
            if not (folder / name).is_file():
                raise ConfigError(f"{folder}: not a sweep, or none that has begun: no {name} in it")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}; allowed: a sweep that can be read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    try:
        settings = load_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("data", {}), dict):
        raise ConfigError(f"{path}: not a sweep's configuration; allowed: fields with values, data too")
    missing = [key for key in _REQUIRED if key not in settings]
    missing += [f"data.{key}" for key in _REQUIRED_DATA if key not in settings.get("data", {})]
    if missing:
        raise ConfigError(f"{path}: not a sweep's configuration: no {', '.join(missing)} in it")
    for section, required in (("", _REQUIRED), ("data.", _REQUIRED_DATA)):
        values = settings["data"] if section else settings
        for key, kind in required.items():
            if not isinstance(values[key], kind):
                allowed = "text" if kind is str else "fields with values"
                raise ConfigError(f"{path}: {section}{key}: {values[key]!r} is not allowed; allowed: {allowed}")
    if (task := settings["task"]) not in TASKS:
        raise ConfigError(f"{path}: task: {task!r} is not allowed; allowed: {', '.join(TASKS)}")
    return settings


def _others(storage: Path, name: str) -> str:
    """Return the sweeps there are, for messages, and which of them may have been meant."""
    known = known_sweeps(storage)
    return f"{suggestion(name, known)}; sweeps in {storage}: {', '.join(known) or 'none'}"


def _read_studies(path: Path) -> dict[str, list[FrozenTrial]]:
    """Return the trials of both phases as of one moment."""
    # Optuna reads a snapshot in memory: whatever it creates or migrates there, the file stays as it is,
    # and both studies are of the same moment. The read transaction keeps `backup` from waiting for ever.
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as file:
        file.execute("BEGIN")
        file.execute("SELECT count(*) FROM sqlite_master").fetchone()
        file.backup(memory)
    storage = RDBStorage("sqlite://", engine_kwargs={"creator": lambda: memory, "poolclass": StaticPool})
    known = optuna.get_all_study_names(storage)
    studies: dict[str, list[FrozenTrial]] = {}
    for phase in ("search", "confirm"):
        study = optuna.load_study(study_name=phase, storage=storage) if phase in known else None
        studies[phase] = study.get_trials() if study else []
        # The study names the trials that count; Optuna would not let a finished one be marked.
        counting = study.user_attrs.get("numbers") if study else None
        for trial in studies[phase]:
            if counting is not None and trial.number not in counting:
                trial.user_attrs["superseded"] = True
    memory.close()
    return studies


def _frame(settings: Mapping[str, Any], studies: Mapping[str, list[FrozenTrial]]) -> pd.DataFrame:
    sweep = {
        "sweep": settings["name"],
        "task": settings["task"],
        "source_language": settings["data"]["source_language"],
        "select_on": settings["select_on"],
    }
    main = TASKS[settings["task"]].metric
    rows: list[dict[str, Any]] = []
    numbers: list[tuple[Any, ...]] = []
    for phase, trials in studies.items():
        for trial in trials:
            name = f"{phase}-{trial.number:04d}"
            rows.append({**sweep, "trial": name, "phase": phase, **_trial_row(trial)})
            numbers += [(name, *number) for number in _numbers(trial, main)]
    table = pd.DataFrame(rows)
    known = [column for column in COLUMNS if column == "trial" or column not in _NUMBERS]
    extra = table.columns.difference(known)
    table = table.reindex(columns=[*known, *extra]).astype({column: COLUMNS[column] for column in known})
    values = pd.DataFrame(numbers, columns=_NUMBERS).astype({column: COLUMNS[column] for column in _NUMBERS})
    # A left join: a trial without any number keeps its row.
    frame: pd.DataFrame = table.merge(values, on="trial", how="left")[[*COLUMNS, *extra]]
    return frame


def _trial_row(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "reason": trial.user_attrs.get("reason"),
        "superseded": trial.user_attrs.get("superseded") is True,
        "seed": trial.user_attrs.get("seed"),
        **trial.params,
    }


def _numbers(trial: FrozenTrial, main: str) -> Iterator[tuple[Any, ...]]:
    """Yield split, language, metric, step and value of each number that a trial has."""
    attrs = trial.user_attrs
    steps = sorted(int(key.removeprefix("report:")) for key in attrs if key.startswith("report:"))
    scores: list[tuple[int | None, Any]] = [(step, attrs[f"report:{step}"]) for step in steps]
    # Optuna gives a pruned trial its last intermediate value, which is no selection score.
    if trial.state is TrialState.COMPLETE:
        yield "selection", None, main, attrs.get("best_step"), trial.value
        scores.append((attrs.get("best_step"), attrs.get("scores", {})))
    for step, values in scores:
        for name, value in values.items():
            split, *language, metric = name.split("/")
            if len(language) > 1:
                raise ValueError(f"{name!r} is no metric")
            yield split, *(language or [None]), metric, step, value


def _layers(search: list[FrozenTrial]) -> tuple[int, ...]:
    layers: set[int] = set()
    for trial in search:
        match trial.distributions.get("fusion_layer"):
            case IntDistribution(low=low, high=high, step=step):
                layers.update(range(low, high + 1, step))
            case CategoricalDistribution(choices=choices):
                layers.update(choice for choice in choices if isinstance(choice, int))
    return tuple(sorted(layers))


def _check_fusions(folder: Path, frame: pd.DataFrame) -> None:
    if unknown := sorted(set(frame["fusion"].dropna()) - FUSIONS.keys()):
        raise ConfigError(
            f"{folder}: fusion: {', '.join(unknown)} is not known to this version; allowed: {', '.join(FUSIONS)}"
        )


def _check_confirmed(folder: Path, frame: pd.DataFrame) -> None:
    """Refuse runs that a table of one row per fusion and layer, paired by seed, would mix up."""
    runs = confirmed_runs(frame).drop_duplicates("trial")
    params = ["reduction_ratio", "learning_rate", *(c for c in frame if c not in COLUMNS)]
    mixed = runs.groupby(KEY, dropna=False)[params].transform("nunique").gt(1).any(axis=1)
    twice = runs.duplicated([*KEY, "seed"], keep=False)
    if (mixed | twice).any():
        raise DataError(
            f"{folder}: {', '.join(runs.loc[mixed | twice, 'trial'])} contradict each other; allowed: one "
            "configuration per fusion and layer and one run of it per seed, all others superseded"
        )


def _examples(folder: Path, frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=_EXAMPLE)]
    for trial in confirmed_runs(frame)["trial"].unique():
        path = folder / "trials" / trial / EXAMPLES
        if not path.exists():
            continue
        try:
            found = pd.read_parquet(path, columns=[*_EXAMPLE_TYPES, "metric"], filters=[("metric", "==", metric)])
            found = found.astype(_EXAMPLE_TYPES)
            if found.duplicated(["language", "example"]).any():
                raise ValueError("an example stands there twice")
        except (OSError, ValueError, LookupError, RuntimeError) as error:  # RuntimeError: some of pyarrow's
            raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
        parts.append(found.assign(trial=trial)[_EXAMPLE])
    examples: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return examples


def _measures(folder: Path) -> dict[str, pd.DataFrame]:
    found = {}
    for name in ENCODERS:
        path = folder / f"{name}.parquet"
        if not path.exists():
            continue
        try:
            measured = pd.read_parquet(path, columns=list(LAYER_COLUMNS)).astype(LAYER_COLUMNS)
            if measured.duplicated(["measure", "language", "layer", "example"]).any():
                raise ValueError("an example stands there twice")
        except (OSError, ValueError, LookupError, RuntimeError) as error:  # RuntimeError: some of pyarrow's
            raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
        found[name] = measured
    return found
