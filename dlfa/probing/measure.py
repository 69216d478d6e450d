"""Every layer of an encoder measured on parallel sentences and on treebanks, example by example."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from transformers import PreTrainedModel

from dlfa.compute import Compute
from dlfa.data.cache import Corpus
from dlfa.data.encode import EncodedSplit
from dlfa.data.sources import Split
from dlfa.model import load_encoder
from dlfa.probing.parallel import ParallelText
from dlfa.probing.probes import majority_hits, probe_hits, retrieval_hits
from dlfa.probing.states import sentence_states, word_states

__all__ = ["LAYER_COLUMNS", "measure_layers"]

LAYER_COLUMNS: Final = {
    "measure": "string",
    "language": "string",
    "layer": "Int64",
    "example": "int64",
    "numerator": "float64",
    "denominator": "float64",
}
"""Columns of what is measured, and their types."""

_Part = tuple[str, str, int | None, NDArray[np.int64], NDArray[np.int64]]
"""Measure, language, layer, and what each example adds to numerator and denominator."""


def measure_layers(
    encoder: str,
    *,
    treebanks: Corpus,
    parallel: Sequence[ParallelText],
    compute: Compute,
    room: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Measure every layer of an encoder; its states are computed once, and kept on disk meanwhile.

    Args:
        encoder: Folder or hub id.
        treebanks: Of the task udpos, as this encoder's tokenizer sees them. A probe learns from a language's train
            set, or from its dev set where it has no other, and is tested on its test set.
        parallel: Sentences in several languages and their translations in the source language.
        compute: Device and precision.
        room: Folder for files of states; none: the system's for temporary files.
        say: Told what is measured next.

    Returns:
        A row per example, with the columns of `LAYER_COLUMNS`; the sum of numerators over that of denominators is an
        accuracy. measure is one of

        - `retrieval`: of a sentence and its translation, how often each is the other's nearest neighbour by the cosine
          of mean states, among all of the language (Artetxe and Schwenk 2019, in both directions); example is a pair.
        - `language`: how often a linear probe tells the language of a sentence, tested on every second sentence,
          and trained on the others, equally many of each language.
        - `upos`: how often a linear probe tells the part of speech of a word, within one language; example is a
          sentence.
        - `upos_majority`: the same for the most frequent tag of the training set; layer is missing.

    Raises:
        ConfigError: The encoder cannot be loaded.
        DataError: Data is missing or malformed.
        DivergedError: A state is not finite.
    """
    model = load_encoder(encoder).to(compute.device)  # type: ignore[arg-type]
    # One thread of BLAS: where something else runs, too, its threads wait for each other far longer than they compute.
    with tempfile.TemporaryDirectory(dir=room, prefix="states-") as folder, threadpool_limits(1, "blas"):
        parts = [
            *_of_sentences(model, treebanks, parallel, compute, Path(folder), say),
            *_of_words(model, treebanks, compute, Path(folder), say),
        ]
    table: pd.DataFrame = pd.concat([_rows(*part) for part in parts], ignore_index=True).astype(LAYER_COLUMNS)
    return table


def _rows(
    measure: str, language: str, layer: int | None, numerator: NDArray[np.int64], denominator: NDArray[np.int64]
) -> pd.DataFrame:
    rows: pd.DataFrame = pd.DataFrame(
        {
            "measure": measure,
            "language": language,
            "layer": pd.Series([layer] * len(numerator), dtype="Int64"),
            "example": np.arange(len(numerator)),
            "numerator": numerator,
            "denominator": denominator,
        }
    )
    return rows


def _of_sentences(
    model: PreTrainedModel,
    corpus: Corpus,
    parallel: Sequence[ParallelText],
    compute: Compute,
    folder: Path,
    say: Callable[[str], None],
) -> Iterator[_Part]:
    count = min(len(text.sentences) for text in parallel)
    source = corpus.config.source_language
    states: dict[str, NDArray[np.float32]] = {}
    # Sentences of the source language come from all pairs in turn, so that none of them is there twice.
    of_source: list[tuple[NDArray[np.float32], slice]] = []
    for number, text in enumerate(parallel):
        say(f"retrieval {text.language}: {len(text.sentences)} pairs")
        sides = [
            sentence_states(
                model, corpus.tokenizer, side, compute, corpus.config.max_length, folder / f"{text.language}-{name}"
            )
            for name, side in (("own", text.sentences), ("source", text.translations))
        ]
        for layer, (one, other) in enumerate(zip(*sides, strict=True)):
            hits = retrieval_hits(one, other)
            yield "retrieval", text.language, layer, hits, np.full(len(hits), 2)
        states[text.language] = sides[0]
        of_source.append((sides[1], slice(number, count, len(parallel))))
    say(f"languages: {count} sentences of each of {len(parallel) + 1}")
    yield from _of_languages(states, of_source, source, count)


def _of_languages(
    states: dict[str, NDArray[np.float32]],
    of_source: Sequence[tuple[NDArray[np.float32], slice]],
    source: str,
    count: int,
) -> Iterator[_Part]:
    for layer in range(len(of_source[0][0])):
        by_language = {language: np.asarray(layers[layer, :count]) for language, layers in states.items()}
        by_language[source] = np.empty_like(next(iter(by_language.values())))
        for layers, rows in of_source:
            by_language[source][rows] = layers[layer, rows]
        names = np.repeat(list(by_language), count)
        is_test = np.tile(np.arange(count) % 2 == 1, len(by_language))
        together = np.concatenate(list(by_language.values()))
        hits = probe_hits(together[~is_test], names[~is_test], together[is_test], names[is_test])
        for language in by_language:
            of_language = hits[names[is_test] == language]
            yield "language", language, layer, of_language, np.ones_like(of_language)


def _of_words(
    model: PreTrainedModel, corpus: Corpus, compute: Compute, folder: Path, say: Callable[[str], None]
) -> Iterator[_Part]:
    pad = int(corpus.tokenizer.pad_token_id or 0)
    for language in (corpus.config.source_language, *corpus.targets()):
        sets = _probe_sets(corpus, language)
        if sets is None:
            say(f"parts of speech {language}: no labelled set to learn from")
            continue
        (name, train), test = sets
        say(f"parts of speech {language}: probes learn from {len(train.labels)} words of its {name} set")
        rooms = [folder / f"words-{which}" for which in ("train", "test")]
        learnt, tested = (
            word_states(model, split, compute, pad, room) for split, room in zip((train, test), rooms, strict=True)
        )
        yield "upos_majority", language, None, *_by_sentence(test, majority_hits(train.labels, test.labels))
        for layer in range(len(learnt)):
            hits = probe_hits(learnt[layer], train.labels, tested[layer], test.labels)
            yield "upos", language, layer, *_by_sentence(test, hits)
        for room in rooms:
            room.unlink()


def _probe_sets(corpus: Corpus, language: str) -> tuple[tuple[Split, EncodedSplit], EncodedSplit] | None:
    """Return the set that a language's probe learns from, with its name, and the one it is tested on."""
    there: list[Split] = [split for split in ("train", "dev", "test") if corpus.source.files(language, split)]
    if "test" not in there or len(there) == 1:
        return None
    train, test = corpus.split(language, there[0]), corpus.split(language, "test")
    if not (train.labelled and test.labelled):
        return None
    return (there[0], train), test


def _by_sentence(split: EncodedSplit, hits: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = split.example_label_start
    sums = np.concatenate([[0], np.cumsum(hits)])
    return sums[starts[1:]] - sums[starts[:-1]], np.diff(starts)
