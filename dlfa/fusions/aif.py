"""AIF, the attention of DLFA, and the gate of two branches that it is made of.

Shapes: B windows, T tokens, E hidden size, R = E // r squeezed size, 1 a dimension to broadcast over.
"""

import torch
from torch import Tensor, nn

from dlfa.errors import ConfigError
from dlfa.fusions.batch_norm import MaskedBatchNorm

__all__ = ["AIF", "ContextGate"]


class AIF(nn.Module):
    """Weighs each element of W by its context: W' = W * sigmoid(W_global + W_local) (equation 1 of the DLFA poster).

    The poster: doi 10.1109/ICPR56361.2022.9956721.

    Args:
        hidden_size: E, the encoder's hidden size.
        reduction_ratio: r, in 1..E.

    Raises:
        ConfigError: The ratio is out of its range.
    """

    def __init__(self, hidden_size: int, reduction_ratio: int) -> None:
        super().__init__()
        self.gate = ContextGate(hidden_size, reduction_ratio, normalised=True)

    def forward(self, w_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return W', BTE, in float32 or what is more precise.

        Args:
            w_BTE: W, the mean of two layers.
            attention_mask_BT: 0 where a token is padding; padding never changes another token's result.
        """
        weight_BTE: Tensor = w_BTE * self.gate(w_BTE, attention_mask_BT)
        return weight_BTE


class ContextGate(nn.Module):
    """sigmoid(W_global + W_local): two branches, which squeeze E to R and expand it again.

    W_local sees one token, W_global the mean over the tokens of a window. A Conv1d of width 1 over tokens is a linear
    layer with the same initialisation.

    Args:
        hidden_size: E, the encoder's hidden size.
        reduction_ratio: r, in 1..E.
        normalised: Whether batch normalisation follows each linear layer. Without it the expanding layers start at
            zero, so that a new gate is 0.5 everywhere.

    Raises:
        ConfigError: The ratio is out of its range.
    """

    def __init__(self, hidden_size: int, reduction_ratio: int, *, normalised: bool) -> None:
        super().__init__()
        if not 1 <= reduction_ratio <= hidden_size:
            raise ConfigError(
                f"reduction_ratio: {reduction_ratio!r} is not allowed; allowed: 1..{hidden_size}, the hidden size"
            )
        self.local_branch = _Branch(hidden_size, hidden_size // reduction_ratio, normalised=normalised)
        self.global_branch = _Branch(hidden_size, hidden_size // reduction_ratio, normalised=normalised)

    def forward(self, w_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return the gate, BTE, in float32 or what is more precise.

        Args:
            w_BTE: W, what the gate is computed from.
            attention_mask_BT: 0 where a token is padding.
        """
        real_BT = attention_mask_BT != 0
        local_BTE = self.local_branch(w_BTE, real_BT)
        global_BE = self.global_branch(_mean_over_tokens(w_BTE, real_BT), real_BT.any(dim=1))
        # In bf16 a gate near 0.5 could move only in steps of 0.002 or more.
        precise = torch.promote_types(local_BTE.dtype, torch.float32)
        return torch.sigmoid(local_BTE.to(precise) + global_BE.to(precise)[:, None])


class _Branch(nn.Module):
    def __init__(self, hidden_size: int, squeezed_size: int, *, normalised: bool) -> None:
        super().__init__()
        self.squeeze = nn.Linear(hidden_size, squeezed_size)
        self.squeeze_norm = MaskedBatchNorm(squeezed_size) if normalised else None
        self.expand = nn.Linear(squeezed_size, hidden_size)
        self.expand_norm = MaskedBatchNorm(hidden_size) if normalised else None
        if not normalised:
            nn.init.zeros_(self.expand.weight)
            nn.init.zeros_(self.expand.bias)

    def forward(self, h_NE: Tensor, real_N: Tensor) -> Tensor:
        squeezed_NR: Tensor = self.squeeze(h_NE)
        if self.squeeze_norm is not None:
            squeezed_NR = self.squeeze_norm(squeezed_NR, real_N)
        expanded_NE: Tensor = self.expand(torch.relu(squeezed_NR).to(h_NE.dtype))
        return expanded_NE if self.expand_norm is None else self.expand_norm(expanded_NE, real_N)


def _mean_over_tokens(h_BTE: Tensor, real_BT: Tensor) -> Tensor:
    """Return the mean over the tokens that are not padding, as BE; zeros for a row of padding alone."""
    # Half precision loses the small terms of a long sum, and float16 overflows in it.
    precise = torch.promote_types(h_BTE.dtype, torch.float32)
    # Filling, unlike multiplying, keeps even an infinity at a padding position out.
    total_BE = h_BTE.masked_fill(~real_BT[:, :, None], 0.0).sum(dim=1, dtype=precise)
    return (total_BE / real_BT.sum(dim=1).clamp(min=1)[:, None]).to(h_BTE.dtype)
