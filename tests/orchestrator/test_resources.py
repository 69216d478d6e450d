"""How GPUs and CPUs become slots, and what is asked for in vain."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from dlfa.errors import ConfigError
from orchestrator.choices import GpuShare
from orchestrator.prepare import describe_slots
from orchestrator.resources import Available, Cluster, Slots, cluster_of, connect, local, plan_slots


def plan(
    cpus: float = 16,
    gpus: float = 4,
    *,
    use: int | None = None,
    share: GpuShare | None = None,
    each: int | None = None,
) -> Slots:
    available = Available(cpus=cpus, gpus=gpus, where="this machine")
    return plan_slots(available, gpus=use, gpus_per_trial=share, cpus_per_trial=each)


def refusal(**options: GpuShare | None) -> str:
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
        # auto takes a whole one until it is measured
        ({"share": "auto"}, (4, 4, 1)),
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
def test_slots(options: dict[str, GpuShare], slots: tuple[int, int, float]) -> None:
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
        (
            {"gpus": 0, "share": "auto"},
            "--gpus-per-trial: auto is not allowed; allowed: no value, because the sweep uses no GPU of this machine",
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


@pytest.mark.parametrize(
    ("slots", "told"),
    [
        (Slots(count=4, cpus=2, gpus=0.25), "slots: 4 trials at a time, 0.25 GPU and 2 CPUs each, on the cluster"),
        (Slots(count=4, cpus=1, gpus=1), "slots: 4 trials at a time, 1 GPU and 1 CPU each, on the cluster"),
        (
            Slots(count=2, cpus=8, gpus=3),
            "slots: 2 trials at a time, 3 GPUs (it computes on one of them: 2 idle) and 8 CPUs each, on the cluster",
        ),
        (Slots(count=2, cpus=1, gpus=0), "slots: no GPU in use; 2 trials at a time, 1 CPU each, on the cluster"),
    ],
)
def test_a_gpu_that_would_idle_is_told(slots: Slots, told: str) -> None:
    assert describe_slots(slots, "the cluster") == told


@pytest.mark.parametrize(
    ("given", "environment", "cluster", "where"),
    [
        (None, None, Cluster(None, "--address"), "this machine"),
        (None, "", Cluster(None, "--address"), "this machine"),
        (None, "local", Cluster(None, "RAY_ADDRESS"), "this machine"),
        ("local", "head:6379", Cluster(None, "--address"), "this machine"),
        (None, "head:6379", Cluster("head:6379", "RAY_ADDRESS"), "the cluster at head:6379 (RAY_ADDRESS)"),
        ("auto", "head:6379", Cluster("head:6379", "RAY_ADDRESS"), "the cluster at head:6379 (RAY_ADDRESS)"),
        (None, "auto", Cluster("auto", "RAY_ADDRESS"), "the cluster at auto (RAY_ADDRESS)"),
        ("auto", None, Cluster("auto", "--address"), "the cluster at auto"),
        ("10.0.0.1:6379", "head:6379", Cluster("10.0.0.1:6379", "--address"), "the cluster at 10.0.0.1:6379"),
        ("[::1]:6379", None, Cluster("[::1]:6379", "--address"), "the cluster at [::1]:6379"),
    ],
)
def test_where_a_sweep_runs(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: str | None, cluster: Cluster, where: str
) -> None:
    _ray_address(monkeypatch, environment)
    assert cluster_of(given) == cluster
    assert cluster.where == where


@pytest.mark.parametrize(
    ("given", "environment", "told"),
    [
        (
            "ray://head:10001",
            None,
            "--address: 'ray://head:10001' is not allowed; allowed: auto or HOST:PORT of a running",
        ),
        ("head", "other:6379", "--address: 'head' is not allowed; allowed: auto or HOST:PORT of a running Ray cluster"),
        (None, "http://head:8265", "RAY_ADDRESS: 'http://head:8265' is not allowed; allowed: auto or HOST:PORT of a"),
        ("auto", "local", "RAY_ADDRESS: 'local' is not allowed; allowed: auto or HOST:PORT of a running Ray cluster"),
    ],
)
def test_what_is_no_address_of_a_cluster(
    monkeypatch: pytest.MonkeyPatch, given: str | None, environment: str | None, told: str
) -> None:
    _ray_address(monkeypatch, environment)
    with pytest.raises(ConfigError) as error:
        cluster_of(given)
    assert str(error.value).startswith(told)
    assert "`ray job submit`" in str(error.value)


def _ray_address(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
    else:
        monkeypatch.setenv("RAY_ADDRESS", value)


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError) as error:
            connect(Cluster(address, "--address"), local())
    assert str(error.value) == (
        f"--address: {address!r} is not allowed; allowed: auto or HOST:PORT of a running Ray cluster "
        "([Errno 111] Connection refused)"
    )


_PORTS = """
import ray
from orchestrator.resources import Cluster, connect, local
connect(Cluster(None, "--address"), local())
(node,) = ray.nodes()
print(node["NodeManagerAddress"], node["NodeManagerPort"], node["ObjectManagerPort"], flush=True)
input()
"""


@pytest.mark.slow
def test_ray_on_this_machine_alone_listens_on_loopback_alone() -> None:
    command = [sys.executable, "-c", _PORTS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, *ports = process.stdout.readline().split()
        for port in map(int, ports):
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
            # Of this machine, too, and answered by whoever listens on all of its addresses.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port), timeout=10)
        process.communicate("\n")
    assert address == "127.0.0.1"
    assert len(ports) == 2
