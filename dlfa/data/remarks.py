"""Remarks on the data that a trial reads: examples that do not fit, leakage, and alignment."""

from collections.abc import Mapping, Sequence

from dlfa.data.alignment import align
from dlfa.data.cache import Corpus
from dlfa.data.leakage import overlap
from dlfa.data.sources import Split
from dlfa.tasks.languages import genus

__all__ = ["remarks"]

_COUNTS = {
    "split_sentences": "sentences longer than the window of {window} pieces, each in several windows: {count}",
    "shortened_words": "words of more pieces than a window holds, whose last pieces are not read: {count}",
    "unknown_words": "words that are nothing to the tokenizer, read as an unknown piece: {count}",
    "truncated_pairs": "pairs longer than the window of {window} pieces, truncated longest first: {count}",
    "untranslated_pairs": "pairs with NS, PAWS-X's mark of no translation, kept as in XTREME: {count}",
}
"""Of each count of `EncodedSplit.counts`, what it means, whatever the number."""


def remarks(corpus: Corpus, sets: Mapping[Split, Sequence[str]]) -> list[str]:
    """Return one line for each thing that is not as it should be, and for what languages are compared by.

    Args:
        corpus: The data as the encoder sees it.
        sets: Languages of the train, dev and test sets that are read.

    Raises:
        DataError: A set is malformed, or test sets are not aligned although the user has said so.
    """
    train = corpus.split(corpus.config.source_language, "train")
    names: tuple[Split, Split] = ("dev", "test")
    others = {f"{language} {name}": corpus.split(language, name) for name in names for language in sets[name]}
    lines = []
    for name, count in train.counts.items():
        if total := count + sum(split.counts[name] for split in others.values()):
            lines.append(_COUNTS[name].format(count=total, window=corpus.config.max_length))
    shared = []
    for name, split in others.items():
        found = overlap(train, split)
        if found.examples:
            examples = len(split.example_label_start) - 1
            words = f", {found.labels / len(split.labels):.1%} of the words" if len(split.labels) > examples else ""
            shared.append(f"{name} ({found.examples} of {examples}{words})")
    if shared:
        lines.append(f"leakage: {corpus.task.examples} of the training set are also in {', '.join(shared)}")
    lines += _of_unknown_genus(corpus.config.source_language, sets["test"])
    return [*lines, *align(corpus, sets["test"]).remarks]


def _of_unknown_genus(source: str, tested: Sequence[str]) -> list[str]:
    if genus(source) is None:
        return [f"no mean over near and far targets: the genus of {source}, the source language, is not known"]
    unknown = [language for language in tested if genus(language) is None]
    return [f"neither near nor far, because their genus is not known: {', '.join(unknown)}"] if unknown else []
