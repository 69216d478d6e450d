"""`--gpus-per-trial auto`: as many trials on a GPU as its memory holds and the search can use."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import ray
from ray.exceptions import RayTaskError

from dlfa.config import TrialConfig
from dlfa.errors import ConfigError, DlfaError
from dlfa.memory import GpuMemory, gpu_memory
from orchestrator.choices import AUTO
from orchestrator.guards import interruptible
from orchestrator.limits import SMALLEST_SHARE
from orchestrator.prepare import Prepared, planned_slots
from orchestrator.resources import Available, Slots

__all__ = ["measure", "packed_slots"]

_ROOM = 1.25
"""Times the memory that was measured: batches of other sizes leave gaps in what PyTorch keeps for reuse."""

_TRIALS_EACH = 15
"""Trials of a search by TPE for each that runs at a time. With fewer, what is suggested rests on too few that have
ended: see `benchmarks/search.py --slots`."""


def packed_slots(
    prepared: Prepared,
    available: Available,
    measure: Callable[[TrialConfig, Callable[[str], None]], Sequence[GpuMemory]],
    say: Callable[[str], None],
) -> Slots:
    """Return the slots of a sweep; where `auto` says so, trials share GPUs.

    Args:
        prepared: The sweep.
        available: What there is.
        measure: Returns the memory of a trial on a GPU of each type; told whom to tell what it waits for.
        say: Told what was measured, and what follows from it.

    Raises:
        ConfigError: More is asked for than there is.
    """
    settings = prepared.settings
    slots = planned_slots(settings, available)
    if settings.gpus_per_trial != AUTO:
        return slots
    if settings.sampler == "tpe":
        useful, beyond = prepared.trials // _TRIALS_EACH // slots.count, "make a search of {} trials worse"
    else:
        useful, beyond = math.ceil(prepared.trials / slots.count), "are of no use to a search of {} trials"
    beyond = beyond.format(prepared.trials)
    if useful <= 1:
        say(f"GPUs are not shared: more than {slots.count} at a time {beyond}")
        return slots
    memory = max(measure(prepared.largest_trial(slots), say), key=lambda one: one.taken / one.total)
    fitting = max(1, int(memory.total / (_ROOM * memory.taken)))
    each = min(fitting, useful)
    why = "as many as fit with room to spare"
    if fitting > useful:
        why = f"{fitting} would fit, but so many at a time {beyond}"
    say(f"memory: a trial takes up to {memory}; {each} on each GPU ({why})")
    # Ray rounds to its smallest share, and rounding up would leave no room for the last one.
    share = int(1 / each / SMALLEST_SHARE + 1e-9) * SMALLEST_SHARE
    return planned_slots(replace(settings, gpus_per_trial=share), available)


def measure(config: TrialConfig, say: Callable[[str], None]) -> list[GpuMemory]:
    """Measure a trial's memory on one GPU of each type that the cluster has, in a process that ends with it.

    Args:
        config: Of a trial that needs as much as any.
        say: Told what is waited for.

    Raises:
        ConfigError: PyTorch sees no GPU there, or the data is missing there.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGUSR1 came meanwhile.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    types = sorted({name for node in nodes for name in node if name.startswith("accelerator_type:")})
    of_each = f" of each type ({', '.join(name.partition(':')[2] for name in types)})" if len(types) > 1 else ""
    say(f"measuring the memory of a trial, once a GPU{of_each} is free")
    task = ray.remote(num_cpus=1, num_gpus=1, max_calls=1)(gpu_memory)
    waiting = [task.options(resources={name: 0.001}).remote(config) for name in types] or [task.remote(config)]
    found: list[GpuMemory] = []
    with interruptible() as stop:
        while waiting:
            if stop.now():
                raise KeyboardInterrupt
            ended, waiting = ray.wait(waiting, timeout=1)
            found += [_answer(one) for one in ended]
    return found


def _answer(of_task: "ray.ObjectRef[GpuMemory]") -> GpuMemory:
    try:
        memory: GpuMemory = ray.get(of_task)
    except RayTaskError as error:
        if not isinstance(error.cause, DlfaError):
            raise
        raise ConfigError(f"--gpus-per-trial: {AUTO} is not allowed; allowed: a number; {error.cause}") from error
    return memory
