"""No fusion: the baseline, whose head reads the last layer.

Shapes: B windows, T tokens, E hidden size.
"""

from torch import Tensor, nn

from dlfa.fusions.fusion import Fusion

__all__ = ["FUSION", "LastLayer"]


class LastLayer(nn.Module):
    """Leaves the last layer as it is: L = L2."""

    def forward(self, last_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return L2, BTE.

        Args:
            last_BTE: L2, the output of the last layer.
            attention_mask_BT: Not looked at.
        """
        return last_BTE


FUSION = Fusion(
    name="none",
    summary="the baseline: the head reads the last layer",
    parameters=(),
    reads=lambda shape: (shape.layers,),
    build=lambda shape: LastLayer(),
)
