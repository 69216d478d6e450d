"""Batches of windows: their order, their padding, and where their words are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dlfa.data.batching import collate, evaluation_batches, joined, training_batches
from dlfa.data.encode import UNLABELLED, EncodedSplit

PAD = 1

# Three windows; the first piece of the word with label n is 100 + n, every other piece is below 100.
SPLIT = EncodedSplit(
    input_ids=np.array([0, 107, 50, 108, 2, 0, 109, 2, 0, 105, 106, 51, 52, 103, 2], np.int32),
    token_types=np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1], np.int8),
    window_start=np.array([0, 5, 8, 15], np.int64),
    window_label_start=np.array([0, 2, 3, 6], np.int64),
    label_position=np.array([1, 3, 1, 1, 2, 5], np.int32),
    labels=np.array([7, 8, 9, 5, 6, 3], np.int16),
    example_label_start=np.array([0, 2, 6], np.int64),
    example_ids=np.array([7, 8], np.int64),
    untranslated=np.array([False, True]),
    counts={},
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lengths_of(count: int, seed: int = 0) -> NDArray[np.int64]:
    """Lengths as in a treebank: most sentences are short, some fill the window."""
    drawn = np.random.default_rng(seed).lognormal(3, 0.7, count)
    return np.clip(drawn.astype(np.int64), 3, 128)


def padding(lengths: NDArray[np.int64], batches: list[NDArray[np.int64]]) -> float:
    """Share of a padded batch's positions that are padding."""
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1 - sum(int(lengths[batch].sum()) for batch in batches) / padded


@given(lengths=st.lists(st.integers(1, 128), max_size=300), batch_size=st.integers(1, 40))
def test_every_window_once_per_epoch(lengths: list[int], batch_size: int) -> None:
    batches = training_batches(np.array(lengths, np.int64), batch_size, seeded(3))
    assert sorted(window for batch in batches for window in batch.tolist()) == list(range(len(lengths)))
    # As many batches as the budget of optimiser steps counts, and all but one of full size.
    assert len(batches) == -(-len(lengths) // batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_the_seed_determines_the_order() -> None:
    lengths = lengths_of(1000)
    one, again, other = (training_batches(lengths, 8, seeded(seed)) for seed in (1, 1, 2))
    assert [batch.tolist() for batch in one] == [batch.tolist() for batch in again]
    assert [batch.tolist() for batch in one] != [batch.tolist() for batch in other]
    assert {frozenset(batch.tolist()) for batch in one} != {frozenset(batch.tolist()) for batch in other}


def test_two_epochs_of_one_generator_differ() -> None:
    lengths, generator = lengths_of(1000), seeded(1)
    one, two = (training_batches(lengths, 8, generator) for _ in range(2))
    assert [batch.tolist() for batch in one] != [batch.tolist() for batch in two]


def test_similar_lengths_are_together_but_batches_come_in_any_order() -> None:
    lengths = lengths_of(5000)
    batches = training_batches(lengths, 32, seeded(1))
    unsorted = [np.arange(start, min(start + 32, 5000)) for start in range(0, 5000, 32)]
    assert padding(lengths, unsorted) > 0.4
    assert padding(lengths, batches) < 0.05
    # Sorted batches would go from short to long; the mean length must not tell how far the epoch is.
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@given(lengths=st.lists(st.integers(3, 128), max_size=200), max_pieces=st.integers(1, 1000))
def test_evaluation_batches_hold_every_window_within_the_bound(lengths: list[int], max_pieces: int) -> None:
    array = np.array(lengths, np.int64)
    batches = evaluation_batches(array, max_pieces)
    assert sorted(window for batch in batches for window in batch.tolist()) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * array[batch].max() <= max_pieces for batch in batches)
    longest_first = [int(length) for batch in batches for length in array[batch]]
    assert longest_first == sorted(lengths, reverse=True)


def test_evaluation_batches_are_as_large_as_the_bound_allows() -> None:
    lengths = np.array([4, 8, 4, 8, 4, 4], np.int64)
    assert [batch.tolist() for batch in evaluation_batches(lengths, 16)] == [[1, 3], [0, 2, 4, 5]]


def test_a_batch_is_padded_to_its_longest_window() -> None:
    batch = collate(SPLIT, np.array([1, 2]), PAD)
    assert batch.input_ids_BT.tolist() == [[0, 109, 2, PAD, PAD, PAD, PAD], [0, 105, 106, 51, 52, 103, 2]]
    assert batch.attention_mask_BT.tolist() == [[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1]]
    assert batch.token_types_BT.tolist() == [[0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]]
    assert collate(SPLIT, np.array([1]), PAD).input_ids_BT.tolist() == [[0, 109, 2]]


