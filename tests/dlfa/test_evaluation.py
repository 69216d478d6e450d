"""Predictions in the order of the words, and their scores."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import examples, write_encoder
from torch import Tensor, nn

from dlfa.compute import Compute
from dlfa.config import ModelConfig
from dlfa.data.batching import collate
from dlfa.data.encode import UNLABELLED, EncodedSplit, encode
from dlfa.data.sources import Sentence
from dlfa.errors import DivergedError
from dlfa.evaluation import predict, predict_all, predict_with_states, score
from dlfa.model import Classifier, build_model, load_tokenizer
from dlfa.tasks import TASKS

TASK = TASKS["udpos"]
CPU = Compute(torch.device("cpu"), bf16=False)
WORDS = ("the", "dog", "cat", "sees", "house", "small")
PAD = 1


class ByPiece(nn.Module):
    """Labels a position with its piece's index among the words; a stand-in whose right answers are known."""

    def __init__(self, pieces: Sequence[int]) -> None:
        super().__init__()
        self.table = nn.Embedding(300, len(TASK.labels))
        with torch.no_grad():
            self.table.weight.zero_()
            for label, piece in enumerate(pieces):
                self.table.weight[piece, label] = 1

    def forward(
        self, input_ids_BT: Tensor, attention_mask_BT: Tensor, token_types_BT: Tensor, row_W: Tensor, column_W: Tensor
    ) -> Tensor:
        assert input_ids_BT.shape == attention_mask_BT.shape
        assert bool(((input_ids_BT == PAD) == (attention_mask_BT == 0)).all())
        assert not self.training
        logits_WC: Tensor = self.table(input_ids_BT[row_W, column_W])
        return logits_WC


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[ByPiece, EncodedSplit]:
    """A model that is always right, and sentences of 1 to 40 words in windows of 16."""
    tokenizer = load_tokenizer(str(write_encoder(tmp_path_factory.mktemp("encoder"))))
    chance = np.random.default_rng(0)
    sentences = []
    for length in (3, 40, 1, 14, 15, 7, 28):
        words = chance.choice(WORDS, size=length).tolist()
        sentences.append(Sentence(tuple(words), tuple(TASK.labels[WORDS.index(word)] for word in words)))
    model = ByPiece([tokenizer.get_vocab()[word] for word in WORDS])
    return model, encode(sentences, tokenizer, TASK, 16)


@pytest.mark.parametrize("max_pieces", [1, 20, 8192])
def test_every_word_gets_its_own_prediction(max_pieces: int, case: tuple[ByPiece, EncodedSplit]) -> None:
    model, split = case
    assert split.counts["split_sentences"] == 3
    predicted = predict(model, split, CPU, PAD, max_pieces)
    assert predicted.dtype == np.int16
    assert predicted.tolist() == split.labels.tolist()
    assert score(TASK, split, predicted) == {"f1": 100.0, "accuracy": 100.0}


def test_every_language_gets_its_own_predictions_from_batches_that_languages_share(
    case: tuple[ByPiece, EncodedSplit], tmp_path: Path
) -> None:
    model, split = case
    tokenizer = load_tokenizer(str(write_encoder(tmp_path)))
    two = encode([Sentence(WORDS[:length], TASK.labels[:length]) for length in (2, 6, 1)], tokenizer, TASK, 16)
    untagged = encode([Sentence(WORDS[2:5], None)], tokenizer, TASK, 16)
    passed: list[int] = []
    hook = model.register_forward_pre_hook(lambda module, inputs: passed.append(len(inputs[0])))
    found = predict_all(model, {"de": split, "es": two, "fr": untagged}, CPU, PAD)
    hook.remove()
    assert list(found) == ["de", "es", "fr"]
    assert found["de"].tolist() == split.labels.tolist()
    assert found["es"].tolist() == two.labels.tolist()
    assert found["fr"].tolist() == [2, 3, 4]
    assert passed == [len(split.lengths) + 3 + 1]
    assert predict_all(model, {}, CPU, PAD) == {}


def test_on_a_cpu_batches_stay_small(case: tuple[ByPiece, EncodedSplit]) -> None:
    model, split = case
    positions: list[int] = []
    hook = model.register_forward_pre_hook(lambda module, inputs: positions.append(inputs[0].numel()))
    predict_all(model, {str(copy): split for copy in range(30)}, CPU, PAD)
    hook.remove()
    assert 900 < max(positions) <= 1024


@pytest.mark.parametrize(("fits", "error"), [(3, torch.OutOfMemoryError), (1, torch.OutOfMemoryError), (3, ValueError)])
def test_a_batch_that_does_not_fit_is_halved(
    fits: int, error: type[Exception], case: tuple[ByPiece, EncodedSplit]
) -> None:
    model, split = case
    asked: list[int] = []

    class Small(ByPiece):
        def forward(self, *inputs: Tensor) -> Tensor:
            asked.append(len(inputs[0]))
            if asked[-1] > fits:
                raise error
            return super().forward(*inputs)

    small = Small(())
    small.load_state_dict(model.state_dict())
    if error is ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the very one
            predict(small, split, CPU, PAD)
        return
    assert predict(small, split, CPU, PAD).tolist() == split.labels.tolist()
    assert max(asked) > fits
    assert sum(count for count in asked if count <= fits) == len(split.lengths)


