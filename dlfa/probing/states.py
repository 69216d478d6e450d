"""Hidden states of every layer, streamed to disk: memory holds one batch of them at a time.

Legend of array sizes: L+1 layers (0 is the embedding layer's output), S sentences, W words, E hidden size.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dlfa.compute import Compute
from dlfa.data.batching import collate, evaluation_batches
from dlfa.data.encode import EncodedSplit
from dlfa.errors import DivergedError

__all__ = ["sentence_states", "word_states"]

_MAX_PIECES = 4096
"""Padded pieces per batch; a bound on memory only."""


def word_states(
    encoder: PreTrainedModel, split: EncodedSplit, compute: Compute, pad: int, room: Path
) -> NDArray[np.float32]:
    """Return the states of all words, [L+1, W, E], in the split's order: those of each word's first sub-word.

    Args:
        encoder: In evaluation mode, on the device.
        split: Encoded sentences.
        compute: Device and precision.
        pad: The tokenizer's padding piece.
        room: New file that the states are kept in, memory-mapped.

    Raises:
        DivergedError: A state is not finite.
    """
    states = _room(room, encoder, len(split.labels))
    for windows in evaluation_batches(split.lengths, _MAX_PIECES):
        batch = collate(split, windows, pad).to(compute.device)
        for layer, h_BTE in enumerate(_layers(encoder, batch.input_ids_BT, batch.attention_mask_BT, compute)):
            states[layer, batch.index_W.cpu().numpy()] = h_BTE[batch.row_W, batch.column_W].float().cpu().numpy()
    return states


def sentence_states(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    compute: Compute,
    max_length: int,
    room: Path,
) -> NDArray[np.float32]:
    """Return the mean state of each sentence's pieces, special ones included, [L+1, S, E].

    A sentence longer than the window is read in several windows, and its mean is over all of them.

    Args:
        encoder: In evaluation mode, on the device.
        tokenizer: The encoder's own.
        sentences: As text.
        compute: Device and precision.
        max_length: Window in pieces.
        room: New file that the states are kept in, memory-mapped.

    Raises:
        DivergedError: A state is not finite.
    """
    encoded = tokenizer(list(sentences), truncation=True, max_length=max_length, return_overflowing_tokens=True)
    ids, owners = encoded["input_ids"], np.asarray(encoded["overflow_to_sample_mapping"])
    lengths = np.asarray([len(window) for window in ids])
    states, pieces = _room(room, encoder, len(sentences)), np.zeros(len(sentences))
    for windows in evaluation_batches(lengths, _MAX_PIECES):
        batch = tokenizer.pad({"input_ids": [ids[window] for window in windows]}, return_tensors="pt")
        mask_BT = batch["attention_mask"].to(compute.device)
        for layer, h_BTE in enumerate(_layers(encoder, batch["input_ids"].to(compute.device), mask_BT, compute)):
            sums_BE = (h_BTE.float() * mask_BT[:, :, None]).sum(1)
            np.add.at(states[layer], owners[windows], sums_BE.cpu().numpy())
        np.add.at(pieces, owners[windows], lengths[windows])
    for layer in states:
        layer /= pieces[:, None]
    return states


def _layers(
    encoder: PreTrainedModel, input_ids_BT: torch.Tensor, mask_BT: torch.Tensor, compute: Compute
) -> Iterator[torch.Tensor]:
    with torch.inference_mode(), compute.autocast():
        layers = encoder(input_ids=input_ids_BT, attention_mask=mask_BT, output_hidden_states=True).hidden_states
    for number, h_BTE in enumerate(layers):
        if not torch.isfinite(h_BTE).all():
            raise DivergedError(f"layer {number}: a state is not finite")
        yield h_BTE


def _room(path: Path, encoder: PreTrainedModel, count: int) -> NDArray[np.float32]:
    config: Any = encoder.config
    shape = (config.num_hidden_layers + 1, count, config.hidden_size)
    return np.memmap(path, np.float32, "w+", shape=shape)
