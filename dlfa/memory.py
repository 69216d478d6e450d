"""What a trial takes of a GPU's memory, measured before any runs."""

import os
from dataclasses import dataclass

import numpy as np
import torch

from dlfa.compute import choose
from dlfa.config import TrialConfig
from dlfa.data.batching import joined
from dlfa.errors import ConfigError
from dlfa.evaluation import predict_longest
from dlfa.model import build_model
from dlfa.training import time_step
from dlfa.trial import open_corpus, sets_read

__all__ = ["GpuMemory", "gpu_memory"]


@dataclass(frozen=True, kw_only=True)
class GpuMemory:
    """A GPU that has run the largest steps of a trial."""

    name: str
    """Of the GPU, such as NVIDIA H100 80GB HBM3."""

    taken: int
    """Bytes in use after them: the trial's peak with what PyTorch keeps for reuse, CUDA's context, and what other
    processes have of the same GPU."""

    total: int
    """Bytes of the whole GPU."""

    def __str__(self) -> str:
        return f"{self.taken / 2**30:.1f} of {self.total / 2**30:.1f} GiB of {self.name}"


def gpu_memory(config: TrialConfig) -> GpuMemory:
    """Measure a trial's memory on the first GPU that this process sees.

    Trains two steps on the longest windows, of which the second finds the optimiser's state there, and predicts the
    longest batch of all sets, with that state and then with the whole embedding table.

    Raises:
        ConfigError: PyTorch sees no GPU here, or a value does not fit the encoder or the data.
        DataError: The data is missing or malformed.
    """
    if not torch.cuda.is_available():
        raise ConfigError(f"a trial's memory can't be measured: PyTorch sees no GPU on {os.uname().nodename}")
    compute = choose(config.compute)
    corpus = open_corpus(config)
    pad = int(corpus.tokenizer.pad_token_id or 0)
    sets = sets_read(config, corpus)
    train = corpus.split(config.data.source_language, "train")
    scored = joined([corpus.split(language, split) for split in ("dev", "test") for language in sets[split]])
    torch.manual_seed(config.seed)
    model = build_model(config.model, corpus.task.kind, corpus.task.labels)
    longest = np.argsort(-train.lengths, kind="stable")[: config.training.batch_size]

    def evaluate() -> None:
        predict_longest(model, scored, compute, pad)

    time_step(model, train, longest, config.training, compute, pad, evaluate)
    evaluate()
    free, total = torch.cuda.mem_get_info(compute.device)
    return GpuMemory(name=torch.cuda.get_device_name(compute.device), taken=total - free, total=total)
