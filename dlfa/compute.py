"""The device and the precision of a trial, chosen from what the hardware has."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from dlfa.config import ComputeConfig
from dlfa.errors import ConfigError

__all__ = ["Compute", "choose", "out_of_memory"]


@dataclass(frozen=True)
class Compute:
    """Where to compute, and in which precision matrices are multiplied."""

    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


def choose(config: ComputeConfig) -> Compute:
    """Return device and precision, and set this process to the configured threads.

    Raises:
        ConfigError: A GPU was asked for and none is visible.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: 'cuda' is not allowed; allowed: cpu, because this process sees no GPU")
    torch.set_num_threads(config.threads)
    use_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if use_gpu else "cpu")
    bf16 = _has_bf16(device) if config.precision == "auto" else config.precision == "bf16"
    if use_gpu:
        # The same seed gives the same numbers on one machine; cuBLAS needs its workspace fixed for that.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Compute(device, bf16)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether what was asked for did not fit the memory of the GPU, or of a CPU that refuses to promise more."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _has_bf16(device: torch.device) -> bool:
    """Whether the hardware itself multiplies in bf16; emulation would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.backends.cpu.get_cpu_capability()
    if capabilities.startswith("AVX"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
