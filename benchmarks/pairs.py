"""Two processes that take turns, step by step, so that both meet the same noise."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple, Protocol

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig
from dlfa.flags import COUNT
from dlfa.inputs import data_folder, encoder_source
from dlfa.tasks import TASKS

__all__ = ["Laps", "Quartiles", "Stopwatch", "Taken", "parser", "settle", "take_turns", "trial"]


class Taken(NamedTuple):
    """What one step took, in seconds."""

    wall: float
    cpu: float
    """Of the whole process: other work disturbs it less."""


class Quartiles(NamedTuple):
    """Of the ratios of two sides' steps, pair by pair."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, one: Sequence[float], other: Sequence[float]) -> "Quartiles":
        """Return those of one / other."""
        return cls(*quantiles([a / b for a, b in zip(one, other, strict=True)], n=4))


def settle() -> None:
    """Wait until a GPU that this process uses has done what it was given."""
    import torch  # here, because the process that only starts others needs none of it

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


class Laps(Protocol):
    """What is told of the beginning and of every step's end."""

    def lap(self, *_: object) -> None:
        """End a step, if one has begun, and begin the next; takes what a hook is given."""


@dataclass
class Stopwatch:
    """What one side times its steps with, and waits for its turns."""

    _pipe: Connection
    _began: Taken | None = None

    def lap(self, *_: object) -> None:
        """End a step, if one has begun, and wait for the turn to begin the next; takes what a hook is given."""
        settle()
        now = Taken(time.perf_counter(), time.process_time())
        if self._began is not None:
            now = Taken(now.wall - self._began.wall, now.cpu - self._began.cpu)
        self._pipe.send(now)
        self._pipe.recv()
        self._began = Taken(time.perf_counter(), time.process_time())


def take_turns(sides: Sequence[Callable[[Stopwatch], Any]], warm_up: int = 0) -> tuple[list[Any], list[list[Taken]]]:
    """Run each side in a process of its own, one step at a time, the sides in alternating order.

    Args:
        sides: Each calls `lap` before its first step and after every one, and returns what it has found; all
            take the same number of steps.
        warm_up: Steps that also allocate; not counted.

    Returns:
        What each side found, and what its steps took.
    """
    context = get_context("spawn")
    pipes = []
    for side in sides:
        ours, theirs = context.Pipe()
        context.Process(target=_run, args=(side, theirs), daemon=True).start()
        theirs.close()  # so that its end is seen if the process dies
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    told: list[list[Any]] = [[] for _ in sides]
    order = list(range(len(sides)))
    while not told[0] or isinstance(told[0][-1], Taken):
        for which in order:
            pipes[which].send(None)
            told[which].append(pipes[which].recv())
        order.reverse()
    found = [of_one.pop() for of_one in told]
    assert all(isinstance(taken, Taken) for of_one in told for taken in of_one), "as many steps on each side"
    return found, [of_one[warm_up:] for of_one in told]


def _run(side: Callable[[Stopwatch], object], pipe: Connection) -> None:
    pipe.send(side(Stopwatch(pipe)))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what is trained on what, and where."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--encoder", default="embedded", help="a folder, a hub id, or embedded (default)")
    made.add_argument("--data", default="embedded", help="a folder, hub, or embedded (default)")
    made.add_argument("--task", default="udpos", choices=list(TASKS))
    made.add_argument("--train-limit", type=COUNT, default=600, help="training examples (default 600)")
    made.add_argument("--batch-size", type=COUNT, default=32)
    made.add_argument("--steps", type=COUNT, default=20, help="training steps that are timed (default 20)")
    made.add_argument("--threads", type=COUNT, default=1)
    made.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    made.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    made.add_argument("--cache", default="runs/.cache", help="where encoded data lies (default runs/.cache)")
    return made


def trial(args: argparse.Namespace, eval_limit: int | None = None) -> TrialConfig:
    """Return the configuration that the arguments say, with layer 1 fused at ratio 16."""
    cache, limit = Path(args.cache).absolute(), args.train_limit
    data = data_folder(
        args.data, TASKS[args.task], cache, source_language="en", languages=(), train=limit, evaluation=eval_limit
    )
    return TrialConfig(
        task=args.task,
        data=DataConfig(path=str(data), cache=str(cache), train_limit=limit, eval_limit=eval_limit),
        model=ModelConfig(encoder=encoder_source(args.encoder, cache), fusion_layer=1, reduction_ratio=16),
        training=TrainingConfig(batch_size=args.batch_size, reports_per_trial=1),
        compute=ComputeConfig(device=args.device, precision=args.precision, threads=args.threads),
    )
