"""What of a trial is run to measure its memory; the GPU is a stand-in, the work is done on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from toy import write_toy

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig
from dlfa.errors import ConfigError
from dlfa.memory import GpuMemory, gpu_memory
from dlfa.model import Classifier
from dlfa.trial import open_corpus


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrialConfig:
    data, encoder = write_toy(tmp_path_factory.mktemp("toy"))
    cache = str(data.parent / "cache")
    return TrialConfig(
        task="udpos",
        data=DataConfig(path=str(data), cache=cache, max_length=32, train_limit=200, eval_limit=30),
        model=ModelConfig(encoder=str(encoder), fusion_layer=2, reduction_ratio=4),
        training=TrainingConfig(batch_size=16),
        compute=ComputeConfig(device="cpu", precision="fp32"),
    )


@dataclass(frozen=True)
class Pass:
    """A forward pass of the whole model."""

    training: bool
    shape_BT: tuple[int, ...]
    gradients: bool
    """Whether those of the last step are in memory."""

    rows: int
    """Of the embedding table on the device."""


@contextmanager
def watched() -> Iterator[list[Any]]:
    """Give the passes of classifiers, and an `int` for each optimiser step: the tensors of its state."""
    seen: list[Any] = []

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, Classifier):
            gradients = any(parameter.grad is not None for parameter in module.parameters())
            table = module.encoder.get_input_embeddings().weight
            assert isinstance(table, torch.Tensor)
            seen.append(Pass(module.training, tuple(inputs[0].shape), gradients, len(table)))

    def stepped(optimizer: torch.optim.Optimizer, *_: object) -> None:
        seen.append(len(optimizer.state))

    hooks = [register_module_forward_pre_hook(look), register_optimizer_step_post_hook(stepped)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def test_a_gpu_is_measured_after_the_largest_steps_of_a_trial(
    config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Stand-in")
    with watched() as seen:
        # Whatever is in use when all of that is done.
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000 - len(seen), 1000))
        found = gpu_memory(config)
    corpus = open_corpus(config)
    lengths = np.sort(corpus.split("en", "train").lengths)
    longest = (16, int(lengths[-1]))
    first, one, second, two, evaluated, tested = seen
    assert [(step.training, step.shape_BT) for step in (first, second)] == [(True, longest)] * 2
    assert one == two > 0  # the moments are there at the second step
    # Evaluation with gradients in memory and the trained rows alone, and then with the whole table.
    assert not evaluated.training
    assert not tested.training
    assert evaluated.gradients
    vocabulary = corpus.tokenizer.vocab_size
    assert first.rows == evaluated.rows < tested.rows <= vocabulary + 8
    sets = [("en", "dev"), *((language, "test") for language in ("de", "en", "es", "fr"))]
    every = np.concatenate([corpus.split(language, split).lengths for language, split in sets])  # type: ignore[arg-type]
    batch, width = evaluated.shape_BT
    assert width == every.max()
    assert batch == 1024 // width < len(every)
    assert tested.shape_BT == evaluated.shape_BT
    assert found == GpuMemory(name="Stand-in", taken=6, total=1000)


def test_without_a_gpu_there_is_nothing_to_measure(config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^a trial's memory can't be measured: PyTorch sees no GPU on \S+$"):
        gpu_memory(config)
