"""DLFA: one lower layer fused with the last (Chen, Guo, Liu, Tao, ICPR 2022; arXiv 2205.08497).

Shapes: B windows, T tokens, E hidden size.
"""

from torch import Tensor, nn

from dlfa.fusions.aif import AIF
from dlfa.fusions.fusion import Fusion, FusionShape, mixed, pair

__all__ = ["DLFA", "FUSION"]


class DLFA(nn.Module):
    """Fuses two layers as published: L = L1 * W' + L2 * (1 - W'), W' = AIF((L1 + L2) / 2).

    Equations 1 and 2 of the authors' poster, doi 10.1109/ICPR56361.2022.9956721. W' is not bounded to 0..1.

    Args:
        hidden_size: E, the encoder's hidden size.
        reduction_ratio: r of AIF, in 1..E.

    Raises:
        ConfigError: The ratio is out of its range.
    """

    def __init__(self, hidden_size: int, reduction_ratio: int) -> None:
        super().__init__()
        self.aif = AIF(hidden_size, reduction_ratio)

    def forward(self, lower_BTE: Tensor, last_BTE: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """Return L, which a head reads in place of the last layer: BTE, of the layers' type.

        Args:
            lower_BTE: L1, the output of the chosen lower layer.
            last_BTE: L2, the output of the last layer.
            attention_mask_BT: 0 where a token is padding.
        """
        return mixed(lower_BTE, last_BTE, self.aif((lower_BTE + last_BTE) / 2, attention_mask_BT))


def _build(shape: FusionShape) -> DLFA:
    assert shape.reduction_ratio is not None
    return DLFA(shape.hidden_size, shape.reduction_ratio)


FUSION = Fusion(
    name="dlfa",
    summary="the published module: a lower layer and the last, mixed by attention",
    parameters=("fusion_layer", "reduction_ratio"),
    reads=pair,
    build=_build,
    batch_statistics=True,
)
