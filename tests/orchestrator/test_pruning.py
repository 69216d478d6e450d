"""What the pruners stop, and what the scheduler tells Tune."""

import pickle
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count, repeat
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
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
    assert {step for step in bad if step is not None} == {1, 3}  # thirds of the budget's 6 reports, in two brackets
    assert sum(step is not None for step in bad) >= len(bad) * 3 / 4


def test_hyperband_depends_on_the_studys_name_and_the_trials_alone() -> None:
    assert run("hyperband", SCORES) == run("hyperband", SCORES)
    assert run("hyperband", SCORES) != run("hyperband", SCORES, name="confirm")  # other brackets


def test_hyperband_prunes_before_any_trial_has_ended() -> None:
    study = optuna.create_study(study_name="search", direction="maximize", pruner=make_pruner("hyperband", REPORTS))
    trials = [study.ask() for _ in range(12)]
    pruned = []
    for number, trial in enumerate(trials):
        trial.report(80.0 - number, 1)
        if trial.should_prune():
            pruned.append(number)
    assert pruned
    assert 0 not in pruned


def drive(pruners: Iterator[optuna.pruners.BasePruner], at_a_time: int, reports: int) -> list[Any]:
    """Run trials that report in a random order; every tenth one fails, and every pruner serves for 30 answers."""
    chance = random.Random(at_a_time)
    study = optuna.create_study(study_name="search", direction="maximize")
    found: list[Any] = []
    running: list[optuna.Trial] = []
    steps: Counter[int] = Counter()
    while len(found) < 300:
        if len(found) % 30 == 0:
            study.pruner = next(pruners)
        if len(running) < at_a_time:
            running.append(study.ask())
            continue
        trial = chance.choice(running)
        steps[trial.number] += 1
        step = steps[trial.number]
        trial.report(float(chance.randint(0, 20)), step)  # some are equal
        found.append((trial.number, step, trial.should_prune(), study.get_trials()[trial.number].system_attrs))
        if chance.random() < 0.1:
            study.tell(trial, state=TrialState.FAIL)
        elif found[-1][2]:
            study.tell(trial, state=TrialState.PRUNED)
        elif step == reports:
            study.tell(trial, 1.0)
        else:
            continue
        running.remove(trial)
    return found


@pytest.mark.parametrize("at_a_time", [1, 4, 40])
@pytest.mark.parametrize("reports", [1, 3, 6, 30])
def test_hyperband_answers_and_notes_what_optuna_s_own_does(at_a_time: int, reports: int) -> None:
    def own() -> optuna.pruners.BasePruner:
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=reports, reduction_factor=3)

    expected = drive(repeat(own()), at_a_time, reports)
    assert len({pruned for _, _, pruned, _ in expected}) == 2
    assert drive(repeat(make_pruner("hyperband", reports)), at_a_time, reports) == expected
    # What it keeps is the study's: a driver that goes on has a new one.
    assert drive((make_pruner("hyperband", reports) for _ in count()), at_a_time, reports) == expected


def test_hyperband_works_out_a_trial_s_bracket_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    own = optuna.pruners.HyperbandPruner._get_bracket_id

    def counted(self: optuna.pruners.HyperbandPruner, study: optuna.Study, trial: FrozenTrial) -> int:
        asked.append(trial.number)
        return own(self, study, trial)

    monkeypatch.setattr(optuna.pruners.HyperbandPruner, "_get_bracket_id", counted)
    study = optuna.create_study(study_name="search", direction="maximize", pruner=make_pruner("hyperband", REPORTS))
    for _ in range(40):
        trial = study.ask()
        for step in range(1, REPORTS):
            trial.report(80.0, step)
            assert not trial.should_prune()
        study.tell(trial, 80.0)
    # For the trial that begins or asks, and once to remember it; not for each trial whenever another asks.
    assert max(Counter(asked).values()) <= REPORTS + 3


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
