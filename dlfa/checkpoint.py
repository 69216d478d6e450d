"""A trial's state in one safetensors file: what going on bit for bit needs, and nothing that can run code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dlfa.errors import CheckpointError
from dlfa.files import atomic_write

__all__ = ["CheckpointFile"]


@dataclass(frozen=True)
class CheckpointFile:
    """One file, replaced as a whole at every save."""

    path: Path
    owner: str = ""
    """What the state belongs to, such as a configuration; another's state is refused."""

    def save(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Write tensors and a JSON state in a single step."""
        atomic_write(self.path, self.content(tensors, state))

    def content(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> bytes:
        """Return what `save` writes; what becomes of the tensors then does not matter."""
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        return save(content, {"state": json.dumps(state), "owner": self.owner})

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return what was saved last, or nothing where no checkpoint is.

        Raises:
            CheckpointError: The file is damaged, or another's.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
                owner, state = metadata["owner"], json.loads(metadata["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path}: not readable as a checkpoint ({error}); delete it, and the trial starts again"
            ) from error
        if owner != self.owner:
            raise CheckpointError(
                f"{self.path}: a checkpoint of another configuration; allowed: the same configuration, or a folder "
                "without a checkpoint"
            )
        return tensors, state

    def remove(self) -> None:
        """Delete the file where it is."""
        self.path.unlink(missing_ok=True)
