"""Fine-tuning on the source language: one loop, reproducible bit for bit, that goes on where it stopped."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from time import monotonic, perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dlfa.checkpoint import CheckpointFile
from dlfa.compute import Compute, out_of_memory
from dlfa.config import TrainingConfig
from dlfa.data.batching import Batch, collate, training_batches
from dlfa.data.encode import EncodedSplit
from dlfa.errors import ConfigError, DivergedError
from dlfa.files import Writer
from dlfa.model import Classifier, restricted_table
from dlfa.progress import Progress, Report

__all__ = ["fit", "report_steps", "small_table", "time_step", "trained_pieces"]


def report_steps(windows: int, config: TrainingConfig) -> list[int]:
    """Return the optimiser steps after which a trial reports; the last one is its budget.

    Args:
        windows: Windows in the training set.
        config: Gives epochs, batch size and the number of reports.

    Raises:
        ConfigError: There are fewer optimiser steps than reports.
    """
    steps = max(1, round(config.epochs * math.ceil(windows / config.batch_size)))
    reports = config.reports_per_trial
    if steps < reports:
        raise ConfigError(
            f"reports_per_trial: {reports} is not allowed; allowed: at most {steps}, the optimiser steps of "
            f"{config.epochs:g} epochs over {windows} windows in batches of {config.batch_size}"
        )
    return [round(k * steps / reports) for k in range(1, reports + 1)]


def trained_pieces(train: EncodedSplit, pad: int) -> NDArray[np.int64]:
    """Return the ids of the pieces that batches of a training set hold, in order and each once.

    Args:
        train: The training set.
        pad: The tokenizer's padding piece.
    """
    # A pass over the set; to sort it, as np.unique does, takes ten times as long.
    seen = np.zeros(max(pad, int(train.input_ids.max())) + 1, np.bool_)
    seen[train.input_ids] = True
    seen[pad] = True
    return np.flatnonzero(seen)


def small_table(
    model: Classifier, train: EncodedSplit, config: TrainingConfig, pad: int
) -> AbstractContextManager[None]:
    """Return a context within which a model has trainable embeddings of the training set's pieces alone.

    Args:
        model: What is to be trained by `fit`, within.
        train: The training set.
        config: With weight decay, which moves all rows at each step, the model stays as it is.
        pad: The tokenizer's padding piece.
    """
    if config.weight_decay:
        return nullcontext()
    return restricted_table(model.encoder, trained_pieces(train, pad))


def fit(
    model: Classifier,
    train: EncodedSplit,
    config: TrainingConfig,
    compute: Compute,
    *,
    seed: int,
    pad: int,
    evaluate: Callable[[], tuple[float, dict[str, float]]],
    report: Callable[[Report], None],
    checkpoint: CheckpointFile | None = None,
) -> list[Report]:
    """Train a model and leave it with the weights of its best report.

    Args:
        model: On its device, freshly built from `seed`.
        train: The source language's training set.
        config: Optimisation.
        compute: Device and precision.
        seed: Seed of the batches' order.
        pad: The tokenizer's padding piece.
        evaluate: Scores the model on the selection set; returns the score and all metrics.
        report: Told of every evaluation; when it raises, training ends.
        checkpoint: Where the state is kept; training goes on from there if it exists, and its reports are told again,
            because whoever listens may have died before it heard of them. It is written after a report that did not
            end the trial, beside the next steps, where the configuration's reports and seconds since the last one have
            passed.

    Returns:
        All reports, those of an interrupted run included.

    Raises:
        DivergedError: The loss, a gradient or a logit is not finite.
    """
    at = report_steps(len(train.lengths), config)
    optimizer = _optimizer(model, config)
    micro = config.micro_batch_size or config.batch_size
    progress = (
        Progress(micro_batch_size=micro) if checkpoint is None else Progress.resume(checkpoint, model, optimizer, micro)
    )
    for entry in progress.reports:
        report(entry)
    batches = _batches(train, config.batch_size, seed, skip=progress.step)
    saved = monotonic()
    model.train()
    with Writer() as writer:
        while progress.step < at[-1]:
            _set_rates(optimizer, progress.step, at[-1], config.warmup_fraction)
            loss, labels, progress.micro_batch_size = _step(
                model, optimizer, train, next(batches), config, compute, pad, progress.micro_batch_size
            )
            progress.step += 1
            progress.loss_sum += loss
            progress.labels += labels
            if progress.step not in at:
                continue
            value, metrics = evaluate()
            number = len(progress.reports) + 1
            metrics["train/loss"] = progress.loss_sum / progress.labels
            metrics["train/micro_batch_size"] = progress.micro_batch_size
            entry = Report(step=number, score=value, metrics=metrics)
            progress.add(entry, model)
            writer.wait()  # who ends a trial at a report may delete its checkpoint
            report(entry)
            due = config.checkpoint_every and number % config.checkpoint_every == 0
            if checkpoint is not None and due and monotonic() - saved >= config.checkpoint_seconds:
                writer.write(checkpoint.path, progress.content(checkpoint, model, optimizer))
                saved = monotonic()
    model.load_state_dict(progress.best_weights)
    return progress.reports


def time_step(
    model: Classifier,
    train: EncodedSplit,
    windows: NDArray[np.int64],
    config: TrainingConfig,
    compute: Compute,
    pad: int,
    evaluate: Callable[[], object] = lambda: None,
) -> float:
    """Return the seconds of one optimiser step; the step before it, which also allocates, is not counted.

    Args:
        model: On the CPU, or on its device.
        train: The training set.
        windows: The step's, [B].
        config: Optimisation.
        compute: Device and precision.
        pad: The tokenizer's padding piece.
        evaluate: Called after the steps, as in `fit` with the gradients and the optimiser's state in memory.
    """
    with small_table(model, train, config, pad):
        model.to(compute.device)
        optimizer = _optimizer(model, config)
        _set_rates(optimizer, 0, 1, 0.0)
        micro = config.micro_batch_size or config.batch_size
        *_, micro = _step(model, optimizer, train, windows, config, compute, pad, micro)
        began = perf_counter()
        _step(model, optimizer, train, windows, config, compute, pad, micro)
        seconds = perf_counter() - began
        evaluate()
        return seconds


def _optimizer(model: Classifier, config: TrainingConfig) -> torch.optim.AdamW:
    head_rate = config.learning_rate if config.head_learning_rate is None else config.head_learning_rate
    return torch.optim.AdamW(
        [
            {"params": model.encoder_parameters(), "peak": config.learning_rate},
            {"params": model.new_parameters(), "peak": head_rate},
        ],
        weight_decay=config.weight_decay,
        fused=True,
    )


def _set_rates(optimizer: torch.optim.Optimizer, step: int, steps: int, warmup_fraction: float) -> None:
    """Set the rates of a step, counted from 0: linear warm-up, then linear decay that ends at 0."""
    warmup = round(warmup_fraction * steps)
    factor = (step + 1) / (warmup + 1) if step < warmup else (steps - step) / (steps - warmup)
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]


def _batches(train: EncodedSplit, batch_size: int, seed: int, skip: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches of window indices without end; an epoch's order depends on seed and epoch alone."""
    lengths = train.lengths
    per_epoch = math.ceil(len(lengths) / batch_size)
    for epoch in count(skip // per_epoch):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = training_batches(lengths, batch_size, generator)
        yield from order[skip % per_epoch if epoch == skip // per_epoch else 0 :]


def _step(
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    train: EncodedSplit,
    windows: NDArray[np.int64],
    config: TrainingConfig,
    compute: Compute,
    pad: int,
    micro: int,
) -> tuple[float, int, int]:
    """Take one optimiser step with at most `micro` windows at a time, halved as often as memory runs out.

    A part that was taken before memory ran out moves no running statistics: they are those of the parts that count.

    Returns:
        The summed loss, the number of labels it is a sum over, and how many windows at a time fit.
    """
    statistics = [(buffer, buffer.clone()) for buffer in model.fusion.buffers()]
    while True:
        try:
            loss, labels = _gradients(model, train, windows, compute, pad, micro)
            break
        except RuntimeError as error:
            if micro == 1 or not out_of_memory(error):
                raise
        for buffer, before in statistics:
            buffer.copy_(before)
        micro = math.ceil(micro / 2)
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
        raise DivergedError(f"training: loss {loss / labels:g} with gradient norm {float(norm):g} is not finite")
    optimizer.step()
    return loss, labels, micro


def _gradients(
    model: Classifier, train: EncodedSplit, windows: NDArray[np.int64], compute: Compute, pad: int, micro: int
) -> tuple[float, int]:
    """Leave the gradients of a batch in the model; return its summed loss and the number of labels it is a sum over."""
    parts = [collate(train, windows[i : i + micro], pad) for i in range(0, len(windows), micro)]
    labels = sum(len(part.labels_W) for part in parts)
    model.zero_grad(set_to_none=True)
    total = 0.0
    for part in parts:
        # Every label weighs the same, however the batch is cut into micro-batches.
        loss = _summed_loss(model, part.to(compute.device), compute) / labels
        loss.backward()
        total += loss.item() * labels
    return total, labels


def _summed_loss(model: Classifier, batch: Batch, compute: Compute) -> torch.Tensor:
    with compute.autocast(), _attention(compute):
        logits_WC = model(*batch.inputs())
    return nn.functional.cross_entropy(logits_WC, batch.labels_W, reduction="sum")


def _attention(compute: Compute) -> AbstractContextManager[None]:
    """Return how attention is computed where a backward pass follows.

    On a CPU, fused attention without dropout goes back so slowly in bf16 that it can take half of a step.
    """
    plain = compute.device.type == "cpu" and compute.bf16
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()
