"""Fusions: what a head reads in place of an encoder's last layer. One file each, and one line in `FUSIONS`."""

from typing import Final

from dlfa.fusions import dlfa, gate, mean, none, scalar_mix
from dlfa.fusions.aif import AIF
from dlfa.fusions.batch_norm import MaskedBatchNorm
from dlfa.fusions.dlfa import DLFA
from dlfa.fusions.fusion import Fusion, FusionShape
from dlfa.fusions.gate import GatedFusion
from dlfa.fusions.mean import MeanFusion
from dlfa.fusions.scalar_mix import ScalarMix

__all__ = [
    "AIF",
    "BASELINE",
    "DLFA",
    "FUSIONS",
    "Fusion",
    "FusionShape",
    "GatedFusion",
    "MaskedBatchNorm",
    "MeanFusion",
    "ScalarMix",
]

FUSIONS: Final[dict[str, Fusion]] = {
    module.FUSION.name: module.FUSION for module in (none, dlfa, gate, mean, scalar_mix)
}
"""Every fusion by its name, the baseline first: the order of arms and tables."""

BASELINE: Final = none.FUSION.name
"""The fusion that every sweep contains, and that the others are compared with."""
