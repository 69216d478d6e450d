"""The Optuna study as a Tune searcher: the only writer of trial states, and the only source of trials."""

import copy
import json
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from sqlalchemy.exc import SQLAlchemyError

from dlfa.errors import ConfigError, system_cause
from dlfa.fusions import FUSIONS
from orchestrator.choices import SAMPLERS
from orchestrator.events import Phase, SweepObserver, TrialRef
from orchestrator.space import Params, SearchSpace

__all__ = [
    "Run",
    "StudySearch",
    "best_configurations",
    "interrupted_to_waiting",
    "make_sampler",
    "open_storage",
    "run_of",
]

Run = tuple[tuple[tuple[str, str | int | float], ...], int]
"""Parameters, in order of their names, and seed: what of two trials that share them would give the same numbers."""


_ALIKE = 3
"""Trials that fail alike before any other has ended: enough to stop."""

_NEWEST, _BEST = 500, 25
"""What a sampler sees of a fusion's ended trials: the newest, and the best of any age; of usual sweeps that is all.

TPE's time grows with what it sees. However many trials there are, it takes 25 for good ones, all of which it still
sees, and among the others it gives the newest most weight.
"""


_DRAWS = 20
"""How often a sampler is asked for a configuration that has not been run; then any of those left is as good."""


def open_storage(path: Path) -> optuna.storages.BaseStorage:
    """Return the sweep's database for its only writer, made where it is missing; it also opens in optuna-dashboard."""
    return _OneWriter(RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}}))


