"""`dlfa-train`: one configuration, without an orchestrator."""

import argparse
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig
from dlfa.errors import ConfigError
from dlfa.flags import COUNT, FROM_ZERO, Parser, add_data_flags, data_path, guarded, languages, number, writable
from dlfa.fusions import FUSIONS
from dlfa.inputs import encoder_source
from dlfa.tasks import TASKS

if TYPE_CHECKING:
    from dlfa.progress import Report
    from dlfa.trial import TrialResult

__all__ = ["main"]

_RATE = number(float, "a number in (0, 1)", lambda x: 0 < x < 1)
_COSINES = {"similarity": "similarity", "similarity_unrelated": "unrelated"}
"""Titles of columns that are no scores."""

_ALLOWED = {
    "encoder": "a folder with a Hugging Face encoder, a hub id, or embedded",
    "data": "hub, embedded, or a folder",
}


def _parser() -> Parser:
    parser = Parser(
        prog="dlfa-train", description="Fine-tune one configuration on the source language and test it zero-shot."
    )
    parser.add_argument("--version", action="version", version=f"dlfa-sweep {version('dlfa-sweep')}")
    parser.add_argument("--task", choices=tuple(TASKS), required=True)
    add_data_flags(parser)
    parser.add_argument(
        "--fusion",
        choices=tuple(FUSIONS),
        default="dlfa",
        help=f"what the head reads (default dlfa): {'; '.join(f'{f.name}: {f.summary}' for f in FUSIONS.values())}",
    )
    parser.add_argument("--fusion-layer", metavar="L", type=FROM_ZERO, help="the lower layer of dlfa, gate and mean")
    parser.add_argument("--reduction-ratio", metavar="R", type=COUNT, help="of dlfa and gate")
    parser.add_argument("--learning-rate", metavar="X", type=_RATE, required=True)
    parser.add_argument(
        "--head-learning-rate", metavar="X", type=_RATE, help="of the new parameters (default: the encoder's)"
    )
    parser.add_argument("--batch-size", metavar="N", type=COUNT, default=32)
    parser.add_argument("--max-length", metavar="N", type=COUNT, default=128, help="window in pieces (default 128)")
    parser.add_argument(
        "--aligned",
        action=argparse.BooleanOptionalAction,
        help="test sets are translations of one another, row by row: measure similarity (default: if the data set is "
        "known for it)",
    )
    parser.add_argument("--reports", metavar="N", type=COUNT, default=6, help="evaluations while training (default 6)")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", metavar="N", type=COUNT, help="CPU threads (default: this process's CPUs)")
    parser.add_argument("--out", metavar="DIR", required=True, help="new folder for scores, predictions and model")
    parser.add_argument("--cache", metavar="DIR", default="~/.cache/dlfa-sweep", help="folder of encoded data")
    return parser


def _config(args: argparse.Namespace) -> TrialConfig:
    for flag in ("encoder", "data"):
        if getattr(args, flag) is None:
            raise ConfigError(f"--{flag}: missing; allowed: {_ALLOWED[flag]}")
    cache = writable("--cache", args.cache)
    return TrialConfig(
        task=args.task,
        data=DataConfig(
            path=data_path(args.data, TASKS[args.task], cache, args),
            cache=str(cache),
            source_language=args.source_lang,
            languages=languages(args),
            max_length=args.max_length,
            train_limit=args.train_limit,
            eval_limit=args.eval_limit,
            aligned=args.aligned,
        ),
        model=ModelConfig(
            encoder=encoder_source(args.encoder, cache),
            fusion=args.fusion,
            fusion_layer=args.fusion_layer,
            reduction_ratio=args.reduction_ratio,
        ),
        training=TrainingConfig(
            learning_rate=args.learning_rate,
            head_learning_rate=args.head_learning_rate,
            epochs=args.epochs or TASKS[args.task].epochs,
            batch_size=args.batch_size,
            reports_per_trial=args.reports,
        ),
        compute=ComputeConfig(
            device=args.device,
            precision=args.precision,
            threads=args.threads or len(os.sched_getaffinity(0)),
        ),
        select_on=args.select_on,
        seed=args.seed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dlfa-train`; return the exit code."""
    goes_on = "the same command goes on from the last checkpoint"
    return guarded("dlfa-train", lambda: _run(_parser().parse_args(argv)), interrupted=goes_on)


def _run(args: argparse.Namespace) -> int:
    out = writable("--out", args.out)
    resumable = (out / "checkpoint.safetensors").exists()
    if out.exists() and not resumable and any(out.iterdir()):
        raise ConfigError(f"--out: {args.out!r} is not allowed; allowed: a folder that is new or empty")
    return _train(_config(args), out)


def _train(config: TrialConfig, out: Path) -> int:
    # Only now: torch takes seconds to import, and a mistyped flag should not wait for it.
    from dlfa.checkpoint import CheckpointFile
    from dlfa.trial import run_trial

    total = config.training.reports_per_trial
    checkpoint = CheckpointFile(out / "checkpoint.safetensors")

    def report(entry: "Report") -> None:
        print(f"report {entry.step}/{total}: loss {entry.metrics['train/loss']:.4f}, dev {entry.score:.2f}", flush=True)

    result = run_trial(config, report, checkpoint, lambda line: print(line, flush=True))
    result.save(out)
    result.save_model(out / "model")
    checkpoint.remove()
    _print_scores(result)
    print(f"wrote {out}/scores.json, predictions/ and model/")
    return 0


def _print_scores(result: "TrialResult") -> None:
    # Columns beside the task's scores: cosines, and only where there are some.
    cosines = {
        name: title for name, title in _COSINES.items() if any(key.endswith(f"/{name}") for key in result.scores)
    }
    names = TASKS[result.config.task].metrics
    tested = list(dict.fromkeys(key.split("/")[1] for key in result.scores if key.count("/") == 2))
    unit = f"in percent{'; similarities are cosines' * bool(cosines)}"
    print(f"\ntest scores at report {result.best.step} (best on dev, {result.best.score:.2f}), {unit}")
    print(
        "language    "
        + "".join(f"{name:>10}" for name in names)
        + "".join(f"  {name:>10}" for name in cosines.values())
    )
    for language in tested:
        row = "".join(f"{result.scores[f'test/{language}/{name}']:>10.2f}" for name in names)
        for name in cosines:
            cosine = result.scores.get(f"test/{language}/{name}")
            row += f"  {'-' if cosine is None else f'{cosine:.4f}':>10}"
        print(f"{language:<12}{row}")
    for name, value in result.scores.items():
        if name.count("/") == 1:
            print(f"{name.removeprefix('test/'):<12}{value:>10.2f}")
