"""What trials leave behind, and how long it stays."""

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.events import TrialRef, TrialState
from orchestrator.trainable import CHECKPOINT, MODEL

__all__ = ["Cleaner"]


@dataclass
class Cleaner:
    """Deletes checkpoints and models of trials that nothing will need again; a `SweepObserver`."""

    trials: Path
    models: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Configuration to the best selection score of its runs, and the run, whose model alone is kept."""

    def trial_started(self, trial: TrialRef) -> None:
        """Make the trial's folder."""
        (self.trials / trial.name).mkdir(parents=True, exist_ok=True)

    def trial_reported(self, trial: TrialRef, step: int, score: float, metrics: Any) -> None:
        """Do nothing."""

    def trial_restarted(self, trial: TrialRef, deaths: int, cause: str) -> None:
        """Do nothing."""

    def trial_ended(self, trial: TrialRef, state: TrialState, metrics: Any, reason: str | None) -> None:
        """Delete the checkpoint unless the trial goes on later, and models but the best of each configuration."""
        if state == "WAITING":
            return
        folder = self.trials / trial.name
        (folder / CHECKPOINT).unlink(missing_ok=True)
        if not (folder / MODEL).is_dir():
            return
        if state != "COMPLETE":
            shutil.rmtree(folder / MODEL)
            return
        configuration = repr(sorted(trial.params.items()))
        runs = {(json.loads((folder / "scores.json").read_text("utf-8"))["selection_score"], trial.name)}
        runs |= {self.models[configuration]} if configuration in self.models else set()  # perhaps this very run
        best, *rest = sorted(runs, key=lambda run: (-run[0], run[1]))
        self.models[configuration] = best
        for _, name in rest:
            shutil.rmtree(self.trials / name / MODEL, ignore_errors=True)

    def keep(self, names: Collection[str]) -> None:
        """Delete the models of all other trials."""
        for folder in self.trials.glob(f"confirm-*/{MODEL}"):
            if folder.parent.name not in names:
                shutil.rmtree(folder)