class _OneWriter(InMemoryStorage):
    """A database that is read once: its only writer knows what it has written since.

    Optuna's own cache asks the database for every running trial whenever it is asked for any. What is written goes
    to the database first, so that nothing is known that is not written.
    """

    def __init__(self, database: RDBStorage) -> None:
        super().__init__()
        self._database = database
        self._studies_there: dict[int, int] = {}
        """Id of a study here to its id in the database; so for trials."""
        self._trials_there: dict[int, int] = {}

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        there = self._database.create_new_study(directions, study_name)
        return self._known(there)

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name not in self._study_name_to_id:
            self._known(self._database.get_study_id_from_name(study_name))
        return super().get_study_id_from_name(study_name)

    def _known(self, there: int) -> int:
        """Read a study from the database; return its id here."""
        database = self._database
        study = super().create_new_study(database.get_study_directions(there), database.get_study_name_from_id(there))
        self._studies_there[study] = there
        for key, value in database.get_study_user_attrs(there).items():
            super().set_study_user_attr(study, key, value)
        for key, value in database.get_study_system_attrs(there).items():
            super().set_study_system_attr(study, key, value)
        for trial in database.get_all_trials(there, deepcopy=False):
            self._trials_there[super().create_new_trial(study, trial)] = trial._trial_id
        return study

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._database.set_study_user_attr(self._studies_there[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._database.set_study_system_attr(self._studies_there[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        there = self._database.create_new_trial(self._studies_there[study_id], template_trial)
        trial = super().create_new_trial(study_id, template_trial)
        self._trials_there[trial] = there
        return trial

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._database.set_trial_param(self._trials_there[trial_id], param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if not self._database.set_trial_state_values(self._trials_there[trial_id], state, values):
            return False
        if state == TrialState.WAITING:
            # Optuna looks for waiting trials among the newest only: its own never wait again.
            self._prev_waiting_trial_number[self._trial_id_to_study_id_and_number[trial_id][0]] = 0
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._database.set_trial_intermediate_value(self._trials_there[trial_id], step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._database.set_trial_user_attr(self._trials_there[trial_id], key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._database.set_trial_system_attr(self._trials_there[trial_id], key, value)
        super().set_trial_system_attr(trial_id, key, value)


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return an Optuna sampler.

    Args:
        name: One of `SAMPLERS`; a grid is planned point by point, so its sampler never samples.
        seed: Seed of this sampler; the searcher makes a new one for every trial.

    Raises:
        ConfigError: The name is not one of `SAMPLERS`.
    """
    if name == "tpe":
        # Layer, ratio and rate are modelled jointly; running trials count as bad, so that slots do not search
        # the same spot.
        return optuna.samplers.TPESampler(seed=seed % 2**32, multivariate=True, constant_liar=True)
    if name in ("random", "grid"):
        return optuna.samplers.RandomSampler(seed=seed % 2**32)
    raise ConfigError(f"--sampler: {name!r} is not allowed; allowed: {', '.join(SAMPLERS)}")


def run_of(params: Mapping[str, str | int | float], seed: int) -> Run:
    """Return what is the same for trials that repeat each other, number for number."""
    return tuple(sorted(params.items())), seed


def interrupted_to_waiting(study: optuna.Study) -> list[FrozenTrial]:
    """Queue the trials of a driver that has ended: they go on under their own numbers.

    Returns:
        The trials that were running.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return running


def _rank(trial: FrozenTrial) -> tuple[bool, int, float, int]:
    """Return by what trials that have ended are compared, by TPE as well; of equal ones the first is the best."""
    complete = trial.state == TrialState.COMPLETE
    step = max(trial.intermediate_values, default=0)
    score = trial.value if trial.value is not None else trial.intermediate_values.get(step, 0.0)
    return complete, 0 if complete else step, score, -trial.number


def best_configurations(study: optuna.Study) -> list[Params]:
    """Return the best parameters of every arm, and of each of its fusion layers that was tried: the baseline's first.

    A trial that ran its full budget is better than a pruned one; pruned ones are compared by how far they came,
    then by score. Failed trials give no configuration.
    """
    best: dict[tuple[int, int], tuple[tuple[bool, int, float, int], Params]] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if not trial.intermediate_values:
            continue
        rank = _rank(trial)
        group = [*FUSIONS].index(trial.params["fusion"]), int(trial.params.get("fusion_layer", -1))
        if group not in best or rank > best[group][0]:
            best[group] = (rank, dict(trial.params))
    return [best[group][1] for group in sorted(best)]


def _ask_pruner(study: optuna.Study, trial: FrozenTrial) -> tuple[bool, dict[str, Any]]:
    """Return whether the study's pruner would stop a trial of those of its arm, and what it would note on it.

    Compared with all arms, those of a weaker one would all be stopped, and the arm be tuned less than the others.
    Hyperband notes the rungs that a trial has passed, and looks at the next one when it is asked again: notes that
    are not yet written let a driver that goes on ask as if for the first time.
    """
    notes: dict[str, Any] = {}
    asking = copy.copy(study)
    asking._storage = _OneArm(study._storage, str(trial.params["fusion"]), notes)  # type: ignore[assignment]
    return bool(study.pruner.prune(asking, trial)), notes  # some pruners answer with NumPy's own, which is no JSON


class _OneArm:
    """A study's storage that shows a pruner the trials of one arm, and keeps what it notes on a trial to itself."""

    def __init__(self, storage: optuna.storages.BaseStorage, fusion: str, notes: dict[str, Any]) -> None:
        self._storage = storage
        self._fusion = fusion
        self._notes = notes

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(study_id, deepcopy, states)
        return [trial for trial in trials if trial.params.get("fusion") == self._fusion]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._notes[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class _History(InMemoryStorage):
    """Trials of the past, before a study's own; none is copied, as adding them would.

    Args:
        trials: In their order; their numbers are others here.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._past = [copy.copy(trial) for trial in trials]
        for number, trial in enumerate(self._past, start=_DRAWS):  # those before are the study's own
            trial.number = number

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        past = [trial for trial in self._past if states is None or trial.state in states]
        return past + super().get_all_trials(study_id, deepcopy, states)


@dataclass
class _Live:
    trial: optuna.Trial
    ref: TrialRef
    deaths: int = 0
    """Processes of it that died."""


class StudySearch(Searcher):
    """Gives Tune the trials of one study and tells the study what became of them.

    Args:
        study: Phase's study, with the phase's pruner; only this object writes to it.
        phase: `search` or `confirm`.
        space: Ranges of the parameters.
        total: Trials of the phase; FAIL, PRUNED and COMPLETE ones count.
        fixed: Parameters and seed that are fixed for a trial's number; the sampler fills in the rest.
        sampler: Makes the sampler of a trial from its number, so that what is sampled depends on the study alone.
        assign: Makes Tune's configuration of a trial.
        observers: Told of every event.
        reports: Reports per trial; the last one ends a trial's training, so the pruner is not asked.
        stopping: Whether no further trial shall start.
        halt: Told in one line what keeps every trial from going on.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        phase: Phase,
        space: SearchSpace,
        total: int,
        fixed: Callable[[int], tuple[Params, int]],
        sampler: Callable[[int], optuna.samplers.BaseSampler],
        assign: Callable[[TrialRef], dict[str, Any]],
        observers: Sequence[SweepObserver],
        reports: int,
        stopping: Callable[[], bool],
        halt: Callable[[str], None],
    ) -> None:
        super().__init__()  # no metric: the last message of a trial has none, and Tune would refuse it
        self.study = study
        self._phase: Phase = phase
        self._space = space
        self._total = total
        self._fixed = fixed
        self._sampler = sampler
        self._assign = assign
        self._observers = observers
        self._reports = reports
        self._stopping = stopping
        self._halt = halt
        self._alike: list[str] | None = []
        """Why trials have failed under this driver; None once one has ended in another way."""
        self._live: dict[str, _Live] = {}
        self._best: dict[str, list[FrozenTrial]] = {}
        """By fusion; as the study has them."""
        self._begun: set[Run] = set()
        for trial in study.get_trials(deepcopy=False):
            if trial.params:
                self._begun.add(run_of(trial.params, trial.user_attrs["seed"]))
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                self._compare(trial)

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of Tune's next trial, an interrupted one first."""
        if self._stopping():
            return Searcher.FINISHED
        assigned: Any = Searcher.FINISHED
        with self._halting():
            assigned = self._next(trial_id)
        return assigned

    def _next(self, trial_id: str) -> Any:
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting:
            trials = self.study.get_trials(deepcopy=False)
            number = len(trials)
            if number >= self._total:
                return Searcher.FINISHED
            params, seed = self._fixed(number)
            self.study.enqueue_trial(self._sampled(number, params, seed, trials), user_attrs={"seed": seed})
        else:
            number = waiting[0].number
        trial = self.study.ask()
        assert trial.number == number
        seed = trial.user_attrs["seed"]
        ref = TrialRef(phase=self._phase, number=number, params=self._space.suggest(trial), seed=seed)
        self._live[trial_id] = _Live(trial, ref)
        self._begun.add(run_of(ref.params, seed))
        for observer in self._observers:
            observer.trial_started(ref)
        return self._assign(ref)

    def _sampled(self, number: int, fixed: Params, seed: int, trials: Sequence[FrozenTrial]) -> Params:
        """Return a new trial's parameters: what is fixed, and the rest sampled from the trials of the same fusion.

        A sampler that sees both draws the baseline's learning rates where DLFA's are best: the baseline is not tuned.
        What has been run with this seed is not run again: TPE likes what was good, and would learn nothing from it.
        """
        storage = _History(self._seen(str(fixed["fusion"]), trials))
        history = optuna.create_study(storage=storage, direction="maximize", sampler=self._sampler(number))
        for _ in range(_DRAWS):
            # What was drawn before still runs, as far as the sampler knows, and it keeps away from that.
            history.enqueue_trial(fixed)
            params = self._space.suggest(history.ask())
            if params == fixed or run_of(params, seed) not in self._begun:
                return params
        rest = self._space.configurations(fixed, number)
        found = next((params for params in rest if run_of(params, seed) not in self._begun), None)
        assert found is not None, "a sweep has no more trials than there are configurations"
        return found

    def _seen(self, fusion: str, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return what a sampler sees of a fusion's trials, in their order: see `_NEWEST`."""
        seen: list[FrozenTrial] = []
        ended = 0
        for trial in reversed(trials):
            if ended == _NEWEST:
                break
            if trial.params.get("fusion") == fusion:
                seen.append(trial)
                ended += trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        seen += [trial for trial in self._best.get(fusion, []) if trial.number < seen[-1].number]
        return sorted(seen, key=lambda trial: trial.number)

    def _compare(self, trial: FrozenTrial) -> None:
        """Keep a trial that has ended if it is among the best."""
        best = self._best.setdefault(str(trial.params["fusion"]), [])
        best.append(trial)
        best.sort(key=_rank, reverse=True)
        del best[_BEST:]

    def on_report(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Record what a trial reports; return whether it ends here."""
        ends = True
        if trial_id in self._live:
            with self._halting():
                ends = self._record(trial_id, result)
        return ends

    def _record(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        live = self._live[trial_id]
        if "fault" in result:
            self._halt(str(result["fault"]))  # no trial's fault: this one goes on later
            return True
        if "error" in result:
            self._end(trial_id, TrialState.FAIL, reason=str(result["error"]))
            return True
        if "summary" in result:
            self._complete(trial_id, json.loads(result["summary"]))
            return True
        step, score = int(result["step"]), float(result["score"])
        metrics: dict[str, float] = json.loads(result["metrics"])
        if not math.isfinite(score):
            self._end(trial_id, TrialState.FAIL, reason=f"the score of report {step} is {score}")
            return True
        # A trial that goes on from an earlier checkpoint repeats a report; the same seed gave the same value.
        if step not in self._reported(live):
            # The step last: who finds it finds the rest, whenever the driver dies.
            live.trial.set_user_attr(f"report:{step}", metrics)
            live.trial.report(score, step)
        for observer in self._observers:
            observer.trial_reported(live.ref, step, score, metrics)
        if step < self._reports and self._prunes(live, step):
            self._end(trial_id, TrialState.PRUNED)
            return True
        return False

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: reports come through the scheduler, which alone sees those that stop a trial."""

    def on_death(self, trial_id: str, cause: str, *, again: bool) -> None:
        """Record that a trial's process died, and what of; unless it starts again, the trial has failed."""
        live = self._live.get(trial_id)
        if live is None or self._stopping():
            return  # it has ended, or is left behind with the others
        live.deaths += 1
        with self._halting():
            if not again:
                times = "once" if live.deaths == 1 else f"{live.deaths} times"
                self._end(trial_id, TrialState.FAIL, reason=f"its process died {times}: {cause}")
                return
            live.trial.set_user_attr("restarts", live.trial.user_attrs.get("restarts", 0) + 1)
            for observer in self._observers:
                observer.trial_restarted(live.ref, live.deaths, cause)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record a trial that Tune gives up without having told of a death."""
        if error:
            self.on_death(trial_id, "Ray Tune gives no reason", again=False)

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """Stop the sweep in order where its files can't be written: Tune would make a crash of it."""
        try:
            yield
        except (StorageInternalError, SQLAlchemyError, OSError) as error:
            self._halt(f"the sweep's folder can't be written to ({system_cause(error)})")

    def _complete(self, trial_id: str, summary: Mapping[str, Any]) -> None:
        live = self._live[trial_id]
        live.trial.set_user_attr("scores", summary["scores"])
        live.trial.set_user_attr("best_step", summary["best_step"])
        reported = self._reported(live)
        for report in summary["reports"]:
            # Only after a driver died between a trial's end and its being told: all reports at once.
            if report["step"] not in reported:
                live.trial.set_user_attr(f"report:{report['step']}", report["metrics"])
                live.trial.report(report["score"], report["step"])
        self._end(trial_id, TrialState.COMPLETE, value=summary["selection_score"], scores=summary["scores"])

    def _prunes(self, live: _Live, step: int) -> bool:
        """Return the pruner's answer to a report; it is written down before anything follows from it."""
        storage, number = self.study._storage, live.trial._trial_id
        trial = storage.get_trial(number)
        answer = trial.user_attrs.get(f"pruner:{step}")
        if answer is None:
            prunes, notes = _ask_pruner(self.study, trial)
            answer = {"prunes": prunes, "notes": notes}
            live.trial.set_user_attr(f"pruner:{step}", answer)
        for name, value in answer["notes"].items():
            storage.set_trial_system_attr(number, name, value)
        return bool(answer["prunes"])

    def _reported(self, live: _Live) -> Mapping[int, float]:
        return self.study._storage.get_trial(live.trial._trial_id).intermediate_values

    def _end(
        self,
        trial_id: str,
        state: TrialState,
        *,
        value: float | None = None,
        scores: Mapping[str, float] | None = None,
        reason: str | None = None,
    ) -> None:
        live = self._live[trial_id]
        if reason is not None:
            live.trial.set_user_attr("reason", reason)
        ended = self.study.tell(live.trial, value, state=state)
        if state is not TrialState.FAIL:
            self._compare(ended)
        del self._live[trial_id]
        self._count_alike(state, reason)
        for observer in self._observers:
            observer.trial_ended(live.ref, state.name, scores or {}, reason)  # type: ignore[arg-type]

    def _count_alike(self, state: TrialState, reason: str | None) -> None:
        """Stop where the first trials all fail in the same way: so would the rest."""
        if state is not TrialState.FAIL:
            self._alike = None
        elif self._alike is not None:
            self._alike.append(re.sub(r"\d+", "0", str(reason)))
            if len(self._alike) == _ALIKE and len(set(self._alike)) == 1:
                self._halt(f"the first {_ALIKE} trials all failed alike: {reason}")

    def release(self) -> list[TrialRef]:
        """Queue the trials that a stopped phase leaves behind, and return them.

        Where the study can't be written, they are left to the next driver.
        """
        with self._halting():
            interrupted_to_waiting(self.study)
        left = [live.ref for live in self._live.values()]
        self._live.clear()
        for ref in left:
            for observer in self._observers:
                observer.trial_ended(ref, "WAITING", {}, None)
        return left

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is on disk already, and a sweep is resumed from it."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as `save`."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles what it is given; a sweep is resumed from its study, never from that.
        return object, ()
