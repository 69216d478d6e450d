"""States as the encoder has them, whatever they were batched with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAMILIES, write_encoder

from dlfa.compute import Compute
from dlfa.data.encode import encode
from dlfa.data.sources import Sentence
from dlfa.errors import DivergedError
from dlfa.model import load_encoder, load_tokenizer
from dlfa.probing import states
from dlfa.probing.states import sentence_states, word_states
from dlfa.tasks import TASKS

CPU = Compute(torch.device("cpu"), bf16=False)
TEXTS = ["the dog sees the cat", "small", "the house " * 20, "cat dog cats"]


def _alone(folder: Path, text: str) -> torch.Tensor:
    """Return the states of one short text, [L+1, T, E]."""
    inputs = load_tokenizer(str(folder))([text], return_tensors="pt")
    with torch.inference_mode():
        return torch.stack(load_encoder(str(folder))(**inputs, output_hidden_states=True).hidden_states)[:, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_is_the_mean_of_its_pieces(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "_MAX_PIECES", 32)  # several batches
    folder = write_encoder(tmp_path / "encoder", family)
    encoder, tokenizer = load_encoder(str(folder)), load_tokenizer(str(folder))
    found = sentence_states(encoder, tokenizer, TEXTS, CPU, 16, tmp_path / "room")
    assert found.shape == (5, 4, 32)
    for number in (0, 1, 3):
        assert found[:, number] == pytest.approx(_alone(folder, TEXTS[number]).mean(1).numpy(), abs=1e-5)


def test_a_long_sentence_is_the_mean_of_all_its_windows(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    encoder, tokenizer = load_encoder(str(folder)), load_tokenizer(str(folder))
    found = sentence_states(encoder, tokenizer, ["the house " * 20], CPU, 16, tmp_path / "room")[:, 0]
    # 14 words and two special pieces fit into a window.
    windows = [_alone(folder, "the house " * 7), _alone(folder, "the house " * 7), _alone(folder, "the house " * 6)]
    assert found == pytest.approx(torch.cat(windows, dim=1).mean(1).numpy(), abs=1e-5)


def test_a_word_is_its_first_sub_word(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    encoder, tokenizer = load_encoder(str(folder)), load_tokenizer(str(folder))
    sentences = [Sentence(tuple(text.split()), ("NOUN",) * len(text.split())) for text in TEXTS]
    split = encode(sentences, tokenizer, TASKS["udpos"], 16)
    found = word_states(encoder, split, CPU, 1, tmp_path / "room")
    assert found.shape == (5, 5 + 1 + 40 + 3, 32)
    assert found[:, :5] == pytest.approx(_alone(folder, TEXTS[0])[:, 1:6].numpy(), abs=1e-5)
    # cat, dog, and the first of cat ##s
    assert found[:, -3:] == pytest.approx(_alone(folder, TEXTS[3])[:, 1:4].numpy(), abs=1e-5)


def test_states_that_are_not_finite(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    encoder = load_encoder(str(folder))
    with torch.no_grad():
        next(iter(encoder.parameters())).fill_(float("nan"))
    with pytest.raises(DivergedError, match="layer 0: a state is not finite"):
        sentence_states(encoder, load_tokenizer(str(folder)), ["the dog"], CPU, 16, tmp_path / "room")


def test_states_are_on_disk(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    found = sentence_states(load_encoder(str(folder)), load_tokenizer(str(folder)), TEXTS, CPU, 16, tmp_path / "room")
    assert isinstance(found, np.memmap)
    assert (tmp_path / "room").stat().st_size == found.nbytes
