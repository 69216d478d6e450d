"""What asks a sweep to end: Ctrl-C once and twice, and the signals that a machine's scheduler sends."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial
from sweeps import Storage, assert_accounted, interrupt, space, states_of, trials_of

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.timeout(1800)]

SPACE = space(trials=6, layers=2, confirm_seeds=1, epochs=3)


def _ended(folder: Path) -> dict[int, FrozenTrial]:
    return {trial.number: trial for trial in trials_of(folder, "search") if trial.state.is_finished()}


def test_a_sweep_stops_in_order_or_at_once_and_is_whole_in_the_end(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    folder = storage.folder / "asked"
    command, ended = storage.command("--name", "asked"), dict[int, FrozenTrial]()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        rest = interrupt(command, at="report 1/3", number=number)
        assert rest.splitlines()[-3:] == [
            "interrupted",
            "every finished trial is kept, running ones go on from their last checkpoint",
            f"resume with: dlfa-sweep --resume asked --storage {storage.folder}",
        ]
        states = states_of(folder, "search")
        assert states["RUNNING"] == 0
        assert states["WAITING"] >= 1
        waiting = [trial for trial in trials_of(folder, "search") if trial.state.name == "WAITING"]
        assert _ended(folder).items() >= ended.items(), "finished trials are kept as they are"
        ended, command = _ended(folder), storage.resuming("asked")

    _at_once(command)
    assert _ended(folder).items() >= ended.items()

    done = storage.resume("asked")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=6)
    assert _ended(folder).items() >= ended.items()
    after = {trial.number: trial for trial in trials_of(folder, "search")}
    assert all(after[trial.number].params == trial.params for trial in waiting), "they go on under their own numbers"


def _at_once(command: list[str]) -> None:
    """Press Ctrl-C twice while trials run."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert any("report 1/3" in line for line in driver.stdout)
        driver.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two at one moment would be one
        driver.send_signal(signal.SIGINT)
        rest, errors = driver.communicate()
    assert driver.returncode == 130, rest + errors
    if errors:  # unless the first one was quicker
        assert errors == "\ndlfa-sweep: interrupted; if its sweep has begun, dlfa-sweep --resume NAME goes on\n"
