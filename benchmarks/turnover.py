"""What a trial costs beside training and evaluation.

    python benchmarks/turnover.py --slots 2 8

Runs a real sweep of short trials for each number of slots. Of every process that runs trials it takes the time from
the end of its first trial to the end of its last one, less what of it were optimiser steps and predictions: the rest,
divided by those trials, is the turnover. A process's first trial, which also imports torch and transformers, is told
apart. Slots beyond the machine's CPUs wait for each other, so CPU time stands beside: it is what there was to do.
"""

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import orchestrator.sweep
from dlfa.flags import COUNT
from orchestrator.cli import sweep_main
from orchestrator.resources import local
from orchestrator.trainable import train

_LOG = "turnover.json"


@dataclass
class _Spent:
    """Seconds of steps and predictions of the trial that runs in this process: by the clock, and of CPU."""

    wall: float = 0.0
    cpu: float = 0.0

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and counts what it takes."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.wall += time.perf_counter() - wall
                self.cpu += time.process_time() - cpu

        return timed


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="embedded", help="a folder, a hub id, or embedded (default)")
    parser.add_argument("--data", default="embedded", help="a folder, hub, or embedded (default)")
    parser.add_argument("--task", default="udpos")
    parser.add_argument("--trials", type=COUNT, default=50, help="trials of each sweep (default 50)")
    parser.add_argument("--train-limit", type=COUNT, default=48, help="training examples (default 48)")
    parser.add_argument("--eval-limit", type=COUNT, default=4, help="examples of each dev and test set (default 4)")
    parser.add_argument("--slots", type=COUNT, nargs="+", default=[2, 8], help="trials at a time (default 2 and 8)")
    args = parser.parse_args(argv)
    for slots in args.slots:
        with tempfile.TemporaryDirectory() as storage:
            flags = (
                f"--task {args.task} --data {args.data} --encoder {args.encoder} --epochs 1 "
                f"--train-limit {args.train_limit} --eval-limit {args.eval_limit} --trials {args.trials} "
                f"--pruner none --storage {storage} --name turnover"
            )
            run_search(flags, train=_timed, local=partial(replace, local(), cpus=slots))
            logs = [json.loads(path.read_text()) for path in Path(storage).glob(f"turnover/trials/*/{_LOG}")]
        _print(slots, logs)


def run_search(flags: str, **replaced: Any) -> None:
    """Run the search phase of a quickstart sweep, with parts of `orchestrator.sweep` replaced.

    Raises:
        SystemExit: It failed.
    """
    vars(orchestrator.sweep).update(replaced)
    if code := sweep_main(["--profile", "quickstart", "--confirm-seeds", "0", *flags.split()]):
        raise SystemExit(code)


def _print(slots: int, logs: Sequence[dict[str, float]]) -> None:
    by_process = defaultdict(list)
    for log in sorted(logs, key=lambda log: log["ended"]):
        by_process[log["process"]].append(log)
    wall, cpu, share, first = [], [], [], []
    for trials in by_process.values():
        first.append(trials[0]["process_cpu"] - trials[0]["work_cpu"])
        for before, this in pairwise(trials):
            lasted = this["ended"] - before["ended"]
            wall.append(lasted - this["work"])
            cpu.append(this["process_cpu"] - before["process_cpu"] - this["work_cpu"])
            share.append(this["work"] / lasted)
    print(
        f"\n{slots} slots: {len(logs)} trials in {len(by_process)} processes; beside steps and predictions a trial "
        f"takes\n{fmean(wall):.2f} s, {fmean(cpu):.2f} s of them its process's CPU time; steps and predictions are "
        f"{100 * fmean(share):.0f} % of its time;\n"
        f"a process's first trial takes {fmean(first):.1f} s of CPU time beside them\n"
    )


def _timed(assignment: dict[str, Any]) -> None:
    """Run a trial in its process, and write down what took how long."""
    import dlfa.evaluation
    import dlfa.training

    spent = _Spent()
    measured = {"_step": vars(dlfa.training), "predict": vars(dlfa.evaluation)}
    originals = {name: module[name] for name, module in measured.items()}
    for name, module in measured.items():
        module[name] = spent.counted(originals[name])
    try:
        train(assignment)
    finally:
        for name, module in measured.items():
            module[name] = originals[name]
        log = {
            "process": os.getpid(),
            "process_cpu": time.process_time(),
            "ended": time.time(),
            "work": spent.wall,
            "work_cpu": spent.cpu,
        }
        Path(assignment["folder"], _LOG).write_text(json.dumps(log))


if __name__ == "__main__":
    main()
