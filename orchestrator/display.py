"""What the user sees while a sweep runs: one live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dlfa.fusions import BASELINE
from orchestrator.events import Phase, TrialRef, TrialState

__all__ = ["Display", "console", "describe", "duration"]


def describe(params: Mapping[str, str | int | float]) -> str:
    """Return a trial's parameters in a few words."""
    short = {"fusion_layer": "layer", "reduction_ratio": "ratio"}
    words = [
        f"{short.get(name, name.replace('_', ' '))} {value:{'.2g' if isinstance(value, float) else ''}}"
        for name, value in params.items()
        if name not in ("fusion", "learning_rate")
    ]
    arm = "baseline" if params["fusion"] == BASELINE else str(params["fusion"])
    return ", ".join([arm, *words, f"lr {params['learning_rate']:.2e}"])


def duration(seconds: float) -> str:
    """Return a time in its two largest units, such as `3m 20s`."""
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for (name, size), (small, part) in pairwise(units):
        if whole >= size:
            return f"{whole // size}{name} {whole % size // part:02d}{small}"
    return f"{whole}s"


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


@dataclass
class _Running:
    trial: TrialRef
    step: int = 0
    best: float | None = None


@dataclass
class _PhaseState:
    phase: Phase
    total: int
    reports: int
    slots: int
    began: float = field(default_factory=time.monotonic)
    running: dict[str, _Running] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    here: int = 0
    """Trials that ended while this display was watching."""

    best: tuple[float, TrialRef] | None = None

    def remaining(self) -> float | None:
        """Return the estimated seconds to the end of the phase, from how far its trials have come."""
        done = self.here + sum(entry.step / self.reports for entry in self.running.values())
        left = self.total - sum(self.states.values()) - sum(e.step / self.reports for e in self.running.values())
        return None if done < 1 else left * (time.monotonic() - self.began) / done


class Display:
    """Shows a sweep; a `SweepObserver`.

    Args:
        console: Where to; lines are plain where it is no terminal.
        metric: Name of the score.
    """

    def __init__(self, console: Console, metric: str) -> None:
        self._console = console
        self._metric = metric
        self._state: _PhaseState | None = None
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """Print a line above whatever is live."""
        self._console.print(Text(text), soft_wrap=True)

    def phase(self, phase: Phase, total: int, reports: int, slots: int, ended: Mapping[str, int]) -> None:
        """Begin a phase.

        Args:
            phase: Which.
            total: Its trials.
            reports: Reports per trial.
            slots: Trials at a time.
            ended: Trials by state that earlier drivers have finished.
        """
        self.close()
        self._state = _PhaseState(phase=phase, total=total, reports=reports, slots=slots)
        self._state.states.update(ended)
        kept = f", {sum(ended.values())} of them already finished" if ended else ""
        self.say(f"{phase}: {total} trials{kept}, {min(slots, total)} at a time")
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def close(self) -> None:
        """Take the live table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def trial_started(self, trial: TrialRef) -> None:
        """Show a trial that got its slot."""
        state = self._watched()
        state.running[trial.name] = _Running(trial)
        if self._live is None:
            self.say(f"{trial.name} started: {describe(trial.params)}, seed {trial.seed}")

    def trial_reported(self, trial: TrialRef, step: int, score: float, metrics: Mapping[str, float]) -> None:
        """Show a trial's progress."""
        state = self._watched()
        before = state.running[trial.name].best
        state.running[trial.name] = _Running(trial, step, score if before is None else max(before, score))
        if self._live is None:
            self.say(f"{trial.name} report {step}/{state.reports}: dev {self._metric} {score:.2f}")

    def trial_restarted(self, trial: TrialRef, deaths: int, cause: str) -> None:
        """Print why a trial starts again."""
        self.say(f"{trial.name}: its process died: {cause}; it starts again from its last checkpoint")

    def trial_ended(self, trial: TrialRef, state: TrialState, metrics: Mapping[str, float], reason: str | None) -> None:
        """Count a trial that left its slot, and print how it ended."""
        now = self._watched()
        entry = now.running.pop(trial.name, _Running(trial))
        if state == "WAITING":
            return
        now.states[state] += 1
        now.here += 1
        if state == "COMPLETE" and entry.best is not None and (now.best is None or entry.best > now.best[0]):
            now.best = (entry.best, trial)
        words = {
            "COMPLETE": f"complete: dev {self._metric} {_percent(entry.best)}, "
            f"test avg_target {_percent(metrics.get('test/avg_target'))}",
            "PRUNED": f"pruned at report {entry.step} of {now.reports}",
            "FAIL": f"FAILED: {reason}",
        }[state]
        self.say(f"{trial.name} {words} ({describe(trial.params)}); {self._counts(now)}")

    def _counts(self, state: _PhaseState) -> str:
        parts = [f"{sum(state.states.values())} of {state.total} done"]
        remaining = state.remaining()
        if remaining is not None and remaining > 0:
            parts.append(f"about {duration(remaining)} left")
        return ", ".join(parts)

    def _watched(self) -> _PhaseState:
        assert self._state is not None, "a phase begins before its trials do"
        return self._state

    def _table(self) -> Group:
        state = self._watched()
        counts = ", ".join(f"{state.states[s]} {s.lower()}" for s in ("COMPLETE", "PRUNED", "FAIL") if state.states[s])
        elapsed = duration(time.monotonic() - state.began)
        head = f"{state.phase}: {self._counts(state)} ({counts or 'none yet'}), {elapsed} elapsed"
        best = (
            ""
            if state.best is None
            else f"best dev {self._metric} {state.best[0]:.2f}: {describe(state.best[1].params)}"
        )
        table = Table.grid(padding=(0, 2))
        for entry in state.running.values():
            table.add_row(
                entry.trial.name,
                ProgressBar(total=state.reports, completed=entry.step, width=20),
                f"{entry.step}/{state.reports}",
                _percent(entry.best),
                describe(entry.trial.params),
            )
        return Group(Text(head), Text(best), table)


def console() -> Console:
    """Return the console of standard output; wide lines are not wrapped where it is no terminal."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)
