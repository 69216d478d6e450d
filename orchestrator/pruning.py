"""The Optuna pruner inside Tune's scheduler hook: a pruned trial frees its slot at that report."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from dlfa.errors import ConfigError
from orchestrator.choices import PRUNERS

__all__ = ["ReportScheduler", "make_pruner"]


def make_pruner(name: str, reports: int) -> optuna.pruners.BasePruner:
    """Return an Optuna pruner over report steps 1..reports.

    Args:
        name: One of `PRUNERS`. `hyperband` (arXiv 1603.06560) has one bracket: the best third goes on from half of
            the budget, since earlier scores tell too little (benchmarks/search.py); `median` stops what lies below
            the median of the finished trials at the same step.
        reports: Reports per trial, the largest resource.

    Raises:
        ConfigError: The name is not one of `PRUNERS`.
    """
    if name == "hyperband":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=(reports + 1) // 2, reduction_factor=3)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    if name == "none":
        return optuna.pruners.NopPruner()
    raise ConfigError(f"--pruner: {name!r} is not allowed; allowed: {', '.join(PRUNERS)}")


class ReportScheduler(FIFOScheduler):
    """Starts trials in order, and asks at each report whether the trial shall stop.

    Args:
        on_report: Takes Tune's trial id and the reported values; returns whether the trial ends here.
        on_death: Told of a trial whose process died, before Tune's searcher is.
    """

    def __init__(self, on_report: Callable[[str, Mapping[str, Any]], bool], on_death: Callable[[Trial], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_report = on_report
        self._on_death = on_death

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Return Tune's decision for a trial that has reported."""
        stops = self._on_report(trial.trial_id, result)
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Pass on that a trial's process died; Tune tells of those that start again, too."""
        self._on_death(trial)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles what it is given; a sweep is resumed from its study, never from that.
        return object, ()
