"""What happens to trials, as told to whoever watches a sweep: the display and the records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

__all__ = ["Phase", "SweepObserver", "TrialRef", "TrialState"]

Phase = Literal["search", "confirm"]

TrialState = Literal["COMPLETE", "PRUNED", "FAIL", "WAITING"]
"""How a trial left its slot; WAITING: interrupted, and goes on when the sweep is resumed."""


@dataclass(frozen=True, kw_only=True)
class TrialRef:
    """One trial of one phase, and what it tries."""

    phase: Phase
    number: int
    """Number within the phase's study, from 0; it stays the same over interruptions."""

    params: Mapping[str, str | int | float] = field(default_factory=dict)
    """`fusion`, `learning_rate` and, unless fusion is none, `fusion_layer` and `reduction_ratio`."""

    seed: int

    @property
    def name(self) -> str:
        """Name of the trial's folder, such as `search-0007`."""
        return f"{self.phase}-{self.number:04d}"


class SweepObserver(Protocol):
    """Called from the driver's only loop: must return at once and must not raise."""

    def trial_started(self, trial: TrialRef) -> None:
        """A trial got its slot; called again when an interrupted trial goes on."""

    def trial_reported(self, trial: TrialRef, step: int, score: float, metrics: Mapping[str, float]) -> None:
        """A trial evaluated on the selection set.

        Args:
            trial: Which one.
            step: Report step, from 1.
            score: What the pruner compares, in percent.
            metrics: `dev/<language>/<metric>` in percent and `train/loss`.
        """

    def trial_restarted(self, trial: TrialRef, deaths: int, cause: str) -> None:
        """A trial's process died; the trial goes on in another one, from its last checkpoint.

        Args:
            trial: Which one.
            deaths: How many of its processes have died under this driver.
            cause: What the last one died of, in a few words.
        """

    def trial_ended(self, trial: TrialRef, state: TrialState, metrics: Mapping[str, float], reason: str | None) -> None:
        """A trial left its slot.

        Args:
            trial: Which one.
            state: How it ended.
            metrics: For COMPLETE `test/<language>/<metric>` and the aggregates of `dlfa.metrics`, such as
                `test/avg_target`, in percent; else empty.
            reason: For FAIL what went wrong, in one line.
        """
