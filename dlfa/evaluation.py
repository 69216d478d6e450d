"""Zero-shot predictions and scores per language."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dlfa.compute import Compute, out_of_memory
from dlfa.data.batching import collate, evaluation_batches, joined
from dlfa.data.encode import EncodedSplit
from dlfa.errors import DivergedError
from dlfa.metrics import SCORES, TALLIES
from dlfa.tasks import Kind, TaskSpec

__all__ = ["predict", "predict_all", "predict_longest", "score", "tally"]

_Found = TypeVar("_Found")

_MAX_PIECES = {"cpu": 1024, "cuda": 8192}
"""Padded pieces per batch. On a CPU larger ones are hardly faster and hold more padding; a GPU has to be filled."""


def predict(
    model: nn.Module, split: EncodedSplit, compute: Compute, pad: int, max_pieces: int | None = None
) -> NDArray[np.int16]:
    """Return the most likely label at every labelled position.

    Args:
        model: Gives logits, [W, C], for a batch's inputs.
        split: Encoded examples; labels are not looked at.
        compute: Device and precision.
        pad: The tokenizer's padding piece.
        max_pieces: Padded pieces per batch; none: what suits the device. A batch that does not fit is halved.

    Returns:
        Label indices, [W], in the split's order.

    Raises:
        DivergedError: A logit is not finite.
    """
    batches = evaluation_batches(split.lengths, max_pieces or _MAX_PIECES[compute.device.type])
    predicted = np.empty(len(split.labels), np.int16)
    _predict(model, split, batches, compute, pad, predicted)
    return predicted


def predict_longest(model: nn.Module, split: EncodedSplit, compute: Compute, pad: int) -> None:
    """Predict the batch of `predict` that needs the most memory, and nothing else.

    Args:
        model: As for `predict`.
        split: Encoded examples.
        compute: Device and precision.
        pad: The tokenizer's padding piece.

    Raises:
        DivergedError: A logit is not finite.
    """
    batches = evaluation_batches(split.lengths, _MAX_PIECES[compute.device.type])
    _predict(model, split, batches[:1], compute, pad, np.empty(len(split.labels), np.int16))


def _predict(
    model: nn.Module,
    split: EncodedSplit,
    batches: Sequence[NDArray[np.int64]],
    compute: Compute,
    pad: int,
    predicted_W: NDArray[np.int16],
) -> None:
    """Write the predictions of some batches of a split to where they belong."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        todo = list(batches)[::-1]
        while todo:
            windows = todo.pop()
            try:
                batch = collate(split, windows, pad)
                with compute.autocast():
                    logits_WC = model(*batch.to(compute.device).inputs())
            except RuntimeError as error:
                if len(windows) == 1 or not out_of_memory(error):
                    raise
                todo += [windows[len(windows) // 2 :], windows[: len(windows) // 2]]
                continue
            if not torch.isfinite(logits_WC).all():
                raise DivergedError("evaluation: a logit is not finite")
            predicted_W[batch.index_W.numpy()] = logits_WC.argmax(-1).cpu().numpy()
    model.train(was_training)


def predict_all(
    model: nn.Module, splits: Mapping[str, EncodedSplit], compute: Compute, pad: int
) -> dict[str, NDArray[np.int16]]:
    """Return what `predict` returns, [W], for every language, in one pass: windows of one length share a batch.

    A language by itself has few windows of each length, and so much more padding. Which windows share a batch
    moves a logit by a rounding error, so where two labels are as good as equal, the other languages may tip the scale.

    Args:
        model: As for `predict`.
        splits: Encoded examples of each language.
        compute: Device and precision.
        pad: The tokenizer's padding piece.

    Raises:
        DivergedError: A logit is not finite.
    """
    if not splits:
        return {}
    predicted = predict(model, joined(list(splits.values())), compute, pad)
    ends = np.cumsum([len(split.labels) for split in splits.values()])
    return dict(zip(splits, np.split(predicted, ends[:-1]), strict=True))


def score(task: TaskSpec, split: EncodedSplit, predicted: NDArray[np.int16]) -> dict[str, float]:
    """Return the task's scores in percent.

    Args:
        task: Gives kind, metrics and label names.
        split: Encoded examples with labels.
        predicted: Label indices, [W].
    """
    return _of_examples(SCORES, task, split, predicted)


def tally(task: TaskSpec, split: EncodedSplit, predicted: NDArray[np.int16]) -> dict[str, NDArray[np.int64]]:
    """Return what each of S examples adds to each of the task's scores, [S, 2]: see `dlfa.metrics`.

    Args:
        task: Gives kind, metrics and label names.
        split: Encoded examples with labels.
        predicted: Label indices, [W].
    """
    return _of_examples(TALLIES, task, split, predicted)


def _of_examples(
    functions: Mapping[Kind, Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], dict[str, _Found]]],
    task: TaskSpec,
    split: EncodedSplit,
    predicted: NDArray[np.int16],
) -> dict[str, _Found]:
    """Return for each of the task's metrics what the function of its kind finds in the labels of the examples."""
    gold = split.by_example(split.labels, task.labels)
    found = functions[task.kind](gold, split.by_example(predicted, task.labels))
    return {name: found[name] for name in task.metrics}
