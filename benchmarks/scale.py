"""What one decision costs the driver as its study grows, and how many trials a second MLflow is told of.

    python benchmarks/scale.py                              # the study: 10,000 trials, 512 at a time
    python benchmarks/scale.py --slots 16 --pruner median   # fewer at a time, another pruner
    python benchmarks/scale.py sweep                        # a whole sweep on 512 logical GPUs, Ray and MLflow included
    python benchmarks/scale.py mlflow                       # the records: trials with scores in 40 languages

The study is driven as a sweep drives it: the searcher, the scheduler and the pruner of a sweep on a database of their
own, with the observers that a sweep has beside MLflow. The trials are made up: each has six reports, drawn from curves
over layer, ratio and rate, and they report in the order in which trials of unequal speed would. There are no processes
behind them, and no Ray: 512 processes need a cluster. What Ray Tune, MLflow and the disk take is in the figures of
`sweep`, the real command; its trials, fewer at a time and each on several of the GPUs, do nothing but report.

Every suggestion and every message is timed by itself, in windows around 100, 1,000 and 10,000 trials that have ended;
the slots are full in all of them, so that nothing but the study differs. The database neither waits for the disk nor
keeps a journal on it: what these take is the same in every study, and would hide what grows. Linux only.
"""

import argparse
import heapq
import io
import json
import math
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from types import SimpleNamespace
from typing import Any

import optuna
from ray import tune
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine
from turnover import run_search

from dlfa.flags import COUNT
from dlfa.model import EncoderShape
from dlfa.tasks.languages import LANGUAGES
from orchestrator.choices import PRUNERS, SAMPLERS
from orchestrator.cleaner import Cleaner
from orchestrator.display import Display
from orchestrator.events import TrialRef
from orchestrator.pruning import ReportScheduler, make_pruner
from orchestrator.resources import local
from orchestrator.search import StudySearch, make_sampler, open_storage
from orchestrator.space import Params, load_space, packaged_space
from orchestrator.sweep import SPOOL, STUDY
from orchestrator.tracking import InputSet, MlflowTracker

SEED = 1
GPUS = 512
LONG = 32
"""First trials of a sweep, which last until every slot has its process: Tune gives a trial to whichever is there."""

WINDOW = 100
"""Trials that end within a window."""

CALLS = ("suggestion", "report", "end")
LANGUAGES_SCORED = sorted(LANGUAGES)[:40]
MBERT = EncoderShape(layers=12, hidden_size=768, vocabulary=119547, max_positions=512)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="study", choices=["study", "sweep", "mlflow"])
    parser.add_argument("--trials", type=COUNT, help="trials that end (default: study and sweep 10000, mlflow 1000)")
    parser.add_argument("--slots", type=COUNT, help="trials at a time (default 512, sweep 16)")
    parser.add_argument("--sampler", default="tpe", choices=[name for name in SAMPLERS if name != "grid"])
    parser.add_argument("--pruner", default="hyperband", choices=PRUNERS)
    args = parser.parse_args(argv)
    slots = args.slots or (16 if args.part == "sweep" else 512)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        if args.part == "study":
            measure_study(Path(folder), args.trials or 10_000, slots, args.sampler, args.pruner)
        elif args.part == "sweep":
            measure_sweep(Path(folder), args.trials or 10_000, slots, args.sampler, args.pruner)
        else:
            measure_mlflow(Path(folder), args.trials or 1000, slots)


# --- the study


@dataclass
class Window:
    """What was measured while the study had about as many trials that have ended."""

    ended: int
    calls: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {name: [] for name in CALLS})
    """Seconds and CPU seconds of every call."""

    memory: int = 0
    """Resident memory, in KiB."""


