"""A sweep by dlfa-sweep beside the same sweep by Trainer.hyperparameter_search: time, memory and scores in one run.

    pip install --target peer-packages accelerate datasets
    python benchmarks/peer.py --peer-packages peer-packages --trials 12 --train-limit 400 --eval-limit 100 --epochs 2

Each side is a process of its own, one after the other, timed from its start to its end:

- ours: `dlfa-sweep --confirm-seeds 0`, everything else by default;
- ray, ray-bf16: benchmarks/trainer_sweep.py with Ray Tune's OptunaSearch and ASHA, one core per trial;
- optuna, optuna-bf16: the same script with Optuna alone, one trial after the other with all cores;
- ray-new: as ray, with a new process for each trial, which is Tune's default.

All read the same files with the same model and metric, and search the same space in as many trials, with the same share
for the baseline and each layer once. Data and encoder are made before the clock starts; each side tokenises for itself.
A side's processes are found by a mark in their environment and by their parents. udpos only; Linux only.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dlfa.flags import COUNT, POSITIVE
from dlfa.inputs import data_folder, encoder_source
from dlfa.model import encoder_shape
from dlfa.tasks import TASKS

SIDES = {
    "ours": None,
    "ray": ["--backend", "ray"],
    "ray-bf16": ["--backend", "ray", "--bf16"],
    "ray-new": ["--backend", "ray", "--new-actors"],
    "optuna": ["--backend", "optuna"],
    "optuna-bf16": ["--backend", "optuna", "--bf16"],
}
"""Name to arguments of the peer's script."""

INTERVAL = 0.3
"""Seconds between two looks at memory."""

HIGHER = 1.02
"""The kernel needs 30 ms to count shared pages: asked only of a process that has so much more resident than before."""

TRAINABLE = b"ray::ImplicitFunc"
"""How Ray titles the process of an actor that is one of Tune's functions, ours and Trainer's alike."""

SWEEP = "import sys; from orchestrator.cli import sweep_main as main; sys.exit(main())"
"""What the console script `dlfa-sweep` does."""

MARK = "DLFA_PEER_RUN"
RATIOS = (2, 4, 8)
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """What a side's processes have taken; memory in KiB."""

    mark: str
    root: int = 0
    """The process that was started."""

    wall: float = 0.0
    cpu: dict[int, float] = field(default_factory=dict)
    """Of each process, seconds."""

    members: dict[int, bool] = field(default_factory=dict)
    """Whether a process that is there now is one of this side."""

    trials: set[int] = field(default_factory=set)
    """Processes that train."""

    counted: dict[int, int] = field(default_factory=dict)
    """Resident memory of each process that trains, when its shared pages were last counted."""

    peaks: dict[str, int] = field(default_factory=dict)
    """Of one process that trains: `pss` (resident; what it shares with others counts in shares), `anonymous` (what is
    in no file, so that it does not depend on what else the machine runs), `resident`; of all processes of the side at
    a time: `all` (anonymous)."""

    def look(self, *, workers: bool) -> None:
        """Look at every process of this side; `workers`: Ray's workers train, else the root does."""
        there = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}
        self.members = {pid: member for pid, member in self.members.items() if pid in there}
        together = 0
        for pid in sorted(there):
            try:
                if self._is_member(pid):
                    together += self._measure(pid, workers=workers)
            except (OSError, ValueError, LookupError):  # it has just ended
                continue
        self._raise("all", together)

    def cpu_by_part(self) -> dict[str, float]:
        """Return the CPU seconds by part: the process that was started, those that train, and the rest, Ray's."""
        trained = sum(seconds for pid, seconds in self.cpu.items() if pid in self.trials and pid != self.root)
        driver = self.cpu.get(self.root, 0.0)
        return {"driver": driver, "trials": trained, "rest": sum(self.cpu.values()) - driver - trained}

    def left(self) -> bool:
        """Whether a process of this side is still there, after a look."""
        return any(self.members.values())

    def _is_member(self, pid: int) -> bool:
        if pid not in self.members:
            parent = int(_stat(pid)[1])
            marked = f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            self.members[pid] = marked or self.members.get(parent, False)
        return self.members[pid]

    def _measure(self, pid: int, *, workers: bool) -> int:
        """Return a process's anonymous memory."""
        stat, status = _stat(pid), _kib(f"/proc/{pid}/status")
        self.cpu[pid] = (int(stat[11]) + int(stat[12])) / TICK
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(TRAINABLE) if workers else pid == self.root:
            self.trials.add(pid)
            self._raise("anonymous", status["RssAnon"])
            self._raise("resident", status["VmHWM"])
            if status["VmRSS"] > HIGHER * self.counted.get(pid, 0):
                self._raise("pss", _kib(f"/proc/{pid}/smaps_rollup")["Pss"])
                self.counted[pid] = status["VmRSS"]
        return status["RssAnon"]

    def _raise(self, name: str, value: int) -> None:
        self.peaks[name] = max(value, self.peaks.get(name, 0))


