"""Tiny random encoders with real tokenizers, written like downloaded ones, and what they are trained with."""

import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig
from dlfa.data.sources import Example, Pair, Sentence
from dlfa.model.quiet import quiet_transformers
from dlfa.tasks import TaskSpec

__all__ = ["FAMILIES", "everywhere", "examples", "trial_config", "write_encoder"]

FAMILIES = ("bert", "xlm-roberta", "distilbert", "modernbert")
_MAX_POSITIONS = 64

# Sizes have names of their own in DistilBERT; XLM-R's first position follows the padding token's id.
_OPTIONS: dict[str, dict[str, object]] = {
    "bert": {"intermediate_size": 64, "max_position_embeddings": _MAX_POSITIONS},
    "xlm-roberta": {"intermediate_size": 64, "max_position_embeddings": _MAX_POSITIONS + 2},
    "distilbert": {"hidden_dim": 64, "max_position_embeddings": _MAX_POSITIONS},
    "modernbert": {"intermediate_size": 64, "max_position_embeddings": _MAX_POSITIONS, "local_attention": 4},
}


def write_encoder(
    folder: Path,
    family: str = "bert",
    layers: int = 4,
    hidden_size: int = 32,
    words: Iterable[str] = ("the", "dog", "cat", "sees", "house", "small", "##s", "##ing", "der", "Hund"),
) -> Path:
    """Write an encoder with a window of 64 pieces and a cased tokenizer; the same arguments, the same bytes.

    Args:
        folder: Where to; made if need be.
        family: One of `FAMILIES`.
        layers: L.
        hidden_size: E, a multiple of 4.
        words: Pieces beside single ASCII characters; words of other characters become the unknown piece.

    Returns:
        The folder.
    """
    # The order of XLM-R's first pieces: padding is 1, so that a mask built from ids != 0 is noticed.
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = string.ascii_letters + string.digits + string.punctuation
    pieces = list(dict.fromkeys([*special, *words, *letters, *(f"##{letter}" for letter in letters)]))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    config = AutoConfig.for_model(
        family,
        vocab_size=len(pieces),
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        cls_token_id=0,
        sep_token_id=2,
        initializer_range=0.1,  # at 0.02 so small an encoder hardly tells its inputs apart
        **_OPTIONS[family],
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token="<s>",
            cls_token="<s>",
            eos_token="</s>",
            sep_token="</s>",
            unk_token="<unk>",
            pad_token="<pad>",
            mask_token="<mask>",
            model_max_length=_MAX_POSITIONS,
            model_input_names=["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "bert"),
        ).save_pretrained(folder)
    return folder


def everywhere(input_ids_BT: Tensor, attention_mask_BT: Tensor | None = None) -> tuple[Tensor, ...]:
    """Return a model's inputs such that it gives logits at every position, row by row."""
    mask_BT = torch.ones_like(input_ids_BT) if attention_mask_BT is None else attention_mask_BT
    row_W, column_W = torch.ones_like(input_ids_BT).nonzero(as_tuple=True)
    return input_ids_BT, mask_BT, torch.zeros_like(input_ids_BT), row_W, column_W


def examples(task: TaskSpec, count: int, seed: int) -> list[Example]:
    """Return examples whose labels can be read off their words: a letter stands for each label."""
    chance = np.random.default_rng(seed)
    drawn = chance.integers(0, len(task.labels), (count, 5)).tolist()
    letter = string.ascii_lowercase
    if task.kind == "pair":
        return [Pair("the " + letter[row[0]], "dog " + letter[row[1]], task.labels[row[0]]) for row in drawn]
    return [Sentence(tuple(letter[n] for n in row), tuple(task.labels[n] for n in row)) for row in drawn]


def trial_config(
    task: TaskSpec, data: Path, cache: Path, encoder: Path, *, epochs: float, batch_size: int, reports: int
) -> TrialConfig:
    """Return a configuration that fuses layers of a tiny encoder, on the CPU."""
    return TrialConfig(
        task=task.name,
        data=DataConfig(path=str(data), cache=str(cache), max_length=16),
        model=ModelConfig(encoder=str(encoder), fusion_layer=1, reduction_ratio=2),
        training=TrainingConfig(learning_rate=3e-3, epochs=epochs, batch_size=batch_size, reports_per_trial=reports),
        compute=ComputeConfig(device="cpu", precision="fp32"),
    )
