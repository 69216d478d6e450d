"""Sweeps from their settings to their tables: search phase, confirm phase, report."""

import logging
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.trial import TrialState
from ray import tune
from rich.console import Console

from dlfa.config import to_mapping
from dlfa.errors import ConfigError
from dlfa.tasks import TASKS
from orchestrator import report
from orchestrator.display import Display, duration
from orchestrator.events import Phase, SweepObserver, TrialRef
from orchestrator.events import TrialState as State
from orchestrator.guards import Stop, StopTune, interruptible, locked
from orchestrator.prepare import Prepared, describe_slots, encode_all, planned_slots
from orchestrator.pruning import ReportScheduler, make_pruner
from orchestrator.resources import Slots, connect, local, probe_storage
from orchestrator.search import (
    StudySearch,
    best_configurations,
    interrupted_to_waiting,
    make_sampler,
    open_storage,
)
from orchestrator.settings import write_settings
from orchestrator.space import Params
from orchestrator.tracking import MlflowTracker
from orchestrator.trainable import CHECKPOINT, train

__all__ = ["STUDY", "run"]

STUDY = "study.db"
_DELIVERY_S = 60.0
"""How long the end of a sweep waits for MLflow; what is left is kept and delivered by the next run."""


def run(sweeps: Sequence[tuple[Path, Prepared]], console: Console, *, new: bool) -> int:
    """Run sweeps, or what is missing of them, one after the other.

    Args:
        sweeps: Each with its own folder, which is absolute; all on the same cluster.
        console: Where the user looks.
        new: Whether the folders are to be made; they are, once nothing is left to refuse.

    Returns:
        Exit code: 0 done, 1 no trial of some sweep gave a result, 130 interrupted.

    Raises:
        ConfigError: A sweep does not fit the machine, the cluster or its data; none has started then.
    """
    _quiet()
    machine = local()
    addresses = {prepared.settings.address for _, prepared in sweeps}
    if len(addresses) > 1:
        raise ConfigError(f"--resume: sweeps of {len(addresses)} addresses are not allowed; allowed: one, or --address")
    displays = [Display(console, TASKS[prepared.settings.task].metric) for _, prepared in sweeps]
    for _, prepared in sweeps:
        if prepared.settings.address is None:
            planned_slots(prepared.settings, machine)
    sweeps = [
        (folder, encode_all(prepared, display.say))
        for (folder, prepared), display in zip(sweeps, displays, strict=True)
    ]
    available = connect(addresses.pop(), machine)
    try:
        slots = [planned_slots(prepared.settings, available) for _, prepared in sweeps]
        # All of them now: whatever interrupts the first one, the rest can be resumed.
        for folder, prepared in sweeps:
            folder.mkdir(parents=True, exist_ok=not new)
            write_settings(folder, prepared.settings)
        code = 0
        for number, (folder, prepared) in enumerate(sweeps):
            again = resume_command([other for other, _ in sweeps[number:]])
            displays[number].say(describe_slots(slots[number], available.where))
            ended = _run_one(folder, prepared, slots[number], displays[number], again)
            if ended == 130:
                return ended
            code = max(code, ended)
    finally:
        ray.shutdown()
    if len(sweeps) > 1:
        found = report.load_many([folder.name for folder, _ in sweeps], sweeps[0][0].parent)
        displays[0].say(report.render_together(found, "table"))
    return code


def _run_one(folder: Path, prepared: Prepared, slots: Slots, display: Display, again: str) -> int:
    settings = prepared.settings
    with locked(folder), interruptible() as stop:
        display.say(f"sweep {settings.name}: {folder}")
        probe_storage(folder)
        tracker = MlflowTracker(
            uri=settings.tracking_uri,
            experiment=f"dlfa/{settings.task}",
            sweep=settings.name,
            spool=folder / "mlflow-spool",
            notify=display.say,
        )
        try:
            return _Driver(folder, prepared, slots, display, tracker, stop, again).run()
        finally:
            display.close()
            if left := tracker.close(_DELIVERY_S):
                display.say(f"{left} records have not reached MLflow; they are kept, and `{again}` delivers them")


def resume_command(folders: Sequence[Path]) -> str:
    """Return what the user types to go on with sweeps of one storage folder."""
    return f"dlfa-sweep --resume {' '.join(folder.name for folder in folders)} --storage {folders[0].parent}"


