"""The study as a searcher, driven as Tune would drive it: states, numbers, interruptions, and what is sampled."""

import json
import math
import pickle
import random
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from sqlalchemy import event
from sqlalchemy.engine import Engine

from dlfa.errors import ConfigError
from dlfa.fusions import FUSIONS
from dlfa.model import EncoderShape
from orchestrator.choices import PRUNERS, SAMPLERS
from orchestrator.events import SweepObserver, TrialRef
from orchestrator.pruning import make_pruner
from orchestrator.search import (
    _DRAWS,
    StudySearch,
    best_configurations,
    interrupted_to_waiting,
    make_sampler,
    open_storage,
    run_of,
)
from orchestrator.space import Params, SearchSpace
from orchestrator.space_file import load_space

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

REPORTS = 3
SEED = 7
SPACE = load_space(
    """
    task: udpos
    search:
      fusion_layer: {low: 1, high: L-1}
      reduction_ratio: {choices: [2, 4, 8]}
      learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}
    """,
    "my.yaml",
    "udpos",
    EncoderShape(layers=4, hidden_size=32, vocabulary=100, max_positions=128),
)
PLAN = SPACE.plan(SEED, 1000)
BASELINE: Params = {"fusion": "none", "learning_rate": 1e-4}
FUSED: Params = {"fusion": "dlfa", "fusion_layer": 2, "reduction_ratio": 4, "learning_rate": 1e-4}


