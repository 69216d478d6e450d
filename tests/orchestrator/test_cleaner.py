"""Which models a sweep keeps: of each configuration its best run's, in the end those of the arms that are compared."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.cleaner import Cleaner
from orchestrator.events import TrialRef, TrialState
from orchestrator.trainable import CHECKPOINT, MODEL

LAYER_1 = {"fusion": "dlfa", "fusion_layer": 1, "reduction_ratio": 2, "learning_rate": 1e-3}
LAYER_2 = {"fusion": "dlfa", "fusion_layer": 2, "reduction_ratio": 2, "learning_rate": 1e-3}
BASELINE = {"fusion": "none", "learning_rate": 1e-3}

RUNS: Sequence[tuple[dict[str, object], float]] = (
    (BASELINE, 60.0), (LAYER_1, 70.0), (LAYER_2, 50.0),
    (BASELINE, 62.0), (LAYER_1, 69.0), (LAYER_2, 50.0),
    (BASELINE, 61.0), (LAYER_1, 71.0), (LAYER_2, 49.0),
)  # fmt: skip
"""Parameters and selection score of each confirm run, seed by seed."""
BEST = ["confirm-0002", "confirm-0003", "confirm-0007"]


def ref(number: int) -> TrialRef:
    params = {key: value for key, value in RUNS[number][0].items() if isinstance(value, (str, int, float))}
    return TrialRef(phase="confirm", number=number, params=params, seed=number // 3)


def write(trials: Path, number: int, *, scores: bool = True) -> None:
    """Write what a run leaves: a model, the checkpoint, and in the end its scores."""
    folder = trials / f"confirm-{number:04d}"
    (folder / MODEL).mkdir(parents=True)
    (folder / MODEL / "dlfa.json").write_text("{}")
    (folder / CHECKPOINT).write_text("")
    if scores:
        (folder / "scores.json").write_text(json.dumps({"selection_score": RUNS[number][1]}))


def ended(cleaner: Cleaner, number: int, state: TrialState = "COMPLETE") -> None:
    cleaner.trial_ended(ref(number), state, {}, None)


def kept(trials: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in trials.glob(f"*/{MODEL}/dlfa.json"))


@pytest.mark.parametrize("order", range(4))
def test_of_several_runs_of_a_configuration_the_best_ones_model_stays(tmp_path: Path, order: int) -> None:
    cleaner, numbers = Cleaner(tmp_path), list(range(len(RUNS)))
    random.Random(order).shuffle(numbers)
    for count, number in enumerate(numbers, start=1):
        write(tmp_path, number)
        ended(cleaner, number)
        assert len(kept(tmp_path)) == len({repr(RUNS[n][0]) for n in numbers[:count]})
    assert kept(tmp_path) == BEST  # of equals the first
    assert not list(tmp_path.rglob(CHECKPOINT))
    assert len(list(tmp_path.rglob("scores.json"))) == len(RUNS)


@pytest.mark.parametrize("death", range(len(RUNS) + 1))
def test_after_a_resume_the_result_is_the_same(tmp_path: Path, death: int) -> None:
    cleaner = Cleaner(tmp_path)
    for number in range(death):
        write(tmp_path, number)
        if number < death - 1:  # of the last one the driver did not hear before it died
            ended(cleaner, number)
    cleaner = Cleaner(tmp_path)  # the next driver's, which is told of every run that has ended
    for number in range(len(RUNS)):
        if number >= death:
            write(tmp_path, number)
        ended(cleaner, number)
    assert kept(tmp_path) == BEST


def test_being_told_twice_of_a_run_changes_nothing(tmp_path: Path) -> None:
    cleaner = Cleaner(tmp_path)
    write(tmp_path, 0)
    ended(cleaner, 0)
    ended(cleaner, 0)
    assert kept(tmp_path) == ["confirm-0000"]


def test_a_failed_run_leaves_no_model(tmp_path: Path) -> None:
    write(tmp_path, 0, scores=False)
    ended(Cleaner(tmp_path), 0, "FAIL")
    assert kept(tmp_path) == []


def test_a_run_that_goes_on_keeps_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, 0, scores=False)
    ended(Cleaner(tmp_path), 0, "WAITING")
    assert kept(tmp_path) == ["confirm-0000"]
    assert (tmp_path / "confirm-0000" / CHECKPOINT).exists()


def test_in_the_end_all_other_models_go(tmp_path: Path) -> None:
    cleaner = Cleaner(tmp_path)
    for number in range(len(RUNS)):
        write(tmp_path, number)
        ended(cleaner, number)
    cleaner.keep(["confirm-0003", "confirm-0007"])
    assert kept(tmp_path) == ["confirm-0003", "confirm-0007"]
    assert len(list(tmp_path.rglob("scores.json"))) == len(RUNS)
    cleaner.keep([])
    assert kept(tmp_path) == []
