"""A bounded variant of DLFA: a gate in 0..1 instead of AIF's weights, without batch normalisation.

Shapes: B windows, T tokens, E hidden size.
"""

from torch import Tensor, nn

from dlfa.fusions.aif import ContextGate
from dlfa.fusions.fusion import Fusion, FusionShape, mixed, pair

__all__ = ["FUSION", "GatedFusion"]


class GatedFusion(nn.Module):
    """Fuses two layers: L = L1 * M + L2 * (1 - M), M = sigmoid(local + global) of their mean.

    After the attentional fusion of arXiv 2009.14082 (equation 4), without its normalisation. A new module returns the
    mean of the two layers.

    Args:
        hidden_size: E, the encoder's hidden size.
        reduction_ratio: r of the gate, in 1..E.

    Raises:
        ConfigError: The ratio is out of its range.
    """

    def __init__(self, hidden_size: int, reduction_ratio: int) -> None:
        super().__init__()
        self.gate = ContextGate(hidden_size, reduction_ratio, normalised=False)

    def forward(self, lower_BTE: Tensor, last_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return L, BTE, of the layers' type.

        Args:
            lower_BTE: L1, the output of the chosen lower layer.
            last_BTE: L2, the output of the last layer.
            attention_mask_BT: 0 where a token is padding.
        """
        return mixed(lower_BTE, last_BTE, self.gate((lower_BTE + last_BTE) / 2, attention_mask_BT))


def _build(shape: FusionShape) -> GatedFusion:
    assert shape.reduction_ratio is not None
    return GatedFusion(shape.hidden_size, shape.reduction_ratio)


FUSION = Fusion(
    name="gate",
    summary="a lower layer and the last, mixed by a gate in 0..1",
    parameters=("fusion_layer", "reduction_ratio"),
    reads=pair,
    build=_build,
)