@pytest.fixture(autouse=True, scope="module")
def _quiet_and_quick() -> Iterator[None]:
    def without_sync(connection: Any, record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # no test pulls the plug

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    event.listen(Engine, "connect", without_sync)
    yield
    event.remove(Engine, "connect", without_sync)
    optuna.logging.set_verbosity(before)


class Log:
    """An observer that writes down what it is told."""

    def __init__(self, events: list[tuple[Any, ...]], name: str = "") -> None:
        self.events = events
        self.name = name

    def trial_started(self, trial: TrialRef) -> None:
        self.events.append((*([self.name] * bool(self.name)), "started", trial))

    def trial_reported(self, trial: TrialRef, step: int, score: float, metrics: Mapping[str, float]) -> None:
        self.events.append((*([self.name] * bool(self.name)), "reported", trial, step, score, dict(metrics)))

    def trial_restarted(self, trial: TrialRef, deaths: int, cause: str) -> None:
        self.events.append((*([self.name] * bool(self.name)), "restarted", trial, deaths, cause))

    def trial_ended(self, trial: TrialRef, state: str, metrics: Mapping[str, float], reason: str | None) -> None:
        self.events.append((*([self.name] * bool(self.name)), "ended", trial, state, dict(metrics), reason))


class Always(optuna.pruners.BasePruner):
    """Prunes whatever it is asked about, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        self.asked += 1
        return True


def open_study(folder: Path, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    return optuna.create_study(
        storage=open_storage(folder / "study.db"),
        study_name="search",
        direction="maximize",
        pruner=pruner or optuna.pruners.NopPruner(),
        load_if_exists=True,
    )


def make_search(
    study: optuna.Study,
    *,
    total: int = 100,
    space: SearchSpace = SPACE,
    fixed: Callable[[int], Params] = PLAN,
    sampler: str = "random",
    observers: Sequence[SweepObserver] = (),
    stopping: Callable[[], bool] = lambda: False,
    halt: Callable[[str], None] = lambda fault: None,
) -> StudySearch:
    return StudySearch(
        study,
        phase="search",
        space=space,
        total=total,
        fixed=lambda number: (fixed(number), SEED),
        sampler=lambda number: make_sampler(sampler, 1000 + number),
        assign=lambda ref: {"folder": ref.name, "params": dict(ref.params), "seed": ref.seed},
        observers=observers,
        reports=REPORTS,
        stopping=stopping,
        halt=halt,
    )


def metrics_of(score: float) -> dict[str, float]:
    return {"dev/en/f1": score, "train/loss": 0.5}


def report(search: StudySearch, trial_id: str, step: int, score: float) -> bool:
    return search.on_report(trial_id, {"step": step, "score": score, "metrics": json.dumps(metrics_of(score))})


def summary_of(scores: Sequence[float], test: float = 50.0) -> dict[str, Any]:
    return {
        "scores": {"test/de/f1": test, "test/avg_target": test},
        "best_step": scores.index(max(scores)) + 1,
        "selection_score": max(scores),
        "reports": [
            {"step": step, "score": score, "metrics": metrics_of(score)} for step, score in enumerate(scores, start=1)
        ],
    }


def finish(search: StudySearch, trial_id: str, scores: Sequence[float], test: float = 50.0) -> bool:
    return search.on_report(trial_id, {"summary": json.dumps(summary_of(scores, test))})


def complete(search: StudySearch, trial_id: str, score: float, test: float = 50.0) -> Params:
    """Run one trial to its end, with a score that rises to the one given."""
    params: Params = search.suggest(trial_id)["params"]
    scores = [score - 2, score - 1, score]
    assert [report(search, trial_id, step, one) for step, one in enumerate(scores, start=1)] == [False] * REPORTS
    assert finish(search, trial_id, scores, test)
    search.on_trial_complete(trial_id)
    return params


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def add(
    study: optuna.Study,
    state: TrialState,
    params: Params,
    scores: Sequence[float],
    value: float | None,
    attrs: Mapping[str, Any] | None = None,
) -> None:
    """Put a trial of the past into the study."""
    distributions = {name: SPACE.distributions[name] for name in params if name != "fusion"}
    fusions = SPACE.fusions if params["fusion"] in SPACE.fusions else tuple(FUSIONS)
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=value,
            params=dict(params),
            distributions={"fusion": CategoricalDistribution(fusions), **distributions},
            user_attrs={"seed": SEED} | dict(attrs or {}),
            intermediate_values=dict(enumerate(scores, start=1)),
        )
    )


def landscape(params: Params) -> float:
    """A score that a sampler can learn: other rates and layers are best for the baseline and for DLFA."""
    fused = params["fusion"] == "dlfa"
    rate = math.log10(float(params["learning_rate"]))
    return 80 - 5 * (rate + (4.5 if fused else 3.5)) ** 2 + (int(params["fusion_layer"]) if fused else 0)


# --- how trials end


def test_a_trial_that_ran_its_budget_is_complete(tmp_path: Path) -> None:
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    search = make_search(study, observers=[Log(events)])
    assigned = search.suggest("a")
    ref = TrialRef(phase="search", number=0, params=assigned["params"], seed=SEED)
    assert assigned == {"folder": "search-0000", "params": assigned["params"], "seed": SEED}
    assert assigned["params"]["fusion"] == "none"
    scores = [70.0, 72.0, 71.0]
    for step, score in enumerate(scores, start=1):
        assert report(search, "a", step, score) is False
    assert finish(search, "a", scores) is True
    search.on_trial_complete("a")
    (trial,) = study.get_trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 72.0)  # of the best report, as the summary says
    assert trial.params == ref.params
    assert trial.intermediate_values == {1: 70.0, 2: 72.0, 3: 71.0}
    assert trial.user_attrs == {
        "seed": SEED,
        "report:1": metrics_of(70.0),
        "report:2": metrics_of(72.0),
        "report:3": metrics_of(71.0),
        "pruner:1": {"prunes": False, "notes": {}},
        "pruner:2": {"prunes": False, "notes": {}},
        "scores": {"test/de/f1": 50.0, "test/avg_target": 50.0},
        "best_step": 2,
    }
    assert events == [
        ("started", ref),
        ("reported", ref, 1, 70.0, metrics_of(70.0)),
        ("reported", ref, 2, 72.0, metrics_of(72.0)),
        ("reported", ref, 3, 71.0, metrics_of(71.0)),
        ("ended", ref, "COMPLETE", {"test/de/f1": 50.0, "test/avg_target": 50.0}, None),
    ]


def test_a_pruned_trial_is_told_without_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, events = open_study(tmp_path, Always()), list[tuple[Any, ...]]()
    search = make_search(study, fixed=lambda number: dict(FUSED), observers=[Log(events)])
    told = []
    tell = study.tell

    def spy(trial: optuna.Trial, values: float | None = None, state: TrialState | None = None) -> FrozenTrial:
        told.append((values, state))
        return tell(trial, values, state)

    monkeypatch.setattr(study, "tell", spy)
    search.suggest("a")
    assert report(search, "a", 1, 70.0) is True
    ref = TrialRef(phase="search", number=0, params=FUSED, seed=SEED)
    assert told == [(None, TrialState.PRUNED)]
    assert events[1:] == [("reported", ref, 1, 70.0, metrics_of(70.0)), ("ended", ref, "PRUNED", {}, None)]
    (trial,) = study.get_trials()
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 70.0})
    answer = {"prunes": True, "notes": {}}
    assert trial.user_attrs == {"seed": SEED, "report:1": metrics_of(70.0), "pruner:1": answer}


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_s_answer_is_written_down(tmp_path: Path, pruner: str) -> None:
    study = open_study(tmp_path, make_pruner(pruner, REPORTS))
    search = make_search(study, fixed=lambda number: dict(FUSED))
    for number in range(8):
        search.suggest(str(number))
        score = 90.0 - number
        if not any(report(search, str(number), step, score + step) for step in range(1, REPORTS + 1)):
            finish(search, str(number), [score + step for step in range(1, REPORTS + 1)])
    assert ("PRUNED" in states(study)) is (pruner != "none")
    answers = [trial.user_attrs["pruner:1"]["prunes"] for trial in study.get_trials()]
    assert answers[0] is False
    assert {type(answer) for answer in answers} == {bool}


def test_a_trial_ends_once(tmp_path: Path) -> None:
    study, events = open_study(tmp_path, Always()), list[tuple[Any, ...]]()
    search = make_search(study, fixed=lambda number: dict(FUSED), observers=[Log(events)])
    search.suggest("a")
    assert report(search, "a", 1, 70.0) is True
    before = len(events)
    assert report(search, "a", 2, 71.0) is True  # a message that was on its way
    assert finish(search, "a", [70.0, 71.0, 72.0]) is True
    search.on_trial_complete("a", error=True)
    search.on_trial_result("a", {})
    assert len(events) == before
    assert states(study) == ["PRUNED"]


def test_the_last_report_is_never_pruned(tmp_path: Path) -> None:
    pruner = Always()
    study = open_study(tmp_path, pruner)
    search = make_search(study, fixed=lambda number: dict(FUSED))
    search.suggest("a")
    assert report(search, "a", REPORTS, 70.0) is False
    assert pruner.asked == 0
    finish(search, "a", [68.0, 69.0, 70.0])
    assert states(study) == ["COMPLETE"]


@pytest.mark.parametrize("pruner", ["hyperband", "median"])
@pytest.mark.parametrize(("strong", "weak"), [(BASELINE, FUSED), (FUSED, BASELINE)], ids=["baseline", "dlfa"])
def test_a_trial_is_pruned_among_those_of_its_arm(pruner: str, strong: Params, weak: Params) -> None:
    study = optuna.create_study(study_name="search", direction="maximize", pruner=make_pruner(pruner, REPORTS))
    fixed = [arm | {"learning_rate": 1e-4 * (1 + number)} for number in range(7) for arm in (strong, weak)]
    search = make_search(study, total=100, fixed=lambda number: fixed[number])
    for number in range(6):  # each better than those before it, so that none is stopped
        complete(search, f"strong {number}", 80.0 + number)
        complete(search, f"weak {number}", 20.0 + number)
    for name, score in (("strong", 70.0), ("weak", 30.0)):
        search.suggest(name)
        report(search, name, 1, score)
    # The stronger arm's trial is the worst of its arm, and better than any of the other.
    assert report(search, "strong", 2, 70.0) is True
    assert report(search, "weak", 2, 30.0) is False
    assert [trial.state.name for trial in study.get_trials()[12:]] == ["PRUNED", "RUNNING"]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_ends_a_trial_at_once(tmp_path: Path, score: float) -> None:
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    search = make_search(study, observers=[Log(events)])
    params = search.suggest("a")["params"]
    assert report(search, "a", 1, 70.0) is False
    assert report(search, "a", 2, score) is True
    reason = f"the score of report 2 is {score}"
    ref = TrialRef(phase="search", number=0, params=params, seed=SEED)
    assert events[-1] == ("ended", ref, "FAIL", {}, reason)
    (trial,) = study.get_trials()
    assert (trial.state, trial.value, trial.user_attrs["reason"]) == (TrialState.FAIL, None, reason)
    assert trial.intermediate_values == {1: 70.0}


def test_a_trial_that_says_what_is_wrong_has_failed(tmp_path: Path) -> None:
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    search = make_search(study, observers=[Log(events)])
    search.suggest("a")
    assert search.on_report("a", {"error": "OutOfMemoryError: CUDA out of memory"}) is True
    search.on_trial_complete("a")
    assert events[-1][2:] == ("FAIL", {}, "OutOfMemoryError: CUDA out of memory")
    (trial,) = study.get_trials()
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, "OutOfMemoryError: CUDA out of memory")


def test_a_trial_whose_process_died_has_failed(tmp_path: Path) -> None:
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    search = make_search(study, observers=[Log(events)])
    search.suggest("a")
    report(search, "a", 1, 70.0)
    search.on_death("a", "killed", again=True)
    search.on_death("a", "out of memory", again=True)
    ref = events[0][1]
    assert events[2:] == [("restarted", ref, 1, "killed"), ("restarted", ref, 2, "out of memory")]
    assert states(study) == ["RUNNING"]
    search.on_death("a", "killed", again=False)
    reason = "its process died 3 times: killed"
    assert events[-1] == ("ended", ref, "FAIL", {}, reason)
    (trial,) = study.get_trials()
    assert (trial.state, trial.user_attrs["reason"], trial.user_attrs["restarts"]) == (TrialState.FAIL, reason, 2)
    search.on_trial_complete("a", error=True)  # Tune's own word, later
    assert len(events) == 5


def test_a_trial_that_dies_while_the_sweep_stops_goes_on_later(tmp_path: Path) -> None:
    # As when the machine's scheduler ends the driver and all of its processes.
    study = open_study(tmp_path)
    stopping = False
    search = make_search(study, stopping=lambda: stopping)
    search.suggest("a")
    stopping = True
    search.on_death("a", "killed", again=False)
    search.on_trial_complete("a", error=True)
    search.release()
    assert states(study) == ["WAITING"]


@pytest.mark.parametrize("dies_in", ["suggest", "report"])
def test_a_study_that_cannot_be_written_stops_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    study, faults = open_study(tmp_path), list[str]()
    search = make_search(study, halt=faults.append)
    search.suggest("a")

    def full(*args: object, **options: object) -> None:
        raise StorageInternalError from sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(study._storage, "set_trial_user_attr", full)
        patch.setattr(study._storage, "create_new_trial", full)
        patch.setattr(study._storage, "set_trial_state_values", full)
        if dies_in == "suggest":
            assert search.suggest("b") == Searcher.FINISHED
        else:
            assert report(search, "a", 1, 70.0) is True
        assert faults == ["the sweep's folder can't be written to (database or disk is full)"]
        assert [ref.number for ref in search.release()] == [0]
    assert states(study) == ["RUNNING"]  # as a killed driver leaves it
    assert [t.number for t in interrupted_to_waiting(study)] == [0]


def test_a_fault_that_is_not_the_trials_leaves_it_to_the_next_driver(tmp_path: Path) -> None:
    study, faults = open_study(tmp_path), list[str]()
    search = make_search(study, halt=faults.append)
    search.suggest("a")
    assert search.on_report("a", {"fault": "/runs: No space left on device on node7"}) is True
    assert faults == ["/runs: No space left on device on node7"]
    search.release()
    assert states(study) == ["WAITING"]


@pytest.mark.parametrize(
    ("errors", "stops"),
    [
        (["no /a/search-0000", "no /a/search-0001", "no /a/search-0002"], True),
        (["no /a/search-0000", "no /a/search-0001", "other"], False),
        (["x", None, "x", "x", "x"], False),
        (["x", "x"], False),
    ],
)
def test_the_sweep_stops_when_the_first_trials_all_fail_alike(
    tmp_path: Path, errors: list[str | None], stops: bool
) -> None:
    faults: list[str] = []
    search = make_search(open_study(tmp_path), halt=faults.append)
    for error in errors:
        search.suggest("x")
        if error is None:
            finish(search, "x", [70.0, 71.0, 72.0])
        else:
            assert search.on_report("x", {"error": error}) is True
    assert faults == ["the first 3 trials all failed alike: no /a/search-0002"] * stops


def test_observers_are_told_in_their_order(tmp_path: Path) -> None:
    events: list[tuple[Any, ...]] = []
    search = make_search(open_study(tmp_path), observers=[Log(events, "one"), Log(events, "two")])
    complete(search, "a", 70.0)
    assert [entry[0] for entry in events] == ["one", "two"] * 5
    assert [entry[1] for entry in events[::2]] == ["started", "reported", "reported", "reported", "ended"]


def test_trials_that_run_at_a_time_are_kept_apart(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    search = make_search(study, fixed=lambda number: FUSED | {"fusion_layer": number + 1})
    assert [search.suggest(name)["folder"] for name in "abc"] == ["search-0000", "search-0001", "search-0002"]
    for step, scores in enumerate(([10.0, 20.0, 30.0], [11.0, 21.0, 31.0], [12.0, 22.0, 32.0]), start=1):
        for name, score in zip("cab", scores, strict=True):
            assert report(search, name, step, score) is False
    finish(search, "b", [30.0, 31.0, 32.0])
    search.on_death("c", "killed", again=False)
    finish(search, "a", [20.0, 21.0, 22.0])
    assert [(t.number, t.state.name, t.value, t.params["fusion_layer"]) for t in study.get_trials()] == [
        (0, "COMPLETE", 22.0, 1),
        (1, "COMPLETE", 32.0, 2),
        (2, "FAIL", None, 3),
    ]


# --- how many there are


def test_the_total_counts_every_state_and_is_exact_over_resumes(tmp_path: Path) -> None:
    complete(make_search(open_study(tmp_path), total=5, fixed=lambda number: dict(BASELINE)), "a", 70.0)
    study = open_study(tmp_path, Always())
    search = make_search(study, total=5, fixed=lambda number: dict(FUSED))
    search.suggest("b")
    report(search, "b", 1, 70.0)  # pruned
    search.suggest("c")
    search.on_report("c", {"error": "x"})
    search.suggest("d")
    assert states(study) == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    search.release()

    study = open_study(tmp_path)
    search = make_search(study, total=5, fixed=lambda number: dict(FUSED))
    assert [search.suggest(name)["folder"] for name in "ab"] == ["search-0003", "search-0004"]
    assert search.suggest("c") == Searcher.FINISHED
    assert search.suggest("c") == Searcher.FINISHED
    assert len(study.get_trials()) == 5
    more = make_search(study, total=6, fixed=lambda number: dict(FUSED))
    assert more.suggest("c")["folder"] == "search-0005"
    assert more.suggest("d") == Searcher.FINISHED


def test_nothing_starts_once_it_is_to_stop(tmp_path: Path) -> None:
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    stop = False
    search = make_search(study, observers=[Log(events)], stopping=lambda: stop)
    search.suggest("a")
    stop = True
    assert search.suggest("b") == Searcher.FINISHED
    assert states(study) == ["RUNNING"]
    assert len(events) == 1


# --- interruptions


def test_an_interrupted_trial_goes_on_first_under_its_own_number(tmp_path: Path) -> None:
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    search = make_search(study, observers=[Log(events)])
    begun = {name: search.suggest(name) for name in "abc"}
    report(search, "b", 1, 70.0)
    finish(search, "a", [1.0, 2.0, 3.0])
    left = search.release()
    refs = [
        TrialRef(phase="search", number=n, params=begun[name]["params"], seed=SEED) for n, name in ((1, "b"), (2, "c"))
    ]
    assert left == refs
    assert events[-2:] == [("ended", ref, "WAITING", {}, None) for ref in refs]
    assert states(study) == ["COMPLETE", "WAITING", "WAITING"]
    assert report(search, "b", 2, 71.0) is True  # nobody's any more

    study = open_study(tmp_path)
    search = make_search(study, sampler="tpe")
    assert [search.suggest(name) for name in "xy"] == [begun["b"], begun["c"]]
    assert states(study) == ["COMPLETE", "RUNNING", "RUNNING"]
    assert search.suggest("z")["folder"] == "search-0003"
    assert study.get_trials()[1].intermediate_values == {1: 70.0}


def test_release_leaves_none_running_and_finished_ones_alone(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    search = make_search(study)
    complete(search, "a", 70.0)
    assert search.release() == []
    assert states(study) == ["COMPLETE"]


def test_the_trials_of_a_driver_that_was_killed_are_queued(tmp_path: Path) -> None:
    search = make_search(open_study(tmp_path))
    complete(search, "a", 70.0)
    search.suggest("b")
    study = open_study(tmp_path)
    assert [trial.number for trial in interrupted_to_waiting(study)] == [1]
    assert states(study) == ["COMPLETE", "WAITING"]
    assert interrupted_to_waiting(study) == []


@pytest.mark.parametrize("dies_in", ["ask", "suggest_categorical", "suggest_float"])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_driver_that_dies_while_it_makes_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str, sampler: str
) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = make_search(open_study(tmp_path / "whole"), sampler=sampler)
    expected = [whole.suggest(name) for name in "abc"]

    study = open_study(tmp_path / "killed")
    search = make_search(study, sampler=sampler)
    search.suggest("a")

    def die(*args: object, **options: object) -> None:
        raise MemoryError

    def ask_and_break() -> optuna.Trial:
        trial = optuna.Study.ask(study)
        monkeypatch.setattr(trial, dies_in, die)
        return trial

    # The second trial is in the database by the time that it is asked for.
    monkeypatch.setattr(study, "ask", die if dies_in == "ask" else ask_and_break)
    with pytest.raises(MemoryError):
        search.suggest("b")
    assert states(study) == ["RUNNING", "WAITING" if dies_in == "ask" else "RUNNING"]

    study = open_study(tmp_path / "killed")
    interrupted_to_waiting(study)
    search = make_search(study, sampler=sampler)
    assert [search.suggest(name) for name in "abc"] == expected
    assert [trial.user_attrs for trial in study.get_trials()] == [{"seed": SEED}] * 3


def test_a_repeated_report_is_stored_once(tmp_path: Path) -> None:
    search = make_search(open_study(tmp_path))
    search.suggest("a")
    report(search, "a", 1, 70.0)
    report(search, "a", 2, 71.0)
    search.release()
    study, events = open_study(tmp_path), list[tuple[Any, ...]]()
    search = make_search(study, observers=[Log(events)])
    search.suggest("b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns of a step that is reported twice
        assert report(search, "b", 2, 71.0) is False
        assert report(search, "b", 3, 72.0) is False
        finish(search, "b", [70.0, 71.0, 72.0])
    (trial,) = study.get_trials()
    assert trial.intermediate_values == {1: 70.0, 2: 71.0, 3: 72.0}
    assert [name for name in trial.user_attrs if name.startswith("report:")] == ["report:1", "report:2", "report:3"]
    assert [entry[2] for entry in events if entry[0] == "reported"] == [2, 3]  # the display hears of both


@pytest.mark.parametrize("dies_in", ["set_trial_user_attr", "set_trial_intermediate_value"])
def test_a_report_is_whole_or_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str) -> None:
    study = open_study(tmp_path)
    search = make_search(study)
    search.suggest("a")

    def die(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(study._storage, dies_in, die)
    with pytest.raises(MemoryError):
        report(search, "a", 1, 70.0)
    study = open_study(tmp_path)
    interrupted_to_waiting(study)
    search = make_search(study)
    search.suggest("b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(search, "b", 1, 70.0)
        report(search, "b", 2, 71.0)
        finish(search, "b", [70.0, 71.0])
    (trial,) = study.get_trials()
    assert trial.intermediate_values == {1: 70.0, 2: 71.0}
    assert trial.user_attrs["report:1"] == metrics_of(70.0)


def test_a_trial_that_had_ended_before_the_driver_heard_of_it(tmp_path: Path) -> None:
    search = make_search(open_study(tmp_path))
    search.suggest("a")
    report(search, "a", 1, 70.0)
    search.release()
    study = open_study(tmp_path)
    search = make_search(study)
    search.suggest("b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finish(search, "b", [70.0, 72.0, 71.0]) is True  # its only message: it has nothing left to train
    (trial,) = study.get_trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 72.0)
    assert trial.intermediate_values == {1: 70.0, 2: 72.0, 3: 71.0}
    assert trial.user_attrs["report:3"] == metrics_of(71.0)


# --- the database and its only writer


def content(study: optuna.Study) -> list[tuple[Any, ...]]:
    """Return all that a study has but the times."""
    return [
        (t.number, t.state, t.params, t.distributions, t.values, t.intermediate_values, t.user_attrs, t.system_attrs)
        for t in study.get_trials()
    ]


def reread(folder: Path) -> optuna.Study:
    """Open a study as a stranger would."""
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")


def test_the_writer_knows_what_is_in_the_database(tmp_path: Path) -> None:
    study = open_study(tmp_path, make_pruner("hyperband", REPORTS))
    study.set_user_attr("numbers", [0, 1])
    search = make_search(study, sampler="tpe")
    for number in range(14):
        params, scores = search.suggest(str(number))["params"], [70.0 + number % 3] * REPORTS
        assert params == study.get_trials()[-1].params
        if not any(report(search, str(number), step, score - number) for step, score in enumerate(scores, start=1)):
            finish(search, str(number), scores)
        assert content(study) == content(reread(tmp_path))
    for name in "abc":
        search.suggest(name)
    search.on_report("a", {"error": "x"})
    search.on_death("b", "killed", again=True)
    report(search, "c", 1, 70.0)
    assert content(study) == content(reread(tmp_path))
    search.release()
    assert set(states(study)) == {"COMPLETE", "PRUNED", "FAIL", "WAITING"}
    for opened in (reread(tmp_path), open_study(tmp_path)):
        assert content(study) == content(opened)
        assert opened.user_attrs == study.user_attrs == {"numbers": [0, 1]}


def test_the_writer_of_one_study_of_several(tmp_path: Path) -> None:
    search = make_search(open_study(tmp_path))
    complete(search, "a", 70.0)
    storage = open_storage(tmp_path / "study.db")
    confirm = optuna.create_study(storage=storage, study_name="confirm", direction="maximize", load_if_exists=True)
    make_search(confirm, fixed=lambda number: dict(BASELINE)).suggest("b")
    complete(search, "c", 70.0)
    assert states(search.study) == ["COMPLETE", "COMPLETE"]
    assert content(search.study) == content(reread(tmp_path))
    assert states(confirm) == ["RUNNING"]
    assert content(confirm) == content(
        optuna.load_study(study_name="confirm", storage=open_storage(tmp_path / "study.db"))
    )


def test_what_is_not_written_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(tmp_path)
    search = make_search(study)
    search.suggest("a")
    before = content(study)

    def full(*args: object, **options: object) -> None:
        raise StorageInternalError from sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        for name in dir(optuna.storages.RDBStorage):
            if name.startswith(("set_trial", "create_new_trial")):
                patch.setattr(optuna.storages.RDBStorage, name, full)
        search.suggest("b")
        report(search, "a", 1, 70.0)
        finish(search, "a", [70.0, 71.0, 72.0])
        search.on_death("a", "killed", again=False)
        search.release()
    assert content(study) == before == content(reread(tmp_path))


def test_interrupted_trials_of_the_same_driver_are_all_found_again(tmp_path: Path) -> None:
    search = make_search(open_study(tmp_path))
    begun = [search.suggest(name) for name in "abc"]
    search.release()
    assert [search.suggest(name) for name in "xyz"] == begun


def test_a_decision_asks_the_database_for_as_much_in_a_large_study(tmp_path: Path) -> None:
    asked: list[str] = []

    def listen(*args: Any) -> None:
        asked.append(args[2])

    def decide(search: StudySearch, name: str) -> list[str]:
        asked.clear()
        search.suggest(name)
        assert report(search, name, 1, 99.0) is False
        return list(asked)

    study = open_study(tmp_path, make_pruner("hyperband", REPORTS))
    search = make_search(study, sampler="tpe", fixed=lambda number: dict(FUSED))
    event.listen(Engine, "before_cursor_execute", listen)
    decide(search, "a")
    small = decide(search, "b")
    for number in range(20):
        search.suggest(f"running {number}")
        search.suggest(f"ended {number}")
        report(search, f"ended {number}", 1, 1.0)  # pruned
    large = decide(search, "c")
    event.remove(Engine, "before_cursor_execute", listen)
    assert large == small
    assert small


# --- what is sampled


def run(
    folder: Path, total: int, sampler: str, dies_at: frozenset[int] = frozenset(), test: float = 50.0
) -> list[tuple[int, str, Params, dict[int, float]]]:
    """Run a phase one trial at a time; the driver dies after every event whose number is in `dies_at`."""
    folder.mkdir(exist_ok=True)
    happened = 0

    def reopened() -> StudySearch:
        study = open_study(folder, make_pruner("hyperband", REPORTS))
        interrupted_to_waiting(study)
        return make_search(study, total=total, sampler=sampler)

    def dies() -> bool:
        nonlocal happened
        happened += 1
        return happened in dies_at

    search, name, resumed_at = reopened(), 0, 1
    while (assigned := search.suggest(str(name))) != Searcher.FINISHED:
        dead, score = dies(), landscape(assigned["params"])
        for step in range(resumed_at, REPORTS + 1):
            if dead:
                break
            resumed_at = step  # the last checkpoint is the one before this report: it will be repeated
            ended = report(search, str(name), step, score + step)
            dead = dies()
            if ended:
                break
        else:
            finish(search, str(name), [score + step for step in range(1, REPORTS + 1)], test)
            ended, dead = True, dies()
        if dead:
            search = reopened()
        if not dead or ended:
            resumed_at = 1
        name += 1
    trials = search.study.get_trials()
    return [(t.number, t.state.name, dict(t.params), dict(t.intermediate_values)) for t in trials]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_an_interrupted_phase_ends_as_one_that_was_not(tmp_path: Path, sampler: str) -> None:
    whole = run(tmp_path / "whole", 16, sampler)
    assert [row[0] for row in whole] == list(range(16))
    assert {row[1] for row in whole} == {"COMPLETE", "PRUNED"}
    assert run(tmp_path / "killed", 16, sampler, dies_at=frozenset(range(2, 60, 7))) == whole


class Killed(BaseException):
    """The driver is gone."""


class Mortal(optuna.storages.InMemoryStorage):
    """Keeps what was written when its driver dies, which it does before one of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes, self.dies_before = 0, 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith(("set_trial", "set_study", "create_new_trial")):
            self.writes += 1
            if self.writes == self.dies_before:
                raise Killed
        return super().__getattribute__(name)


def _phase(storage: Mortal, total: int) -> None:
    """Run what is missing of a phase, one trial at a time; its trials keep checkpoints, so they tell all reports."""
    study = optuna.create_study(
        storage=storage,
        study_name="search",
        direction="maximize",
        pruner=make_pruner("hyperband", REPORTS),
        load_if_exists=True,
    )
    interrupted_to_waiting(study)
    search = make_search(study, total=total, sampler="tpe")
    while (assigned := search.suggest("x")) != Searcher.FINISHED:
        score = landscape(assigned["params"])
        if not any(report(search, "x", step, score + step) for step in range(1, REPORTS + 1)):
            finish(search, "x", [score + step for step in range(1, REPORTS + 1)])


def _as_known(storage: Mortal) -> list[tuple[Any, ...]]:
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id)
    return [(t.number, t.state, t.params, t.intermediate_values, t.user_attrs, t.system_attrs) for t in trials]


