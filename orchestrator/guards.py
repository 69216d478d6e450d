"""What ends a sweep early, and what keeps two drivers apart."""

import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune

from dlfa.errors import ConfigError

__all__ = ["Stop", "StopTune", "head_watched", "interruptible", "locked"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_WATCH_S = 5.0
_SILENT = 3
"""Tries in a row that fail before the user is told; Ray ends the process after a minute."""


@dataclass
class Stop:
    """Why no further trial shall start, and running ones end."""

    interrupted: bool = False
    """The user, or the machine's scheduler, has asked for it."""

    fault: str | None = None
    """What makes it pointless to go on, in one line."""

    deadline: float | None = None

    def now(self) -> bool:
        """Whether there is a reason."""
        return self.interrupted or self.fault is not None or self.late()

    def halt(self, fault: str) -> None:
        """Stop because of a fault; the first one told is the one that counts."""
        self.fault = self.fault or fault

    def late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    @contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Limit the time of what is done inside, and of nothing after it; None is no limit."""
        self.deadline = None if seconds is None else time.monotonic() + seconds
        try:
            yield
        finally:
            self.deadline = None


class StopTune(tune.Stopper):
    """Ends Tune's loop at its next turn, without a trial's leave."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: single trials are stopped by the scheduler."""
        return False

    def stop_all(self) -> bool:
        """Return whether everything is to stop; Tune asks at every turn of its loop."""
        return self._stop()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles what it is given; a sweep is resumed from its study, never from that.
        return object, ()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second driver out of the sweep's folder."""
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ConfigError(f"--resume: {folder.name!r} is being run already ({file.read().strip()})") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Turn the first Ctrl-C, SIGTERM or SIGUSR1 into an orderly end, and a second Ctrl-C or SIGTERM into one at once.

    SIGUSR1 is what SLURM sends ahead of a job's end (`--signal=B:USR1@120`), some times more than once.
    """
    stop = Stop()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if stop.interrupted and number != signal.SIGUSR1:
            raise KeyboardInterrupt
        stop.interrupted = True

    # Tune has handlers of its own for two of them, after which a phase would seem to be complete.
    setattr(import_module("ray.tune.tune"), "_setup_signal_catching", threading.Event)  # noqa: B010 - for mypy
    # SIGINT, too: a shell that starts jobs in the background has them ignore it.
    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def head_watched(address: str, say: Callable[[str], None], again: str) -> Iterator[None]:
    """Tell the user when Ray's head is gone: without it Ray ends this process, and nothing can be said after that.

    Args:
        address: HOST:PORT of the head.
        say: Told in one line; called from a thread.
        again: What the user types to go on.
    """
    over = threading.Event()

    def watch() -> None:
        failed = 0
        while not over.wait(_WATCH_S):
            was, failed = failed, 0 if _answers(address) else failed + 1
            if failed == _SILENT:
                say(f"Ray's head at {address} does not answer; a minute without it ends this command")
                say(f"every finished trial is kept; go on with: {again}")
            elif was >= _SILENT and not failed:
                say(f"Ray's head at {address} answers again")

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_WATCH_S).close()
    except OSError:
        return False
    return True
