"""Sweeps from their settings to their tables: search phase, confirm phase, report."""

import logging
import os
import shutil
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import ray
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from ray import tune
from ray.tune.error import TuneError
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from dlfa.config import to_mapping
from dlfa.errors import ConfigError, DataError, system_cause
from dlfa.tasks import TASKS
from orchestrator import report
from orchestrator.autoscaler import grown
from orchestrator.cleaner import Cleaner
from orchestrator.display import Display, duration
from orchestrator.events import Phase, SweepObserver, TrialRef
from orchestrator.guards import Stop, StopTune, head_watched, interruptible, locked
from orchestrator.mirror import findings, input_sets, record_reports, tags
from orchestrator.packing import measure, packed_slots
from orchestrator.prepare import Prepared, describe_slots, encode_all, planned_slots
from orchestrator.pruning import ReportScheduler, make_pruner
from orchestrator.resources import Available, Cluster, Slots, cluster_of, connect, local, probe_storage, ray_files
from orchestrator.restarts import Restarts, survive_memory_kills
from orchestrator.search import (
    StudySearch,
    best_configurations,
    interrupted_to_waiting,
    make_sampler,
    open_storage,
    run_of,
)
from orchestrator.settings import SETTINGS, write_settings
from orchestrator.space import Params
from orchestrator.tracking import MlflowTracker
from orchestrator.trainable import train

__all__ = ["STUDY", "run"]

STUDY = "study.db"
SPOOL = "mlflow-spool"
"""Folder of records on their way to MLflow, and of the copy of the study that goes there."""

_DELIVERY_S = 60.0
"""How long the end of a sweep waits for MLflow; what is left is kept and delivered by the next run."""


def run(sweeps: Sequence[tuple[Path, Prepared]], console: Console, *, new: bool) -> int:
    """Run sweeps, or what is missing of them, one after the other.

    Args:
        sweeps: Each with its own folder, which is absolute; all on the same cluster.
        console: Where the user looks.
        new: Whether the folders are to be made; they are, once nothing is left to refuse.

    Returns:
        Exit code: 0 done, 1 stopped by a fault or no trial of some sweep gave a result, 130 interrupted.

    Raises:
        ConfigError: A sweep does not fit the machine, the cluster or its data; none has started then.
    """
    _quiet()
    survive_memory_kills()
    machine = local()
    clusters = {found.address: found for found in (cluster_of(prepared.settings.address) for _, prepared in sweeps)}
    if len(clusters) > 1:
        raise ConfigError(f"--resume: sweeps of {len(clusters)} addresses are not allowed; allowed: one, or --address")
    (cluster,) = clusters.values()
    displays = [Display(console, TASKS[prepared.settings.task].metric) for _, prepared in sweeps]
    for _, prepared in sweeps:
        if cluster.address is None:
            planned_slots(prepared.settings, machine)
    sweeps = [
        (folder, encode_all(_remembering(prepared, cluster), display.say))
        for (folder, prepared), display in zip(sweeps, displays, strict=True)
    ]
    with ExitStack() as held:
        if not new:
            for folder, _ in sweeps:
                held.enter_context(locked(folder))
        available = connect(cluster, machine)
        try:
            if cluster.address is not None:
                available = _grown(available, [prepared for _, prepared in sweeps], displays[0].say)
            slots = [packed_slots(prepared, available, measure, displays[0].say) for _, prepared in sweeps]
            # All of them now: whatever interrupts the first one, the rest can be resumed.
            for folder, prepared in sweeps:
                if new:
                    _begin(folder, prepared)
                    held.enter_context(locked(folder))
                else:
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


def _remembering(prepared: Prepared, cluster: Cluster) -> Prepared:
    """Write down that a sweep is a cluster's, so that it never goes on elsewhere unasked."""
    if prepared.settings.address is not None or cluster.address is None:
        return prepared
    return replace(prepared, settings=replace(prepared.settings, address="auto"))


def _grown(available: Available, sweeps: Sequence[Prepared], say: Callable[[str], None]) -> Available:
    """Return what a cluster has once it has grown as far as the sweeps ask; nothing has begun while it does."""
    with interruptible() as stop:
        for prepared in sweeps:
            available = grown(
                available,
                gpus=prepared.settings.gpus,
                gpus_per_trial=prepared.settings.gpus_per_trial,
                cpus_per_trial=prepared.settings.cpus_per_trial,
                say=say,
                stop=stop.now,
            )
    return available


