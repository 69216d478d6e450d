"""What users choose from by name; importing it costs nothing."""

from typing import Final, Literal, get_args

__all__ = ["AUTO", "PRUNERS", "SAMPLERS", "GpuShare", "Pruner", "Sampler"]

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["hyperband", "median", "none"]
SAMPLERS: Final[tuple[Sampler, ...]] = get_args(Sampler)
PRUNERS: Final[tuple[Pruner, ...]] = get_args(Pruner)

AUTO: Final = "auto"
GpuShare = Literal["auto"] | float
"""GPUs of a trial: how many, a fraction of one, or `auto`, as many trials on a GPU as pay."""
