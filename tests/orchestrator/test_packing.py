"""How many trials share a GPU, and what asks the GPUs for it."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from ray.exceptions import RayTaskError
from toy import write_toy

import orchestrator.packing
from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrialConfig
from dlfa.errors import ConfigError, DataError
from dlfa.memory import GpuMemory
from orchestrator.choices import GpuShare
from orchestrator.packing import measure, packed_slots
from orchestrator.prepare import Prepared, prepare
from orchestrator.resources import Available, Slots
from orchestrator.settings import SweepSettings

SPACE = """
task: udpos
search:
  fusion_layer: {low: 1, high: L-1}
  reduction_ratio: {choices: [4, 2]}
  learning_rate: {low: 3.0e-4, high: 1.0e-2, log: true}
  batch_size: {choices: [8, 16]}
training: {epochs: 4, reports_per_trial: 4}
max_length: 64
"""
GIB = 2**30
CONFIG = TrialConfig(
    task="udpos",
    data=DataConfig(path="/data", cache="/cache"),
    model=ModelConfig(encoder="/encoder", fusion="none"),
    compute=ComputeConfig(),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("toy")
    data, encoder = write_toy(folder)
    return prepare(
        SweepSettings(
            name="toy",
            task="udpos",
            encoder=str(encoder),
            data=DataConfig(path=str(data), cache=str(folder / "cache"), max_length=64),
            space=SPACE,
            space_file="s.yaml",
            trials=60,
            gpus_per_trial="auto",
        )
    )


def memory(taken: float, total: float, name: str = "GPU") -> GpuMemory:
    return GpuMemory(name=name, taken=int(taken * GIB), total=int(total * GIB))


class Measured:
    """Stands for the GPUs."""

    def __init__(self, *memories: GpuMemory) -> None:
        self.memories = memories
        self.asked: list[TrialConfig] = []

    def __call__(self, config: TrialConfig, say: Callable[[str], None]) -> tuple[GpuMemory, ...]:
        self.asked.append(config)
        return self.memories


def packed(
    prepared: Prepared, measured: Measured, *, gpus: float = 1, cpus: float = 64, trials: int = 60
) -> tuple[Slots, list[str]]:
    said: list[str] = []
    prepared = replace(prepared, settings=replace(prepared.settings, trials=trials))
    available = Available(cpus=cpus, gpus=gpus, where="this machine")
    return packed_slots(prepared, available, measured, said.append), said


@pytest.mark.parametrize(
    ("taken", "total", "trials", "gpus", "each"),
    [
        # as many as fit with a quarter of a trial to spare for each
        (8, 80, 6000, 1, 8),
        (8, 79, 6000, 1, 7),
        (20, 80, 6000, 1, 3),
        (40, 80, 6000, 1, 1),
        (80, 80, 6000, 1, 1),
        (8, 80, 6000, 4, 8),
        # and no more at a time than a fifteenth of the search's trials
        (1, 80, 60, 1, 4),
        (1, 80, 60, 2, 2),
        (1, 80, 149, 1, 9),
        (1, 80, 6000, 2, 64),
    ],
)
def test_trials_share_a_gpu_as_far_as_memory_and_search_allow(
    prepared: Prepared, taken: float, total: float, trials: int, gpus: int, each: int
) -> None:
    slots, _ = packed(prepared, Measured(memory(taken, total)), gpus=gpus, cpus=1024, trials=trials)
    assert slots.count == each * gpus
    # Ray counts in ten-thousandths.
    units = round(slots.gpus * 10_000)
    assert slots.gpus == pytest.approx(units / 10_000)
    assert units * each <= 10_000 < units * (each + 1)


def test_why_is_told(prepared: Prepared) -> None:
    _, said = packed(prepared, Measured(memory(20, 79.6, "NVIDIA H100")), trials=600)
    assert said == [
        "memory: a trial takes up to 20.0 of 79.6 GiB of NVIDIA H100; 3 on each GPU (as many as fit with room to spare)"
    ]
    _, said = packed(prepared, Measured(memory(2, 80)), trials=60)
    assert said == [
        "memory: a trial takes up to 2.0 of 80.0 GiB of GPU; 4 on each GPU "
        "(32 would fit, but so many at a time make a search of 60 trials worse)"
    ]


@pytest.mark.parametrize(("trials", "gpus"), [(60, 4), (60, 8), (28, 1), (10, 1)])
def test_what_the_search_can_not_use_is_not_measured(prepared: Prepared, trials: int, gpus: int) -> None:
    measured = Measured()
    slots, said = packed(prepared, measured, trials=trials, gpus=gpus)
    assert (slots.count, slots.gpus, measured.asked) == (gpus, 1, [])
    assert said == [f"GPUs are not shared: more than {gpus} at a time make a search of {trials} trials worse"]


def test_a_search_that_learns_nothing_from_its_trials_fills_the_memory(prepared: Prepared) -> None:
    other = replace(prepared, settings=replace(prepared.settings, sampler="random"))
    slots, (line,) = packed(other, Measured(memory(8, 80)), gpus=4)
    assert slots.count == 32
    assert line.endswith("8 on each GPU (as many as fit with room to spare)")
    # 30 trials on 4 GPUs: two of them have one fewer
    slots, (line,) = packed(other, Measured(memory(1, 80)), gpus=4, trials=30)
    assert slots.count == 32
    assert line.endswith("8 on each GPU (64 would fit, but so many at a time are of no use to a search of 30 trials)")
    slots, said = packed(other, Measured(), gpus=4, trials=4)
    assert (slots.count, slots.gpus) == (4, 1)
    assert said == ["GPUs are not shared: more than 4 at a time are of no use to a search of 4 trials"]


def test_the_type_with_the_least_room_decides(prepared: Prepared) -> None:
    measured = Measured(memory(8, 80, "large"), memory(7, 16, "small"), memory(9, 40, "other"))
    slots, (line,) = packed(prepared, measured)
    assert slots.count == 1
    assert "7.0 of 16.0 GiB of small" in line


def test_cpus_limit_what_shares_a_gpu(prepared: Prepared) -> None:
    slots, _ = packed(prepared, Measured(memory(1, 80)), cpus=3)
    assert (slots.count, slots.cpus, slots.gpus) == (3, 1, 0.25)
    slots, _ = packed(prepared, Measured(memory(1, 80)), cpus=12)
    assert (slots.count, slots.cpus) == (4, 3)


def test_the_trial_that_is_measured_is_as_large_as_any(prepared: Prepared) -> None:
    measured = Measured(memory(1, 80))
    packed(prepared, measured)
    (config,) = measured.asked
    assert config.compute.device == "auto"
    assert (config.model.fusion, config.model.reduction_ratio, config.training.batch_size) == ("dlfa", 2, 16)


@pytest.mark.parametrize("share", [None, 0.5, 1.0])
def test_what_is_told_is_not_measured(prepared: Prepared, share: GpuShare | None) -> None:
    measured = Measured()
    told = replace(prepared, settings=replace(prepared.settings, gpus_per_trial=share))
    slots, said = packed(told, measured)
    assert slots.gpus == (share or 1)
    assert (measured.asked, said) == ([], [])


# --- asking, through Ray, by logical GPUs


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    # One node with two types, of which Ray gives each task the one it asks for.
    types = {f"accelerator_type:{name}": 1.0 for name in ("A100", "H100")}
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        resources=types,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


def stand_in(monkeypatch: pytest.MonkeyPatch, answer: Callable[[TrialConfig], GpuMemory]) -> None:
    """Let workers answer with a function of a test: one within another, so that it travels as it is."""
    monkeypatch.setattr(orchestrator.packing, "gpu_memory", lambda config: answer(config))


@pytest.mark.usefixtures("_cluster")
def test_a_gpu_of_each_type_is_asked_each_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(config: TrialConfig) -> GpuMemory:
        context = ray.get_runtime_context()
        assert len(context.get_accelerator_ids()["GPU"]) == 1
        kinds = [name for name in context.get_assigned_resources() if name.startswith("accelerator_type:")]
        return GpuMemory(name=" ".join([config.task, *kinds]), taken=os.getpid(), total=1)

    stand_in(monkeypatch, answer)
    said: list[str] = []
    found = measure(CONFIG, said.append)
    assert sorted(one.name for one in found) == ["udpos accelerator_type:A100", "udpos accelerator_type:H100"]
    assert len({one.taken for one in found} | {os.getpid()}) == 3
    assert said == ["measuring the memory of a trial, once a GPU of each type (A100, H100) is free"]
    again = measure(CONFIG, said.append)
    assert not {one.taken for one in found} & {one.taken for one in again}, "a process, and its memory, goes with it"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs GPUs that are none of PyTorch's")
@pytest.mark.usefixtures("_cluster")
def test_what_can_not_be_measured_is_told_in_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        measure(CONFIG, lambda line: None)
    node = os.uname().nodename
    assert str(error.value) == (
        "--gpus-per-trial: auto is not allowed; allowed: a number; a trial's memory can't be measured: PyTorch sees "
        f"no GPU on {node}"
    )


@pytest.mark.usefixtures("_cluster")
@pytest.mark.parametrize("error", [DataError("/data: not there"), ValueError("a bug")])
def test_what_fails_there_fails_here(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def answer(config: TrialConfig) -> GpuMemory:
        raise error

    stand_in(monkeypatch, answer)
    with pytest.raises((ConfigError, RayTaskError)) as caught:
        measure(CONFIG, lambda line: None)
    if isinstance(error, DataError):
        assert type(caught.value) is ConfigError
        assert str(caught.value) == ("--gpus-per-trial: auto is not allowed; allowed: a number; /data: not there")
    else:
        assert isinstance(caught.value, RayTaskError)
        assert "a bug" in str(caught.value)


@pytest.mark.usefixtures("_cluster")
def test_the_wait_for_a_gpu_can_be_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, lambda config: memory(1, 80))

    @ray.remote(num_gpus=2)
    def hold() -> None:
        (tmp_path / "held").touch()
        threading.Event().wait(60)

    held = hold.remote()
    while not (tmp_path / "held").exists():
        threading.Event().wait(0.1)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()

    with pytest.raises(KeyboardInterrupt):
        measure(CONFIG, say)
    ray.cancel(held, force=True)
    assert len(said) == 1
