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
from dlfa.model import Classifier
from dlfa.tasks import Kind, TaskSpec

__all__ = ["predict", "predict_all", "predict_longest", "predict_with_states", "score", "tally"]

_Found = TypeVar("_Found")
_Number = TypeVar("_Number", bound=np.generic)

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
    states_WE: NDArray[np.float32] | None = None,
) -> None:
    """Write predictions of some batches of a split to where they belong, and states if there is an array of them."""
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        todo = list(batches)[::-1]
        while todo:
            windows = todo.pop()
            try:
                batch = collate(split, windows, pad)
                inputs = batch.to(compute.device).inputs()
                with compute.autocast():
                    if states_WE is None:
                        logits_WC = model(*inputs)
                    else:
                        assert isinstance(model, Classifier), "no other model tells its states"
                        h_WE = model.states(*inputs)
                        logits_WC = model.logits(h_WE)
            except RuntimeError as error:
                if len(windows) == 1 or not out_of_memory(error):
                    raise
                todo += [windows[len(windows) // 2 :], windows[: len(windows) // 2]]
                continue
            if not torch.isfinite(logits_WC).all():
                raise DivergedError("evaluation: a logit is not finite")
            predicted_W[batch.index_W.numpy()] = logits_WC.argmax(-1).cpu().numpy()
            if states_WE is not None:
                if not torch.isfinite(h_WE).all():  # the pooler's tanh makes finite logits of them
                    raise DivergedError("evaluation: a hidden state is not finite")
                states_WE[batch.index_W.numpy()] = h_WE.cpu().numpy()
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
    return _by_language(splits, predict(model, joined(list(splits.values())), compute, pad))


def predict_with_states(
    model: Classifier, splits: Mapping[str, EncodedSplit], compute: Compute, pad: int
) -> tuple[dict[str, NDArray[np.int16]], dict[str, NDArray[np.float32]]]:
    """Return what `predict_all` returns, and for every language what the head read, [W, E], of the same pass.

    The states are those of `Classifier.states`. They take 4 bytes each on the CPU until nobody holds them: 15 languages
    of 5,000 pairs with E of 768 are 230 MB.

    Args:
        model: Its fusion's output is what the head reads.
        splits: Encoded examples of each language, at least one.
        compute: Device and precision.
        pad: The tokenizer's padding piece.

    Raises:
        DivergedError: A logit or a state is not finite.
    """
    split = joined(list(splits.values()))
    batches = evaluation_batches(split.lengths, _MAX_PIECES[compute.device.type])
    predicted = np.empty(len(split.labels), np.int16)
    states = np.empty((len(split.labels), model.encoder.config.hidden_size), np.float32)
    _predict(model, split, batches, compute, pad, predicted, states)
    return _by_language(splits, predicted), _by_language(splits, states)


def _by_language(splits: Mapping[str, EncodedSplit], values: NDArray[_Number]) -> dict[str, NDArray[_Number]]:
    """Return what belongs to each language's labels, of an array with a row for each label of all languages."""
    ends = np.cumsum([len(split.labels) for split in splits.values()])
    return dict(zip(splits, np.split(values, ends[:-1]), strict=True))


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
