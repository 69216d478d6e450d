"""Trials whose process died: what of, how often they start again, and with how many windows at a time."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial

__all__ = ["HANG_LOG", "RESTARTS", "Restarts", "survive_memory_kills"]

HANG_LOG = "hang.txt"
RESTARTS = 3
"""How often a trial starts again without getting further; a report that is new sets the count back."""
_FULL_S = 60.0
"""How long a machine may be full, by another process perhaps, before a further death of memory counts."""

_OUT_OF_MEMORY = "out of memory (Ray's memory monitor ended it)"


class _OnDeath(Protocol):
    def __call__(self, trial_id: str, cause: str, *, again: bool) -> None: ...


class Restarts(tune.Callback):
    """Tells of processes that died; the trial's next one goes on from its last checkpoint.

    One that ran out of memory trains with half the windows at a time, and so does one that dies twice at the same
    place without saying why: the gradients of the parts add up to the same batch (`micro_batch_size`).

    Args:
        on_death: Takes Tune's trial id, the cause in a few words, and whether the trial starts again.
    """

    def __init__(self, on_death: _OnDeath) -> None:
        self._on_death = on_death
        self._furthest: dict[str, int] = {}
        self._deaths: dict[str, list[tuple[float, str]]] = {}
        """Time and cause of the deaths that count, by Tune's trial id."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Mapping[str, Any], **info: Any
    ) -> None:
        """Set the count of restarts back when a trial came further."""
        step = int(result.get("step", 0))
        if step > self._furthest.get(trial.trial_id, 0):
            self._furthest[trial.trial_id] = step
            self._deaths.pop(trial.trial_id, None)
            trial.max_failures = -1

    def died(self, trial: Trial) -> None:
        """Tell of a death; Tune starts the trial again unless it has died too often."""
        cause, again, now = _cause(trial), trial.should_recover(), time.monotonic()
        deaths = self._deaths.setdefault(trial.trial_id, [])
        if again and deaths and cause == deaths[-1][1] == _OUT_OF_MEMORY and now - deaths[-1][0] < _FULL_S:
            return
        deaths.append((now, cause))
        if len(deaths) == RESTARTS:
            trial.max_failures = trial.run_metadata.num_failures  # the next one is the last
        if again and (cause == _OUT_OF_MEMORY or len(deaths) > 1):
            training = trial.config["config"]["training"]
            training["micro_batch_size"] = max(1, (training["micro_batch_size"] or training["batch_size"]) // 2)
            cause += f"; from now on {training['micro_batch_size']} windows at a time"
        self._on_death(trial.trial_id, cause, again=again)


def survive_memory_kills() -> None:
    """Let Tune take a trial that Ray's memory monitor killed as one whose process died.

    The monitor's error is no RayActorError, and Tune ends the whole sweep at any other.
    """
    for module in (actor_manager, tune_controller):
        assert "RayActorError" in vars(module)
        vars(module)["RayActorError"] = (RayActorError, OutOfMemoryError)


def _cause(trial: Trial) -> str:
    hang = Path(trial.config["folder"]) / HANG_LOG
    if hang.exists() and hang.stat().st_size:
        kept = hang.with_name(f"hang-{trial.run_metadata.num_failures}.txt")
        hang.replace(kept)  # the next process begins the file anew
        return f"no report in {trial.config['report_timeout']:g}s (where it hung: {kept})"
    # The last of the errors that Tune has appended; Ray tells them apart by nothing else that Tune keeps.
    text = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
    last = text.rpartition("Failure # ")[2]
    if "low on memory" in last:
        return _OUT_OF_MEMORY
    if "node has died" in last or "node was terminated" in last or "temporarily unavailable" in last:
        return "its node was lost or can't be reached"
    return "killed or crashed (by someone, by the kernel when memory is short, or by a fault in native code)"
