"""Encoders and their tokenizers: read from a folder or the hub, or refused in one line."""

import hashlib
import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file  # type: ignore[attr-defined]

from dlfa.errors import ConfigError
from dlfa.model.quiet import quiet_transformers

__all__ = [
    "EncoderShape",
    "check_weights",
    "encoder_fingerprint",
    "encoder_shape",
    "load_encoder",
    "load_tokenizer",
]

_INDEX = "model.safetensors.index.json"
_IF_THERE = {
    "_raise_exceptions_for_connection_errors": False,
    "_raise_exceptions_for_gated_repo": False,
    "_raise_exceptions_for_missing_entries": False,
}

_ALLOWED = "a folder with config.json, tokenizer.json and model.safetensors, or a hub id that can be reached"

# A card or a licence may change without the encoder.
_FILES = frozenset((".json", ".model", ".safetensors", ".txt"))

# These count positions from the padding token's id + 1 on: so many rows of the table are no position.
_POSITIONS_AFTER_PADDING = frozenset((
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """The sizes of an encoder, as its configuration tells them."""

    layers: int
    """L, the number of transformer layers; there are L + 1 hidden states."""

    hidden_size: int
    """E, the size of each hidden state."""

    vocabulary: int
    """Rows of the embedding table: every piece's id is below it."""

    max_positions: int
    """Longest input, in pieces, special tokens included."""


def encoder_shape(encoder: str) -> EncoderShape:
    """Return an encoder's sizes; reads its configuration, no weights.

    Args:
        encoder: Folder, if there is one of that name or it starts with `.`, `/` or `~`; else a hub id.

    Raises:
        ConfigError: If there is no such encoder, or it is none that hidden states can be taken from.
    """
    config = _load_config(encoder)

    def size(name: str) -> int:
        value = getattr(config, name, None)
        if not isinstance(value, int) or value < 1:
            raise _refusal(encoder, f"its config.json has {value!r} for {name}, so it is no text encoder")
        return value

    if getattr(config, "is_encoder_decoder", False):
        raise _refusal(encoder, f"{config.model_type} is an encoder with a decoder")
    max_positions = size("max_position_embeddings")
    if config.model_type in _POSITIONS_AFTER_PADDING:
        max_positions -= (config.pad_token_id or 0) + 1
    return EncoderShape(
        layers=size("num_hidden_layers"),
        hidden_size=size("hidden_size"),
        vocabulary=size("vocab_size"),
        max_positions=max_positions,
    )


def load_tokenizer(encoder: str) -> PreTrainedTokenizerBase:
    """Return an encoder's tokenizer, one that knows which word each piece belongs to (a fast one).

    Args:
        encoder: Folder or hub id, as for `encoder_shape`.

    Raises:
        ConfigError: If it is missing, broken or not fast, or has pieces that the encoder does not know.
    """
    vocabulary, source = encoder_shape(encoder).vocabulary, _source(encoder)
    if Path(source).is_dir() and not (Path(source) / "tokenizer.json").is_file():
        raise _refusal(encoder, "it has no tokenizer.json")
    with _reading(encoder, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, use_fast=True, trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise _refusal(encoder, f"{type(tokenizer).__name__} is not a fast tokenizer")
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(splitter, ByteLevel):
        # Each word is tokenized for itself: only the space before it shows that a word begins.
        splitter.add_prefix_space = True
    # Where the hub has no file, transformers makes a tokenizer that knows nothing but special tokens.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise _refusal(encoder, "its tokenizer has no pieces but special tokens")
    if len(tokenizer) > vocabulary:
        raise _refusal(
            encoder,
            f"its tokenizer has {len(tokenizer)} pieces, and config.json a vocab_size of {vocabulary}",
        )
    return tokenizer


def check_weights(encoder: str) -> None:
    """Check that an encoder's weights are there and can be read without running code; reads no weights.

    Of a hub id it asks only whether the weights are in several files, and which.

    Args:
        encoder: Folder or hub id, as for `encoder_shape`.

    Raises:
        ConfigError: A file of weights is missing, broken or not safetensors.
    """
    source = _source(encoder)
    folder = Path(source)
    names = _shards(encoder, source) or ["model.safetensors"]
    # Transformers reads whatever else an index names with torch.load.
    if pickled := [name for name in names if not name.endswith(".safetensors")]:
        raise _refusal(encoder, f"{_INDEX} names {pickled[0]!r}, which is not safetensors")
    if not folder.is_dir():
        return
    with _reading(encoder, "folder"):
        missing = next((name for name in names if not (folder / name).is_file()), None)
        pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if missing is not None:
        found = f"; {pickled[0]} is a pickle, which can run code when it is read" if pickled else ""
        raise _refusal(encoder, f"it has no {missing}{found}")
    with _reading(encoder, "weights"):
        for name in names:
            with safe_open(folder / name, framework="pt"):
                pass


def load_encoder(encoder: str) -> PreTrainedModel:
    """Return an encoder in float32 and evaluation mode, without a pooler where its class allows that.

    Args:
        encoder: Folder or hub id, as for `encoder_shape`.

    Raises:
        ConfigError: If weights are missing, broken, not safetensors, or other than config.json says.
            Transformers would start some of them at random.
    """
    config, source = _load_config(encoder), _source(encoder)
    check_weights(encoder)
    with _reading(encoder, "weights"):
        model_class: Any = MODEL_MAPPING[type(config)]
        poolable = "add_pooling_layer" in inspect.signature(model_class).parameters
        model, report = AutoModel.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, with names and shapes, and refused below
            **({"add_pooling_layer": False} if poolable else {}),
        )
    _require_own_weights(encoder, model, report)
    assert isinstance(model, PreTrainedModel)
    return model


def encoder_fingerprint(encoder: str) -> str | None:
    """Return what changes with an encoder's configuration, tokenizer or weights.

    Args:
        encoder: Folder or hub id, as for `encoder_shape`.

    Returns:
        SHA-256 of a folder's files, or the commit of the Hub's repository; none: nothing of it was downloaded yet.

    Raises:
        ConfigError: There is no such folder, or a file in it cannot be read.
    """
    folder = Path(_source(encoder))
    if not folder.is_dir():
        cached = try_to_load_from_cache(encoder, "config.json")
        return Path(cached).parent.name if isinstance(cached, str) else None
    digest = hashlib.sha256()
    with _reading(encoder, "folder"):
        for path in sorted(folder.iterdir()):
            if path.suffix in _FILES:
                digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
    return digest.hexdigest()


def _require_own_weights(encoder: str, model: PreTrainedModel, report: dict[str, Any]) -> None:
    """Refuse a model some of whose weights are not those of the file, or that leaves out whole layers."""
    mismatched = sorted(report["mismatched_keys"])
    if mismatched:
        name, found, wanted = mismatched[0]
        shapes = f"{tuple(found)} in the weights and {tuple(wanted)} by config.json"
        raise _refusal(encoder, f"{name} is {shapes}{_more(mismatched)}")
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise _refusal(encoder, f"its weights lack {missing[0]}{_more(missing)}, which config.json asks for")
    # A head of another task is left out on purpose; a layer beyond config.json's number is a mistake.
    known = {re.sub(r"\d+", "#", name) for name in model.state_dict()}
    surplus = sorted(key for key in report["unexpected_keys"] if re.sub(r"\d+", "#", key) in known)
    if surplus:
        raise _refusal(encoder, f"its weights have {surplus[0]}{_more(surplus)}, beyond config.json's layers")


def _shards(encoder: str, source: str) -> list[str]:
    """Return the files that the index of weights in several files names; none where the weights are in one file."""
    with _reading(encoder, "index of weights"):
        if (Path(source) / "model.safetensors").is_file():  # which transformers prefers
            return []
        index = cached_file(source, _INDEX, **_IF_THERE)
        if index is None:
            return []
        return sorted({str(name) for name in json.loads(Path(index).read_text("utf-8"))["weight_map"].values()})


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _load_config(encoder: str) -> PretrainedConfig:
    source = _source(encoder)
    with _reading(encoder, "config"):
        config: PretrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False)
        # Where the file names a repository of the Hub here, transformers would fetch and run its code.
        config._attn_implementation = None
    return config


def _source(encoder: str) -> str:
    """Return what transformers shall read: an existing folder with a configuration, or a hub id."""
    try:
        folder = Path(encoder).expanduser()
        if encoder and folder.is_dir():
            if not (folder / "config.json").is_file():
                raise _refusal(encoder, "it has no config.json")
            return str(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory of that user
        raise _refusal(encoder, getattr(error, "strerror", None) or str(error)) from error
    if not encoder or encoder.startswith((".", "/", "~")):
        raise _refusal(encoder, "there is no such folder")
    return encoder


@contextmanager
def _reading(encoder: str, part: str) -> Iterator[None]:
    """Tell whatever is wrong with a user's files in one line."""
    try:
        with quiet_transformers():
            yield
    except MemoryError:
        raise
    # Readers of JSON, safetensors and tokenizers raise errors of many kinds, down to a bare Exception.
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0].rstrip(' .:')}" if lines else type(error).__name__
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which is never run"
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            raise ConfigError(
                f"--encoder: {encoder!r}: {constants.ENDPOINT} cannot be reached, and what was downloaded before lacks "
                f"its {part}; allowed without the Hub: --encoder PATH with --data PATH, or --profile quickstart"
            ) from error
        raise _refusal(encoder, f"its {part} cannot be read: {reason}") from error


def _refusal(encoder: str, reason: str) -> ConfigError:
    return ConfigError(f"--encoder: {encoder!r}: {reason}; allowed: {_ALLOWED}")