@dataclass
class _Cleaner:
    """Deletes the checkpoint of a trial that will not need it again; a `SweepObserver`."""

    trials: Path

    def trial_started(self, trial: TrialRef) -> None:
        """Make the trial's folder."""
        (self.trials / trial.name).mkdir(parents=True, exist_ok=True)

    def trial_reported(self, trial: TrialRef, step: int, score: float, metrics: Any) -> None:
        """Do nothing."""

    def trial_ended(self, trial: TrialRef, state: State, metrics: Any, reason: str | None) -> None:
        """Delete the checkpoint unless the trial goes on later."""
        if state != "WAITING":
            (self.trials / trial.name / CHECKPOINT).unlink(missing_ok=True)


@dataclass
class _Driver:
    folder: Path
    prepared: Prepared
    slots: Slots
    display: Display
    tracker: MlflowTracker
    stop: Stop
    again: str
    """What the user types to go on."""

    observers: Sequence[SweepObserver] = field(init=False)

    def __post_init__(self) -> None:
        self.observers = (_Cleaner(self.folder / "trials"), self.tracker, self.display)

    def run(self) -> int:
        try:
            return self._run()
        except BaseException as error:
            self.tracker.sweep_ended("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", {}, [])
            raise

    def _run(self) -> int:
        settings, space = self.prepared.settings, self.prepared.space
        self.tracker.sweep_started(self._parameters(), {"dlfa.select_on": settings.select_on})
        search = self._study("search", make_pruner(settings.pruner, space.training.reports_per_trial))
        with self.stop.within(settings.time_budget):
            self._phase("search", search, settings.trials, self._search_plan())
            if self.stop.late():
                self.display.say(f"time budget of {duration(settings.time_budget or 0)} spent: the search ends here")
        if self.stop.interrupted:
            return self._interrupted()
        if not best_configurations(search):
            self._warn_of_failures(search)
            self.display.say("no trial gave a score, so there is nothing to confirm")
            self.display.say(f"go on with: {self.again}")
            self.tracker.sweep_ended("FAILED", {}, [])
            return 1
        if settings.confirm_seeds:
            confirm, total = self._plan_confirm(search)
            self._phase("confirm", confirm, total, None)
            if self.stop.interrupted:
                return self._interrupted()
            self._warn_of_failures(confirm)
        self._warn_of_failures(search)
        self._report()
        return 0

    def _study(self, phase: Phase, pruner: optuna.pruners.BasePruner) -> optuna.Study:
        # Fixed names: Hyperband assigns brackets by a hash of study name and trial number.
        study = optuna.create_study(
            storage=open_storage(self.folder / STUDY),
            study_name=phase,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        interrupted_to_waiting(study)
        return study

    def _search_plan(self) -> Callable[[int], tuple[Params, int]]:
        settings, space = self.prepared.settings, self.prepared.space
        if settings.sampler == "grid":
            points = space.grid_points(settings.seed)
            return lambda number: (points[number], settings.seed)
        plan = space.plan(settings.seed)
        return lambda number: (plan(number), settings.seed)

    def _plan_confirm(self, search: optuna.Study) -> tuple[optuna.Study, int]:
        """Queue the best configuration of the baseline and of every layer with every seed that is not there yet."""
        settings = self.prepared.settings
        study = self._study("confirm", optuna.pruners.NopPruner())
        known = {
            (tuple(sorted((t.params or t.system_attrs["fixed_params"]).items())), t.user_attrs["seed"]): t.number
            for t in study.get_trials(deepcopy=False)
        }
        numbers = []
        # Seeds outside, so that an early end leaves every configuration with as many; none is the search's own.
        for seed in range(settings.seed + 1, settings.seed + 1 + settings.confirm_seeds):
            for params in best_configurations(search):
                key = (tuple(sorted(params.items())), seed)
                if key not in known:
                    known[key] = len(known)
                    study.enqueue_trial(params, user_attrs={"seed": seed})
                numbers.append(known[key])
        # Trials of an earlier confirm phase whose configuration is no longer the best do not count.
        study.set_user_attr("numbers", numbers)
        return study, len(known)

    def _phase(
        self,
        phase: Phase,
        study: optuna.Study,
        total: int,
        fixed: Callable[[int], tuple[Params, int]] | None,
    ) -> None:
        states = Counter(t.state.name for t in study.get_trials(deepcopy=False) if t.state.is_finished())
        if sum(states.values()) >= total:
            return
        settings, space = self.prepared.settings, self.prepared.space
        reports = space.training.reports_per_trial
        self.display.phase(phase, total, reports, self.slots.count, states)

        def planned(number: int) -> tuple[Params, int]:
            assert fixed is not None, "the confirm phase's trials are all queued"
            return fixed(number)

        search = StudySearch(
            study,
            phase=phase,
            space=space,
            total=total,
            fixed=planned,
            sampler=lambda number: make_sampler(settings.sampler, settings.seed * 1_000_003 + number),
            assign=self._assignment,
            observers=self.observers,
            reports=reports,
            stopping=self.stop.now,
        )
        resources = {"cpu": self.slots.cpus} | ({"gpu": self.slots.gpus} if self.slots.gpus else {})
        try:
            tune.Tuner(
                tune.with_resources(train, resources),
                tune_config=tune.TuneConfig(
                    search_alg=search,
                    scheduler=ReportScheduler(search.on_report),
                    num_samples=-1,
                    max_concurrent_trials=self.slots.count,
                    # The next trial takes over the process: a new one would be placed while the old one still
                    # ends, on a GPU beyond the cap.
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name=phase,
                    storage_path=str(self.folder / "tune"),
                    stop=StopTune(self.stop.now),
                    verbose=0,
                ),
            ).fit()
        finally:
            search.release()
            self.display.close()
            # Nothing in it is needed again: the study has the trials, their own folders have the rest.
            shutil.rmtree(self.folder / "tune", ignore_errors=True)

    def _assignment(self, ref: TrialRef) -> dict[str, Any]:
        config = self.prepared.trial_config(ref, self.slots)
        return {"config": to_mapping(config), "folder": str(self.folder / "trials" / ref.name)}

    def _parameters(self) -> dict[str, str | int | float]:
        settings, space = self.prepared.settings, self.prepared.space
        return {
            "task": settings.task,
            "encoder": settings.encoder,
            "data": settings.data.path,
            "source_language": settings.data.source_language,
            "languages": ",".join(settings.data.languages),
            "train_limit": settings.data.train_limit or "all",
            "eval_limit": settings.data.eval_limit or "all",
            "sampler": settings.sampler,
            "pruner": settings.pruner,
            "confirm_seeds": settings.confirm_seeds,
            "epochs": settings.epochs or space.training.epochs,
            "seed": settings.seed,
        }

    def _interrupted(self) -> int:
        self.tracker.sweep_ended("KILLED", {}, [])
        self.display.say("interrupted: every finished trial is kept, running ones go on from their last checkpoint")
        self.display.say(f"resume with: {self.again}")
        return 130

    def _warn_of_failures(self, study: optuna.Study) -> None:
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        for reason, count in Counter(t.user_attrs.get("reason", "no reason known") for t in failed).items():
            first = next(t.number for t in failed if t.user_attrs.get("reason", "no reason known") == reason)
            log = self.folder / "trials" / f"{study.study_name}-{first:04d}"
            self.display.say(f"{count} {study.study_name} trials failed: {reason} (the first one's files: {log})")

    def _report(self) -> None:
        sweep = report.load(self.folder)
        written = report.write_reports(sweep, self.folder / "reports")
        self.tracker.sweep_ended("FINISHED", {}, [*written, self.folder / "sweep.yaml"])
        self.display.say("")
        self.display.say(report.render_sweep(sweep, "table"))
        self.display.say(f"tables and plots: {self.folder / 'reports'}")
        self.display.say(f"again:  dlfa-report {self.folder.name} --storage {self.folder.parent}")
        if self.prepared.settings.tracking_uri.startswith("sqlite:"):
            self.display.say(f"runs:   mlflow ui --backend-store-uri {self.prepared.settings.tracking_uri}")
        else:
            self.display.say(
                f"runs:   {self.prepared.settings.tracking_uri}, experiment dlfa/{self.prepared.settings.task}"
            )


def _quiet() -> None:
    """Leave the terminal to the display: what Ray, Tune and Optuna would print beside it says nothing more."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Tune's own loggers would write every result twice more; its Ctrl-C handler would hide ours.
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
