"""Text labelled by a saved model: as a trial labels it, whatever its length, in the caller's order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import examples, write_encoder

from dlfa.compute import Compute
from dlfa.config import ComputeConfig, ModelConfig
from dlfa.data.batching import collate
from dlfa.data.encode import encode
from dlfa.data.sources import Example, Pair, Sentence
from dlfa.errors import ConfigError, DataError
from dlfa.evaluation import predict
from dlfa.model import build_model, load_model, load_tokenizer, save_model
from dlfa.prediction import Predictor, load_predictor
from dlfa.tasks import TASKS, TaskSpec

WINDOW = 12
FP32 = ComputeConfig(device="cpu", precision="fp32")


def saved(folder: Path, task: TaskSpec, window: int | None = WINDOW) -> Path:
    """Return the folder of a model with random weights that has no favourite label."""
    config = ModelConfig(encoder=str(write_encoder(folder / "encoder")), fusion_layer=1, reduction_ratio=4)
    torch.manual_seed(5)
    model = build_model(config, task.kind, task.labels).eval()
    tokenizer = load_tokenizer(config.encoder)
    split = encode(examples(task, 30, 0), tokenizer, task, WINDOW)
    batch = collate(split, np.arange(len(split.lengths)), int(tokenizer.pad_token_id or 0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
        model.head.linear.bias.sub_(model(*batch.inputs()).mean(0))  # else it alone may choose the label
    save_model(model, folder / "model", config, tokenizer, window)
    return folder / "model"


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_predictor(saved(tmp_path_factory.mktemp("tagger"), TASKS["udpos"]), FP32)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load_predictor(saved(tmp_path_factory.mktemp("classifier"), TASKS["xnli"]), FP32)


def as_a_trial(folder: Path, task: TaskSpec, found: Sequence[Example], window: int) -> list[list[str]]:
    model, tokenizer = load_model(folder), load_tokenizer(str(folder))
    split = encode(found, tokenizer, task, window)
    pad = int(tokenizer.pad_token_id or 0)
    predicted = predict(model, split, Compute(torch.device("cpu"), bf16=False), pad)
    return split.by_example(predicted, task.labels)


def sentences(count: int) -> list[Sentence]:
    found = [example for example in examples(TASKS["udpos"], count, 0) if isinstance(example, Sentence)]
    return [Sentence(example.words * (1 + number % 9), None) for number, example in enumerate(found)]


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@pytest.mark.parametrize("window", [WINDOW, None])
def test_labels_are_those_that_a_trial_predicts(task: TaskSpec, window: int | None, tmp_path: Path) -> None:
    folder = saved(tmp_path, task, window)
    predictor = load_predictor(folder, FP32)
    assert predictor.max_length == (window or 64)  # the encoder's longest where the folder does not say
    given: list[Example]
    if task.kind == "tagging":
        given = [*sentences(30)]
        found = predictor.tags([example.words for example in given if isinstance(example, Sentence)])
    else:
        given = [Pair(e.first, e.second + " the dog" * (n % 9), None) for n, e in enumerate(_pairs(task, 30))]
        pairs = [(example.first, example.second) for example in given if isinstance(example, Pair)]
        found = [[label] for label in predictor.labels(pairs)]
    assert found == as_a_trial(folder, task, given, window or 64)
    assert len({label for labels in found for label in labels}) > 1


def _pairs(task: TaskSpec, count: int) -> list[Pair]:
    return [example for example in examples(task, count, 0) if isinstance(example, Pair)]


def test_a_sentence_longer_than_the_window_has_a_label_for_every_word(tagger: Predictor) -> None:
    words = ["the", "dog", "sees", "a", "small", "house"] * 20
    (found,) = tagger.tags([words])
    assert len(found) == len(words) == 120
    # Every window holds ten pieces of it: what stands in the first window is labelled as if it stood alone.
    assert [found[:10]] == tagger.tags([words[:10]])
    assert len(set(found)) > 1


def test_text_is_words_between_blanks(tagger: Predictor) -> None:
    words = ["the", "small", "dog", "sees", "10\u00a0000", "cats", "."]
    assert tagger.tags([" ".join(words), "\tthe  small dog\nsees 10\u00a0000 cats . "]) == tagger.tags([words, words])


def test_empty_sentences_have_no_labels_and_others_keep_their_place(tagger: Predictor) -> None:
    alone = tagger.tags(["the dog sees"])[0]
    assert tagger.tags(["", "the dog sees", " \n", [], "the dog sees"]) == [[], alone, [], [], alone]
    assert tagger.tags([]) == []


def test_no_pairs_no_labels(classifier: Predictor) -> None:
    assert classifier.labels([]) == []


def test_threads_stay_as_the_caller_has_set_them(tmp_path: Path) -> None:
    folder = saved(tmp_path, TASKS["udpos"])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        load_predictor(folder)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["the dog", None], "sentence 1: None is not allowed; allowed: text, or a list of words"),
        ([["the", 3]], "sentence 0: 3 is not allowed; allowed: text"),
        ([["the", " "]], "sentence 0: word ' ' is empty; allowed: one or more characters"),
    ],
)
def test_what_is_no_sentence_is_named(tagger: Predictor, given: Any, told: str) -> None:
    with pytest.raises(DataError) as caught:
        tagger.tags(given)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([("a dog", "a cat"), ("a", " ")], "pair 1: second sentence ' ' is empty; allowed: one or more characters"),
        ([("", "a cat")], "pair 0: first sentence '' is empty; allowed: one or more characters"),
        ([("a dog", float("nan"))], "pair 0: nan is not allowed; allowed: text"),
    ],
)
def test_what_is_no_pair_is_named(classifier: Predictor, given: Any, told: str) -> None:
    with pytest.raises(DataError) as caught:
        classifier.labels(given)
    assert str(caught.value) == told


def test_examples_of_the_other_kind_are_refused(tagger: Predictor, classifier: Predictor) -> None:
    with pytest.raises(ConfigError, match=r"^pairs of sentences: not allowed; allowed: sentences, word by word, what"):
        tagger.labels([("a", "b")])
    with pytest.raises(ConfigError, match=r"^sentences, word by word: not allowed; allowed: pairs of sentences, what"):
        classifier.tags(["a b"])


def test_a_window_that_the_encoder_does_not_have_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, TASKS["udpos"], 65)
    with pytest.raises(ConfigError) as caught:
        load_predictor(folder)
    assert str(caught.value) == f"{folder}: max_length: 65 is not allowed; allowed: 8..64, its encoder's window"
