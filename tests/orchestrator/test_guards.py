"""One driver per sweep, and what ends it early."""

import multiprocessing
import os
import pickle
import queue
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from dlfa.errors import ConfigError
from orchestrator import guards
from orchestrator.guards import Stop, StopTune, head_watched, interruptible, locked


def _hold(folder: Path, pipe: Connection) -> None:
    with locked(folder):
        pipe.send("locked")
        pipe.recv()


@contextmanager
def another_driver(folder: Path) -> Iterator[tuple[ForkProcess, Connection]]:
    """A process that holds the folder's lock until it is told something."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(folder, theirs))
    process.start()
    try:
        assert ours.poll(60)
        assert ours.recv() == "locked"
        yield process, ours
    finally:
        process.kill()
        process.join()


def try_to_lock(folder: Path) -> None:
    with locked(folder):
        pass


def test_a_second_driver_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "udpos-1"
    folder.mkdir()
    with another_driver(folder) as (process, pipe):
        message = f"--resume: 'udpos-1' is being run already (process {process.pid} on {os.uname().nodename})"
        for _ in range(2):  # and is not named by its own attempt
            with pytest.raises(ConfigError) as error:
                try_to_lock(folder)
            assert str(error.value) == message
        pipe.send("go")
        process.join(60)
        try_to_lock(folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_killed_driver_leaves_no_lock(tmp_path: Path) -> None:
    with another_driver(tmp_path) as (process, _):
        process.kill()
        process.join(60)
        try_to_lock(tmp_path)


def test_the_lock_is_held_until_the_end(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError, match=f"process {os.getpid()} on "):
        try_to_lock(tmp_path)
    try_to_lock(tmp_path)


def test_an_error_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    try_to_lock(tmp_path)


def test_why_a_sweep_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert not Stop().now()
    assert Stop(interrupted=True).now()
    stop = Stop(deadline=110.0)
    assert not stop.now()
    now = 110.0
    assert stop.now()
    stop.deadline = None
    assert not stop.now()


def test_tune_is_stopped_as_a_whole_only() -> None:
    stop = Stop()
    stopper = StopTune(stop.now)
    assert stopper("trial", {"step": 1}) is False
    assert stopper.stop_all() is False
    stop.interrupted = True
    assert stopper("trial", {"step": 1}) is False
    assert stopper.stop_all() is True
    pickle.loads(pickle.dumps(stopper))


def test_the_first_fault_is_the_one_that_counts() -> None:
    stop = Stop()
    stop.halt("the disk is full")
    stop.halt("the study can't be written")
    assert stop.now()
    assert stop.fault == "the disk is full"
    assert not stop.interrupted


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_orderly_and_the_second_is_not(first: signal.Signals, second: signal.Signals) -> None:
    before = {number: signal.getsignal(number) for number in (first, second)}
    with interruptible() as stop:
        assert not stop.now()
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGUSR1)  # SLURM may warn more than once
        assert stop.interrupted
        assert stop.now()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(second)
    assert {number: signal.getsignal(number) for number in (first, second)} == before


def test_tune_takes_no_signal_for_itself() -> None:
    with interruptible() as stop:
        assert not import_module("ray.tune.tune")._setup_signal_catching().is_set()
        signal.raise_signal(signal.SIGUSR1)
        assert stop.interrupted


def test_ctrl_c_is_pythons_own_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), interruptible():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_time_budget_holds_inside_and_not_after() -> None:
    stop = Stop()
    with stop.within(0.0):
        assert stop.late()
        assert stop.now()
    assert not stop.now(), "the confirm phase has the time it needs"
    with stop.within(3600.0):
        assert not stop.now()
    with stop.within(None):
        assert not stop.now()


def test_a_head_that_does_not_answer_is_told_once_and_so_is_its_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "_WATCH_S", 0.02)
    said: queue.Queue[str] = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = "{}:{}".format(*head.getsockname())
        with head_watched(address, said.put, "dlfa-sweep --resume mine"):
            time.sleep(0.2)
            assert said.empty(), "it answers"
            head.close()
            assert [said.get(timeout=30) for _ in range(2)] == [
                f"Ray's head at {address} does not answer; a minute without it ends this command",
                "every finished trial is kept; go on with: dlfa-sweep --resume mine",
            ]
            with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
                assert said.get(timeout=30) == f"Ray's head at {address} answers again"
    assert said.empty()
