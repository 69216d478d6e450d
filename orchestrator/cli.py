"""`dlfa-sweep` and `dlfa-report`: arguments only."""

import argparse
import errno
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlfa.config import DataConfig
from dlfa.errors import ConfigError
from dlfa.flags import (
    COUNT,
    FROM_ZERO,
    Parser,
    absolute,
    add_data_flags,
    data_path,
    guarded,
    languages,
    number,
    plain_text,
    writable,
)
from dlfa.inputs import EMBEDDED, HUB, encoder_source
from dlfa.tasks import TASKS
from orchestrator.choices import AUTO, PRUNERS, SAMPLERS, GpuShare
from orchestrator.limits import MOST_SECONDS, MOST_SEEDS, MOST_TRIALS, SMALLEST_SHARE

if TYPE_CHECKING:
    from orchestrator.report import Sweep
    from orchestrator.settings import SweepSettings
    from orchestrator.space import SearchSpace

__all__ = ["report_main", "sweep_main"]

_PROFILES: dict[str, dict[str, Any]] = {
    "paper": {"data": HUB, "encoder": "google-bert/bert-base-multilingual-cased"},
    "quickstart": {"data": EMBEDDED, "encoder": EMBEDDED, "train_limit": 240, "eval_limit": 40},
}
"""What each profile gives flags that are not given."""
_GO_ON = "if its sweep has begun, dlfa-sweep --resume NAME goes on"
_LONGEST_SPACE = 1_000_000  # bytes
_PROBE_LIMIT = 500
"""Sentences of each set that the layers of encoders are measured on."""