def _stat(pid: int) -> list[str]:
    """Return a process's state, parent and so on: the fields after its name, which may have blanks in it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _kib(path: str) -> dict[str, int]:
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) for line in fields if len(line) == 3 and line[2] == "kB"}


def _watch(command: Sequence[str], env: Mapping[str, str], log: Path, *, workers: bool) -> Watched:
    """Run a side to its end.

    Raises:
        SystemExit: It failed.
    """
    found = Watched(mark=uuid.uuid4().hex)
    with log.open("w") as file:
        began = time.perf_counter()
        side = subprocess.Popen(command, env={**env, MARK: found.mark}, stdout=file, stderr=subprocess.STDOUT)  # noqa: S603
        found.root = side.pid
        try:
            while (code := _ended(side)) is None:
                found.look(workers=workers)
        finally:
            side.terminate()  # where this process is interrupted
            side.wait()
        found.wall = time.perf_counter() - began
    if code:
        raise SystemExit(f"{' '.join(command)}\nended with {code}:\n{log.read_text()[-4000:]}")
    deadline = time.monotonic() + 60
    found.look(workers=workers)
    while found.left() and time.monotonic() < deadline:  # Ray's own processes: not beside the next side
        time.sleep(INTERVAL)
        found.look(workers=workers)
    return found


def _ended(side: subprocess.Popen[bytes]) -> int | None:
    """Return a process's exit code, at once when it ends, or nothing after an interval."""
    try:
        return side.wait(INTERVAL)
    except subprocess.TimeoutExpired:
        return None


