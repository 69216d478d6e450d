"""Encoded data on disk: built once, found by its content, memory-mapped by every trial."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from transformers import PreTrainedTokenizerBase

from dlfa.config import DataConfig, suggestion
from dlfa.data.encode import EncodedSplit, encode
from dlfa.data.sources import Source, Split
from dlfa.data.sources.source import read_bytes
from dlfa.errors import ConfigError, DataError
from dlfa.files import atomic_write
from dlfa.tasks import TaskSpec

__all__ = ["Corpus"]

_FORMAT = 3
"""Part of every address: raise it when the same input would be encoded differently."""

_ARRAYS = tuple(f.name for f in fields(EncodedSplit) if f.name != "counts")


@dataclass(frozen=True)
class Corpus:
    """A source's languages as one encoder sees them."""

    source: Source
    task: TaskSpec
    tokenizer: PreTrainedTokenizerBase
    config: DataConfig

    @cached_property
    def _tokenizer_digest(self) -> str:
        return hashlib.sha256(self.tokenizer.backend_tokenizer.to_str().encode()).hexdigest()

    def targets(self) -> tuple[str, ...]:
        """Return the languages to be scored, without the source language.

        Raises:
            ConfigError: A language was asked for that the data lacks, or lacks a test set for.
        """
        known = self.source.languages()
        source = self.config.source_language
        with_test = [language for language in known if self.source.files(language, "test")]
        for language in (source, *self.config.languages):
            flag = "--source-lang" if language == source else "--languages"
            if language not in known:
                raise ConfigError(
                    f"{flag}: {language!r} is not in {self.source.root}{suggestion(language, list(known))}; "
                    f"allowed: {', '.join(known)}"
                )
            if language != source and language not in with_test:
                raise ConfigError(
                    f"{flag}: {language!r} has no test set in {self.source.root}; allowed: {', '.join(with_test)}"
                )
        wanted = self.config.languages or tuple(with_test)
        return tuple(language for language in dict.fromkeys(wanted) if language != source)

    def split(self, language: str, split: Split) -> EncodedSplit:
        """Return one encoded split, memory-mapped; it is built first where it is missing.

        Two processes may build the same split at once: both write the same bytes, and the later one's file
        replaces the earlier one's in a single step.

        Raises:
            DataError: The split is missing, empty or malformed, or not the one that results rest on.
        """
        path = Path(self.config.cache) / "encoded" / f"{self.address(language, split)}.safetensors"
        if not path.exists():
            _write(path, self._encode(language, split))
        return _read(path)

    def address(self, language: str, split: Split) -> str:
        """Return a digest of everything that the encoded split depends on."""
        parts = {
            "format": _FORMAT,
            "layout": self.source.layout,
            "files": self.fingerprint(language, split),
            "language": language,  # one file may have several
            "tokenizer": self._tokenizer_digest,
            "kind": self.task.kind,
            "labels": (self.task.labels, self.task.aliases),
            "max_length": self.config.max_length,
            "limit": self._limit(split),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def fingerprint(self, language: str, split: Split) -> str:
        """Return a SHA-256 digest of the split's files.

        Raises:
            DataError: The data has no such split, or another one than the configuration's fingerprints say.
        """
        files = self.source.files(language, split)
        if not files:
            raise DataError(f"{self.source.root}: no {split} set for language {language!r}")
        digest = hashlib.sha256()
        for file in files:
            digest.update(hashlib.sha256(read_bytes(file)).digest())
        found = digest.hexdigest()
        if self.config.fingerprints.get(f"{language} {split}", found) != found:
            names = ", ".join(file.name for file in files)
            raise DataError(f"{self.source.root}: the {split} set of {language!r} ({names}) has changed meanwhile")
        return found

    def _limit(self, split: Split) -> int | None:
        return self.config.train_limit if split == "train" else self.config.eval_limit

    def _encode(self, language: str, split: Split) -> EncodedSplit:
        examples = self.source.read(language, split)[: self._limit(split)]
        return encode(examples, self.tokenizer, self.task, self.config.max_length)


def _write(path: Path, encoded: EncodedSplit) -> None:
    arrays = {name: np.ascontiguousarray(getattr(encoded, name)) for name in _ARRAYS}
    atomic_write(path, save(arrays, {"counts": json.dumps(encoded.counts)}))


def _read(path: Path) -> EncodedSplit:
    try:
        # As torch tensors the arrays are views of the mapped file: pages are read when a batch needs them,
        # and all trials of a machine share them.
        with safe_open(path, framework="pt") as file:
            metadata: Mapping[str, str] = file.metadata()
            counts = {str(name): int(count) for name, count in json.loads(metadata["counts"]).items()}
            arrays: dict[str, Any] = {name: file.get_tensor(name).numpy() for name in _ARRAYS}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not readable as encoded data ({error}); delete it, and it is built again") from error
    return EncodedSplit(**arrays, counts=counts)
