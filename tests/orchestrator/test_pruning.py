"""What the pruners stop, and what the scheduler tells Tune."""

import pickle
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from dlfa.errors import ConfigError
from orchestrator.choices import PRUNERS
from orchestrator.pruning import ReportScheduler, make_pruner

REPORTS = 6


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def run(pruner: str, scores: list[float], name: str = "search") -> list[int | None]:
    """Run trials one after the other; return the step at which each was pruned, or None."""
    study = optuna.create_study(study_name=name, direction="maximize", pruner=make_pruner(pruner, REPORTS))
    ended: list[int | None] = []
    for score in scores:
        trial = study.ask()
        for step in range(1, REPORTS + 1):
            trial.report(score + step, step)
            if step < REPORTS and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                ended.append(step)
                break
        else:
            study.tell(trial, score)
            ended.append(None)
    return ended


SCORES = [80.0 if number % 3 == 0 else 50.0 + number / 10 for number in range(36)]


def test_hyperband_stops_bad_trials_at_its_rungs_and_no_good_one() -> None:
    ended = run("hyperband", SCORES)
    bad = [step for number, step in enumerate(ended) if number % 3]
    good = [step for number, step in enumerate(ended) if number % 3 == 0]
    assert good == [None] * len(good)
    assert {step for step in bad if step is not None} == {3}  # half of the budget's 6 reports
    assert sum(step is not None for step in bad) >= len(bad) * 3 / 4


@pytest.mark.parametrize(("reports", "rung"), [(2, 1), (3, 2), (6, 3), (7, 4), (27, 14)])
def test_hyperband_asks_at_half_of_the_budget_and_nowhere_else(reports: int, rung: int) -> None:
    study = optuna.create_study(study_name="search", direction="maximize", pruner=make_pruner("hyperband", reports))
    for score in (80.0, 10.0, 5.0):
        trial = study.ask()
        stopped = []
        for step in range(1, reports):
            trial.report(score, step)
            if trial.should_prune():
                stopped.append(step)
                break
        assert stopped == ([] if score == 80.0 else [rung])
        study.tell(trial, score)


def test_hyperband_prunes_before_any_trial_has_ended() -> None:
    study = optuna.create_study(study_name="search", direction="maximize", pruner=make_pruner("hyperband", REPORTS))
    trials = [study.ask() for _ in range(12)]
    pruned = []
    for number, trial in enumerate(trials):
        trial.report(80.0 - number, 3)
        if trial.should_prune():
            pruned.append(number)
    assert pruned == list(range(1, 12))


def test_a_budget_of_one_report_is_never_pruned() -> None:
    study = optuna.create_study(study_name="search", direction="maximize", pruner=make_pruner("hyperband", 1))
    for score in (80.0, 10.0, 5.0):
        trial = study.ask()
        trial.report(score, 1)  # the searcher does not ask after the last one
        study.tell(trial, score)
    assert {trial.state for trial in study.get_trials()} == {TrialState.COMPLETE}


def test_median_stops_what_is_below_the_median_of_four_finished_trials() -> None:
    assert run("median", [60.0, 70.0, 80.0, 10.0]) == [None] * 4
    assert run("median", [60.0, 70.0, 80.0, 90.0, 74.0, 76.0]) == [None, None, None, None, 1, None]


def test_none_stops_nothing() -> None:
    assert run("none", SCORES) == [None] * len(SCORES)


@pytest.mark.parametrize("name", ["asha", "Hyperband", ""])
def test_an_unknown_pruner(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_pruner(name, REPORTS)
    assert str(error.value) == f"--pruner: {name!r} is not allowed; allowed: hyperband, median, none"


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_of_the_list_is_made(name: str) -> None:
    assert isinstance(make_pruner(name, REPORTS), optuna.pruners.BasePruner)


@pytest.mark.parametrize(("ends", "decision"), [(True, TrialScheduler.STOP), (False, TrialScheduler.CONTINUE)])
def test_the_scheduler_asks_at_each_report(ends: bool, decision: str) -> None:
    heard: list[tuple[str, Mapping[str, Any]]] = []

    def on_report(trial_id: str, result: Mapping[str, Any]) -> bool:
        heard.append((trial_id, result))
        return ends

    dead: list[Trial] = []
    scheduler = ReportScheduler(on_report, dead.append)
    trial = cast(Trial, SimpleNamespace(trial_id="a1"))
    assert scheduler.on_trial_result(None, trial, {"step": 1}) == decision
    assert heard == [("a1", {"step": 1})]
    assert dead == []
    scheduler.on_trial_error(None, trial)
    assert dead == [trial]


def test_tune_may_pickle_the_scheduler() -> None:
    pickle.loads(pickle.dumps(ReportScheduler(lambda trial_id, result: True, lambda trial: None)))
