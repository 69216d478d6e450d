"""How GPUs and CPUs become slots, and what is asked for in vain."""

import os

import pytest
import torch

from dlfa.errors import ConfigError
from orchestrator.resources import Available, Slots, local, plan_slots


def plan(
    cpus: float = 16,
    gpus: float = 4,
    *,
    use: int | None = None,
    share: float | None = None,
    each: int | None = None,
) -> Slots:
    available = Available(cpus=cpus, gpus=gpus, where="this machine")
    return plan_slots(available, gpus=use, gpus_per_trial=share, cpus_per_trial=each)


def refusal(**options: float | None) -> str:
    with pytest.raises(ConfigError) as error:
        plan(**options)  # type: ignore[arg-type]
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        # all there are; the CPUs are shared out, at most eight to a trial
        ({}, (4, 4, 1)),
        ({"cpus": 64}, (4, 8, 1)),
        # --gpus caps what the sweep uses
        ({"use": 2}, (2, 8, 1)),
        ({"use": 4}, (4, 4, 1)),
        # a fraction packs whole trials on each GPU, and none across two
        ({"share": 0.25}, (16, 1, 0.25)),
        ({"gpus": 1, "share": 0.25}, (4, 4, 0.25)),
        ({"gpus": 1, "share": 0.3}, (3, 5, 0.3)),
        ({"gpus": 2, "share": 0.3}, (6, 2, 0.3)),
        ({"gpus": 1, "share": 0.6}, (1, 8, 0.6)),
        ({"gpus": 2, "share": 0.1}, (16, 1, 0.1)),  # twenty by the GPUs, sixteen by the CPUs
        ({"gpus": 1, "share": 1 / 3}, (3, 5, 1 / 3)),
        # whole GPUs
        ({"share": 2}, (2, 8, 2)),
        ({"share": 3}, (1, 8, 3)),
        ({"share": 4, "use": 4}, (1, 8, 4)),
        # CPUs per trial limit the slots
        ({"each": 8}, (2, 8, 1)),
        ({"each": 16}, (1, 16, 1)),
        ({"each": 1}, (4, 1, 1)),
        ({"cpus": 2}, (2, 1, 1)),
        # no GPU: one trial per CPU
        ({"gpus": 0, "cpus": 2}, (2, 1, 0)),
        ({"gpus": 0}, (16, 1, 0)),
        ({"gpus": 0, "each": 3}, (5, 3, 0)),
        ({"use": 0}, (16, 1, 0)),
        ({"use": 0, "each": 16}, (1, 16, 0)),
    ],
)
def test_slots(options: dict[str, float], slots: tuple[int, int, float]) -> None:
    count, cpus, gpus = slots
    assert plan(**options) == Slots(count=count, cpus=cpus, gpus=gpus)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use": 5}, "--gpus: 5 is not allowed; allowed: 0..4, what this machine has"),
        ({"use": 1, "gpus": 0}, "--gpus: 1 is not allowed; allowed: 0..0, what this machine has"),
        (
            {"share": 0.5, "gpus": 0},
            "--gpus-per-trial: 0.5 is not allowed; allowed: no value, because the sweep uses no GPU of this machine",
        ),
        (
            {"share": 1, "use": 0},
            "--gpus-per-trial: 1 is not allowed; allowed: no value, because the sweep uses no GPU of this machine",
        ),
        (
            {"share": 1.5},
            "--gpus-per-trial: 1.5 is not allowed; allowed: a fraction of 1, or a whole number up to 4",
        ),
        ({"share": 5}, "--gpus-per-trial: 5 is not allowed; allowed: a fraction of 1, or a whole number up to 4"),
        (
            {"share": 3, "use": 2},
            "--gpus-per-trial: 3 is not allowed; allowed: a fraction of 1, or a whole number up to 2",
        ),
        ({"each": 17}, "--cpus-per-trial: 17 is not allowed; allowed: 1..16, what this machine has"),
        ({"each": 17, "use": 0}, "--cpus-per-trial: 17 is not allowed; allowed: 1..16, what this machine has"),
    ],
)
def test_more_than_there_is(options: dict[str, float], message: str) -> None:
    assert refusal(**options) == message


def test_a_cluster_is_named() -> None:
    available = Available(cpus=8, gpus=2, where="the cluster at head:6379")
    with pytest.raises(
        ConfigError, match=r"^--gpus: 3 is not allowed; allowed: 0\.\.2, what the cluster at head:6379 has$"
    ):
        plan_slots(available, gpus=3, gpus_per_trial=None, cpus_per_trial=None)


@pytest.mark.parametrize(
    ("nodes", "options", "slots"),
    [
        # a trial never spans two nodes
        (((3, 0), (3, 0)), {"each": 2}, (2, 2, 0)),
        (((8, 1), (8, 1), (8, 1)), {}, (3, 8, 1)),
        (((8, 3), (8, 3)), {"share": 2}, (2, 8, 2)),
        (((0, 0), (4, 2), (16, 4)), {}, (6, 2, 1)),  # the head has nothing; the smallest node says how many CPUs
        (((4, 2), (16, 4)), {"use": 3}, (3, 5, 1)),  # all on the larger one
        (((64, 0), (2, 2)), {}, (2, 1, 1)),  # CPUs without GPUs hold no trial
    ],
)
def test_slots_of_a_cluster(
    nodes: tuple[tuple[float, float], ...], options: dict[str, float], slots: tuple[int, int, float]
) -> None:
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    available = Available(cpus=cpus, gpus=gpus, where="the cluster", nodes=nodes)
    given = {"use": None, "share": None, "each": None} | options
    found = plan_slots(available, gpus=given["use"], gpus_per_trial=given["share"], cpus_per_trial=given["each"])  # type: ignore[arg-type]
    count, each, share = slots
    assert found == Slots(count=count, cpus=each, gpus=share)


@pytest.mark.parametrize(
    ("nodes", "share", "each", "message"),
    [
        (
            ((3, 0), (4, 0)),
            None,
            5,
            "--cpus-per-trial: 5 is not allowed; allowed: 1..4, what a node of the cluster has",
        ),
        (
            ((3, 2), (4, 2)),
            3,
            1,
            "--gpus-per-trial, --cpus-per-trial: 3 and 1 are not allowed; allowed: what a node of the cluster has "
            "together",
        ),
    ],
)
def test_more_than_a_node_has(
    nodes: tuple[tuple[float, float], ...], share: float | None, each: int, message: str
) -> None:
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    available = Available(cpus=cpus, gpus=gpus, where="the cluster", nodes=nodes)
    with pytest.raises(ConfigError) as error:
        plan_slots(available, gpus=None, gpus_per_trial=share, cpus_per_trial=each)
    assert str(error.value) == message


@pytest.mark.parametrize("gpus", range(1, 9))
@pytest.mark.parametrize("share", [None, 0.1, 0.25, 0.3, 0.5, 0.7, 1, 2])
def test_slots_never_need_more_than_there_is(gpus: int, share: float | None) -> None:
    if share == 2 and gpus == 1:
        return
    slots = plan(cpus=12, gpus=gpus, share=share)
    per_gpu = int(1 / slots.gpus + 1e-9) if slots.gpus < 1 else 1 / slots.gpus
    assert 1 <= slots.count <= gpus * per_gpu
    assert slots.count * slots.cpus <= 12


def test_this_machine_has_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local() == Available(cpus=3, gpus=2, where="this machine")
