"""The mean of two layers: a control without parameters, which asks whether attention matters.

Shapes: B windows, T tokens, E hidden size.
"""

from torch import Tensor, nn

from dlfa.fusions.fusion import Fusion, pair

__all__ = ["FUSION", "MeanFusion"]


class MeanFusion(nn.Module):
    """Fuses two layers: L = (L1 + L2) / 2."""

    def forward(self, lower_BTE: Tensor, last_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return L, BTE, of the layers' type.

        Args:
            lower_BTE: L1, the output of the chosen lower layer.
            last_BTE: L2, the output of the last layer.
            attention_mask_BT: Not looked at.
        """
        return (lower_BTE + last_BTE) / 2


FUSION = Fusion(
    name="mean",
    summary="the mean of a lower layer and the last",
    parameters=("fusion_layer",),
    reads=pair,
    build=lambda shape: MeanFusion(),
)
