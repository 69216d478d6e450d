"""`dlfa-train`: one configuration, without an orchestrator."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig, suggestion
from dlfa.errors import ConfigError, DlfaError
from dlfa.inputs import data_folder, encoder_source
from dlfa.tasks import TASKS, TaskSpec

if TYPE_CHECKING:
    from dlfa.progress import Report
    from dlfa.trial import TrialResult

__all__ = [
    "COUNT",
    "FROM_ZERO",
    "POSITIVE",
    "Parser",
    "add_data_flags",
    "data_path",
    "guarded",
    "languages",
    "main",
    "number",
]


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and what may have been meant, and exits with 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print one line and exit."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}{self._meant(message)}\n")

    def _meant(self, message: str) -> str:
        if flag := re.match(r"unrecognized arguments: --([^\s=]+)", message):
            names = [name.lstrip("-") for name in self._option_string_actions]  # dashes make all of them alike
            return suggestion(flag[1], names).replace("mean ", "mean --")
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            return suggestion(choice[1], re.findall(r"[\w-]+", choice[2]))
        return ""


def number(kind: Callable[[str], int | float], allowed: str, ok: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a parser of a flag's number that names what is allowed."""

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not ok(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; allowed: {allowed}")
        return value

    return parse


POSITIVE = number(float, "a number above 0", lambda x: 0 < x < float("inf"))
RATE = number(float, "a number in (0, 1)", lambda x: 0 < x < 1)
COUNT = number(int, "a whole number, at least 1", lambda x: x >= 1)
FROM_ZERO = number(int, "a whole number, at least 0", lambda x: x >= 0)

_ALLOWED = {
    "encoder": "a folder with a Hugging Face encoder, a hub id, or embedded",
    "data": "hub, embedded, or a folder",
}


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that both `dlfa-train` and `dlfa-sweep` have."""
    parser.add_argument("--encoder", metavar="ID_OR_PATH", help="Hugging Face encoder: a folder, a hub id, or embedded")
    parser.add_argument("--data", metavar="hub|embedded|PATH", help="labelled text: of the Hub, embedded, or a folder")
    parser.add_argument("--source-lang", metavar="LANG", default="en", help="the only language trained on (default en)")
    parser.add_argument("--languages", metavar="de,fr,...", help="target languages (default: all that have a test set)")
    parser.add_argument(
        "--epochs", metavar="X", type=POSITIVE, help="passes over the training set (default: the recipe's)"
    )
    parser.add_argument("--train-limit", metavar="N", type=COUNT, help="use the first N training examples")
    parser.add_argument(
        "--eval-limit", metavar="N", type=COUNT, help="use the first N examples of each dev and test set"
    )
    parser.add_argument("--seed", metavar="N", type=FROM_ZERO, default=1, help="seed of everything random (default 1)")
    parser.add_argument(
        "--select-on",
        choices=("source", "targets"),
        default="source",
        help="dev sets that select and prune; targets is oracle selection (default source)",
    )


def data_path(data: str, task: TaskSpec, cache: Path, args: argparse.Namespace) -> str:
    """Return `--data` as an absolute path, given the other flags of `add_data_flags`."""
    folder = data_folder(
        data,
        task,
        cache,
        source_language=args.source_lang,
        languages=languages(args.languages),
        train=args.train_limit,
        evaluation=args.eval_limit,
    )
    return str(folder)


def languages(text: str | None) -> tuple[str, ...]:
    """Return `--languages` as a tuple; empty where the flag is absent."""
    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    if not all(names):
        raise ConfigError(f"--languages: {text!r} is not allowed; allowed: ISO codes with commas between them")
    return names


def _parser() -> Parser:
    parser = Parser(
        prog="dlfa-train", description="Fine-tune one configuration on the source language and test it zero-shot."
    )
    parser.add_argument("--version", action="version", version=f"dlfa-sweep {version('dlfa-sweep')}")
    parser.add_argument("--task", choices=tuple(TASKS), required=True)
    add_data_flags(parser)
    parser.add_argument(
        "--fusion", choices=("dlfa", "none"), default="dlfa", help="none is the baseline (default dlfa)"
    )
    parser.add_argument("--fusion-layer", metavar="L", type=FROM_ZERO, help="the layer fused with the last")
    parser.add_argument("--reduction-ratio", metavar="R", type=COUNT, help="AIF's reduction ratio")
    parser.add_argument("--learning-rate", metavar="X", type=RATE, required=True)
    parser.add_argument("--head-learning-rate", metavar="X", type=RATE, help="of AIF and head (default: the encoder's)")
    parser.add_argument("--batch-size", metavar="N", type=COUNT, default=32)
    parser.add_argument("--max-length", metavar="N", type=COUNT, default=128, help="window in pieces (default 128)")
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
    cache = Path(args.cache).expanduser().resolve()
    return TrialConfig(
        task=args.task,
        data=DataConfig(
            path=data_path(args.data, TASKS[args.task], cache, args),
            cache=str(cache),
            source_language=args.source_lang,
            languages=languages(args.languages),
            max_length=args.max_length,
            train_limit=args.train_limit,
            eval_limit=args.eval_limit,
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


def guarded(program: str, command: Callable[[], int], *, interrupted: str) -> int:
    """Run a command; return its exit code, or what a user's error, told in one line, comes to.

    Args:
        program: Name for messages.
        command: Returns the exit code.
        interrupted: What to say after Ctrl-C.
    """
    try:
        return command()
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted; {interrupted}", file=sys.stderr)
        return 130
    except DlfaError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    except OSError as error:  # such as a full disk
        print(f"{program}: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    config = _config(args)
    out = Path(args.out).expanduser().resolve()
    resumable = (out / "checkpoint.safetensors").exists()
    if out.exists() and not resumable and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"--out: {args.out!r} is not allowed; allowed: a folder that is new or empty")
    return _train(config, out)


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
    names = TASKS[result.config.task].metrics
    tested = list(dict.fromkeys(key.split("/")[1] for key in result.scores if key.count("/") == 2))
    print(f"\ntest scores at report {result.best.step} (best on dev, {result.best.score:.2f}), in percent")
    print("language    " + "".join(f"{name:>10}" for name in names))
    for language in tested:
        print(f"{language:<12}" + "".join(f"{result.scores[f'test/{language}/{name}']:>10.2f}" for name in names))
    for name, value in result.scores.items():
        if name.count("/") == 1:
            print(f"{name.removeprefix('test/'):<12}{value:>10.2f}")
