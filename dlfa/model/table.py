"""A multilingual encoder's embedding table, of which only the rows of some pieces are trained.

Most of such an encoder is this table, and a training set in one language reads few of its rows. The others get no
gradient, but cost an optimiser that is dense as much: a gradient, two moments and a pass over all of them at each step.

Shapes: B windows, T tokens, V pieces of the vocabulary, K pieces that are trained, E hidden size.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel

__all__ = ["restricted_table"]


@contextmanager
def restricted_table(encoder: PreTrainedModel, pieces_K: NDArray[np.int64]) -> Iterator[None]:
    """Make the rows of some pieces the encoder's whole trainable table, while it lasts.

    The encoder may move to a device meanwhile: the other rows stay on the CPU, where weights that were loaded in
    float32 are still those of the mapped file, and are read from there in evaluation mode. At the end what was
    learnt is written into the full table, which is the encoder's again. Without weight decay nothing but
    the order in which a norm over all gradients is summed tells the two apart. An encoder whose table is no plain
    embedding of its own stays as it is.

    Args:
        encoder: Its parameters are others, of other sizes, before, within and after: make an optimiser within.
        pieces_K: Ids, each once; a training batch that holds another fails.
    """
    table = _table(encoder)
    if table is None:
        yield
        return
    rows = _Rows(table.cpu(), torch.from_numpy(pieces_K))
    encoder.set_input_embeddings(rows)
    try:
        yield
    finally:
        with torch.no_grad():
            table.weight[rows.pieces_K] = rows.weight.to(table.weight)
        encoder.set_input_embeddings(table.to(rows.weight.device).train(rows.training))


class _Rows(nn.Module):
    """Stands where the table stood, takes the same ids, and has the same name for its weight.

    The encoder goes on seeing the ids of the vocabulary: XLM-R counts its positions by the padding piece's.
    """

    def __init__(self, table: nn.Embedding, pieces_K: Tensor) -> None:
        super().__init__()
        self.pieces_K = pieces_K
        self.whole_VE = table.weight.detach()  # neither parameter nor buffer: stays on the CPU, and out of checkpoints
        self.weight = nn.Parameter(self.whole_VE[pieces_K], requires_grad=table.weight.requires_grad)
        row_V = torch.full((table.num_embeddings,), -1)
        row_V[pieces_K] = torch.arange(len(pieces_K))
        self.row_V: Tensor
        self.register_buffer("row_V", row_V, persistent=False)
        padding = -1 if table.padding_idx is None else int(row_V[table.padding_idx])
        self._padding_row = None if padding < 0 else padding
        self.train(table.training)

    def forward(self, input_ids_BT: Tensor) -> Tensor:
        row_BT = self.row_V[input_ids_BT]
        if self.training:  # only trained pieces occur, and to look whether that is so would make a GPU wait
            return embedding(row_BT, self.weight, self._padding_row)
        h_BTE = embedding(row_BT.clamp(min=0), self.weight, self._padding_row)
        other_BT = row_BT < 0
        if bool(other_BT.any()):
            h_BTE[other_BT] = self.whole_VE[input_ids_BT[other_BT].cpu()].to(h_BTE)
        return h_BTE


def _table(encoder: PreTrainedModel) -> nn.Embedding | None:
    """Return the encoder's embedding table; none: it does more than look up rows, or another layer uses it, too."""
    try:
        table = encoder.get_input_embeddings()
    except NotImplementedError:
        return None
    # A subclass may scale, hash or project.
    if type(table) is not nn.Embedding or table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        return None
    uses = sum(parameter is table.weight for _, parameter in encoder.named_parameters(remove_duplicate=False))
    return table if uses == 1 else None