def measure_study(folder: Path, trials: int, slots: int, sampler: str, pruner: str) -> None:
    """Drive a study until so many trials have ended, and print what its decisions took."""
    windows = [Window(ended) for ended in (100, 1000, 10_000, 100_000) if ended <= trials]
    before = memory()
    for ended, what, *seconds in drive(folder, trials + WINDOW // 2, slots, sampler, pruner):
        for window in windows:
            if abs(ended - window.ended) <= WINDOW // 2:
                window.calls[what].append((seconds[0], seconds[1]))
                window.memory = memory() if ended == window.ended else window.memory
    print(f"{slots} trials at a time, {sampler}, {pruner}; ratios to the first one, in brackets the milliseconds")
    for what in CALLS:
        there = [window for window in windows if len(window.calls[what]) > 1]  # at first, none comes to its end
        for name, figure in (("median", median), ("95 % quantile", high), ("mean", mean)):
            for place, kind in enumerate(("", " of CPU time")):
                found = [figure([call[place] for call in window.calls[what]]) for window in there]
                ratios = ", ".join(
                    f"{value / found[0]:.2f} at {window.ended:,} ({1000 * value:.1f})"
                    for window, value in zip(there, found, strict=True)
                )
                print(f"{what}, {name}{kind}: {ratios}")
    for window in windows:
        grown = (window.memory - windows[0].memory) / max(1, window.ended - windows[0].ended)
        print(
            f"memory at {window.ended:,} trials: {window.memory / windows[0].memory:.2f} "
            f"({window.memory / 1024:.0f} MiB, {before / 1024:.0f} before the study; {grown:.1f} KiB a trial)"
        )


def drive(folder: Path, trials: int, slots: int, sampler: str, pruner: str) -> Iterator[tuple[int, str, float, float]]:
    """Run a search until so many trials have ended.

    Yields:
        Of every call: how many trials had ended before it, which of `CALLS` it is, its seconds and CPU seconds.
    """
    text, name = packaged_space("udpos", "paper")
    space = load_space(text, name, "udpos", MBERT)
    reports, plan = space.training.reports_per_trial, space.plan(SEED)
    event.listen(Engine, "connect", without_disk)
    study = optuna.create_study(
        storage=open_storage(folder / STUDY),
        study_name="search",
        direction="maximize",
        pruner=make_pruner(pruner, reports),
        load_if_exists=True,
    )
    display = Display(Console(file=io.StringIO()), "f1")
    display.phase("search", trials + slots, reports, slots, {})
    search = StudySearch(
        study,
        phase="search",
        space=space,
        total=trials + slots,
        fixed=lambda number: (plan(number), SEED),
        sampler=lambda number: make_sampler(sampler, SEED * 1_000_003 + number),
        assign=lambda ref: {"ref": ref},
        observers=(Cleaner(folder / "trials"), display),
        reports=reports,
        stopping=lambda: False,
        halt=stop,
    )
    scheduler = ReportScheduler(search.on_report, lambda trial: None)
    clock = random.Random(SEED)
    queue: list[tuple[float, str, Iterator[dict[str, Any]]]] = []
    names, now, ended = count(), 0.0, 0
    while ended < trials:
        if len(queue) < slots:
            tune_id = f"t{next(names)}"
            begun, cpu_begun = time.perf_counter(), time.thread_time()
            assigned = search.suggest(tune_id)
            yield ended, "suggestion", time.perf_counter() - begun, time.thread_time() - cpu_begun
            told = messages(assigned["ref"].params, assigned["ref"].number, reports)
            heapq.heappush(queue, (now + clock.uniform(0.5, 1.5), tune_id, told))
            continue
        now, tune_id, rest = heapq.heappop(queue)
        message = next(rest)
        trial: Any = SimpleNamespace(trial_id=tune_id)
        begun, cpu_begun = time.perf_counter(), time.thread_time()
        decision = scheduler.on_trial_result(None, trial, message)
        seconds, cpu_seconds = time.perf_counter() - begun, time.thread_time() - cpu_begun
        yield ended, "end" if "summary" in message else "report", seconds, cpu_seconds
        if decision == ReportScheduler.STOP:
            ended += 1
        else:
            heapq.heappush(queue, (now + clock.uniform(0.5, 1.5), tune_id, rest))


def messages(params: Mapping[str, Any], number: int, reports: int) -> Iterator[dict[str, Any]]:
    """Yield what a trial would tell the driver: every report, then its summary."""
    told = []
    for step, score in enumerate(curve(params, number, reports), start=1):
        metrics = {"dev/en/f1": score, "dev/en/accuracy": score + 1, "train/loss": 1 - score / 100}
        told.append({"step": step, "score": score, "metrics": metrics})
        yield told[-1] | {"metrics": json.dumps(metrics)}
    best = max(told, key=lambda report: float(str(report["score"])))
    summary = {
        "scores": test_scores(float(str(best["score"]))),
        "best_step": best["step"],
        "selection_score": best["score"],
        "reports": told,
    }
    yield {"summary": json.dumps(summary)}


def curve(params: Mapping[str, Any], number: int, reports: int) -> list[float]:
    """Return scores that rise to what layer, ratio and rate give, with noise."""
    noise = random.Random(number)
    top = 85 - 4 * (math.log10(float(params["learning_rate"])) + 4.6) ** 2
    if params["fusion"] == "dlfa":
        top -= 0.1 * (int(params["fusion_layer"]) - 8) ** 2 + 0.3 * abs(math.log2(int(params["reduction_ratio"])) - 4)
    return [top * (1 - math.exp(-step)) + noise.gauss(0, 0.5) for step in range(1, reports + 1)]


def test_scores(score: float) -> dict[str, float]:
    """Return two metrics of 40 languages and their means, as udpos has them."""
    found = {
        f"test/{language}/{metric}": score - place / 3
        for place, language in enumerate(LANGUAGES_SCORED)
        for metric in ("f1", "accuracy")
    }
    return found | {f"test/{name}": score for name in ("avg", "avg_target", "worst", "gap", "near", "far", "enf")}


def without_disk(connection: Any, record: object) -> None:
    """Have a new connection to a database neither wait for the disk nor keep a journal on it."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


def stop(fault: str) -> None:
    """End the measurement where a sweep would stop."""
    raise SystemExit(fault)


# --- a whole sweep


def measure_sweep(folder: Path, trials: int, slots: int, sampler: str, pruner: str) -> None:
    """Run a sweep on 512 logical GPUs whose trials only report, and print what each took the driver."""
    logical = replace(local(), cpus=slots, gpus=GPUS)
    ends: list[tuple[float, float, int]] = []
    """Of every trial that has ended, the driver's seconds and CPU seconds until then, and its memory in KiB."""

    class Watched(StudySearch):
        def _end(self, trial_id: str, *args: Any, **kwargs: Any) -> None:
            super()._end(trial_id, *args, **kwargs)
            ends.append((time.perf_counter(), time.process_time(), memory()))

    flags = (
        f"--task udpos --train-limit 200 --eval-limit 4 --trials {trials} "
        f"--gpus {GPUS} --gpus-per-trial {GPUS // slots} --sampler {sampler} --pruner {pruner} --address local "
        f"--storage {folder} --name scale"
    )
    run_search(flags, train=only_report, local=lambda: logical, StudySearch=Watched)
    print(f"\n{slots} trials at a time on {GPUS} logical GPUs, {sampler}, {pruner}; a trial, from start to end, takes")
    windows = [ended for ended in (2 * WINDOW, 1000, 10_000) if ended <= len(ends)]  # processes start before the first
    paces = []
    for window in windows:
        first, last = ends[window - WINDOW], ends[window - 1]
        paces.append([1000 * (last[place] - first[place]) / (WINDOW - 1) for place in (0, 1)])
    for window, (pace, cpu) in zip(windows, paces, strict=True):
        print(
            f"at {window:,} trials: {cpu / paces[0][1]:.2f} of the driver's CPU time that it took at first "
            f"({cpu:.0f} ms of {pace:.0f} ms), memory {ends[window - 1][2] / ends[windows[0] - 1][2]:.2f} "
            f"({ends[window - 1][2] / 1024:.0f} MiB)"
        )


def only_report(assignment: dict[str, Any]) -> None:
    """Report as a trial does, in a trial's process."""
    config = assignment["config"]
    params = config["model"] | {"learning_rate": config["training"]["learning_rate"]}
    number = int(Path(assignment["folder"]).name.rpartition("-")[2])
    for message in messages(params, number, config["training"]["reports_per_trial"]):
        time.sleep(10 if number < LONG else 0.2)
        tune.report(message)


# --- the records


def measure_mlflow(folder: Path, trials: int, slots: int) -> None:
    """Record trials in a database of MLflow and print how many a second arrive there."""
    windows = [ended for ended in (100, 1000, 10_000) if ended <= trials]
    tracker = MlflowTracker(
        uri=f"sqlite:///{folder / 'mlflow.db'}",
        experiment="dlfa/udpos",
        sweep="scale",
        spool=folder / SPOOL,
        notify=stop,
    )
    sets = [InputSet(name=f"udpos {code} test", context="test", digest=code, source="/") for code in LANGUAGES_SCORED]
    tracker.sweep_started({}, {}, sets)
    paces: list[tuple[float, float]] = []
    recorded = 0
    for window in windows:
        for until, timed in ((window - WINDOW // 2, False), (window + WINDOW // 2, True)):
            begun, cpu_begun, number = time.perf_counter(), time.process_time(), until - recorded
            while recorded < until:
                record(tracker, recorded)
                recorded += 1
            wait_for(folder / SPOOL)
            if timed:
                seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu_begun
                paces.append((number / seconds, number / cpu_seconds))
    tracker.close(60)
    print("finished trials a second that reach MLflow: six reports each, and two scores of 40 languages")
    for window, (pace, cpu_pace) in zip(windows, paces, strict=True):
        print(
            f"at {window:,} trials: {pace / paces[0][0]:.2f} of the first window's ({pace:.1f} a second: {slots} at "
            f"a time are kept up with if each takes {slots / pace:.0f} seconds or more); "
            f"by CPU time {cpu_pace / paces[0][1]:.2f} ({cpu_pace:.1f}, {slots / cpu_pace:.0f})"
        )


def record(tracker: MlflowTracker, number: int) -> None:
    """Record a trial from its start to its end."""
    params: Params = {"fusion": "dlfa", "fusion_layer": 8, "reduction_ratio": 16, "learning_rate": 2e-5}
    ref = TrialRef(phase="search", number=number, params=params, seed=SEED)
    tracker.trial_started(ref)
    for message in messages(params, number, 6):
        if "summary" in message:
            tracker.trial_ended(ref, "COMPLETE", json.loads(message["summary"])["scores"], None)
        else:
            tracker.trial_reported(ref, message["step"], message["score"], json.loads(message["metrics"]))


def wait_for(spool: Path) -> None:
    """Return once every record in a spool's folder is delivered."""
    position = spool / "position"
    while not position.exists() or int(position.read_text()) < (spool / "records.jsonl").stat().st_size:
        time.sleep(0.01)


# --- figures


def high(values: list[float]) -> float:
    """Return the 95 % quantile."""
    return quantiles(values, n=20)[-1]


def mean(values: list[float]) -> float:
    """Return the mean, which has rare long calls in it, too."""
    return sum(values) / len(values)


def memory() -> int:
    """Return this process's resident memory, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


if __name__ == "__main__":
    main()
