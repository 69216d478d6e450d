"""How far a trial has come: what its checkpoint holds, and how it is taken up again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import nn
from torch.optim import Optimizer

from dlfa.checkpoint import CheckpointFile

__all__ = ["Progress", "Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """One evaluation on the selection set."""

    step: int
    """Number of the report, from 1; the last one is `reports_per_trial`."""

    score: float
    """What selects and prunes, in percent."""

    metrics: Mapping[str, float]
    """`dev/<language>/<metric>` in percent; `train/loss`, the mean over labels since the last report; and
    `train/micro_batch_size`, windows per forward pass, which batch statistics are of."""


@dataclass(kw_only=True)
class Progress:
    """Counters, reports and the best weights of a trial that is being trained."""

    step: int = 0
    """Optimiser steps taken."""

    loss_sum: float = 0.0
    """Summed loss of the labels since the last report."""

    labels: int = 0
    """Labels since the last report."""

    micro_batch_size: int
    """Windows per forward pass: as configured, halved as often as memory ran out."""

    reports: list[Report] = field(default_factory=list)

    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    """Weights of the best report, on the CPU; empty before the first."""

    def add(self, report: Report, model: nn.Module) -> None:
        """Take in a report; keep the weights if it is the best so far (the first of equals)."""
        if report.score > max((r.score for r in self.reports), default=float("-inf")):
            self.best_weights = {
                name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
            }
        self.reports.append(report)
        self.loss_sum, self.labels = 0.0, 0

    def content(self, file: CheckpointFile, model: nn.Module, optimizer: Optimizer) -> bytes:
        """Return what a checkpoint right after a report holds."""
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        best = max(self.reports, key=lambda r: r.score)
        if best is not self.reports[-1]:
            tensors |= {f"best.{name}": value for name, value in self.best_weights.items()}
        state = {"step": self.step, "reports": [asdict(report) for report in self.reports]}
        return file.content(tensors, {**state, "micro_batch_size": self.micro_batch_size})

    @classmethod
    def resume(cls, file: CheckpointFile, model: nn.Module, optimizer: Optimizer, micro_batch_size: int) -> "Progress":
        """Load a checkpoint into model, optimiser and random state; without one, start.

        Args:
            file: The checkpoint.
            model: Gets its weights.
            optimizer: Gets its moments.
            micro_batch_size: As configured; a smaller one in the checkpoint counts.

        Raises:
            CheckpointError: The file is damaged.
        """
        loaded = file.load()
        if loaded is None:
            return cls(micro_batch_size=micro_batch_size)
        tensors, state = loaded

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

        weights = part("model.")
        model.load_state_dict(weights)
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random.cuda"])
        return cls(
            step=state["step"],
            reports=[Report(**report) for report in state["reports"]],
            best_weights=part("best.") or weights,
            micro_batch_size=min(micro_batch_size, state["micro_batch_size"]),
        )
