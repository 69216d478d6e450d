"""A weighted sum of all layers: a control that asks whether one chosen layer matters.

Shapes: B windows, T tokens, E hidden size, S hidden states.
"""

import torch
from torch import Tensor, nn

from dlfa.fusions.fusion import Fusion

__all__ = ["FUSION", "ScalarMix"]


class ScalarMix(nn.Module):
    """Mixes all hidden states: L = gamma * sum over j of softmax(s)_j * h_j (ELMo, arXiv 1802.05365, equation 1).

    A new module returns their mean.

    Args:
        states: S, the number of hidden states, the embedding layer's output among them.
    """

    def __init__(self, states: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(states))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, *states_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return L, BTE, of the states' type.

        Args:
            states_BTE: h, all hidden states, from the embedding layer's output on.
            attention_mask_BT: Not looked at.
        """
        shares_S = self.scale * self.weights.softmax(dim=0)
        mixed_BTE = sum(share * state_BTE for share, state_BTE in zip(shares_S, states_BTE, strict=True))
        assert isinstance(mixed_BTE, Tensor)
        return mixed_BTE.to(states_BTE[-1].dtype)


FUSION = Fusion(
    name="scalar_mix",
    summary="a learnt weighted sum of all layers",
    parameters=(),
    reads=lambda shape: tuple(range(shape.layers + 1)),
    build=lambda shape: ScalarMix(shape.layers + 1),
)
