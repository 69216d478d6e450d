"""Scores of labels, equal to XTREME's `evaluate.py`, and their aggregates over languages."""

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray
from seqeval.metrics import accuracy_score, f1_score
from seqeval.metrics.sequence_labeling import get_entities

from dlfa.tasks import Kind
from dlfa.tasks.languages import genus

__all__ = ["SCORES", "TALLIES", "aggregate", "pair_scores", "pair_tallies", "tagging_scores", "tagging_tallies"]


def tagging_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return micro F1 of chunks and token accuracy, both in percent.

    F1 is seqeval's over the raw tags, as XTREME computes it for udpos and panx alike: on bare tags a chunk is a
    run of one type, so udpos F1 lies well below token accuracy.

    Args:
        gold: Tags, sentence by sentence.
        predicted: As many sentences of as many tags.

    Raises:
        ValueError: The shapes differ, or there is no tag.
    """
    if [len(tags) for tags in gold] != [len(tags) for tags in predicted]:
        raise ValueError("gold and predicted tags differ in shape")
    if not any(gold):
        raise ValueError("there is no tag to score")
    with _bare_tags():
        return {
            "f1": 100 * float(f1_score(gold, predicted, zero_division=0)),
            "accuracy": 100 * float(accuracy_score(gold, predicted)),
        }


def pair_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the accuracy of pairs in percent.

    Args:
        gold: One label for each pair, in a sequence of its own.
        predicted: As many.

    Raises:
        ValueError: The numbers differ, or there is no pair.
    """
    if [len(labels) for labels in gold] != [len(labels) for labels in predicted]:
        raise ValueError("gold and predicted labels differ in number")
    if not gold:
        raise ValueError("there is no pair to score")
    return {"accuracy": 100 * sum(tuple(a) == tuple(b) for a, b in zip(gold, predicted, strict=True)) / len(gold)}


SCORES: Final[Mapping[Kind, Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], dict[str, float]]]] = {
    "tagging": tagging_scores,
    "pair": pair_scores,
}
"""The scores of each kind of task, from the labels of its examples."""


def tagging_tallies(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, NDArray[np.int64]]:
    """Return what each sentence adds to the scores: 100 times the ratio of the columns' sums is the score.

    Args:
        gold: Tags of S sentences.
        predicted: As many of as many tags.

    Returns:
        Metric to [S, 2]: for F1 twice the chunks in both, and the chunks of both; for accuracy right tags, and tags.
    """
    f1, accuracy = np.empty((len(gold), 2), np.int64), np.empty((len(gold), 2), np.int64)
    with _bare_tags():
        for row, (ours, theirs) in enumerate(zip(gold, predicted, strict=True)):
            chunks, found = set(get_entities(list(ours))), set(get_entities(list(theirs)))
            f1[row] = 2 * len(chunks & found), len(chunks) + len(found)
            accuracy[row] = sum(a == b for a, b in zip(ours, theirs, strict=True)), len(ours)
    return {"f1": f1, "accuracy": accuracy}


def pair_tallies(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, NDArray[np.int64]]:
    """Return what each of S pairs adds to the accuracy, as `tagging_tallies` does: [S, 2], right or not, and one."""
    right = [tuple(a) == tuple(b) for a, b in zip(gold, predicted, strict=True)]
    return {"accuracy": np.stack([np.array(right, np.int64), np.ones(len(right), np.int64)], axis=1)}


TALLIES: Final[
    Mapping[Kind, Callable[[Sequence[Sequence[str]], Sequence[Sequence[str]]], dict[str, NDArray[np.int64]]]]
] = {"tagging": tagging_tallies, "pair": pair_tallies}
"""What each example adds to the scores of its kind of task."""


@contextmanager
def _bare_tags() -> Iterator[None]:
    """Silence seqeval: bare UPOS tags are what XTREME scores, and it warns of every one of them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* seems not to be NE tag")
        yield


def aggregate(scores: Mapping[str, float], source: str) -> dict[str, float]:
    """Return `avg`, `avg_target`, `worst`, `gap`, `near`, `far` and `enf` over languages.

    `near` and `far` tell the source's close relatives from other targets by their genus in `dlfa.tasks.languages`. The
    DLFA paper (doi 10.1109/ICPR56361.2022.9956721) reports `enf`, for English and German, and the rest.

    Args:
        scores: Language to score, in percent.
        source: Language that was trained on.

    Returns:
        `avg` over all languages, `avg_target` and `worst` (lowest) over the targets, `gap` (source minus
        `avg_target`), `near` over the targets of the source's genus, `far` over all other targets of known genus, and
        `enf` over the source and the near targets; what has no language to rest on is absent, and so are the last
        three where the source's genus is unknown.
    """
    targets = {language: score for language, score in scores.items() if language != source}
    result = {}
    if scores:
        result["avg"] = _mean(scores.values())
    if targets:
        result["avg_target"] = _mean(targets.values())
        result["worst"] = min(targets.values())
        if source in scores:
            result["gap"] = scores[source] - result["avg_target"]
    if (home := genus(source)) is None:
        return result
    near = [score for language, score in targets.items() if genus(language) == home]
    far = [score for language, score in targets.items() if genus(language) not in (None, home)]
    if near:
        result["near"] = _mean(near)
    if far:
        result["far"] = _mean(far)
    if near and source in scores:
        result["enf"] = _mean([scores[source], *near])
    return result


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values)
