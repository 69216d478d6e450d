"""Waiting for a cluster that grows, with stand-ins for Ray; a real autoscaler is in tests/faults/test_cluster.py."""

import json
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest

from dlfa.errors import ConfigError
from orchestrator import autoscaler
from orchestrator.autoscaler import can_grow, grown
from orchestrator.choices import GpuShare
from orchestrator.resources import Available, plan_slots


def nodes(*found: tuple[float, float]) -> Available:
    cpus, gpus = (sum(column) for column in zip(*found, strict=True))
    return Available(cpus=cpus, gpus=gpus, where="the cluster", nodes=found)


HEAD, NODE = (0.0, 0.0), (8.0, 2.0)


class Ray:
    """A cluster whose nodes at each look are listed; the last look lasts."""

    def __init__(self) -> None:
        self.looks: list[Available] = []
        self.asked: list[dict[str, float]] = []
        self.now = 0.0

    def present(self, where: str) -> Available:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ray]:
    fake, held = Ray(), list[object]()

    def ask(bundles: Sequence[dict[str, float]]) -> object:
        fake.asked += bundles
        held.append(group := object())
        return group

    monkeypatch.setattr(autoscaler, "can_grow", lambda: True)
    monkeypatch.setattr(autoscaler, "present", fake.present)
    monkeypatch.setattr(autoscaler, "placement_group", ask)
    monkeypatch.setattr(autoscaler, "remove_placement_group", held.remove)
    monkeypatch.setattr(autoscaler, "time", SimpleNamespace(sleep=fake.sleep, monotonic=lambda: fake.now))
    yield fake
    assert not held, "the cluster is asked for nothing any more"


def wait(
    ray: Ray,
    looks: Sequence[Available],
    gpus: int | None = None,
    share: GpuShare | None = None,
    cpus: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Available, list[str]]:
    said: list[str] = []
    ray.looks = list(looks)
    found = grown(
        looks[0],
        gpus=gpus,
        gpus_per_trial=share,
        cpus_per_trial=cpus,
        say=said.append,
        stop=stop,
        patience=600,
    )
    return found, said


def test_it_asks_for_every_trial_and_waits_until_the_gpus_are_there(ray: Ray) -> None:
    looks = [nodes(HEAD), nodes(HEAD), nodes(HEAD, NODE), nodes(HEAD, NODE), nodes(HEAD, NODE, NODE)]
    found, said = wait(ray, looks, gpus=4, share=0.5)
    assert found == looks[-1]
    assert ray.asked == [{"CPU": 1.0, "GPU": 0.5}] * 8
    rest = "; the cluster's autoscaler was asked for the rest"
    assert said == [f"waiting for GPUs: 0 of 4 there{rest}", f"waiting for GPUs: 2 of 4 there{rest}"]


def test_what_is_there_is_not_asked_for(ray: Ray) -> None:
    assert wait(ray, [nodes(NODE)], gpus=2) == (nodes(NODE), [])
    found, said = wait(ray, [nodes(NODE)])
    assert found == nodes(NODE)
    assert said == ["the cluster can grow; the sweep takes the 2 GPUs there now: --gpus N waits for N"]
    assert ray.asked == []


@pytest.mark.parametrize(
    ("share", "cpus", "bundle", "told"),
    [
        (None, None, {"CPU": 1.0}, "a node with 1 CPU: 0 CPUs and 0 GPUs there"),
        (None, 4, {"CPU": 4.0}, "a node with 4 CPUs: 0 CPUs and 0 GPUs there"),
        ("auto", None, {"CPU": 1.0, "GPU": 1.0}, "a node with 1 CPU and 1 GPU: 0 CPUs and 0 GPUs there"),
        (2.0, 4, {"CPU": 4.0, "GPU": 2.0}, "a node with 4 CPUs and 2 GPUs: 0 CPUs and 0 GPUs there"),
    ],
)
def test_an_empty_cluster_is_asked_for_room_for_one_trial(
    ray: Ray, share: GpuShare | None, cpus: int | None, bundle: dict[str, float], told: str
) -> None:
    found, said = wait(ray, [nodes(HEAD), nodes(HEAD, NODE)], share=share, cpus=cpus)
    assert found == nodes(HEAD, NODE)
    assert ray.asked == [bundle]
    assert said == [f"waiting for {told}; the cluster's autoscaler was asked for the rest"]


def test_where_no_more_comes_what_is_there_has_to_do(ray: Ray) -> None:
    found, said = wait(ray, [nodes(HEAD), nodes(HEAD, NODE)], gpus=4)
    assert said[-1] == "waiting for GPUs: 2 of 4 there; nothing has joined for 10m 00s, so what is there has to do"
    assert len(said) == 4, "first, after the node, one reminder, the end"
    slots = plan_slots(found, gpus=4, gpus_per_trial=None, cpus_per_trial=None)
    assert (slots.count, slots.gpus) == (2, 1)


def test_where_nothing_comes_it_is_refused(ray: Ray) -> None:
    found, _ = wait(ray, [nodes(HEAD)], gpus=4)
    with pytest.raises(ConfigError, match=r"^--gpus: 4 is not allowed; allowed: 0\.\.0, what the cluster has$"):
        plan_slots(found, gpus=4, gpus_per_trial=None, cpus_per_trial=None)


def test_what_no_cluster_has_is_not_waited_for(ray: Ray) -> None:
    with pytest.raises(ConfigError, match=r"^--gpus-per-trial: 3 is not allowed; .* whole number up to 2$"):
        wait(ray, [nodes(HEAD)], gpus=2, share=3)
    assert ray.asked == []


def test_waiting_can_be_interrupted(ray: Ray) -> None:
    with pytest.raises(KeyboardInterrupt):
        wait(ray, [nodes(HEAD)], gpus=4, stop=lambda: ray.now > 3)


def test_a_cluster_that_cannot_grow_is_taken_as_it_is(ray: Ray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscaler, "can_grow", lambda: False)
    assert wait(ray, [nodes(HEAD)], gpus=4) == (nodes(HEAD), [])


@pytest.mark.parametrize(
    ("second", "types", "grows"),
    [
        (False, None, False),
        (False, {"0a": "node_0a", "0b": "node_0b"}, False),
        (False, {"0a": "head", "0b": "gpu"}, True),
        (False, {"10.0.0.1": "headgroup"}, True),
        (True, None, True),
    ],
)
def test_what_the_autoscalers_tell(
    monkeypatch: pytest.MonkeyPatch, second: bool, types: dict[str, str] | None, grows: bool
) -> None:
    status = None if types is None else json.dumps({"autoscaler_report": {"node_type_mapping": types}}).encode()
    monkeypatch.setattr(autoscaler, "is_autoscaler_v2", lambda fetch_from_server: second)
    monkeypatch.setattr(autoscaler, "_internal_kv_get", lambda key: status)
    assert can_grow() is grows
