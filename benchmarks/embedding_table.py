"""What it saves to train the embeddings of the training set's pieces alone: steps per second and peak memory.

    python benchmarks/embedding_table.py --encoder ENCODER --data DATA --train-limit 600

Two processes train the same model on the same batches with `dlfa.training.fit`, checkpoint and best weights included,
one of them with every row of the table. They take turns, step by step, so that both meet the same noise. Linux only.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig
from dlfa.flags import COUNT
from dlfa.inputs import data_folder, encoder_source
from dlfa.tasks import TASKS

WARM_UP = 2
"""Steps that also allocate; not counted."""


@dataclass(frozen=True)
class Found:
    """What one of the two processes has measured of itself."""

    table_rows: int
    parameters: int
    loss: float
    before: int
    """Resident memory with libraries and data, before there was a model, in KiB."""

    peak: int
    """In KiB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="embedded", help="a folder, a hub id, or embedded (default)")
    parser.add_argument("--data", default="embedded", help="a folder, hub, or embedded (default)")
    parser.add_argument("--task", default="udpos", choices=list(TASKS))
    parser.add_argument("--train-limit", type=COUNT, default=600, help="training examples (default 600)")
    parser.add_argument("--batch-size", type=COUNT, default=32)
    parser.add_argument("--steps", type=COUNT, default=20, help="steps that are timed (default 20)")
    parser.add_argument("--threads", type=COUNT, default=1)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--cache", default="runs/.cache", help="where encoded data lies (default runs/.cache)")
    args = parser.parse_args(argv)

    cache, limit = Path(args.cache).absolute(), args.train_limit
    data = data_folder(
        args.data, TASKS[args.task], cache, source_language="en", languages=(), train=limit, evaluation=None
    )
    config = TrialConfig(
        task=args.task,
        data=DataConfig(path=str(data), cache=str(cache), train_limit=limit),
        model=ModelConfig(encoder=encoder_source(args.encoder, cache), fusion_layer=1, reduction_ratio=16),
        training=TrainingConfig(batch_size=args.batch_size, reports_per_trial=1),
        compute=ComputeConfig(device=args.device, precision=args.precision, threads=args.threads),
    )
    found, seconds, cpu_seconds = _measure(config, args.steps)
    whole, small = found
    pairs = [one / other for one, other in zip(*seconds, strict=True)]
    cpu_pairs = [one / other for one, other in zip(*cpu_seconds, strict=True)]
    low, _, high = quantiles(pairs, n=4)
    cpu_low, _, cpu_high = quantiles(cpu_pairs, n=4)
    print(f"rows of the table: {small.table_rows:,} of {whole.table_rows:,} are trained")
    print(f"parameters: {small.parameters / 1e6:.1f} of {whole.parameters / 1e6:.1f} million are trained")
    print(f"training loss: {small.loss:.6f} and {whole.loss:.6f}")
    print(
        f"steps per second: {median(pairs):.2f} times the whole table's, in the median of {len(pairs)} pairs of steps "
        f"(quartiles {low:.2f} to {high:.2f}); by CPU time {median(cpu_pairs):.2f} ({cpu_low:.2f} to {cpu_high:.2f})"
    )
    print(
        f"peak memory: {small.peak / whole.peak:.2f} of the whole table's; "
        f"without libraries {(small.peak - small.before) / (whole.peak - whole.before):.2f}"
    )


def _measure(config: TrialConfig, steps: int) -> tuple[list[Found], list[list[float]], list[list[float]]]:
    """Return what both processes found, the whole table's first, and the seconds and CPU seconds of their steps."""
    context = get_context("spawn")
    pipes = []
    for small in (False, True):
        ours, theirs = context.Pipe()
        process = context.Process(target=_train, args=(config, steps + WARM_UP, small, theirs), daemon=True)
        process.start()
        theirs.close()  # so that its end is seen if the process dies
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    seconds: list[list[float]] = [[], []]
    cpu_seconds: list[list[float]] = [[], []]
    for step in range(steps + WARM_UP):
        for which in (0, 1) if step % 2 == 0 else (1, 0):
            pipes[which].send(None)
            wall, cpu = pipes[which].recv()
            if step >= WARM_UP:
                seconds[which].append(wall)
                cpu_seconds[which].append(cpu)
    found = []
    for pipe in pipes:
        pipe.send(None)
        found.append(pipe.recv())
    return found, seconds, cpu_seconds


def _train(config: TrialConfig, steps: int, small: bool, pipe: Connection) -> None:
    """Take a step whenever told to and answer with the time it took; in the end send what was found."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from dlfa.checkpoint import CheckpointFile
    from dlfa.compute import choose
    from dlfa.model import build_model
    from dlfa.training import fit, small_table
    from dlfa.trial import open_corpus

    task, compute, corpus = TASKS[config.task], choose(config.compute), open_corpus(config)
    train = corpus.split(config.data.source_language, "train")
    pad = int(corpus.tokenizer.pad_token_id or 0)
    training = TrainingConfig(
        batch_size=config.training.batch_size,
        epochs=steps / math.ceil(len(train.lengths) / config.training.batch_size),
        reports_per_trial=1,
    )
    before = _memory("VmRSS")
    torch.manual_seed(config.seed)
    model = build_model(config.model, task.kind, task.labels)

    began: list[float] = []

    def begin() -> None:
        pipe.recv()
        began[:] = time.perf_counter(), time.process_time()

    def end_and_begin(*_: object) -> None:
        pipe.send((time.perf_counter() - began[0], time.process_time() - began[1]))
        begin()

    with small_table(model, train, training, pad) if small else nullcontext(), tempfile.TemporaryDirectory() as folder:
        model.to(compute.device)
        rows = next(p.shape[0] for name, p in model.named_parameters() if "_embeddings.weight" in name)
        parameters = sum(math.prod(parameter.shape) for parameter in model.parameters())
        hook = register_optimizer_step_post_hook(end_and_begin)
        pipe.send(None)
        begin()
        (report,) = fit(
            model,
            train,
            training,
            compute,
            seed=config.seed,
            pad=pad,
            evaluate=lambda: (0.0, {}),
            report=lambda report: None,
            checkpoint=CheckpointFile(Path(folder) / "checkpoint.safetensors"),
        )
        hook.remove()
    pipe.send(Found(rows, parameters, report.metrics["train/loss"], before, _memory("VmHWM")))


def _memory(name: str) -> int:
    """Return a figure of this process's memory, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


if __name__ == "__main__":
    main()