_CACHE = ".cache"
"""In the folder of sweeps: what all of them share."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def sweep_main(argv: Sequence[str] | None = None) -> int:
    """Run `dlfa-sweep`; return the exit code."""
    return guarded("dlfa-sweep", lambda: _sweep(_sweep_parser().parse_args(argv)), interrupted=_GO_ON)


def report_main(argv: Sequence[str] | None = None) -> int:
    """Run `dlfa-report`; return the exit code."""
    return guarded("dlfa-report", lambda: _report(_report_parser().parse_args(argv)), interrupted="run it again")


def _sweep_parser() -> Parser:
    parser = Parser(
        prog="dlfa-sweep",
        description="Search DLFA's fusion layer, reduction ratio and learning rate for zero-shot transfer.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('dlfa-sweep')}")
    parser.add_argument(
        "--task", choices=(*TASKS, "all"), action="append", help="task of XTREME; repeat it for several, or all"
    )
    parser.add_argument(
        "--profile",
        choices=tuple(_PROFILES),
        default="paper",
        help="defaults: paper is mBERT, data of the Hub and XTREME's budget; quickstart is the embedded encoder and "
        "corpus, minutes on two CPU cores (default paper)",
    )
    add_data_flags(parser)
    parser.add_argument("--space", metavar="FILE", help="search space (default: the task's own)")
    trials = number(int, f"a whole number in 1..{MOST_TRIALS}", lambda x: 1 <= x <= MOST_TRIALS)
    parser.add_argument("--trials", metavar="N", type=trials, help="of the search, all fusions (default: the space's)")
    parser.add_argument("--time-budget", metavar="2h", type=_seconds, help="end the search after 90s, 30m, 2h, 1d")
    parser.add_argument("--gpus", metavar="N", type=FROM_ZERO, help="use at most N GPUs (default: all there are)")
    parser.add_argument(
        "--gpus-per-trial",
        metavar="F",
        type=_share,
        help="a fraction packs trials on a GPU; auto: as many as its measured memory holds and the search can use "
        "(default 1)",
    )
    parser.add_argument("--cpus-per-trial", metavar="N", type=COUNT, help="CPUs, and threads, of a trial")
    parser.add_argument(
        "--address",
        metavar="ADDR",
        type=_address,
        help="auto or HOST:PORT of a Ray cluster, or local (default: RAY_ADDRESS, else local)",
    )
    parser.add_argument("--sampler", choices=SAMPLERS, default="tpe", help="(default tpe)")
    parser.add_argument("--pruner", choices=PRUNERS, default="hyperband", help="(default hyperband)")
    parser.add_argument(
        "--report-timeout",
        metavar="2h",
        type=_seconds,
        help="a trial that reports nothing for so long starts again from its last checkpoint (default 6h)",
    )
    parser.add_argument(
        "--keep-models",
        choices=("best", "none"),
        default="best",
        help="best: the models of the selected layer and of the baseline stay in the sweep's folder (default best)",
    )
    seeds = number(int, f"a whole number in 0..{MOST_SEEDS}", lambda x: 0 <= x <= MOST_SEEDS)
    parser.add_argument("--confirm-seeds", metavar="K", type=seeds, help="seeds of the confirm phase")
    parser.add_argument("--name", metavar="NAME", help="name of the sweep (default: task, date and a number)")
    parser.add_argument("--storage", metavar="DIR", default="runs", help="folder of sweeps (default runs)")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow (default: sqlite:///STORAGE/mlflow.db)")
    parser.add_argument(
        "--resume",
        metavar="NAME",
        nargs="+",
        help="go on with sweeps from their own settings",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan and start nothing; data of the Hub is fetched all the same",
    )
    return parser


def _report_parser() -> Parser:
    parser = Parser(prog="dlfa-report", description="Print the tables of sweeps.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('dlfa-sweep')}")
    parser.add_argument("names", metavar="NAME", nargs="*", help="sweep in the storage folder")
    parser.add_argument("--storage", metavar="DIR", default="runs", help="folder of sweeps (default runs)")
    parser.add_argument("--format", choices=("table", "csv", "markdown", "latex", "json", "html"), default="table")
    parser.add_argument("--out", metavar="DIR", help="also write all of it to a folder, in every format")
    parser.add_argument(
        "--equilibrium",
        action="store_true",
        help="first measure what the encoder's layers know, before and after fine-tuning; later reports have it, too",
    )
    for flag, what in (("--treebanks", "text labelled for udpos"), ("--parallel", "pairs of sentences (Tatoeba)")):
        parser.add_argument(
            flag, metavar="DATA", help=f"{what} for --equilibrium: hub, embedded or a folder (default: as the sweep's)"
        )
    parser.add_argument(
        "--probe-limit",
        metavar="N",
        type=COUNT,
        help=f"sentences of each set for --equilibrium (default {_PROBE_LIMIT})",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="instead: the numbers of the DLFA paper, beside sweeps that can be compared; without NAME of all tasks",
    )
    parser.add_argument("--register", metavar="MODEL_NAME", help="put the best model of a sweep into MLflow's registry")
    return parser


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; allowed: a time such as 90s, 30m, 2h or 1d, at most 1000d"
        )
    return seconds


def _share(text: str) -> GpuShare:
    allowed = f"{AUTO}, or a number, at least {SMALLEST_SHARE}"
    return AUTO if text == AUTO else number(float, allowed, lambda x: SMALLEST_SHARE <= x < float("inf"))(text)


def _address(text: str) -> str:
    if not text:  # of a variable that is not set: the sweep would go to this machine
        raise argparse.ArgumentTypeError("'' is not allowed; allowed: auto or HOST:PORT of a Ray cluster, or local")
    return plain_text(text)


def _sweep(args: argparse.Namespace) -> int:
    # Only now: Ray takes seconds to import, and a mistyped flag should not wait for it.
    from orchestrator.display import console
    from orchestrator.plan import dry_run
    from orchestrator.prepare import prepare
    from orchestrator.resume import reopen
    from orchestrator.sweep import run

    out = console()
    storage = writable("--storage", args.storage)
    writable("--storage", str(storage / _CACHE))
    if args.resume is not None:
        changes = _changes(args, storage)
        return run([reopen(storage, name, changes) for name in dict.fromkeys(args.resume)], out, new=False)
    for name, value in _PROFILES[args.profile].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    sweeps = [prepare(settings) for settings in _settings(args, storage)]  # all, before any of them starts
    if args.dry_run:
        for prepared in sweeps:
            dry_run(prepared, out)
        return 0
    return run([(storage / prepared.settings.name, prepared) for prepared in sweeps], out, new=True)


def _settings(args: argparse.Namespace, storage: Path) -> "Iterator[SweepSettings]":
    """Yield the settings of one sweep per task."""
    if args.task is None:
        raise ConfigError(f"--task: missing; allowed: {', '.join(TASKS)}, all")
    tasks = tuple(TASKS) if "all" in args.task else tuple(dict.fromkeys(args.task))
    for task in tasks:
        yield _task_settings(args, storage, task, _name(args, storage, task, several=len(tasks) > 1))


def _task_settings(args: argparse.Namespace, storage: Path, task: str, name: str) -> "SweepSettings":
    from dlfa.model import check_weights, encoder_shape
    from orchestrator.settings import SweepSettings
    from orchestrator.space_file import load_space, packaged_space

    cache = storage / _CACHE
    encoder = encoder_source(args.encoder, cache)
    text, where = packaged_space(task, args.profile) if args.space is None else _space_file(args.space)
    space = load_space(text, where, task, encoder_shape(encoder))
    check_weights(encoder)  # else every trial would find out
    return SweepSettings(
        name=name,
        task=task,
        encoder=encoder,
        data=DataConfig(
            path=data_path(args.data, TASKS[task], cache, args),
            cache=str(cache),
            source_language=args.source_lang,
            languages=languages(args),
            max_length=space.max_length,
            aligned=space.aligned,
            train_limit=args.train_limit,
            eval_limit=args.eval_limit,
        ),
        space=text,
        space_file=where,
        trials=args.trials or _default_trials(space, args),
        time_budget=args.time_budget,
        sampler=args.sampler,
        pruner=args.pruner,
        select_on=args.select_on,
        confirm_seeds=space.confirm_seeds if args.confirm_seeds is None else args.confirm_seeds,
        keep_models=args.keep_models,
        seed=args.seed,
        epochs=args.epochs,
        gpus=args.gpus,
        gpus_per_trial=args.gpus_per_trial,
        cpus_per_trial=args.cpus_per_trial,
        address=args.address,
        tracking_uri=_tracking_uri(args.tracking_uri, storage),
        **({} if args.report_timeout is None else {"report_timeout": args.report_timeout}),
    )


def _default_trials(space: "SearchSpace", args: argparse.Namespace) -> int:
    return len(space.grid_points(args.seed)) if args.sampler == "grid" else space.trials


def _space_file(path: str) -> tuple[str, str]:
    allowed = "a YAML file"
    try:
        with absolute("--space", path, allowed).open("rb") as file:  # a pipe, too; but no endless one
            text = file.read(_LONGEST_SPACE + 1)
        if len(text) > _LONGEST_SPACE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return text.decode("utf-8").replace("\r\n", "\n"), path
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"--space: {path!r} is not allowed ({reason}); allowed: {allowed}") from error


def _name(args: argparse.Namespace, storage: Path, task: str, *, several: bool) -> str:
    if args.name is None:
        prefix = f"{task}-{datetime.now():%Y%m%d}-"
        taken = {path.name for path in storage.glob(f"{prefix}*")}
        return next(name for n in itertools.count(1) if (name := f"{prefix}{n}") not in taken)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", args.name):
        raise ConfigError(
            f"--name: {args.name!r} is not allowed; allowed: up to 100 letters, digits, dots, dashes and underscores"
        )
    name = f"{args.name}-{task}" if several else str(args.name)
    if os.path.lexists(storage / name):
        raise ConfigError(
            f"--name: {args.name!r} is not allowed; allowed: a name that {storage} does not have; "
            f"`--resume {name}` goes on with that one"
        )
    return name


def _tracking_uri(uri: str | None, storage: Path) -> str:
    from orchestrator.settings import wrong_tracking_uri

    if uri is None:
        return f"sqlite:///{storage / 'mlflow.db'}"
    if reason := wrong_tracking_uri(uri):
        raise ConfigError(f"--tracking-uri: {reason}")
    return uri


_RESUMABLE = (
    "trials",
    "time_budget",
    "report_timeout",
    "gpus",
    "gpus_per_trial",
    "cpus_per_trial",
    "address",
    "tracking_uri",
)


def _changes(args: argparse.Namespace, storage: Path) -> dict[str, Any]:
    """Return what `--resume` was given besides; a sweep's other settings are what its results rest on."""
    parser = _sweep_parser()
    given = {key: value for key, value in vars(args).items() if value != parser.get_default(key)}
    for key in ("resume", "storage"):
        given.pop(key, None)
    flags = {key: f"--{key.replace('_', '-')}" for key in given}
    wrong = [flags[key] for key in given if key not in _RESUMABLE]
    if wrong:
        allowed = ", ".join(f"--{key.replace('_', '-')}" for key in _RESUMABLE)
        raise ConfigError(f"{', '.join(wrong)}: not allowed with --resume; allowed: --storage, {allowed}")
    if "tracking_uri" in given:
        given["tracking_uri"] = _tracking_uri(given["tracking_uri"], storage)
    return given


