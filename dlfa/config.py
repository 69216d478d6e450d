"""A trial's configuration: frozen dataclasses, checked when they are made, every error at once."""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dlfa.errors import ConfigError
from dlfa.fusions import FUSIONS
from dlfa.untrusted import printable

__all__ = [
    "ComputeConfig",
    "DataConfig",
    "ModelConfig",
    "TrainingConfig",
    "TrialConfig",
    "from_mapping",
    "suggestion",
    "to_mapping",
]

_Config = TypeVar("_Config")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read, and how it becomes input of an encoder."""

    path: str
    """Folder with one file per language and split."""

    cache: str
    """Folder that encoded data is kept in, shared by all trials."""

    source_language: str = "en"
    """ISO code of the only language trained on."""

    languages: tuple[str, ...] = ()
    """ISO codes of the target languages; empty: every language of the data that has a test set."""

    max_length: int = 128
    """Window of the encoder, in pieces, special tokens included."""

    train_limit: int | None = None
    """Sentences of the training set that are used, from its start; none: all."""

    eval_limit: int | None = None
    """Sentences of each language's dev and test set that are used, from the start; none: all."""

    aligned: bool | None = None
    """True if test sets are translations of one another, row by row, so that similarity is measured; None means that
    they are if the data set is known for it."""

    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Language and split, such as `de test`, to the SHA-256 of the files that results rest on; others are refused."""

    def __post_init__(self) -> None:
        _require(
            self,
            max_length=(self.max_length >= 8, "a whole number of pieces, at least 8"),
            train_limit=(self.train_limit is None or self.train_limit >= 1, "at least 1 sentence"),
            eval_limit=(self.eval_limit is None or self.eval_limit >= 1, "at least 1 sentence"),
            source_language=(bool(self.source_language), "an ISO language code"),
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Encoder and fusion; which fusions have a layer and a ratio, `dlfa.fusions` says."""

    encoder: str
    """Folder or hub id of a Hugging Face encoder."""

    fusion: str = "dlfa"
    """A name in `dlfa.fusions.FUSIONS`; `none` is the baseline: the same head on the last layer."""

    fusion_layer: int | None = None
    """The lower layer l that is fused with the last; 0 is the embedding layer's output."""

    reduction_ratio: int | None = None
    """The reduction ratio r of AIF or of the gate: E // r is what its branches squeeze E to."""

    dropout: float = 0.1
    """Probability of dropout before the classifier."""

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            hint = suggestion(self.fusion, FUSIONS)
            raise ConfigError(f"fusion: {self.fusion!r} is not allowed{hint}; allowed: {', '.join(FUSIONS)}")
        has = FUSIONS[self.fusion].parameters
        layer, ratio = self.fusion_layer, self.reduction_ratio
        no = f"no value, because fusion is {self.fusion}"
        _require(
            self,
            fusion_layer=(
                (layer is not None and layer >= 0) if "fusion_layer" in has else layer is None,
                "a layer, at least 0" if "fusion_layer" in has else no,
            ),
            reduction_ratio=(
                (ratio is not None and ratio >= 1) if "reduction_ratio" in has else ratio is None,
                "a whole number, at least 1" if "reduction_ratio" in has else no,
            ),
            dropout=(0 <= self.dropout < 1, "in [0, 1)"),
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation; the defaults are XTREME's for mBERT on udpos and panx (arXiv 2003.11080)."""

    learning_rate: float = 2e-5
    """Peak learning rate of the encoder (AdamW, linear decay to 0)."""

    head_learning_rate: float | None = None
    """Peak learning rate of the new parameters, AIF and head; none: the encoder's."""

    epochs: float = 10.0
    """Passes over the training set; may be a fraction."""

    batch_size: int = 32
    """Windows per optimiser step."""

    micro_batch_size: int | None = None
    """Windows per forward pass; gradients accumulate to `batch_size`; none: `batch_size`."""

    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""

    warmup_fraction: float = 0.0
    """Share of all steps in which the learning rate rises from 0."""

    max_grad_norm: float = 1.0
    """Global norm that gradients are clipped to."""

    reports_per_trial: int = 6
    """Evaluations on the selection set, evenly spaced over the budget; the last one ends it."""

    checkpoint_every: int = 1
    """Reports between two checkpoints; 0: none is written, and an interrupted trial starts again."""

    checkpoint_seconds: float = 60.0
    """Seconds that must have passed since the last checkpoint, or the start: what takes less is faster done again."""

    def __post_init__(self) -> None:
        head, micro = self.head_learning_rate, self.micro_batch_size
        _require(
            self,
            learning_rate=(0 < self.learning_rate < 1, "in (0, 1)"),
            head_learning_rate=(head is None or 0 < head < 1, "in (0, 1)"),
            epochs=(0 < self.epochs <= 10_000, "more than 0, at most 10000"),
            batch_size=(self.batch_size >= 1, "at least 1"),
            micro_batch_size=(micro is None or 1 <= micro <= self.batch_size, "in 1..batch_size"),
            weight_decay=(0 <= self.weight_decay < 1, "in [0, 1)"),
            warmup_fraction=(0 <= self.warmup_fraction < 1, "in [0, 1)"),
            max_grad_norm=(self.max_grad_norm > 0, "more than 0"),
            reports_per_trial=(self.reports_per_trial >= 1, "at least 1"),
            checkpoint_every=(self.checkpoint_every >= 0, "at least 0"),
            checkpoint_seconds=(0 <= self.checkpoint_seconds < math.inf, "at least 0"),
        )


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Where a trial computes, and how precisely."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the first GPU this process sees, else the CPU."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto`: bf16 autocast where the hardware multiplies in bf16, else float32."""

    threads: int = 1
    """CPU threads of this trial: its CPUs, never more."""

    def __post_init__(self) -> None:
        _require(self, threads=(self.threads >= 1, "at least 1"))


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that determines a trial's result."""

    task: str
    """A name in `dlfa.tasks.TASKS`."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    select_on: Literal["source", "targets"] = "source"
    """Dev sets that select and prune; `targets` is oracle selection."""

    seed: int = 1
    """Seed of the new parameters, of dropout and of the batches' order."""

    def __post_init__(self) -> None:
        _require(self, seed=(0 <= self.seed < 2**31, "in 0..2147483647"))


def _require(config: object, **checks: tuple[bool, str]) -> None:
    """Raise one ConfigError that lists every field whose check is false."""
    wrong = [
        f"{name}: {getattr(config, name)!r} is not allowed; allowed: {allowed}"
        for name, (ok, allowed) in checks.items()
        if not ok
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))


def suggestion(name: object, known: Mapping[str, object] | list[str]) -> str:
    """Return ` (did you mean ...?)` for a typing error, else an empty string."""
    close = get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def to_mapping(config: object) -> dict[str, Any]:
    """Return a configuration as plain nested dictionaries, for YAML and JSON."""
    assert is_dataclass(config)
    assert not isinstance(config, type)
    return {key: _plain(value) for key, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def from_mapping(cls: type[_Config], mapping: object, where: str = "") -> _Config:
    """Build a configuration dataclass from nested mappings; the inverse of `to_mapping`.

    Args:
        cls: One of this module's dataclasses, or one made like them.
        mapping: Field names to values; nested configurations are mappings again.
        where: Prefix of field names in messages, such as a file's name.

    Raises:
        ConfigError: With every unknown field, missing field and wrong type, and with every value out of range in
            the sections whose types are right.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where or cls.__name__}: {mapping!r} is not allowed; allowed: fields with values")
    prefix = f"{where}." if where else ""
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    errors = [
        f"{prefix}{printable(key)}: unknown field{suggestion(key, known)}; allowed: {', '.join(known)}"
        for key in mapping
        if key not in known
    ]
    values: dict[str, Any] = {}
    for name, value in mapping.items():
        if name in known:
            try:
                values[name] = _convert(value, hints[name], f"{prefix}{name}")
            except ConfigError as error:
                errors.append(str(error))
    errors += [f"{prefix}{name}: missing" for name, f in known.items() if name not in mapping and _needed(f)]
    # Ranges need values of the right type, but none looks at a required field or at a section.
    if all(name in values or is_dataclass(hints[name]) for name in mapping if name in known):
        try:
            config = cls(**{name: None for name, f in known.items() if _needed(f)} | values)
        except ConfigError as error:
            errors.append(f"{where}: {error}" if where else str(error))
    if errors:
        raise ConfigError("; ".join(errors))
    return config


def _needed(f: Any) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Return value as the annotated type; YAML reads 2e-5 as a string, so numbers in strings count."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        *words, hint = (a for a in arguments if a is not type(None))
        named = [name for word in words for name in get_args(word)]
        try:
            return value if value in named else _convert(value, hint, where)
        except ConfigError as error:
            raise ConfigError("".join([str(error), *(f", or {name}" for name in named)])) from error
    if origin is Literal:
        # YAML 1.1 reads a bare `none` as a string, but ~ and null as nothing.
        if value in arguments:
            return value
        hint = suggestion(value, [*map(str, arguments)]) if isinstance(value, str) else ""
        raise ConfigError(f"{where}: {value!r} is not allowed{hint}; allowed: {', '.join(map(str, arguments))}")
    if origin is tuple:
        if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ConfigError(f"{where}: {value!r} is not allowed; allowed: a list of strings")
    if origin is Mapping:
        if isinstance(value, Mapping):
            return dict(value)
        raise ConfigError(f"{where}: {value!r} is not allowed; allowed: fields with values")
    if is_dataclass(hint):
        return from_mapping(hint, value, where)  # type: ignore[arg-type]
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
        raise ConfigError(f"{where}: {value!r} is not allowed; allowed: a finite number")
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str):
        return value
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(hint, str(hint))
    raise ConfigError(f"{where}: {value!r} is not allowed; allowed: {wanted}")
