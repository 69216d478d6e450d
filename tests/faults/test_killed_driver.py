"""The driver is killed at random moments of a sweep's life; what goes on ends as a sweep that nothing disturbed."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial
from sweeps import Storage, assert_accounted, driving, space, states_of, trials_of, with_faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

SPACE = space(trials=6, layers=2, confirm_seeds=1, epochs=2)


@dataclass(frozen=True)
class Whole:
    """A sweep that ran undisturbed, one trial at a time."""

    storage: Storage
    life_s: float
    """From its folder's creation to its command's end."""

    @property
    def models(self) -> set[str]:
        return models_of(self.storage.folder / "whole")

    @property
    def tables(self) -> dict[str, bytes]:
        return tables_of(self.storage.folder / "whole")


def models_of(folder: Path) -> set[str]:
    found = {path.parents[1].name for path in folder.rglob("model.safetensors")}
    assert len(found) == 2, "the baseline's and the selected layer's"
    return found


def tables_of(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in (folder / "reports").glob("*.csv")}
    assert {"best_layers.csv", "per_language.csv", "search.csv"} <= found.keys()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    # On one CPU there is one trial at a time, and so one order of events.
    cpu = str(min(os.sched_getaffinity(0)))
    storage = Storage.make(tmp_path_factory.mktemp("killed"), SPACE, before=("taskset", "-c", cpu))
    with subprocess.Popen(storage.command("--name", "whole"), stdout=subprocess.PIPE, text=True) as driver:
        began = _begun(storage.folder / "whole", driver)
        printed, _ = driver.communicate()
    assert driver.returncode == 0, printed
    assert states_of(storage.folder / "whole", "search").keys() == {"COMPLETE", "PRUNED"}
    return Whole(storage, time.monotonic() - began)


def _begun(folder: Path, driver: subprocess.Popen[str]) -> float:
    while not folder.exists():
        assert driver.poll() is None, "ended before it began"
        time.sleep(0.01)
    return time.monotonic()


def _killed(command: list[str], folder: Path, after_s: float) -> None:
    """Run a command and kill it some seconds after the sweep's folder is there."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True) as driver:
        began = _begun(folder, driver)
        time.sleep(max(0.0, began + after_s - time.monotonic()))
        driver.send_signal(signal.SIGKILL)  # of one that has ended already, nothing


def _readable(folder: Path) -> list[FrozenTrial]:
    """Return the search trials, read from a copy: reading mends what a killed driver left, and so would we."""
    with tempfile.TemporaryDirectory() as copy:
        for path in folder.glob("study.db*"):
            shutil.copy(path, copy)
        return trials_of(Path(copy), "search")


def test_a_killed_sweep_goes_on_and_ends_as_one_that_was_not(whole: Whole, moment: float, tmp_path: Path) -> None:
    storage, name = whole.storage, f"killed-{moment:.4f}"
    folder = storage.folder / name
    _killed(storage.command("--name", name), folder, moment * whole.life_s)
    ended = {trial.number: trial for trial in _readable(folder) if trial.state.is_finished()}

    done = storage.resume(name)

    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=6)
    assert tables_of(folder) == whole.tables
    after = {t.number: t for t in trials_of(folder, "search")}
    assert {number: after[number] for number in ended} == ended, "finished trials are kept as they are"
    assert not list(folder.rglob("checkpoint.safetensors")), "checkpoints of ended trials"
    assert models_of(folder) == whole.models
    assert not (folder / "tune").exists()


@pytest.mark.chaos
def test_a_sweep_that_is_killed_again_and_again_comes_to_its_end(whole: Whole) -> None:
    storage, chance = whole.storage, random.Random(1)
    folder = storage.folder / "again"
    # Each time a part of the life is left, start-up included, so that every driver achieves a little.
    command = storage.command("--name", "again")
    for _ in range(4):
        _killed(command, folder, (0.3 + 0.3 * chance.random()) * whole.life_s)
        command = storage.resuming("again")
    done = storage.resume("again")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(folder, search=6)
    assert tables_of(folder) == whole.tables


@pytest.mark.chaos
def test_a_sweep_whose_ray_loses_its_head_says_so_and_can_be_resumed(tmp_path: Path) -> None:
    storage = Storage.make(tmp_path, SPACE)
    # The baseline waits, so that the sweep does not end within Ray's minute.
    environment = with_faults(tmp_path / "struck", {"layer": 0, "does": "wait", "times": 1})
    with driving(storage.command("--name", "headless"), environment) as driver:
        driver.until("report 1/3")
        children = ["pgrep", "--parent", str(driver.process.pid), "--full", "gcs_server"]
        head = int(subprocess.run(children, capture_output=True, text=True, check=True).stdout)
        os.kill(head, signal.SIGKILL)
        assert driver.end() == 1, driver.printed
    assert " does not answer; a minute without it ends this command" in driver.printed
    again = f"every finished trial is kept; go on with: dlfa-sweep --resume headless --storage {storage.folder}"
    assert again in driver.printed
    done = storage.resume("headless")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_accounted(storage.folder / "headless", search=6)
