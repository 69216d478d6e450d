"""Examples to the pieces of an encoder.

Sentences are split into windows where they are long, never cut; a pair is one window, truncated where it is long.

Legend of array sizes: P pieces, N windows, W labelled positions (words, or pairs), S examples.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from dlfa.data.sources import Example, Pair, Sentence, untranslated
from dlfa.tasks import Kind, TaskSpec

__all__ = ["NO_ID", "UNLABELLED", "EncodedSplit", "encode"]

UNLABELLED = -1
"""Label of an example in a file without labels: predicted, never scored."""

NO_ID = 0
"""Digest of the id of an example that has none."""

_CHUNK = 1000
"""Examples that the tokenizer is given at once."""


@dataclass(frozen=True, kw_only=True)
class EncodedSplit:
    """One language's split as flat arrays; every label belongs to exactly one window."""

    input_ids: NDArray[np.int32]
    """[P] pieces of all windows, special tokens included, one window after the other."""

    token_types: NDArray[np.int8]
    """[P] the tokenizer's token type of each piece: 1 in the second sentence of a pair if it tells them apart."""

    window_start: NDArray[np.int64]
    """[N + 1] where each window's pieces begin in `input_ids`."""

    window_label_start: NDArray[np.int64]
    """[N + 1] where each window's labels begin in `label_position` and `labels`."""

    label_position: NDArray[np.int32]
    """[W] position within its window that a label is read from: a word's first sub-word, or a pair's first piece."""

    labels: NDArray[np.int16]
    """[W] index of each label, or UNLABELLED."""

    example_label_start: NDArray[np.int64]
    """[S + 1] where each example's labels begin."""

    example_ids: NDArray[np.int64]
    """[S] digest of each example's id in its file, or NO_ID; translations of one example have the same."""

    untranslated: NDArray[np.bool_]
    """[S] whether PAWS-X's mark of no translation stands in place of a sentence."""

    counts: Mapping[str, int]
    """What was done to examples that do not fit: see the functions that encode."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] pieces per window."""
        return np.diff(self.window_start)

    @property
    def labelled(self) -> bool:
        """Whether the split can be scored."""
        return bool(self.labels.size) and bool((self.labels != UNLABELLED).all())

    def by_example(self, values: NDArray[np.int16], names: Sequence[str]) -> list[list[str]]:
        """Return names of label indices, [W], example by example."""
        return [
            [names[index] for index in values[start:end]] for start, end in pairwise(self.example_label_start.tolist())
        ]


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, task: TaskSpec, max_length: int
) -> EncodedSplit:
    """Encode examples of a task's kind.

    Args:
        examples: With the task's labels or without labels.
        tokenizer: The encoder's own, a fast one.
        task: Gives the kind, and label names in the order of the classifier's outputs.
        max_length: Pieces per window, special tokens included.
    """
    return _ENCODERS[task.kind](examples, tokenizer, task.labels, max_length)


def _encode_sentences(
    sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
) -> EncodedSplit:
    """Fill sentences into windows word by word, as XTREME's preprocessing does.

    A word's label sits on its first sub-word (arXiv 2003.11080, appendix B). Counts: `split_sentences` lie in several
    windows; `shortened_words` have more pieces than a window holds: their label is kept, their last pieces are not;
    `unknown_words` the tokenizer turns into nothing, such as a lone control character: one unknown piece.
    """
    prefix, suffix = _special_pieces(tokenizer)
    room = max_length - len(prefix) - len(suffix)
    assert room >= 1, "DataConfig allows no window that special tokens fill"
    index = {name: i for i, name in enumerate(labels)}
    unknown = tokenizer.unk_token_id
    pieces: list[int] = []
    window_start, window_label_start, example_label_start = [0], [0], [0]
    positions: list[int] = []
    values: list[int] = []
    split_sentences = shortened = unknown_words = 0
    for sentence, words in zip(sentences, _pieces_of_words(sentences, tokenizer), strict=True):
        windows: list[list[list[int]]] = [[]]
        used = 0
        for word in words:
            if not word:
                unknown_words += 1
                word = [unknown if unknown is not None else 0]
            shortened += len(word) > room
            word = word[:room]
            if used + len(word) > room:
                windows.append([])
                used = 0
            windows[-1].append(word)
            used += len(word)
        split_sentences += len(windows) > 1
        for window in windows:
            pieces.extend(prefix)
            for word in window:
                positions.append(len(pieces) - window_start[-1])
                pieces.extend(word)
            pieces.extend(suffix)
            window_start.append(len(pieces))
            window_label_start.append(len(positions))
        if sentence.tags is None:
            values.extend([UNLABELLED] * len(sentence.words))
        else:
            values.extend(index[tag] for tag in sentence.tags)
        example_label_start.append(len(positions))
    assert len(values) == len(positions), "every word has one position and one label"
    return EncodedSplit(
        input_ids=np.asarray(pieces, np.int32),
        token_types=np.zeros(len(pieces), np.int8),
        window_start=np.asarray(window_start, np.int64),
        window_label_start=np.asarray(window_label_start, np.int64),
        label_position=np.asarray(positions, np.int32),
        labels=np.asarray(values, np.int16),
        example_label_start=np.asarray(example_label_start, np.int64),
        example_ids=np.full(len(sentences), NO_ID, np.int64),
        untranslated=np.zeros(len(sentences), np.bool_),
        counts={"split_sentences": split_sentences, "shortened_words": shortened, "unknown_words": unknown_words},
    )


