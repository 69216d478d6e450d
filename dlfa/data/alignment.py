"""Test sets that are translations of one another, row by row: which rows of them can be compared.

That is a property of a data set, not of a task: it holds for XNLI and PAWS-X as the Hub has them, or where a user says
so. Either way it is checked.

Legend of array sizes: S examples of a test set, R of them that are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlfa.data.cache import Corpus
from dlfa.data.encode import NO_ID, EncodedSplit
from dlfa.errors import ConfigError, DataError
from dlfa.tasks import TASKS, TaskSpec

__all__ = ["Alignment", "align", "require_alignable"]

_EQUAL_LABELS = 98  # percent


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Rows of test sets that are translations of the source language's."""

    rows: Mapping[str, NDArray[np.int64]]
    """Target to the [R] indices of examples that are compared, the same in its test set and in the source's; without
    targets that are not aligned or have none."""

    remarks: tuple[str, ...]
    """Lines for the user: how many rows are left out and why, or why there is no alignment."""


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """One target's test set beside the source's."""

    rows: NDArray[np.int64]
    """[R] examples without the mark of no translation, and with the source's label."""

    size: int
    """S."""

    marked: int
    """Examples with the mark, in either language."""

    relabelled: int
    """Other examples, with another label than the source's."""

    def __str__(self) -> str:
        reasons = {"with NS": self.marked, "with another label": self.relabelled}
        out = " and ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        return f"{len(self.rows)} of {self.size}" + f" ({out} left out)" * bool(out)


def require_alignable(task: TaskSpec, aligned: bool | None) -> None:
    """Check that a task has one label for each row, if test sets are said to be aligned.

    Raises:
        ConfigError: It has more than one.
    """
    if aligned and task.kind != "pair":
        pairs = ", ".join(name for name, other in TASKS.items() if other.kind == "pair")
        raise ConfigError(
            f"--aligned (aligned): true is not allowed for {task.name}, which has a label for every word; "
            f"allowed for: {pairs}"
        )


def align(corpus: Corpus, tested: Sequence[str]) -> Alignment:
    """Compare the targets' test sets with the source language's.

    Test sets are aligned that have as many examples, the same ids in the same order where there are ids, and equal
    labels in at least 98 % of the examples. Examples with PAWS-X's mark of no translation in either language, and those
    whose labels differ, are left out.

    Args:
        corpus: The data as the encoder sees it. `DataConfig.aligned` says whether to compare at all.
        tested: Languages that have a test set.

    Returns:
        No rows and no remarks for tasks that have more than one label for each example, and where nobody wants them.

    Raises:
        DataError: A test set is malformed, or not aligned although the user has said so.
    """
    said, source = corpus.config.aligned, corpus.config.source_language
    if corpus.task.kind != "pair" or said is False:
        return Alignment(rows={}, remarks=())
    if not said and not corpus.source.aligned:
        return _none(
            "the data does not say that its test sets are aligned row by row (aligned: true in the search space, or "
            "--aligned, says so)"
        )
    home = corpus.split(source, "test") if source in tested else None
    if home is None or not home.labelled:
        return _none(f"{source}, the source language, has no test set with labels")
    splits = {language: corpus.split(language, "test") for language in tested if language != source}
    found = {language: _compare(home, split) for language, split in splits.items()}
    wrong = [f"{language} ({reason})" for language, reason in found.items() if isinstance(reason, str)]
    if wrong and said:
        raise DataError(
            f"{corpus.source.root}: not aligned row by row with the test set of {source}, as --aligned (aligned: true) "
            f"says: {', '.join(wrong)}"
        )
    good = {
        language: each for language, each in found.items() if not isinstance(each, str) and splits[language].labelled
    }
    bare = [language for language, each in found.items() if not isinstance(each, str) and language not in good]
    lines = []
    if good:
        counts = ", ".join(f"{language} {each}" for language, each in good.items())
        lines.append(f"similarity to {source} by {corpus.task.examples}: {counts}")
    if wrong:
        lines.append(f"no similarity to {source}, whose test set these are not aligned with: {', '.join(wrong)}")
    if bare:
        lines.append(f"no similarity to {source}, because there are no labels: {', '.join(bare)}")
    return Alignment(
        rows={language: each.rows for language, each in good.items() if len(each.rows)}, remarks=tuple(lines)
    )


def _none(why: str) -> Alignment:
    return Alignment(rows={}, remarks=(f"no similarity between languages: {why}",))


def _compare(source: EncodedSplit, target: EncodedSplit) -> _Comparison | str:
    """Return what is used of a target's test set, or in a few words why it is not aligned."""
    size = len(source.labels)
    if len(target.labels) != size:
        return f"{len(target.labels)} rows, not {size}"
    known = (source.example_ids != NO_ID) & (target.example_ids != NO_ID)
    others = known & (source.example_ids != target.example_ids)
    if others.any():
        return f"another id in {others.sum()} of {size} rows, first in row {others.argmax() + 1}"
    equal = source.labels == target.labels
    if target.labelled and 100 * int(equal.sum()) < _EQUAL_LABELS * size:
        return f"another label in {size - equal.sum()} of {size} rows; allowed: in at most {100 - _EQUAL_LABELS} %"
    marked = source.untranslated | target.untranslated
    return _Comparison(
        rows=np.flatnonzero(equal & ~marked),
        size=size,
        marked=int(marked.sum()),
        relabelled=int((~equal & ~marked).sum()),
    )
