"""What a sweep would do, said before it does it: space, trials, slots, data, and time from one timed step."""

import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from rich.console import Console
from rich.text import Text

from dlfa.compute import choose
from dlfa.data.batching import training_batches
from dlfa.data.encode import EncodedSplit
from dlfa.errors import ConfigError
from dlfa.evaluation import predict
from dlfa.fusions import FUSIONS
from dlfa.memory import gpu_memory
from dlfa.model import build_model
from dlfa.training import report_steps, time_step
from orchestrator.display import duration
from orchestrator.packing import packed_slots
from orchestrator.prepare import Prepared, describe_slots, encode_all, planned_slots
from orchestrator.resources import Slots, local
from orchestrator.space import SearchSpace

__all__ = ["dry_run"]


def dry_run(prepared: Prepared, console: Console) -> None:
    """Print what a sweep would do; encodes its data, trains one step, and keeps nothing.

    Raises:
        ConfigError: Settings do not fit what there is; or a cluster is named, which would have to be connected to.
    """
    settings = prepared.settings
    if settings.address not in (None, "local"):
        raise ConfigError("--address: not allowed with --dry-run; allowed: local, to plan for this machine")
    machine = local()
    planned_slots(settings, machine)  # before anything that takes time

    def say(line: str) -> None:
        console.print(Text(line), soft_wrap=True)  # a path may look like markup

    with tempfile.TemporaryDirectory() as cache:
        corpus = replace(prepared.corpus, config=replace(prepared.corpus.config, cache=cache))
        plan = replace(prepared, corpus=corpus)
        encode_all(plan, say)
        slots = packed_slots(plan, machine, lambda config, say: [gpu_memory(config)], say)
        say(describe_slots(slots, "this machine"))
        for line in _plan(plan, slots):
            say(line)
    say("dry run: nothing was started")


def _plan(prepared: Prepared, slots: Slots) -> Iterator[str]:
    settings, space = prepared.settings, prepared.space
    for name, distribution in space.distributions.items():
        yield f"space: {name}: {_describe(distribution, space.grid.get(name, ()))}"
    shares = prepared.shares
    yield (
        f"search: {prepared.trials} trials ({', '.join(f'{share} for {arm}' for arm, share in shares.items())}), "
        f"sampler {settings.sampler}, pruner {settings.pruner}, selected on the {settings.select_on}"
    )
    if left := settings.trials - prepared.trials:
        yield f"        {left} of {settings.trials} trials are not run: arms have equal shares, and none is run twice"
    confirm = sum(_confirmed(space, arm, share) for arm, share in shares.items()) * settings.confirm_seeds
    yield f"confirm: up to {confirm} trials, {settings.confirm_seeds} seeds for the baseline and each layer tried"
    trial = _trial_seconds(prepared, slots)
    total = math.ceil(prepared.trials / slots.count) * trial + math.ceil(confirm / slots.count) * trial
    yield f"time: about {duration(trial)} per trial by one step timed on this machine, beside nothing else;"
    yield f"      at most about {duration(total)} in all, less what is pruned"


def _confirmed(space: SearchSpace, arm: str, share: int) -> int:
    """Return how many configurations of an arm the confirm phase can have: one for each layer tried."""
    return min(share, len(space.grid["fusion_layer"]) if FUSIONS[arm].has_layer else 1)


def _describe(distribution: BaseDistribution, points: tuple[int | float, ...]) -> str:
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        by = "" if distribution.step in (None, 1) else f" by {distribution.step:g}"
        return f"{distribution.low:g} to {distribution.high:g}{by}{', log-uniform' if distribution.log else ''}"
    return ", ".join(f"{point:g}" for point in points)


def _trial_seconds(prepared: Prepared, slots: Slots) -> float:
    """Return the estimated time of one trial that runs its full budget: training, evaluations and test."""
    corpus = prepared.corpus
    config = prepared.largest_trial(slots)
    compute = choose(config.compute)
    train = corpus.split(config.data.source_language, "train")
    torch.manual_seed(config.seed)
    model = build_model(config.model, corpus.task.kind, corpus.task.labels)
    pad = int(corpus.tokenizer.pad_token_id or 0)
    steps = report_steps(len(train.lengths), config.training)[-1]
    batches = training_batches(train.lengths, config.training.batch_size, torch.Generator().manual_seed(0))
    # The batch of median size stands for all; the first step also allocates, so the second is timed.
    batch = sorted(batches, key=lambda windows: int(train.lengths[windows].sum()))[len(batches) // 2]
    step = time_step(model, train, batch, config.training, compute, pad)

    dev = [corpus.split(language, "dev") for language in prepared.sets["dev"]]
    test = [corpus.split(language, "test") for language in prepared.sets["test"]]
    began = time.perf_counter()
    predict(model, dev[0], compute, pad)
    per_piece = (time.perf_counter() - began) / max(1, len(dev[0].input_ids))
    pieces = config.training.reports_per_trial * _pieces(dev) + _pieces(test)
    return steps * step + pieces * per_piece


def _pieces(splits: list[EncodedSplit]) -> int:
    return sum(len(split.input_ids) for split in splits)