def test_whatever_write_was_a_driver_s_last_the_next_one_ends_with_the_same_study() -> None:
    whole = Mortal()
    _phase(whole, 9)
    assert {state for _, state, *_ in _as_known(whole)} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert whole.writes > 100
    for last in range(2, whole.writes + 1):  # the first one makes the study
        killed = Mortal()
        killed.dies_before = last
        with pytest.raises(Killed):
            _phase(killed, 9)
        _phase(killed, 9)
        assert _as_known(killed) == _as_known(whole), f"killed before write {last} of {whole.writes}"


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_sampled_depends_on_the_study_and_the_number_alone(tmp_path: Path, sampler: str) -> None:
    (tmp_path / "copy").mkdir()
    study = open_study(tmp_path)
    search = make_search(study, sampler=sampler)
    for number in range(20):
        complete(search, f"x{number}", landscape(study.get_trials()[-1].params) if number else 50.0)
    study._storage.remove_session()
    shutil.copy(tmp_path / "study.db", tmp_path / "copy" / "study.db")
    copied = make_search(open_study(tmp_path / "copy"), sampler=sampler)
    assert [copied.suggest(name) for name in "abcdef"] == [search.suggest(name) for name in "abcdef"]


def _filled(folder: Path, value: Callable[[Params], float], test: Callable[[Params], float]) -> StudySearch:
    folder.mkdir()
    search = make_search(open_study(folder), sampler="tpe")
    for number in range(60):
        # Always the same parameters, so that histories differ in nothing but their scores.
        params = PLAN(number) | {"learning_rate": 10 ** (-5 + (number * 7 % 20) / 10)}
        if params["fusion"] == "dlfa":
            params |= {"fusion_layer": 1 + number % 3, "reduction_ratio": (2, 4, 8)[number // 3 % 3]}
        attrs = {"seed": SEED, "scores": {"test/avg_target": test(params)}}
        add(search.study, TrialState.COMPLETE, params, [value(params)], value(params), attrs)
    return search


def _next(search: StudySearch, count: int = 6) -> list[Params]:
    return [search.suggest(str(number))["params"] for number in range(count)]


def test_the_search_learns_from_scores_but_never_from_test_scores(tmp_path: Path) -> None:
    one = _next(_filled(tmp_path / "one", landscape, lambda params: 50.0))
    same = _next(_filled(tmp_path / "same", landscape, lambda params: 100 - landscape(params)))
    other = _next(_filled(tmp_path / "other", lambda params: 100 - landscape(params), lambda params: 50.0))
    assert one == same
    assert one != other


def test_the_pruner_never_hears_of_test_scores(tmp_path: Path) -> None:
    one = run(tmp_path / "one", 12, "random", test=10.0)
    assert "PRUNED" in {row[1] for row in one}
    assert run(tmp_path / "two", 12, "random", test=90.0) == one


@pytest.mark.parametrize(("changed", "kept"), [("dlfa", "none"), ("none", "dlfa")])
def test_baseline_and_method_are_each_tuned_by_their_own_trials(tmp_path: Path, changed: str, kept: str) -> None:
    # Sampled from both, the baseline's learning rates would be those that are best for DLFA.
    def value(params: Params) -> float:
        return 100 - landscape(params) if params["fusion"] == changed else landscape(params)

    one = _next(_filled(tmp_path / "one", landscape, lambda params: 50.0))
    other = _next(_filled(tmp_path / "other", value, lambda params: 50.0))
    for fusion, same in ((kept, True), (changed, False)):
        rows = [[params for params in found if params["fusion"] == fusion] for found in (one, other)]
        assert rows[0]
        assert (rows[0] == rows[1]) is same


def _large(ended: int) -> optuna.Study:
    """Return a study of as many DLFA trials that have ended, some baselines between them, and two that run."""
    study, chance = optuna.create_study(direction="maximize"), random.Random(ended)
    for number in range(ended):
        if number % 10 == 0:
            add(study, TrialState.COMPLETE, BASELINE, [70.0], 70.0)
        params = layer(chance.randint(1, 3), 10 ** chance.uniform(-5, -3)) | {
            "reduction_ratio": chance.choice((2, 4, 8))
        }
        scores = [landscape(params) + chance.gauss(0, 1)] * chance.randint(1, REPORTS)
        state = TrialState.COMPLETE if len(scores) == REPORTS else TrialState.PRUNED
        add(study, state, params, scores, scores[-1])
    for rate in (1e-4, 2e-4):
        add(study, TrialState.RUNNING, layer(1, rate), [], None)
    return study


def _from_all(study: optuna.Study) -> Params:
    """Return what a sampler that sees every trial would sample next."""
    trials = study.get_trials()
    history = optuna.create_study(direction="maximize", sampler=make_sampler("tpe", 1000 + len(trials)))
    history.add_trials([trial for trial in trials if trial.params["fusion"] == "dlfa"])
    history.enqueue_trial({"fusion": "dlfa"})
    return SPACE.suggest(history.ask())


class Spy(optuna.samplers.RandomSampler):
    """Keeps the trials that it is shown."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        self.shown = [shown for shown in study.get_trials() if shown.number != trial.number]
        return {}


def _dlfa(number: int) -> Params:
    return {"fusion": "dlfa"}


@pytest.mark.parametrize("ended", [0, 9, 60, 499, 500])
def test_a_usual_sweep_is_sampled_from_all_of_its_trials(ended: int) -> None:
    study = _large(ended)
    expected = _from_all(study)
    assert make_search(study, total=1000, fixed=_dlfa, sampler="tpe").suggest("a")["params"] == expected


def test_a_large_sweep_is_sampled_from_its_newest_trials_and_its_best() -> None:
    study, spy = _large(700), Spy()
    search = make_search(study, total=1000, fixed=_dlfa)
    search._sampler = lambda number: spy
    search.suggest("a")
    known = [trial for trial in study.get_trials()[:-1] if trial.params["fusion"] == "dlfa"]
    ended = [trial for trial in known if trial.state != TrialState.RUNNING]
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: -float(trial.value or 0))[:25]
    newest = ended[-500:]
    assert any(trial not in newest for trial in best)
    expected = [trial for trial in known if trial in best or trial in newest or trial.state == TrialState.RUNNING]
    assert [trial.params for trial in spy.shown] == [trial.params for trial in expected]
    # Numbers of its own, in the same order; those below are the new trial's, however often it is drawn.
    assert [trial.number for trial in spy.shown] == list(range(_DRAWS, _DRAWS + len(expected)))


def test_a_large_sweep_s_good_trials_are_those_of_all() -> None:
    # Pruned ones by how far they came, then by score: fewer than 25 are complete.
    study, spy = optuna.create_study(direction="maximize"), Spy()
    for number in range(600):
        done = number % 60 == 0
        scores = [float(number % 7)] * (REPORTS if done else 1 + number % 2)
        add(study, TrialState.COMPLETE if done else TrialState.PRUNED, layer(1, 1e-4), scores, scores[-1])
    good = _split_trials(study, study.get_trials(), default_gamma(600))[0]
    search = make_search(study, total=1000, fixed=_dlfa)
    search._sampler = lambda number: spy
    search.suggest("a")
    assert len(good) == 25
    seen = _split_trials(study, spy.shown, default_gamma(len(spy.shown)))[0]
    assert [(t.state, t.intermediate_values) for t in seen] == [(t.state, t.intermediate_values) for t in good]


def test_what_a_large_sweep_samples_depends_on_the_study_alone(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    study.add_trials(_large(540).get_trials()[:-2])
    search = make_search(study, total=1000, fixed=_dlfa, sampler="tpe")
    for number in range(30):  # the best so far, until newer ones are better
        complete(search, f"x{number}", 100.0 + number % 4)
    study._storage.remove_session()
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "study.db", tmp_path / "copy" / "study.db")
    resumed = make_search(open_study(tmp_path / "copy"), total=1000, fixed=_dlfa, sampler="tpe")
    assert {name: [t.number for t in best] for name, best in resumed._best.items()} == {
        name: [t.number for t in best] for name, best in search._best.items()
    }
    assert [resumed.suggest(name) for name in "abc"] == [search.suggest(name) for name in "abc"]


# --- what is never run twice

FINITE = load_space(
    """
    task: udpos
    search:
      fusion_layer: {low: 1, high: L-1}
      reduction_ratio: {choices: [2, 4]}
      learning_rate: {choices: [1.0e-5, 1.0e-4, 1.0e-3]}
    """,
    "my.yaml",
    "udpos",
    EncoderShape(layers=4, hidden_size=32, vocabulary=100, max_positions=128),
)
POINTS = 3 + 3 * 2 * 3
"""Of `FINITE`: the baseline's and DLFA's."""


@pytest.mark.parametrize("at_a_time", [1, 4])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_runs_no_configuration_twice_and_can_run_all(tmp_path: Path, sampler: str, at_a_time: int) -> None:
    begun: list[Params] = []
    for driver in range(3):  # each goes on where the one before was killed
        study = open_study(tmp_path, Always() if driver == 1 else None)
        interrupted_to_waiting(study)
        search = make_search(study, total=POINTS, space=FINITE, fixed=FINITE.plan(SEED, 1000), sampler=sampler)
        live: list[str] = []
        for number in range(POINTS):
            assigned = search.suggest(f"{driver} {number}")
            if assigned == search.FINISHED or (driver < 2 and number == 8):
                break
            params = assigned["params"]
            begun += [params] if params not in begun else []
            live.append(f"{driver} {number}")
            if len(live) == at_a_time:
                name, score = live.pop(0), landscape(params)
                if number == 5:
                    search.on_report(name, {"error": "out of memory"})
                elif not report(search, name, 1, score):
                    finish(search, name, [score] * REPORTS)
    trials = open_study(tmp_path).get_trials()
    assert len(trials) == len(begun) == POINTS
    assert {trial.state for trial in trials} >= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert len({run_of(trial.params, SEED) for trial in trials}) == POINTS


def test_a_sampler_that_likes_what_was_run_is_asked_for_something_near(monkeypatch: pytest.MonkeyPatch) -> None:
    # One configuration is far better than all others, so that TPE by itself proposes it again and again.
    study = optuna.create_study(direction="maximize", study_name="search")
    best: Params = {"fusion": "dlfa", "fusion_layer": 2, "reduction_ratio": 4, "learning_rate": 1e-4}
    search = make_search(study, space=FINITE, fixed=lambda number: {"fusion": "dlfa"}, sampler="tpe")

    def any_other(space: SearchSpace, fixed: Params, seed: int) -> Iterator[Params]:
        raise AssertionError("nobody asked the sampler")

    monkeypatch.setattr(SearchSpace, "configurations", any_other)
    scores = []
    for number in range(16):
        params = search.suggest(str(number))["params"]
        scores.append(90.0 - 10 * sum(params[name] != value for name, value in best.items()))
        finish(search, str(number), [scores[-1]] * REPORTS)
    assert len({run_of(trial.params, SEED) for trial in study.get_trials()}) == 16
    # The best one, and the five that differ from it in one parameter, are none of the two that are left of 18.
    assert sorted(scores)[-6:] == [80.0] * 5 + [90.0]


def test_another_seed_is_another_run() -> None:
    study = optuna.create_study(direction="maximize", study_name="search")
    only: Params = {"fusion": "none", "learning_rate": 1e-4}
    distributions = {"fusion": CategoricalDistribution(FINITE.fusions), **FINITE.distributions}
    for rate in (1e-5, 1e-4, 1e-3):
        study.add_trial(
            optuna.trial.create_trial(
                params=only | {"learning_rate": rate},
                distributions={name: distributions[name] for name in only},
                value=80.0,
                user_attrs={"seed": SEED + (rate == 1e-4)},
            )
        )
    search = make_search(study, space=FINITE, fixed=lambda number: {"fusion": "none"})
    assert search.suggest("a")["params"] == only


def test_what_is_planned_in_full_is_run_as_planned() -> None:
    study = optuna.create_study(direction="maximize", study_name="search")
    search = make_search(study, space=FINITE, fixed=lambda number: dict(BASELINE))
    assert [search.suggest(name)["params"] for name in "ab"] == [BASELINE] * 2


def test_samplers() -> None:
    assert SAMPLERS == ("tpe", "random", "grid")
    assert isinstance(make_sampler("tpe", 1), optuna.samplers.TPESampler)
    with pytest.raises(ConfigError, match=r"^--sampler: 'tpee' is not allowed; allowed: tpe, random, grid$"):
        make_sampler("tpee", 1)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("seed", [0, 2**32, (2**31 - 1) * 1_000_003 + 59])
def test_any_seed_of_a_sweep_is_a_samplers_seed(name: str, seed: int) -> None:
    study = optuna.create_study(sampler=make_sampler(name, seed))
    assert 0 <= study.ask().suggest_float("x", 0, 1) <= 1


def test_different_trials_are_sampled_differently(tmp_path: Path) -> None:
    search = make_search(open_study(tmp_path))
    rates = [search.suggest(str(number))["params"]["learning_rate"] for number in range(8)]
    assert len(set(rates)) == 8


# --- the best configurations


def layer(number: int, rate: float) -> Params:
    return FUSED | {"fusion_layer": number, "learning_rate": rate}


def test_the_best_configurations_of_the_baseline_and_of_every_layer() -> None:
    study = optuna.create_study(direction="maximize")
    done, pruned, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    add(study, done, layer(3, 1e-5), [50.0, 60.0, 59.0], 60.0)
    add(study, pruned, layer(3, 2e-5), [90.0] * 4, 90.0)  # complete beats pruned, whatever it reported
    add(study, done, layer(3, 3e-5), [50.0, 58.0, 59.5], 59.5)
    add(study, pruned, layer(1, 1e-5), [80.0], 80.0)
    add(study, pruned, layer(1, 2e-5), [60.0, 61.0], 61.0)  # further beats earlier
    add(study, pruned, layer(1, 3e-5), [60.0, 62.0], 62.0)  # and there the score decides
    add(study, failed, layer(2, 1e-5), [99.0, 99.0], None)
    add(study, done, BASELINE, [10.0, 11.0, 12.0], 12.0)
    add(study, done, BASELINE | {"learning_rate": 2e-4}, [10.0, 13.0, 12.0], 13.0)
    assert best_configurations(study) == [BASELINE | {"learning_rate": 2e-4}, layer(1, 3e-5), layer(3, 1e-5)]


def test_the_best_configurations_of_several_fusions_each_by_itself() -> None:
    study = optuna.create_study(direction="maximize")
    mean: Params = {"fusion": "mean", "fusion_layer": 1, "learning_rate": 1e-4}
    mix: Params = {"fusion": "scalar_mix", "learning_rate": 1e-4}
    for params, value in ((mix, 50.0), (mean, 60.0), (layer(3, 1e-5), 70.0), (layer(1, 1e-5), 80.0), (BASELINE, 90.0)):
        add(study, TrialState.COMPLETE, params, [value], value)
        add(study, TrialState.COMPLETE, params | {"learning_rate": 2e-4}, [value - 1], value - 1)
    assert best_configurations(study) == [BASELINE, layer(1, 1e-5), layer(3, 1e-5), mean, mix]


def test_a_complete_trial_is_ranked_by_its_value_not_by_its_last_report() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.COMPLETE, layer(1, 1e-5), [50.0, 70.0, 40.0], 70.0)
    add(study, TrialState.COMPLETE, layer(1, 2e-5), [50.0, 60.0, 60.0], 60.0)
    assert best_configurations(study) == [layer(1, 1e-5)]


def test_of_equal_trials_the_first_is_the_best() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.COMPLETE, layer(1, 1e-5), [70.0], 70.0)
    add(study, TrialState.COMPLETE, layer(1, 2e-5), [70.0], 70.0)
    assert best_configurations(study) == [layer(1, 1e-5)]


def test_without_a_report_there_is_no_best_configuration() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.PRUNED, layer(1, 1e-5), [], None)
    add(study, TrialState.FAIL, layer(1, 1e-5), [1.0], None)
    study.enqueue_trial(dict(FUSED))
    assert best_configurations(study) == []


# --- what Tune does with a searcher


def test_tune_may_pickle_and_save_it(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    search = make_search(study)
    search.suggest("a")
    pickle.loads(pickle.dumps(search))
    search.save(str(tmp_path / "saved"))
    search.restore(str(tmp_path / "saved"))
    assert not (tmp_path / "saved").exists()
    assert states(study) == ["RUNNING"]
