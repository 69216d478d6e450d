"""What becomes of a trial whose process died: without Ray, from what Tune keeps of a trial."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune.experiment import Trial

from orchestrator.restarts import HANG_LOG, RESTARTS, Restarts

MEMORY = "Task was killed due to the node running low on memory."
KILLED = "The actor died unexpectedly before finishing this task."
Told = list[tuple[str, str, bool]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def restarts(told: Told) -> Restarts:
    return Restarts(lambda trial_id, cause, again: told.append((trial_id, cause, again)))


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """As much of a trial as is looked at."""
    fake = SimpleNamespace(
        trial_id="a",
        max_failures=-1,
        run_metadata=SimpleNamespace(num_failures=0),
        config={
            "folder": str(tmp_path),
            "report_timeout": 20.0,
            "keep_model": False,
            "config": {"training": {"batch_size": 16, "micro_batch_size": None}},
        },
        error_file=str(tmp_path / "tune-error.txt"),
    )
    fake.should_recover = lambda: fake.max_failures < 0 or fake.run_metadata.num_failures <= fake.max_failures
    return cast(Trial, fake)


def dies(restarts: Restarts, trial: Trial, text: str) -> None:
    trial.run_metadata.num_failures += 1
    with Path(str(trial.error_file)).open("a") as file:
        file.write(f"Failure # {trial.run_metadata.num_failures} (occurred at noon)\n{text}\n")
    restarts.died(trial)


def reports(restarts: Restarts, trial: Trial, step: int) -> None:
    restarts.on_trial_result(1, [trial], trial, {"step": step})


def micro(trial: Trial) -> Any:
    return trial.config["config"]["training"]["micro_batch_size"]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (KILLED, "killed or crashed (by someone, by the kernel when memory is short, or by a fault in native code)"),
        ("The actor died because its node has died. Node Id: 1", "its node was lost or can't be reached"),
        ("The actor is temporarily unavailable: RpcError", "its node was lost or can't be reached"),
    ],
)
def test_the_cause_is_that_of_the_last_death(
    restarts: Restarts, trial: Trial, told: Told, text: str, cause: str
) -> None:
    dies(restarts, trial, MEMORY)
    dies(restarts, trial, text)
    assert told[1][1].startswith(cause)
    assert told[0][1].startswith("out of memory (Ray's memory monitor ended it)")


def test_a_trial_is_given_up_when_it_dies_again_and_again_at_the_same_place(
    restarts: Restarts, trial: Trial, told: Told
) -> None:
    for step in (1, 2):  # what comes further may die as often again
        reports(restarts, trial, step)
        for _ in range(RESTARTS):
            dies(restarts, trial, KILLED)
            reports(restarts, trial, step)  # told again from its checkpoint: that is no further
    assert [again for *_, again in told] == [True] * (2 * RESTARTS)
    dies(restarts, trial, KILLED)
    assert told[-1][2] is False


def test_a_death_of_memory_halves_the_windows_at_once_and_another_cause_the_second_time(
    restarts: Restarts, trial: Trial, told: Told
) -> None:
    dies(restarts, trial, KILLED)
    assert micro(trial) is None
    dies(restarts, trial, KILLED)
    assert micro(trial) == 8
    assert told[-1][1].endswith("; from now on 8 windows at a time")
    dies(restarts, trial, MEMORY)
    assert micro(trial) == 4


def test_a_full_machine_counts_once_a_minute(
    restarts: Restarts, trial: Trial, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(20):
        dies(restarts, trial, MEMORY)
    assert len(told) == 1
    assert micro(trial) == 8
    for _ in range(RESTARTS):
        now += 61
        dies(restarts, trial, MEMORY)
    assert [again for *_, again in told] == [True] * RESTARTS + [False]
    assert micro(trial) == 2


def test_a_trial_that_hung_says_where_and_the_file_is_kept(
    restarts: Restarts, trial: Trial, told: Told, tmp_path: Path
) -> None:
    (tmp_path / HANG_LOG).write_text("in forever")
    dies(restarts, trial, KILLED)
    kept = tmp_path / "hang-1.txt"
    assert told == [("a", f"no report in 20s (where it hung: {kept})", True)]
    assert kept.read_text() == "in forever"
    (tmp_path / HANG_LOG).touch()  # the next process has begun
    dies(restarts, trial, KILLED)
    assert told[1][1].startswith("killed or crashed")
