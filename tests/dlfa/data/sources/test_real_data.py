"""The real material beside the project, in the sizes that its tables name."""

from pathlib import Path

import pytest

from dlfa.data.sources import Pair, Sentence, Split, open_source, untranslated
from dlfa.tasks import TASKS

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

WORDS = {
    ("ud", "udpos", "CoNLL-U folders"): {
        "en": ((12544, 204577), (2001, 25147), (2077, 25094)),
        "de": ((500, 6769), (500, 8170)),
        "es": ((500, 13205), (427, 12002)),
        "fr": ((500, 12052), (416, 10018)),
        "ru": ((500, 9990), (500, 9250)),
        "zh": ((500, 12665), (500, 12010)),
        "tr": ((500, 6501), (500, 6258)),
        "fi": ((500, 6182), (500, 6545)),
        "ja": ((500, 12142), (500, 11953)),
        "vi": ((500, 12230), (500, 7561)),
        "hi": ((500, 11821), (500, 12008)),
        "ar": ((500, 10314), (500, 10433)),
    },
    ("uner", "panx", "IOB2 folders"): {
        "en": ((12543, 204579), (2001, 25149), (2077, 25097)),
        "de": ((500, 10206), (500, 11125)),
        "zh": ((500, 12663), (500, 12012)),
        "pt": ((1000, 23525), (1000, 23199)),
        "sv": ((504, 9797), (1000, 15703)),
        "da": ((564, 10332), (565, 10023)),
    },
}
"""Sentences and words of the last two or all three splits, by language."""

PAIRS = {
    ("pawsx", "pawsx", "PAWS-X x-final"): {
        "en": (5000, 500, 1000),
        "de": (500, 1000),
        "es": (500, 1000),
        "fr": (500, 1000),
        "zh": (500, 1000),
    },
    ("nli", "xnli", "XTREME download"): {
        "en": (5000, 500, 1000),
        "fa": (500, 1000),
        "id": (500, 1000),
        "ja": (500, 1000),
        "ko": (500, 1000),
    },
}
"""Pairs of the last two or all three splits, by language."""


@pytest.mark.parametrize(("folder", "task", "layout"), [*WORDS, *PAIRS])
def test_real_data_has_the_sizes_of_its_tables(shared_data: Path, folder: str, task: str, layout: str) -> None:
    source = open_source(shared_data / folder, TASKS[task])
    assert source.layout == layout
    sizes: dict[str, tuple[object, ...]] = {}
    for language in source.languages():
        sets = [source.read(language, split) for split in SPLITS if source.files(language, split)]
        sizes[language] = tuple(
            (len(examples), sum(len(e.words) for e in examples if isinstance(e, Sentence)))
            if TASKS[task].kind == "tagging"
            else len(examples)
            for examples in sets
        )
    assert sizes == {**WORDS, **PAIRS}[folder, task, layout]


def test_real_pairs_that_were_not_translated(shared_data: Path) -> None:
    source = open_source(shared_data / "pawsx", TASKS["pawsx"])
    counts = {
        language: sum(untranslated(pair) for pair in source.read(language, "dev") if isinstance(pair, Pair))
        for language in source.languages()
    }
    assert counts == {"de": 16, "en": 0, "es": 9, "fr": 2, "zh": 5}