def test_memory_that_does_not_hold_one_window_is_told(case: tuple[ByPiece, EncodedSplit]) -> None:
    class Full(ByPiece):
        def forward(self, *inputs: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        predict(Full(()), case[1], CPU, PAD)


def test_labels_are_not_looked_at(case: tuple[ByPiece, EncodedSplit]) -> None:
    model, split = case
    plain = replace(split, labels=np.full_like(split.labels, UNLABELLED))
    assert predict(model, plain, CPU, PAD).tolist() == split.labels.tolist()


def test_scores_are_of_whole_sentences(case: tuple[ByPiece, EncodedSplit]) -> None:
    _, split = case
    # One label throughout is one chunk in each of the seven sentences, in however many windows a sentence lies.
    same = np.zeros_like(split.labels)
    wrong = same.copy()
    wrong[:3] = 1  # the first sentence
    found = score(TASK, replace(split, labels=same), wrong)
    assert found["f1"] == pytest.approx(100 * 6 / 7)
    assert found["accuracy"] == pytest.approx(100 * 105 / 108)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_stays_as_it_was(training: bool, case: tuple[ByPiece, EncodedSplit]) -> None:
    model, split = case
    predict(model.train(training), split, CPU, PAD)
    assert model.training is training


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_logit_that_is_not_finite_is_no_prediction(
    number: float, case: tuple[ByPiece, EncodedSplit], tmp_path: Path
) -> None:
    model, split = case
    broken = ByPiece(())
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        broken.table.weight[split.input_ids[1], 3] = number
    with pytest.raises(DivergedError, match=r"^evaluation: a logit is not finite$"):
        predict(broken, split, CPU, PAD)
    with torch.no_grad():  # what padding gives means nothing
        broken.load_state_dict(model.state_dict())
        broken.table.weight[PAD] = number
    assert predict(broken, split, CPU, PAD).tolist() == split.labels.tolist()


PAIRS = TASKS["pawsx"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, dict[str, EncodedSplit]]:
    """A model with a fusion, and pairs of three languages."""
    encoder = str(write_encoder(tmp_path_factory.mktemp("encoder")))
    tokenizer = load_tokenizer(encoder)
    torch.manual_seed(0)
    model = build_model(ModelConfig(encoder=encoder, fusion="mean", fusion_layer=1), "pair", PAIRS.labels)
    splits = {
        language: encode(examples(PAIRS, count, seed=count), tokenizer, PAIRS, 16)
        for language, count in {"en": 9, "de": 5, "fr": 7}.items()
    }
    return model.eval(), splits


def test_states_are_what_the_head_reads_before_its_pooler(pairs: tuple[Classifier, dict[str, EncodedSplit]]) -> None:
    model, splits = pairs
    for split in splits.values():
        batch = collate(split, np.arange(len(split.lengths)), PAD)
        with torch.no_grad():
            layers = model.encoder(
                input_ids=batch.input_ids_BT,
                attention_mask=batch.attention_mask_BT,
                token_type_ids=batch.token_types_BT,
                output_hidden_states=True,
            ).hidden_states
            states = model.states(*batch.inputs())
            torch.testing.assert_close(states, ((layers[1] + layers[-1]) / 2)[:, 0])
            assert torch.equal(model.logits(states), model(*batch.inputs()))
            assert torch.equal(model.head(states), model(*batch.inputs()))


def test_predictions_and_states_are_of_one_pass(
    pairs: tuple[Classifier, dict[str, EncodedSplit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, splits = pairs
    passed: list[int] = []
    hook = model.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: passed.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    predicted, states = predict_with_states(model, splits, CPU, PAD)
    hook.remove()
    assert passed == [9 + 5 + 7]
    expected = predict_all(model, splits, CPU, PAD)
    assert list(states) == list(predicted) == list(splits)
    for language, split in splits.items():
        assert predicted[language].tolist() == expected[language].tolist()
        assert states[language].shape == (len(split.labels), 32)
        assert states[language].dtype == np.float32
        batch = collate(split, np.arange(len(split.lengths)), PAD)
        with torch.no_grad():
            np.testing.assert_allclose(states[language], model.states(*batch.inputs()).numpy(), atol=1e-5)


def test_a_batch_that_does_not_fit_is_halved_with_its_states(
    pairs: tuple[Classifier, dict[str, EncodedSplit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, splits = pairs
    expected, states = predict_with_states(model, splits, CPU, PAD)
    whole, asked = Classifier.states, []

    def small(self: Classifier, *inputs: Tensor) -> Tensor:
        asked.append(len(inputs[0]))
        if asked[-1] > 2:
            raise torch.OutOfMemoryError
        return whole(self, *inputs)

    monkeypatch.setattr(Classifier, "states", small)
    predicted, found = predict_with_states(model, splits, CPU, PAD)
    assert max(asked) == 21
    for language in splits:
        assert predicted[language].tolist() == expected[language].tolist()
        np.testing.assert_allclose(found[language], states[language], atol=1e-5)


def test_a_state_that_is_not_finite_is_none(
    pairs: tuple[Classifier, dict[str, EncodedSplit]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, splits = pairs
    whole = Classifier.states
    monkeypatch.setattr(Classifier, "states", lambda self, *inputs: whole(self, *inputs).fill_(math.inf))
    monkeypatch.setattr(Classifier, "logits", lambda self, h_WE: torch.zeros(len(h_WE), 2))
    with pytest.raises(DivergedError, match=r"^evaluation: a hidden state is not finite$"):
        predict_with_states(model, splits, CPU, PAD)
