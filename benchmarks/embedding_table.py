"""What it saves to train the embeddings of the training set's pieces alone: steps per second and peak memory.

    python benchmarks/embedding_table.py --encoder ENCODER --data DATA --train-limit 600

Two processes train the same model on the same batches with `dlfa.training.fit`, checkpoint and best weights included,
one of them with every row of the table. They take turns, step by step, so that both meet the same noise. Linux only.
"""

import math
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pairs import Quartiles, Stopwatch, parser, take_turns, trial

from dlfa.config import TrainingConfig, TrialConfig
from dlfa.tasks import TASKS

WARM_UP = 2
"""Steps that also allocate; not counted."""


@dataclass(frozen=True)
class Found:
    """What one of the two sides has measured of itself."""

    table_rows: int
    parameters: int
    loss: float
    before: int
    """Resident memory with libraries and data, before there was a model, in KiB."""

    peak: int
    """In KiB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parser(__doc__).parse_args(argv)
    sides = [partial(_train, trial(args), args.steps + WARM_UP, small) for small in (True, False)]
    (small, whole), (ours, others) = take_turns(sides, WARM_UP)
    wall = Quartiles.of([step.wall for step in others], [step.wall for step in ours])
    cpu = Quartiles.of([step.cpu for step in others], [step.cpu for step in ours])
    print(f"rows of the table: {small.table_rows:,} of {whole.table_rows:,} are trained")
    print(f"parameters: {small.parameters / 1e6:.1f} of {whole.parameters / 1e6:.1f} million are trained")
    print(f"training loss: {small.loss:.6f} and {whole.loss:.6f}")
    print(
        f"steps per second: {wall.median:.2f} times the whole table's, in the median of {len(ours)} pairs of steps "
        f"(quartiles {wall.low:.2f} to {wall.high:.2f}); by CPU time {cpu.median:.2f} ({cpu.low:.2f} to {cpu.high:.2f})"
    )
    print(
        f"peak memory: {small.peak / whole.peak:.2f} of the whole table's; "
        f"without libraries {(small.peak - small.before) / (whole.peak - whole.before):.2f}"
    )


def _train(config: TrialConfig, steps: int, small: bool, watch: Stopwatch) -> Found:
    """Train as a trial does, with the small table or the whole one."""
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
        checkpoint_seconds=0,
    )
    before = _memory("VmRSS")
    torch.manual_seed(config.seed)
    model = build_model(config.model, task.kind, task.labels)

    with small_table(model, train, training, pad) if small else nullcontext(), tempfile.TemporaryDirectory() as folder:
        model.to(compute.device)
        rows = next(p.shape[0] for name, p in model.named_parameters() if "_embeddings.weight" in name)
        parameters = sum(math.prod(parameter.shape) for parameter in model.parameters())
        hook = register_optimizer_step_post_hook(watch.lap)
        watch.lap()
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
    return Found(rows, parameters, report.metrics["train/loss"], before, _memory("VmHWM"))


def _memory(name: str) -> int:
    """Return a figure of this process's memory, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


if __name__ == "__main__":
    main()
