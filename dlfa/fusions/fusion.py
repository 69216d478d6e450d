"""The seam of the fusions: what each of them says of itself.

Shapes: B windows, T tokens, E hidden size, L layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

__all__ = ["Fusion", "FusionShape", "Parameter", "mixed", "pair"]

Parameter = Literal["fusion_layer", "reduction_ratio"]
"""A field of `ModelConfig` that only some fusions have."""


@dataclass(frozen=True, kw_only=True)
class FusionShape:
    """Sizes that a fusion is built for."""

    hidden_size: int
    """E, the encoder's hidden size."""

    layers: int
    """L, the encoder's number of layers; there are L + 1 hidden states."""

    fusion_layer: int | None = None
    """l, the chosen lower layer, in 0..L-1; None for fusions without one."""

    reduction_ratio: int | None = None
    """r, in 1..E; None for fusions without one."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A way to make what a head reads out of an encoder's hidden states."""

    name: str
    """The name that users type: `--fusion NAME`, `compare: {fusion: [none, NAME]}`."""

    summary: str
    """One line for help texts."""

    parameters: tuple[Parameter, ...]
    """Fields of `ModelConfig` that it needs; it has no other."""

    reads: Callable[[FusionShape], tuple[int, ...]]
    """Indices of the hidden states that the module is called with, ascending, the last layer's (L) last."""

    build: Callable[[FusionShape], nn.Module]
    """Make the module. It is called with those states (each BTE) and `attention_mask_BT=...`, and returns BTE."""

    batch_statistics: bool = False
    """True if it normalises by the statistics of a batch, so that how a batch is cut changes the result."""

    @property
    def has_layer(self) -> bool:
        """Whether one lower layer is chosen."""
        return "fusion_layer" in self.parameters


def pair(shape: FusionShape) -> tuple[int, ...]:
    """Return the indices of the chosen lower layer and of the last."""
    assert shape.fusion_layer is not None
    return shape.fusion_layer, shape.layers


def mixed(lower_BTE: Tensor, last_BTE: Tensor, weight_BTE: Tensor) -> Tensor:
    """Return L1 * w + L2 * (1 - w), BTE, of the layers' type, for the weights w of the lower layer."""
    mixed_BTE: Tensor = last_BTE + (lower_BTE - last_BTE) * weight_BTE
    return mixed_BTE.to(last_BTE.dtype)
