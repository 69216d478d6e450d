"""The real commands on the toy, and whether all that a sweep leaves behind tells the same."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial
from toy import write_toy

__all__ = [
    "Driver",
    "Fault",
    "Storage",
    "assert_accounted",
    "driving",
    "entry",
    "interrupt",
    "run",
    "runs_of",
    "space",
    "states_of",
    "trials_of",
    "with_faults",
]

_PHASES = ("search", "confirm")
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


@dataclass(frozen=True)
class Storage:
    """A folder of sweeps, and how to run the commands on the toy in it."""

    folder: Path
    data: Path
    encoder: Path
    space: Path
    before: tuple[str, ...] = field(default=())
    """What comes before every command, such as `taskset -c 0`."""

    @classmethod
    def make(cls, root: Path, space: str, before: tuple[str, ...] = ()) -> "Storage":
        """Write the toy and a search space to a folder."""
        data, encoder = write_toy(root / "toy")
        file = root / "space.yaml"
        file.write_text(space)
        return cls(root / "runs", data, encoder, file, before)

    def command(self, *flags: str) -> list[str]:
        """Return the command of a new sweep."""
        return [
            *self.before,
            *entry("sweep"),
            *("--task", "udpos", "--data", str(self.data), "--encoder", str(self.encoder)),
            *("--space", str(self.space), "--storage", str(self.folder), "--train-limit", "96", *flags),
        ]

    def resuming(self, *names_and_flags: str) -> list[str]:
        """Return the command that goes on with sweeps."""
        return [*self.before, *entry("sweep"), "--storage", str(self.folder), "--resume", *names_and_flags]

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run a new sweep."""
        return run(self.command(*flags))

    def resume(self, *names_and_flags: str) -> subprocess.CompletedProcess[str]:
        """Go on with sweeps."""
        return run(self.resuming(*names_and_flags))


def space(*, trials: int, layers: int, confirm_seeds: int, epochs: int, ratios: tuple[int, ...] = (2, 4)) -> str:
    """Return a search space for the toy: fusion layers from 1, and three reports per trial."""
    return f"""
task: udpos
trials: {trials}
confirm_seeds: {confirm_seeds}
search:
  fusion_layer: {{low: 1, high: {layers}}}
  reduction_ratio: {{choices: {list(ratios)}}}
  learning_rate: {{low: 3.0e-4, high: 1.0e-2, log: true}}
training: {{epochs: {epochs}, batch_size: 8, reports_per_trial: 3, checkpoint_seconds: 0}}
max_length: 32
"""


Fault = Mapping[str, int | str]
"""`layer`, `does` and `times`: see faults/inject."""


def with_faults(struck: Path, *faults: Fault) -> dict[str, str]:
    """Return the environment of a command whose trials meet faults; `struck` is a folder for what has happened."""
    struck.mkdir(exist_ok=True)
    inject = Path(__file__).parent / "faults" / "inject"
    path = os.pathsep.join(filter(None, (str(inject), os.environ.get("PYTHONPATH"))))
    return os.environ | {"FAULTS": json.dumps(faults), "FAULTS_STRUCK": str(struck), "PYTHONPATH": path}


def entry(command: str) -> list[str]:
    """Return how this environment's `dlfa-sweep` or `dlfa-report` is run."""
    return [
        sys.executable,
        "-c",
        f"import sys; from orchestrator.cli import {command}_main; sys.exit({command}_main())",
    ]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@dataclass
class Driver:
    """A command that runs, and what it has printed so far."""

    process: subprocess.Popen[str]
    printed: str = ""

    def until(self, text: str) -> None:
        """Read up to a line with this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed += line
            if text in line:
                return
        pytest.fail(f"no {text!r} before the end of:\n{self.printed}")

    def end(self) -> int:
        """Read the rest; return the exit code."""
        assert self.process.stdout is not None
        self.printed += self.process.stdout.read()
        return self.process.wait()


@contextmanager
def driving(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[Driver]:
    """Start a command; it is killed where the test ends before it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Driver(process)
        finally:
            process.kill()


def interrupt(command: list[str], at: str, number: signal.Signals = signal.SIGINT) -> str:
    """Send a signal at a line; return what is printed after it."""
    with driving(command) as driver:
        driver.until(at)
        before = len(driver.printed)
        driver.process.send_signal(number)
        assert driver.end() == 130, driver.printed
    return driver.printed[before:]


def trials_of(folder: Path, phase: str) -> list[FrozenTrial]:
    """Return the trials of a sweep's study; of one that is not there yet, none."""
    storage = f"sqlite:///{folder / 'study.db'}"
    known = phase in optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=phase, storage=storage).get_trials() if known else []


def states_of(folder: Path, phase: str) -> Counter[str]:
    """Count the states of a sweep's trials."""
    return Counter(trial.state.name for trial in trials_of(folder, phase))


def runs_of(folder: Path) -> dict[str, Any]:
    """Return MLflow's child runs of a sweep by trial; fail on two runs of one trial."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dlfa/udpos")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`dlfa.sweep` = '{folder.name}'", max_results=1000)
    children = [run for run in found if "dlfa.trial" in run.data.tags]
    assert len(found) - len(children) == 1, "one parent"
    runs = {f"{run.data.tags['dlfa.phase']}-{int(run.data.tags['dlfa.trial']):04d}": run for run in children}
    assert len(runs) == len(children), "one run per trial"
    return runs


def assert_accounted(folder: Path, search: int) -> None:
    """Study, MLflow and tables tell the same of the same trials, and none is left running."""
    runs = runs_of(folder)
    trials = {f"{phase}-{t.number:04d}": t for phase in _PHASES for t in trials_of(folder, phase)}
    assert sum(name.startswith("search") for name in trials) == search
    assert {name: _STATUS[trial.state.name] for name, trial in trials.items()} == {
        name: run.info.status for name, run in runs.items()
    }
    for name, trial in trials.items():
        _assert_mirrored(folder, trial, runs[name])
    table = pd.read_csv(folder / "reports" / "search.csv")
    assert dict(zip(table["number"], table["state"], strict=True)) == {
        trial.number: trial.state.name for trial in trials_of(folder, "search")
    }
    best = pd.read_csv(folder / "reports" / "best_layers.csv")
    assert best["seeds"].sum() == states_of(folder, "confirm")["COMPLETE"]


def _assert_mirrored(folder: Path, trial: FrozenTrial, run: Any) -> None:
    """Each report is one point in MLflow, and the end's scores are there."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    if trial.intermediate_values:
        points = [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, "dev/score")]
        assert sorted(points) == sorted(trial.intermediate_values.items())
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("test/")} == (
        trial.user_attrs["scores"] if trial.state.name == "COMPLETE" else {}
    )
