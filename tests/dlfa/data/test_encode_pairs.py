"""Pairs to pieces: both sentences in one window, the longer one truncated first, and every cut counted."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tiny import write_encoder
from transformers import PreTrainedTokenizerBase

from dlfa.data.encode import NO_ID, UNLABELLED, EncodedSplit, encode
from dlfa.data.sources import Pair
from dlfa.model import load_tokenizer
from dlfa.tasks import TASKS

TASK = TASKS["xnli"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(write_encoder(tmp_path_factory.mktemp("encoder"))))


def texts(split: EncodedSplit, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [
        " ".join(tokenizer.convert_ids_to_tokens(split.input_ids[start:end].tolist()))
        for start, end in pairwise(split.window_start)
    ]


def test_a_pair_is_one_window_with_one_label_on_its_first_piece(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode(
        [Pair("the dogs", "the cat sees", "neutral"), Pair("Hund", "the house", "contradiction")], tokenizer, TASK, 16
    )
    assert texts(split, tokenizer) == ["<s> the dog ##s </s> the cat sees </s>", "<s> Hund </s> the house </s>"]
    assert split.token_types.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert split.labels.tolist() == [TASK.labels.index("neutral"), TASK.labels.index("contradiction")]
    assert split.label_position.tolist() == [0, 0]
    assert split.window_label_start.tolist() == split.example_label_start.tolist() == [0, 1, 2]
    assert split.by_example(split.labels, TASK.labels) == [["neutral"], ["contradiction"]]
    assert split.labelled
    assert split.counts == {"truncated_pairs": 0, "untranslated_pairs": 0}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("the dog sees the cat", "the house", "<s> the dog sees </s> the house </s>"),
        ("the house", "the dog sees the cat", "<s> the house </s> the dog sees </s>"),
        ("the dog sees the cat", "the small dog sees the house", "<s> the dog </s> the small dog </s>"),
    ],
)
def test_the_longer_sentence_is_truncated_first_and_the_pair_counted(
    first: str, second: str, expected: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    short, long = Pair("the", "dog", "neutral"), Pair(first, second, "neutral")
    split = encode([short, long, short, long], tokenizer, TASK, 8)
    assert texts(split, tokenizer) == ["<s> the </s> dog </s>", expected] * 2
    assert split.counts == {"truncated_pairs": 2, "untranslated_pairs": 0}


def test_a_pair_that_just_fits_is_not_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode([Pair("the dog sees", "the house", "neutral")], tokenizer, TASK, 8)
    assert (split.lengths.tolist(), split.counts) == ([8], {"truncated_pairs": 0, "untranslated_pairs": 0})


def test_a_tokenizer_without_token_types_gets_none(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(write_encoder(tmp_path)))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    split = encode([Pair("the dog", "the cat", "neutral")], tokenizer, TASK, 16)
    assert split.token_types.tolist() == [0] * len(split.input_ids)


def test_pairs_without_labels_are_not_labelled(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode([Pair("the", "dog", None), Pair("the", "cat", "neutral")], tokenizer, TASK, 16)
    assert split.labels.tolist() == [UNLABELLED, TASK.labels.index("neutral")]
    assert not split.labelled


def test_more_pairs_than_the_tokenizer_gets_at_once(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode([Pair(str(n), "the dog", "neutral") for n in range(2001)], tokenizer, TASK, 16)
    found = [text.split(" </s> ")[0].removeprefix("<s> ").replace(" ##", "") for text in texts(split, tokenizer)]
    assert found == [str(n) for n in range(2001)]
    np.testing.assert_array_equal(split.window_label_start, np.arange(2002))


def test_untranslated_pairs_are_kept_and_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode([Pair("NS", "the dog", "neutral"), Pair("the", "NS", "neutral")], tokenizer, TASK, 16)
    assert split.counts["untranslated_pairs"] == 2
    assert len(split.labels) == 2
    assert split.untranslated.tolist() == [True, True]
    other = encode([Pair("the NS", "dog", "neutral"), Pair("the", "NS", "neutral")], tokenizer, TASK, 16)
    assert other.untranslated.tolist() == [False, True]


def test_equal_ids_are_equal_numbers(tokenizer: PreTrainedTokenizerBase) -> None:
    names = ["1", "01", None, "\ud800", "1", ""]
    ids = encode([Pair("the", "dog", "neutral", name) for name in names], tokenizer, TASK, 16).example_ids.tolist()
    assert [ids.index(number) for number in ids] == [0, 1, 2, 3, 0, 5]
    assert ids[2] == NO_ID


def test_real_pairs_are_what_the_tokenizer_makes_of_them(shared_data: Path, shared_encoder: Path) -> None:
    tokenizer = load_tokenizer(str(shared_encoder))
    lines = (shared_data / "nli" / "test-ja.tsv").read_text("utf-8").split("\n")[:50]
    pairs = [Pair(*line.split("\t")) for line in lines]
    split = encode(pairs, tokenizer, TASK, 128)
    expected = [tokenizer(pair.first, pair.second)["input_ids"] for pair in pairs]
    assert [split.input_ids[start:end].tolist() for start, end in pairwise(split.window_start)] == expected
