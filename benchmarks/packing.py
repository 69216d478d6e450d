"""What trials gain by sharing a GPU, or the cores of a machine: real tokens per second of all, against one alone.

    python benchmarks/packing.py --encoder ENCODER --data DATA --at-a-time 2 4 8

Each process trains as a trial does, with the threads that are asked for, and all begin to count at the same moment. On
a GPU it also says what a trial takes of its memory, as `--gpus-per-trial auto` measures it.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from threading import Barrier

from pairs import parser, settle, trial
from step import WARM_UP, train_steps

from dlfa.config import TrialConfig
from dlfa.flags import COUNT


@dataclass
class _Clock:
    """Times steps; waits for the other processes before the first one that counts."""

    begin: Barrier
    ends: list[float] = field(default_factory=list)

    def lap(self, *_: object) -> None:
        """End a step; takes what a hook is given."""
        settle()
        if len(self.ends) == WARM_UP:
            self.begin.wait()
        self.ends.append(time.perf_counter())


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    flags = parser(__doc__)
    flags.add_argument("--at-a-time", type=COUNT, nargs="+", default=[2], help="trials beside each other (default 2)")
    args = flags.parse_args(argv)
    config = trial(args)
    context = get_context("spawn")
    with context.Manager() as manager:
        alone = _speed(config, args.steps, 1, manager)
        for count in args.at_a_time:
            speed = _speed(config, args.steps, count, manager)
            print(f"{count} at a time: {speed / alone:.2f} times the real tokens per second of one alone", flush=True)
    if args.device != "cpu":
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            print(pool.submit(_memory, config).result())


def _speed(config: TrialConfig, steps: int, count: int, manager: SyncManager) -> float:
    """Return the real tokens per second of so many trials at the same time."""
    begin = manager.Barrier(count)
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_train, config, steps, begin) for _ in range(count)]
        return sum(job.result() for job in jobs)


def _train(config: TrialConfig, steps: int, begin: Barrier) -> float:
    clock = _Clock(begin)
    seen = train_steps(config, steps, clock)
    return sum(seen.pieces[WARM_UP:]) / (clock.ends[-1] - clock.ends[WARM_UP])


def _memory(config: TrialConfig) -> str:
    import torch

    from dlfa.memory import gpu_memory

    if not torch.cuda.is_available():
        return "no GPU: its memory is not measured"
    return f"memory: {gpu_memory(config)}"


if __name__ == "__main__":
    main()