@pytest.mark.parametrize("windows", [[0, 1, 2], [2, 0], [1], [2, 1, 0]])
def test_rows_and_columns_point_at_first_sub_words(windows: list[int]) -> None:
    batch = collate(SPLIT, np.array(windows), PAD)
    assert (batch.input_ids_BT[batch.row_W, batch.column_W] - 100).tolist() == batch.labels_W.tolist()
    assert SPLIT.labels[batch.index_W.numpy()].tolist() == batch.labels_W.tolist()
    of_window = {0: [0, 1], 1: [2], 2: [3, 4, 5]}
    assert batch.index_W.tolist() == [word for window in windows for word in of_window[window]]


def test_tensors_are_of_types_that_index_and_train() -> None:
    batch = collate(SPLIT, np.array([0]), PAD)
    assert {tensor.dtype for tensor in vars(batch).values()} == {torch.int64}
    moved = batch.to(torch.device("cpu"))
    assert all(torch.equal(tensor, vars(batch)[name]) for name, tensor in vars(moved).items())


def test_words_without_labels_are_batched_all_the_same() -> None:
    plain = EncodedSplit(**(vars(SPLIT) | {"labels": np.full(6, UNLABELLED, np.int16)}))
    assert collate(plain, np.array([1, 2]), PAD).labels_W.tolist() == [UNLABELLED] * 4


@pytest.mark.parametrize("seed", range(8))
def test_a_batch_holds_what_a_loop_over_its_windows_finds(seed: int) -> None:
    split = drawn_split(seed)
    windows = np.random.default_rng(seed).permutation(len(split.lengths))[: seed + 1]
    batch = collate(split, windows, PAD)
    width = max(int(split.lengths[window]) for window in windows)
    words = 0
    for row, window in enumerate(windows):
        pieces = range(split.window_start[window], split.window_start[window + 1])
        padding = [0] * (width - len(pieces))
        assert batch.input_ids_BT[row].tolist() == [*split.input_ids[pieces].tolist(), *[PAD for _ in padding]]
        assert batch.token_types_BT[row].tolist() == [*split.token_types[pieces].tolist(), *padding]
        assert batch.attention_mask_BT[row].tolist() == [*[1 for _ in pieces], *padding]
        for index in range(split.window_label_start[window], split.window_label_start[window + 1]):
            found = (batch.row_W[words], batch.column_W[words], batch.index_W[words], batch.labels_W[words])
            assert [int(value) for value in found] == [row, split.label_position[index], index, split.labels[index]]
            words += 1
    assert {len(tensor) for tensor in (batch.row_W, batch.column_W, batch.index_W, batch.labels_W)} == {words}
    assert {tensor.dtype for tensor in vars(batch).values()} == {torch.int64}


def drawn_split(seed: int, windows: int = 12) -> EncodedSplit:
    """Windows of 1 to 9 pieces, with a label at some of them, at all or at none; two windows an example."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(1, 10, windows)
    labelled = [np.flatnonzero(chance.random(length) < chance.choice([0, 0.5, 1])) for length in lengths]
    label_start = np.cumsum([0, *map(len, labelled)])
    return EncodedSplit(
        input_ids=chance.integers(2, 300, lengths.sum()).astype(np.int32),
        token_types=chance.integers(0, 2, lengths.sum()).astype(np.int8),
        window_start=np.cumsum([0, *lengths]),
        window_label_start=label_start,
        label_position=np.concatenate(labelled).astype(np.int32),
        labels=chance.integers(-1, 17, label_start[-1]).astype(np.int16),
        example_label_start=label_start[::2],
        example_ids=chance.integers(1, 99, len(label_start[::2]) - 1),
        untranslated=chance.random(len(label_start[::2]) - 1) < 0.5,
        counts={"split_sentences": seed},
    )


def test_joined_splits_are_their_windows_one_split_after_the_other() -> None:
    splits = [drawn_split(1), SPLIT, drawn_split(2, 4)]
    splits[1] = EncodedSplit(**(vars(SPLIT) | {"counts": {"split_sentences": 5}}))
    one = joined(splits)
    assert one.counts == {"split_sentences": 8}
    names = [str(number) for number in range(18)]
    assert one.by_example(one.labels, names) == [
        example for split in splits for example in split.by_example(split.labels, names)
    ]
    for name in ("example_ids", "untranslated"):
        assert getattr(one, name).tolist() == [value for split in splits for value in getattr(split, name)]
    windows = words = 0
    for split in splits:
        expected = collate(split, np.arange(len(split.lengths)), PAD)
        found = collate(one, np.arange(windows, windows + len(split.lengths)), PAD)
        assert (found.index_W - words).tolist() == expected.index_W.tolist()
        for name in vars(found).keys() - {"index_W"}:
            assert torch.equal(vars(found)[name], vars(expected)[name])
        windows, words = windows + len(split.lengths), words + len(split.labels)
    assert (len(one.lengths), len(one.labels)) == (windows, words)
