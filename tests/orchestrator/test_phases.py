"""A phase of a sweep when Ray Tune ends before its trials have: with a stand-in for Tune."""

import json
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
from ray import tune
from rich.console import Console
from sweeps import space
from toy import write_toy

from dlfa.config import DataConfig
from orchestrator.display import Display
from orchestrator.guards import Stop
from orchestrator.prepare import Prepared, prepare
from orchestrator.resources import Slots
from orchestrator.settings import SweepSettings
from orchestrator.sweep import _Driver

TRIALS = 6


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    root = tmp_path_factory.mktemp("toy")
    data, encoder = write_toy(root)
    return prepare(
        SweepSettings(
            name="toy",
            task="udpos",
            encoder=str(encoder),
            data=DataConfig(path=str(data), cache=str(root / "cache"), max_length=32),
            space=space(trials=TRIALS, layers=2, confirm_seeds=1, epochs=1),
            space_file="space.yaml",
            trials=TRIALS,
        )
    )


class Tracker:
    """Takes no notice."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


def stand_in(leaves: Callable[[int, int], bool]) -> type:
    """Return a Tuner that runs one trial after the other, and leaves those behind of which it is told so.

    Args:
        leaves: Told the number of the Tuner, from 0, and of its trial, from 0.
    """
    tuners: Iterator[int] = iter(range(99))

    class Tuner:
        def __init__(self, trainable: object, *, tune_config: Any, run_config: object) -> None:
            self.search = tune_config.search_alg

        def fit(self) -> None:
            tuner = next(tuners)
            for number in range(99):
                name = f"{tuner}-{number}"
                if self.search.suggest(name) == self.search.FINISHED:
                    return
                if not leaves(tuner, number):
                    summary = {"scores": {}, "best_step": 1, "reports": [], "selection_score": 50.0}
                    self.search.on_report(name, {"step": 1, "score": 50.0, "metrics": "{}"})
                    self.search.on_report(name, {"summary": json.dumps(summary)})

    return Tuner


def run_phase(
    prepared: Prepared, folder: Path, monkeypatch: pytest.MonkeyPatch, leaves: Callable[[int, int], bool]
) -> tuple[list[optuna.trial.FrozenTrial], str, Stop]:
    printed = StringIO()
    monkeypatch.setattr(tune, "Tuner", stand_in(leaves))
    monkeypatch.setattr(tune, "with_resources", lambda trainable, resources: trainable)
    display, stop = Display(Console(file=printed, width=200), "f1"), Stop()
    driver = _Driver(folder, prepared, Slots(count=1, cpus=1, gpus=0), display, Tracker(), stop, "again")  # type: ignore[arg-type]
    study = driver._study("search", optuna.pruners.NopPruner())
    driver._phase("search", study, TRIALS, driver._search_plan())
    return study.get_trials(), printed.getvalue(), stop


def test_a_trial_that_tune_leaves_behind_goes_on(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, printed, stop = run_phase(
        prepared, tmp_path, monkeypatch, leaves=lambda tuner, number: tuner == 0 and number in (2, 5)
    )
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * TRIALS
    assert [trial.params["fusion"] for trial in trials] == ["none", "dlfa"] * (TRIALS // 2)
    assert f"Ray Tune left 2 of {TRIALS} search trials behind: going on with them" in printed
    assert not stop.now()


def test_a_phase_of_which_tune_ends_nothing_stops_the_sweep(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, _, stop = run_phase(prepared, tmp_path, monkeypatch, leaves=lambda tuner, number: number == 0)
    # Each Tuner ends all but the first of its trials, until one is left that none of them ends.
    assert [trial.state.name for trial in trials] == ["WAITING"] + ["COMPLETE"] * (TRIALS - 1)
    assert stop.fault == f"Ray Tune ends without 1 of {TRIALS} search trials"


def test_an_undisturbed_phase_is_one_run_of_tune(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, printed, stop = run_phase(prepared, tmp_path, monkeypatch, leaves=lambda tuner, number: tuner > 0)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * TRIALS
    assert "going on with them" not in printed
    assert not stop.now()
