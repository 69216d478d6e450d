"""Models on disk: an encoder folder that any Hugging Face tool reads, and beside it what DLFA adds.

config.json model.safetensors   the encoder
tokenizer.json ...              its tokenizer
dlfa.json                       the model's configuration, kind of task, label names and window
dlfa.safetensors                weights of the fusion and of the head
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from dlfa.config import ModelConfig, from_mapping, to_mapping
from dlfa.errors import ConfigError
from dlfa.model.build import Classifier, build_model
from dlfa.model.heads import HEADS
from dlfa.model.quiet import quiet_transformers
from dlfa.tasks import Kind

__all__ = ["load_model", "save_model", "saved_window"]

_SETTINGS, _WEIGHTS = "dlfa.json", "dlfa.safetensors"
_ALLOWED = "a folder that a model was saved in"


def save_model(
    model: Classifier,
    folder: Path,
    config: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
) -> None:
    """Write a model into a folder, made if need be; the folder is an encoder for a further training, too.

    Args:
        model: What `build_model` or `load_model` returned.
        folder: Where to.
        config: What the model was built from.
        tokenizer: The encoder's.
        max_length: Window that it was trained with, in pieces; none: not written down.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        model.encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    save_file({name: tensor.contiguous() for name, tensor in _added(model).items()}, folder / _WEIGHTS)
    settings: dict[str, Any] = {"model": to_mapping(config), "kind": model.kind, "labels": list(model.labels)}
    if max_length is not None:
        settings["max_length"] = max_length
    (folder / _SETTINGS).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")


def load_model(folder: Path) -> Classifier:
    """Return a saved model on the CPU, in evaluation mode; the global random generator stays as it is.

    Raises:
        ConfigError: If a file is missing or broken, or if the files do not belong together.
    """
    config, kind, labels, _ = _read_settings(folder / _SETTINGS)
    with torch.random.fork_rng(devices=[]):
        model = build_model(replace(config, encoder=str(folder)), kind, labels)
    path = folder / _WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); allowed: {_ALLOWED}") from error
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in _added(model).items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ConfigError(
                f"{path}: {name} is {found.get(name, 'missing')}, but {wanted.get(name, 'unknown')} "
                f"by {_SETTINGS}; allowed: {_ALLOWED}"
            )
    model.load_state_dict(weights, strict=False)
    return model.eval()


def saved_window(folder: Path) -> int | None:
    """Return the window that a saved model was trained with, in pieces; none: its folder does not say.

    Raises:
        ConfigError: If the settings are missing or broken.
    """
    return _read_settings(folder / _SETTINGS)[3]


def _added(model: Classifier) -> dict[str, torch.Tensor]:
    """Return the weights that the encoder's own file does not hold, by name."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("encoder.")}


def _read_settings(path: Path) -> tuple[ModelConfig, Kind, list[str], int | None]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); allowed: {_ALLOWED}") from error
    if not isinstance(settings, dict) or settings.keys() - {"max_length"} != {"model", "kind", "labels"}:
        raise ConfigError(
            f"{path}: has other fields than `model`, `kind`, `labels` and `max_length`; allowed: {_ALLOWED}"
        )
    kind, labels, max_length = settings["kind"], settings["labels"], settings.get("max_length")
    if kind not in HEADS:
        raise ConfigError(f"{path}: kind: {kind!r} is not allowed; allowed: {', '.join(HEADS)}")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f"{path}: labels: {labels!r} is not allowed; allowed: a list of label names")
    if max_length is not None and (type(max_length) is not int or max_length < 8):
        raise ConfigError(f"{path}: max_length: {max_length!r} is not allowed; allowed: a whole number, at least 8")
    return from_mapping(ModelConfig, settings["model"], str(path)), kind, labels, max_length