def _encode_pairs(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
) -> EncodedSplit:
    """Put both sentences of a pair into one window, truncated longest first, as XTREME does.

    The label is read from the first piece. Counts: `truncated_pairs` are longer than the window; `untranslated_pairs`
    have PAWS-X's mark for that in place of a sentence.
    """
    index = {name: i for i, name in enumerate(labels)}
    has_types = "token_type_ids" in tokenizer.model_input_names
    pieces: list[int] = []
    types: list[int] = []
    window_start, truncated = [0], 0
    for start in range(0, len(pairs), _CHUNK):
        batch = tokenizer(
            [pair.first for pair in pairs[start : start + _CHUNK]],
            [pair.second for pair in pairs[start : start + _CHUNK]],
            truncation="longest_first",
            max_length=max_length,
            verbose=False,
        )
        for encoding in batch.encodings:
            pieces.extend(encoding.ids)
            types.extend(encoding.type_ids if has_types else [0] * len(encoding.ids))
            window_start.append(len(pieces))
            truncated += bool(encoding.overflowing)
    one_each = np.arange(len(pairs) + 1, dtype=np.int64)
    marked = np.asarray([untranslated(pair) for pair in pairs], np.bool_)
    return EncodedSplit(
        input_ids=np.asarray(pieces, np.int32),
        token_types=np.asarray(types, np.int8),
        window_start=np.asarray(window_start, np.int64),
        window_label_start=one_each,
        label_position=np.zeros(len(pairs), np.int32),
        labels=np.asarray([UNLABELLED if p.label is None else index[p.label] for p in pairs], np.int16),
        example_label_start=one_each,
        example_ids=np.asarray([_digest(pair.id) for pair in pairs], np.int64),
        untranslated=marked,
        counts={"truncated_pairs": truncated, "untranslated_pairs": int(marked.sum())},
    )


def _digest(name: str | None) -> int:
    """Return 64 bits that stand for an id."""
    if name is None:
        return NO_ID
    found = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(found, "little", signed=True)


_ENCODERS: Mapping[Kind, Callable[..., EncodedSplit]] = {"tagging": _encode_sentences, "pair": _encode_pairs}


def _special_pieces(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the pieces that the tokenizer puts before and after a single text."""
    probe = tokenizer(["a"], is_split_into_words=True)
    ids: list[int] = list(probe["input_ids"])
    inside = [i for i, word in enumerate(probe.word_ids()) if word is not None]
    return ids[: inside[0]], ids[inside[-1] + 1 :]


def _pieces_of_words(sentences: Sequence[Sentence], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[list[int]]]:
    """Yield each sentence's words as lists of pieces, possibly empty."""
    for start in range(0, len(sentences), _CHUNK):
        part = sentences[start : start + _CHUNK]
        batch = tokenizer(
            [list(sentence.words) for sentence in part],
            is_split_into_words=True,
            add_special_tokens=False,
            verbose=False,
        )
        for row, sentence in enumerate(part):
            words: list[list[int]] = [[] for _ in sentence.words]
            for piece, word in zip(batch["input_ids"][row], batch.word_ids(row), strict=True):
                words[word].append(piece)
            yield words
