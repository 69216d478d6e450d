"""A table of which some rows are trained: the same numbers as the whole one, and the same encoder afterwards."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FAMILIES, write_encoder
from torch import Tensor, nn
from transformers import PreTrainedModel

from dlfa.model import load_encoder, restricted_table

# In the tiny encoders 1 is padding. A batch of the pieces below, one of whose windows is padded.
PIECES = np.array([0, 1, 2, 5, 7, 40])
IDS_BT = torch.tensor([[0, 5, 40, 7, 7, 2], [0, 7, 2, 1, 1, 1]])
OTHER_IDS_BT = torch.tensor([[0, 6, 40, 3, 7, 2], [0, 90, 2, 1, 1, 1]])


@pytest.fixture(params=FAMILIES)
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedModel:
    return load_encoder(str(write_encoder(tmp_path, request.param, layers=2)))


def last_state(encoder: PreTrainedModel, ids_BT: Tensor) -> Tensor:
    torch.manual_seed(3)  # of dropout
    h_BTE: Tensor = encoder(input_ids=ids_BT, attention_mask=(ids_BT != 1).long()).last_hidden_state
    return h_BTE


def table_of(encoder: PreTrainedModel) -> nn.Embedding:
    table = encoder.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return table


def weights(encoder: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def take_steps(encoder: PreTrainedModel) -> list[float]:
    """Train for three steps; return the losses."""
    encoder.train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = last_state(encoder, IDS_BT).pow(4).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_three_steps_are_those_of_the_whole_table_to_the_bit(encoder: PreTrainedModel, tmp_path: Path) -> None:
    whole = load_encoder(str(tmp_path))
    before, losses = weights(whole), take_steps(whole)
    table = table_of(encoder)
    with restricted_table(encoder, PIECES):
        assert take_steps(encoder) == losses
        shapes = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        encoder.eval()
        whole.eval()
        with torch.inference_mode():
            for ids_BT in (IDS_BT, OTHER_IDS_BT):
                assert torch.equal(last_state(encoder, ids_BT), last_state(whole, ids_BT))
    after, expected = weights(encoder), weights(whole)
    assert list(after) == list(expected)
    assert [name for name in after if not torch.equal(after[name], expected[name])] == []
    assert encoder.get_input_embeddings() is table
    assert not table.training
    # All that was learnt is in the rows of the pieces; padding's gets no gradient.
    (name,) = [name for name in shapes if shapes[name] != tuple(before[name].shape)]
    assert shapes[name] == (len(PIECES), 32)
    moved = (after[name] != before[name]).any(dim=1).nonzero().flatten().tolist()
    assert moved == [0, 2, 5, 7, 40]


def test_the_whole_table_is_back_whatever_happens(encoder: PreTrainedModel) -> None:
    table, before = table_of(encoder), weights(encoder)
    with pytest.raises(KeyError), restricted_table(encoder, PIECES):
        raise KeyError
    assert encoder.get_input_embeddings() is table
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_a_training_batch_with_another_piece_fails(encoder: PreTrainedModel) -> None:
    with restricted_table(encoder.train(), PIECES), pytest.raises(IndexError):
        last_state(encoder, OTHER_IDS_BT)


def test_a_table_without_padding_or_whose_padding_is_left_out(tmp_path: Path) -> None:
    for padding in (None, 9):
        whole, encoder = (load_encoder(str(write_encoder(tmp_path, "bert", layers=2))) for _ in range(2))
        for model in (whole, encoder):
            table_of(model).padding_idx = padding
        losses = take_steps(whole)
        with restricted_table(encoder, PIECES):
            assert take_steps(encoder) == losses
        assert torch.equal(table_of(encoder).weight, table_of(whole).weight)


class Scaled(nn.Embedding):
    """As some encoders have it."""

    def forward(self, input_ids_BT: Tensor) -> Tensor:
        return 2 * super().forward(input_ids_BT)


@pytest.mark.parametrize("kind", ["subclass", "max_norm", "scaled gradients", "sparse", "shared", "none"])
def test_a_table_that_does_more_than_look_up_rows_stays_whole(kind: str, tmp_path: Path) -> None:
    encoder = load_encoder(str(write_encoder(tmp_path, "bert", layers=2)))
    table = table_of(encoder)
    if kind == "subclass":
        table = Scaled(table.num_embeddings, table.embedding_dim)
        encoder.set_input_embeddings(table)
    elif kind == "max_norm":
        table.max_norm = 1.0
    elif kind == "scaled gradients":
        table.scale_grad_by_freq = True
    elif kind == "sparse":
        table.sparse = True
    elif kind == "shared":
        encoder.decoder = nn.Linear(table.embedding_dim, table.num_embeddings)
        encoder.decoder.weight = table.weight
    else:

        def get_input_embeddings() -> nn.Module:
            raise NotImplementedError

        encoder.get_input_embeddings = get_input_embeddings  # type: ignore[method-assign]
    before = [parameter.shape for parameter in encoder.parameters()]
    with restricted_table(encoder, PIECES):
        assert [parameter.shape for parameter in encoder.parameters()] == before
        assert kind == "none" or encoder.get_input_embeddings() is table