def _report(args: argparse.Namespace) -> int:
    from orchestrator.report import load_many, render_sweep, render_together, to_html, to_json, write_reports

    _check_probing(args)
    if args.published:
        return _published(args)
    if not args.names:
        raise ConfigError("NAME: missing; allowed: the names of one or more sweeps, or --published")
    documents = {"html": to_html, "json": to_json}
    storage = absolute("--storage", args.storage, "a folder of sweeps")
    out = None if args.out is None else writable("--out", args.out)
    if args.register is not None and len(set(args.names)) > 1:
        raise ConfigError(f"--register: {len(set(args.names))} sweeps are not allowed with it; allowed: one NAME")
    sweeps = load_many(args.names, storage)
    if args.equilibrium:
        _measure(args, sweeps, storage)
        sweeps = load_many(args.names, storage)
    registered = []
    if args.register is not None:
        from orchestrator.registration import register

        registered = register(sweeps[0], storage / args.names[0], args.register)
    if args.format in documents:
        print(documents[args.format](sweeps), end="")
    else:
        if args.format != "csv" or len(sweeps) == 1:  # CSV is one table
            for sweep in sweeps:
                print(render_sweep(sweep, args.format))
        if len(sweeps) > 1:
            print(render_together(sweeps, args.format))
    if out is not None:
        for sweep in sweeps:
            folder = out if len(sweeps) == 1 else out / sweep.name
            write_reports(sweep, folder)
            print(f"wrote {folder}", file=sys.stdout if args.format == "table" else sys.stderr)
    for line in registered:
        print(line, file=sys.stdout if args.format == "table" else sys.stderr)
    return 0