def _ours(folder: Path) -> dict[str, Any]:
    """Return what our sweep has found, from its study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)

    from orchestrator.search import open_storage

    study = optuna.load_study(study_name="search", storage=open_storage(folder / "study.db"))
    best = study.best_trial
    return {
        "reports": sum(len(trial.intermediate_values) for trial in study.trials),
        "selection": best.value,
        "test": best.user_attrs["scores"]["test/avg_target"],
        "params": best.params,
    }


def _space(args: argparse.Namespace, layers: int) -> dict[str, Any]:
    """Return the space, in dlfa-sweep's form."""
    low, high = args.learning_rates
    return {
        "task": "udpos",
        "trials": args.trials,
        "compare": {"fusion": ["none", "dlfa"]},
        "confirm_seeds": 0,
        "search": {
            "fusion_layer": {"low": 1, "high": 1 + (layers - 2) // 2 * 2, "step": 2},
            "reduction_ratio": {"choices": list(RATIOS)},
            "learning_rate": {"low": low, "high": high, "log": True},
        },
        "training": {"epochs": args.epochs, "batch_size": args.batch_size, "reports_per_trial": args.reports},
        "max_length": args.max_length,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sides and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["udpos"], default="udpos", help="the only one")
    parser.add_argument("--encoder", default="embedded", help="a folder, or embedded (default)")
    parser.add_argument("--data", default="embedded", help="a folder, or embedded (default)")
    parser.add_argument("--train-limit", type=COUNT, default=400)
    parser.add_argument("--eval-limit", type=COUNT, default=100)
    parser.add_argument("--trials", type=COUNT, default=12)
    parser.add_argument("--epochs", type=POSITIVE, default=2.0)
    parser.add_argument("--batch-size", type=COUNT, default=16)
    parser.add_argument("--max-length", type=COUNT, default=128, help="window, in pieces (default 128)")
    parser.add_argument("--reports", type=COUNT, default=2, help="evaluations per trial (default 2)")
    parser.add_argument("--learning-rates", type=POSITIVE, nargs=2, default=[1e-4, 3e-4], metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=COUNT, default=1)
    parser.add_argument("--sides", default="ours,ray,ray-bf16,optuna", help=f"of {', '.join(SIDES)}, in this order")
    parser.add_argument("--peer-packages", metavar="FOLDER", help="where accelerate and datasets are, if not installed")
    parser.add_argument("--peer-threads", type=COUNT, help="of a peer's process outside Ray (default: all cores)")
    parser.add_argument("--cache", default="runs/.cache", help="of data and encoder (default runs/.cache)")
    args = parser.parse_args(argv)
    sides = args.sides.split(",")
    if unknown := set(sides) - SIDES.keys():
        parser.error(f"--sides: {', '.join(sorted(unknown))} not allowed; allowed: {', '.join(SIDES)}")
    steps = round(args.epochs * math.ceil(args.train_limit / args.batch_size))
    if steps % args.reports:
        print(f"{steps} steps of the optimiser do not divide into {args.reports} reports: a peer's trial is a bit off")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it ends its sides, too
    cache = Path(args.cache).absolute()
    limits = {"train": args.train_limit, "evaluation": args.eval_limit}
    data = data_folder(args.data, TASKS["udpos"], cache, source_language="en", languages=(), **limits)
    encoder = encoder_source(args.encoder, cache)
    repository = Path(__file__).resolve().parents[1]
    paths = [str(repository), *filter(None, [os.environ.get("PYTHONPATH")])]
    # CPUs only, and nothing from the Hub; Ray started anew by each side.
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}
    env.pop("RAY_ADDRESS", None)
    peer_env = dict(env)
    if args.peer_packages is not None:
        peer_env["PYTHONPATH"] = os.pathsep.join([*paths, str(Path(args.peer_packages).absolute())])
    if args.peer_threads is not None:
        peer_env["OMP_NUM_THREADS"] = str(args.peer_threads)

    watched: dict[str, Watched] = {}
    results: dict[str, dict[str, Any]] = {}
    print(_HEAD, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        space = folder / "space.yaml"
        space.write_text(yaml.safe_dump(_space(args, encoder_shape(encoder).layers)))
        common = ["--encoder", encoder, "--data", str(data), "--space", str(space), "--trials", str(args.trials)]
        common += ["--train-limit", str(args.train_limit), "--eval-limit", str(args.eval_limit)]
        common += ["--seed", str(args.seed)]
        for side in sides:
            peer = SIDES[side]
            if peer is None:
                program = [sys.executable, "-c", SWEEP]
                own = ["--task", "udpos", "--confirm-seeds", "0", "--address", "local"]
                own += ["--storage", str(folder / "runs"), "--name", "ours"]
                watched[side] = _watch([*program, *own, *common], env, folder / f"{side}.log", workers=True)
                results[side] = _ours(folder / "runs" / "ours")
            else:
                program = [sys.executable, str(Path(__file__).with_name("trainer_sweep.py"))]
                own = [*peer, "--out", str(folder / f"{side}.json")]
                log = folder / f"{side}.log"
                watched[side] = _watch([*program, *own, *common], peer_env, log, workers="ray" in peer)
                results[side] = json.loads((folder / f"{side}.json").read_text())
            _print_side(side, watched[side], results[side])
    print(f"\n{'ours to':12} {'wall':>8} {'CPU':>8} {'per report':>11} {'PSS':>8} {'anonymous':>10} {'in all':>8}")
    for side in sides:
        if side != "ours" and "ours" in sides:
            _print_ratios(side, watched, results)


_HEAD = (
    f"{'side':12} {'wall s':>8} {'CPU s':>8} {'driver':>8} {'trials':>8} {'Ray':>8} {'processes':>10} {'PSS':>6} "
    f"{'anonymous':>10} {'resident':>9} {'in all':>7} {'reports':>8} {'dev F1':>7} {'test':>6}"
)
"""Memory is in MiB, a process's that trains or, `in all`, the anonymous memory of all processes of the side."""


def _print_side(side: str, found: Watched, result: Mapping[str, Any]) -> None:
    part = found.cpu_by_part()
    pss, anonymous, resident, every = (found.peaks[n] / 1024 for n in ("pss", "anonymous", "resident", "all"))
    print(
        f"{side:12} {found.wall:8.1f} {sum(part.values()):8.1f} {part['driver']:8.1f} {part['trials']:8.1f} "
        f"{part['rest']:8.1f} {len(found.trials):10} {pss:6.0f} {anonymous:10.0f} {resident:9.0f} {every:7.0f} "
        f"{result['reports']:8} {result['selection']:7.2f} {result['test']:6.2f}",
        f"{'':12} best: {result['params']}"
        + ("; seconds by part: {seconds}".format(**result) if "seconds" in result else ""),
        sep="\n",
        flush=True,
    )


def _print_ratios(side: str, watched: Mapping[str, Watched], results: Mapping[str, Mapping[str, Any]]) -> None:
    ours, peer = watched["ours"], watched[side]
    wall, cpu = ours.wall / peer.wall, sum(ours.cpu.values()) / sum(peer.cpu.values())
    reports = results["ours"]["reports"] / results[side]["reports"]
    pss, anonymous, every = (ours.peaks[name] / peer.peaks[name] for name in ("pss", "anonymous", "all"))
    print(f"{side:12} {wall:8.2f} {cpu:8.2f} {wall / reports:11.2f} {pss:8.2f} {anonymous:10.2f} {every:8.2f}")


if __name__ == "__main__":
    main()