def _run_one(folder: Path, prepared: Prepared, slots: Slots, display: Display, again: str) -> int:
    settings = prepared.settings
    with interruptible() as stop, head_watched(ray.get_runtime_context().gcs_address, display.say, again):
        display.say(f"sweep {settings.name}: {folder}")
        probe_storage(folder)
        tracker = MlflowTracker(
            uri=settings.tracking_uri,
            experiment=f"dlfa/{settings.task}",
            sweep=settings.name,
            spool=folder / SPOOL,
            notify=display.say,
        )
        patience = _DELIVERY_S
        try:
            return _Driver(folder, prepared, slots, display, tracker, stop, again).run()
        except KeyboardInterrupt:
            patience = 0.0
            raise
        finally:
            display.close()
            if left := tracker.close(patience):
                records = f"{left} record{'s have' if left > 1 else ' has'}"
                display.say(f"{records} not reached MLflow; what is left is kept, and `{again}` delivers it")


def _begin(folder: Path, prepared: Prepared) -> None:
    """Make a sweep's folder with its settings in it, in one step: it can be resumed, or it is not there."""
    new = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        write_settings(new, prepared.settings)
        new.rename(folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise


def resume_command(folders: Sequence[Path]) -> str:
    """Return what the user types to go on with sweeps of one storage folder."""
    return f"dlfa-sweep --resume {' '.join(folder.name for folder in folders)} --storage {folders[0].parent}"


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
        self.cleaner = Cleaner(self.folder / "trials")
        self.observers = (self.cleaner, self.tracker, self.display)

    def run(self) -> int:
        try:
            return self._run()
        except (StorageInternalError, SQLAlchemyError) as error:
            cause = system_cause(error)
            if "malformed" in cause or "not a database" in cause:
                self.tracker.sweep_ended("FAILED")
                raise DataError(
                    f"{self.folder / STUDY}: damaged ({cause}), and not touched; what is safe: an earlier copy put in "
                    f"its place, or a new sweep under another --name; what trials wrote is in {self.folder / 'trials'}"
                ) from error
            self.stop.halt(f"{self.folder / STUDY} can't be used ({cause})")
            return self._stopped(None)
        except BaseException as error:
            self.tracker.sweep_ended("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise

    def _run(self) -> int:
        settings, space = self.prepared.settings, self.prepared.space
        self._clear()
        self.tracker.sweep_started(self._parameters(), tags(settings), input_sets(settings))
        self.tracker.sweep_reported(files={"": [self.folder / SETTINGS]})
        search = self._study("search", make_pruner(settings.pruner, space.training.reports_per_trial))
        with self.stop.within(settings.time_budget):
            self._phase("search", search, self.prepared.trials, self._search_plan())
            if self.stop.late():
                self.display.say(f"time budget of {duration(settings.time_budget or 0)} spent: the search ends here")
        if self.stop.now():
            return self._stopped(search)
        if not best_configurations(search):
            self._warn_of_failures(search)
            self.display.say("no trial gave a score, so there is nothing to confirm")
            self.display.say(f"go on with: {self.again}")
            self.tracker.sweep_ended("FAILED")
            return 1
        if settings.confirm_seeds:
            confirm, total = self._plan_confirm(search)
            self._phase("confirm", confirm, total, None)
            if self.stop.now():
                return self._stopped(confirm)
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
        for trial in study.get_trials(deepcopy=False):
            self._catch_up(phase, trial)
        return study

    def _catch_up(self, phase: Phase, trial: FrozenTrial) -> None:
        """Do what an earlier driver would have done next, had it not died."""
        if not trial.params:
            return  # it has not started
        ref = TrialRef(phase=phase, number=trial.number, params=trial.params, seed=trial.user_attrs["seed"])
        attrs, scores = trial.user_attrs, trial.intermediate_values
        self.tracker.catch_up(
            ref,
            {step: (scores[step], attrs[f"report:{step}"]) for step in sorted(scores)},
            None if not trial.state.is_finished() else (trial.state.name, attrs.get("scores", {}), attrs.get("reason")),  # type: ignore[arg-type]
        )
        if trial.state.is_finished():
            self.cleaner.trial_ended(ref, trial.state.name, {}, None)  # type: ignore[arg-type]

    def _search_plan(self) -> Callable[[int], tuple[Params, int]]:
        settings, space = self.prepared.settings, self.prepared.space
        if settings.sampler == "grid":
            points = space.grid_points(settings.seed)
            return lambda number: (points[number], settings.seed)
        plan = space.plan(settings.seed, settings.trials)
        return lambda number: (plan(number), settings.seed)

    def _plan_confirm(self, search: optuna.Study) -> tuple[optuna.Study, int]:
        """Queue the best configuration of the baseline and of every layer with every seed that is not there yet."""
        settings = self.prepared.settings
        study = self._study("confirm", optuna.pruners.NopPruner())
        known = {
            run_of(t.params or t.system_attrs["fixed_params"], t.user_attrs["seed"]): t.number
            for t in study.get_trials(deepcopy=False)
        }
        numbers = []
        # Seeds outside, so that an early end leaves every configuration with as many; none is the search's own.
        for seed in range(settings.seed + 1, settings.seed + 1 + settings.confirm_seeds):
            for params in best_configurations(search):
                key = run_of(params, seed)
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
        """Run trials until as many as the phase has have ended, or the sweep is to stop.

        On a busy machine Tune may end with a trial that it takes for done although nobody has heard of it, such as one
        that took over the process of another: the study knows better, and that trial goes on.
        """
        before = -1
        while True:
            states = Counter(t.state.name for t in study.get_trials(deepcopy=False) if t.state.is_finished())
            ended = states.total()
            if ended >= total or self.stop.now():
                return
            if ended == before:
                self.stop.halt(f"Ray Tune ends without {total - ended} of {total} {phase} trials")
                return
            if before >= 0:
                self.display.say(f"Ray Tune left {total - ended} of {total} {phase} trials behind: going on with them")
            before = ended
            self._tune(phase, study, total, fixed, states)

    def _tune(
        self,
        phase: Phase,
        study: optuna.Study,
        total: int,
        fixed: Callable[[int], tuple[Params, int]] | None,
        states: Counter[str],
    ) -> None:
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
            halt=self.stop.halt,
        )
        restarts = Restarts(search.on_death)
        resources = {"cpu": self.slots.cpus} | ({"gpu": self.slots.gpus} if self.slots.gpus else {})
        try:
            tune.Tuner(
                tune.with_resources(train, resources),
                tune_config=tune.TuneConfig(
                    search_alg=search,
                    scheduler=ReportScheduler(search.on_report, restarts.died),
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
                    failure_config=tune.FailureConfig(max_failures=-1),
                    callbacks=[restarts],
                    verbose=0,
                ),
            ).fit()
        except (TuneError, OSError) as error:
            # Tune's own files meet a full disk, too. Whatever it is, the study knows what is missing.
            self.stop.halt(
                f"Ray Tune ended with {str(error).strip().splitlines()[-1]}{self._kept(error)}; "
                f"Ray's own files are in {ray_files()}"
            )
        finally:
            search.release()
            self.display.close()
            self._clear()

    def _kept(self, error: BaseException) -> str:
        """Write an error's traceback down; return where, for a message."""
        log = self.folder / "driver-error.txt"
        try:
            log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        except OSError as unwritable:
            return f" (its traceback can't be kept: {unwritable})"
        return f" (traceback in {log})"

    def _clear(self) -> None:
        """Delete what Tune has written: the study has the trials, their own folders have the rest."""
        shutil.rmtree(self.folder / "tune", ignore_errors=True)

    def _assignment(self, ref: TrialRef) -> dict[str, Any]:
        config = self.prepared.trial_config(ref, self.slots)
        return {
            "config": to_mapping(config),
            "folder": str(self.folder / "trials" / ref.name),
            "report_timeout": self.prepared.settings.report_timeout,
            "keep_model": ref.phase == "confirm" and self.prepared.settings.keep_models == "best",
        }

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
            "fusions": ",".join(space.fusions),
            "sampler": settings.sampler,
            "pruner": settings.pruner,
            "confirm_seeds": settings.confirm_seeds,
            "epochs": settings.epochs or space.training.epochs,
            "seed": settings.seed,
        }

    def _stopped(self, study: optuna.Study | None) -> int:
        if study is not None:
            self._warn_of_failures(study)
        fault = self.stop.fault
        self.tracker.sweep_ended("KILLED" if fault is None else "FAILED")
        self.display.say(
            f"{'interrupted' if fault is None else f'stopped: {fault}'}\n"
            "every finished trial is kept, running ones go on from their last checkpoint"
        )
        self.display.say(f"{'resume' if fault is None else 'once that is mended, resume'} with: {self.again}")
        return 130 if fault is None else 1

    def _warn_of_failures(self, study: optuna.Study) -> None:
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        for reason, count in Counter(t.user_attrs.get("reason", "no reason known") for t in failed).items():
            first = next(t.number for t in failed if t.user_attrs.get("reason", "no reason known") == reason)
            log = self.folder / "trials" / f"{study.study_name}-{first:04d}"
            self.display.say(
                f"{count} {study.study_name} trial{'s' * (count > 1)} failed: {reason} (the first one's files: {log})"
            )

    def _report(self) -> None:
        sweep = report.load(self.folder)
        self.cleaner.keep(report.model_runs(sweep.frame).values())
        written = report.write_reports(sweep, self.folder / "reports")
        self.tracker.sweep_ended("FINISHED", findings(sweep))
        record_reports(self.tracker, sweep, written, self.folder / STUDY, self.folder / SPOOL, self.display.say)
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
    # What they say of trials that failed and of processes that died, the display says in one line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # Tune would hand the keys of AWS to Ray's runtime environments, which log them; no trial needs them.
    propagated = vars(import_module("ray.tune.execution.class_cache"))["ENV_VARS_TO_PROPAGATE"]
    propagated.difference_update([name for name in propagated if name.startswith("AWS_")])
    vars(import_module("ray._private.worker"))["listen_error_messages"] = lambda worker, stopped: None
    # Tune's own loggers would write every result twice more.
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