def _published(args: argparse.Namespace) -> int:
    """Print the numbers of the DLFA paper, beside sweeps if any are named."""
    from orchestrator.report import load_many, published, render

    others = {"--out": args.out, "--register": args.register, "--equilibrium": args.equilibrium or None}
    if given := [flag for flag, value in others.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)}: not allowed with --published; allowed: --storage, --format")
    if args.format in ("html", "json"):
        raise ConfigError(
            f"--format: {args.format!r} is not allowed with --published; allowed: table, csv, markdown, latex"
        )
    storage = absolute("--storage", args.storage, "a folder of sweeps")
    sweeps = load_many(args.names, storage)
    found = [published(sweep.settings["task"], sweep) for sweep in sweeps] or [published(task) for task in TASKS]
    for tables, lines in found:
        for place, (title, table) in enumerate(tables, start=1):
            print(render(table, lines if place == len(tables) else [], title, args.format))
    return 0


def _check_probing(args: argparse.Namespace) -> None:
    """Refuse flags of `--equilibrium` without it."""
    given = [name for name in ("treebanks", "parallel", "probe_limit") if getattr(args, name) is not None]
    if given and not args.equilibrium:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"{flags}: not allowed alone; allowed: with --equilibrium")


def _measure(args: argparse.Namespace, sweeps: "Sequence[Sweep]", storage: Path) -> None:
    """Measure the layers of the sweeps' encoders."""
    from orchestrator.probing import measure

    for name, sweep in zip(dict.fromkeys(args.names), sweeps, strict=True):
        measure(
            sweep,
            storage / name,
            treebanks=args.treebanks,
            parallel=args.parallel,
            limit=args.probe_limit or _PROBE_LIMIT,
            cache=storage / _CACHE,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
