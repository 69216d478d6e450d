"""Windows of similar length together, padded to the longest, in an order that a seed determines.

Legend of suffixes: B windows, T positions, P pieces without padding, W labelled positions (words, or
pairs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlfa.data.encode import EncodedSplit

__all__ = ["Batch", "collate", "evaluation_batches", "joined", "training_batches"]

_POOL = 64
"""Batches that are sorted by length together: enough for little padding, few enough for a random order."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded windows and where their labels are read from."""

    input_ids_BT: torch.Tensor
    attention_mask_BT: torch.Tensor
    """1 for pieces, 0 for padding."""

    token_types_BT: torch.Tensor
    """0 for padding."""

    row_W: torch.Tensor
    column_W: torch.Tensor
    """Row and column of each labelled position."""

    index_W: torch.Tensor
    """Index of each label in the split."""

    labels_W: torch.Tensor

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """Return what a model's forward pass takes, in its order."""
        return self.input_ids_BT, self.attention_mask_BT, self.token_types_BT, self.row_W, self.column_W

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


def training_batches(
    lengths: NDArray[np.int64], batch_size: int, generator: torch.Generator
) -> list[NDArray[np.int64]]:
    """Return one epoch's batches of window indices: every window once, similar lengths together."""
    order = torch.randperm(len(lengths), generator=generator).numpy()
    pool = _POOL * batch_size
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), pool):
        chunk = order[start : start + pool]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches.extend(chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def evaluation_batches(lengths: NDArray[np.int64], max_pieces: int) -> list[NDArray[np.int64]]:
    """Return batches by length, longest first, of at most `max_pieces` padded pieces (or one window)."""
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        size = max(1, max_pieces // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def joined(splits: Sequence[EncodedSplit]) -> EncodedSplit:
    """Return the examples of several splits, at least one, as one split, in their order."""

    def starts(name: str) -> NDArray[np.int64]:
        counts = [np.diff(getattr(split, name)) for split in splits]
        return np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64)

    def values(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(split, name) for split in splits])

    return EncodedSplit(
        input_ids=values("input_ids"),
        token_types=values("token_types"),
        window_start=starts("window_start"),
        window_label_start=starts("window_label_start"),
        label_position=values("label_position"),
        labels=values("labels"),
        example_label_start=starts("example_label_start"),
        example_ids=values("example_ids"),
        untranslated=values("untranslated"),
        counts={name: sum(split.counts[name] for split in splits) for name in splits[0].counts},
    )


def collate(split: EncodedSplit, windows: NDArray[np.int64], pad: int) -> Batch:
    """Return the given windows as one padded batch.

    Args:
        split: Encoded examples.
        windows: [B] indices of windows.
        pad: The tokenizer's padding piece.
    """
    start_B = split.window_start[windows]
    length_B = split.window_start[windows + 1] - start_B
    label_start_B = split.window_label_start[windows]
    labels_B = split.window_label_start[windows + 1] - label_start_B
    mask_BT = np.arange(length_B.max()) < length_B[:, None]
    piece_P = _ranges(start_B, length_B)
    ids_BT = np.full(mask_BT.shape, pad, np.int64)
    ids_BT[mask_BT] = split.input_ids[piece_P]
    types_BT = np.zeros(mask_BT.shape, np.int64)
    types_BT[mask_BT] = split.token_types[piece_P]
    index_W = _ranges(label_start_B, labels_B)
    return Batch(
        input_ids_BT=torch.from_numpy(ids_BT),
        attention_mask_BT=torch.from_numpy(mask_BT.astype(np.int64)),
        token_types_BT=torch.from_numpy(types_BT),
        row_W=torch.from_numpy(np.repeat(np.arange(len(windows)), labels_B)),
        column_W=torch.from_numpy(split.label_position[index_W].astype(np.int64)),
        index_W=torch.from_numpy(index_W),
        labels_W=torch.from_numpy(split.labels[index_W].astype(np.int64)),
    )


def _ranges(start_B: NDArray[np.int64], length_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start, start + 1, ... of every range, one range after the other."""
    return np.repeat(start_B - np.cumsum(length_B) + length_B, length_B) + np.arange(length_B.sum())
