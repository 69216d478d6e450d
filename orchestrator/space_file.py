"""A YAML file to a search space, with every error at once, before anything starts."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dlfa.config import ModelConfig, TrainingConfig, from_mapping, suggestion
from dlfa.errors import ConfigError
from dlfa.fusions import BASELINE, FUSIONS
from dlfa.model import EncoderShape
from dlfa.untrusted import load_yaml, printable
from orchestrator.limits import MOST_SEEDS, MOST_TRIALS
from orchestrator.space import CONDITIONAL, SearchSpace

__all__ = ["load_space", "packaged_space"]

_MOST_STEPS = 100_000

_EQUAL_SHARES = (
    "compare: {fusion: [none, dlfa]} names what is compared, and each fusion has an equal share of the trials"
)

_LAYER, _RATIO = CONDITIONAL
_SEARCHABLE = {
    _LAYER: int,
    _RATIO: int,
    "learning_rate": float,
    "head_learning_rate": float,
    "batch_size": int,
    "weight_decay": float,
    "warmup_fraction": float,
    "dropout": float,
}


def packaged_space(task: str, profile: str) -> tuple[str, str]:
    """Return text and name of the search space that ships with the package for a task.

    Args:
        task: Name of the task.
        profile: `paper`, or the name of a folder of spaces.

    Raises:
        ConfigError: None ships for this task and profile.
    """
    name = f"{task}.yaml" if profile == "paper" else f"{profile}/{task}.yaml"
    file = files("search_spaces").joinpath(name)
    if not file.is_file():
        raise ConfigError(f"--profile: {profile!r} has no search space for {task}; allowed: --space FILE")
    return file.read_text(encoding="utf-8"), name


def load_space(text: str, where: str, task: str, shape: EncoderShape) -> SearchSpace:
    """Build a task's search space for an encoder.

    Args:
        text: YAML.
        where: Name of the file, for messages.
        task: The task the sweep is for.
        shape: Depth, width and window of the encoder.

    Raises:
        ConfigError: With every error of the file, in one line.
    """
    try:
        mapping = load_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: not YAML: {error}") from error
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where}: {mapping!r} is not allowed; allowed: fields with values")
    rest = {key: value for key, value in mapping.items() if key != "search"}
    errors = [] if "task" in rest else [f"{where}.task: missing; allowed: {task}, the sweep's task"]
    right: dict[Any, Any] = {"task": task}
    for key, value in rest.items():  # each for itself, so that no error hides another
        if key == "baseline_share":
            errors.append(f"{where}.baseline_share: unknown field; {_EQUAL_SHARES}")
            continue
        try:
            from_mapping(_Settings, {"task": task, key: value}, where)
        except ConfigError as error:
            errors.append(str(error))
        else:
            right[key] = value
    settings = from_mapping(_Settings, right, where)
    errors += [text for name, text in settings.wrong(where, task, shape) if name in right or name not in rest]
    section = mapping.get("search")
    compared = "compare" in right or "compare" not in rest  # else what is needed is not known
    needed = settings.compare.parameters if compared else ()
    if not isinstance(section, Mapping):
        required = ", ".join((*needed, "learning_rate"))
        errors.append(f"{where}.search: {section!r} is not allowed; allowed: at least {required}")
        section = {}
    else:
        errors += [f"{where}.search.{name}: missing" for name in (*needed, "learning_rate") if name not in section]
        if compared:
            errors += [
                f"{where}.search.{name}: not allowed; allowed: only where compare.fusion has one of {_having(name)}"
                for name in CONDITIONAL
                if name in section and name not in needed
            ]
    distributions: dict[str, BaseDistribution] = {}
    grid: dict[str, tuple[int | float, ...]] = {}
    for name, entry in section.items():
        try:
            distributions[name], points = _Entry(f"{where}.search.{printable(name)}", name, shape).read(entry)
        except ConfigError as error:
            errors.append(str(error))
        else:
            grid |= {name: points} if points else {}
    if errors:
        raise ConfigError("; ".join(errors))
    batches, micro = distributions.get("batch_size"), settings.training.micro_batch_size
    lowest = batches.low if isinstance(batches, IntDistribution) else min(grid.get("batch_size", (math.inf,)))
    if micro is not None and micro > lowest:
        raise ConfigError(
            f"{where}.training.micro_batch_size: {micro} is not allowed; allowed: 1..{lowest}, the lowest batch_size"
        )
    return SearchSpace(
        task=task,
        fusions=settings.compare.fusions,
        trials=settings.trials,
        confirm_seeds=settings.confirm_seeds,
        distributions=distributions,
        grid=grid,
        training=settings.training,
        max_length=settings.max_length,
        aligned=settings.aligned,
    )


def _having(parameter: str) -> str:
    """Return the fusions that have a parameter, for messages."""
    return ", ".join(fusion.name for fusion in FUSIONS.values() if parameter in fusion.parameters)


@dataclass(frozen=True, kw_only=True)
class _Compare:
    """What a sweep compares."""

    fusion: tuple[str, ...] = (BASELINE, "dlfa")

    def __post_init__(self) -> None:
        if wrong := [name for name in self.fusion if name not in FUSIONS]:
            hint = suggestion(wrong[0], FUSIONS)
            raise ConfigError(f"fusion: {wrong[0]!r} is not allowed{hint}; allowed: {', '.join(FUSIONS)}")
        if BASELINE not in self.fusion or len(set(self.fusion)) < len(self.fusion):
            given = f"[{', '.join(self.fusion)}]"
            raise ConfigError(
                f"fusion: {given} is not allowed; allowed: each fusion once, and the baseline, {BASELINE!r}"
            )

    @property
    def fusions(self) -> tuple[str, ...]:
        """The fusions in the order of `FUSIONS`, however they were written."""
        return tuple(name for name in FUSIONS if name in self.fusion)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Those parameters that only some fusions have, and one of these has."""
        return tuple(name for name in CONDITIONAL if any(name in FUSIONS[fusion].parameters for fusion in self.fusion))


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The file without its `search` section."""

    task: str
    trials: int = 60
    compare: _Compare = field(default_factory=_Compare)
    confirm_seeds: int = 3
    training: TrainingConfig = field(default_factory=TrainingConfig)
    max_length: int = 128
    aligned: bool | None = None

    def wrong(self, where: str, task: str, shape: EncoderShape) -> list[tuple[str, str]]:
        """Return every field that is out of its range, and what to say of it."""
        window, fewest = shape.max_positions, len(self.compare.fusion)
        return [
            (name, f"{where}.{name}: {getattr(self, name)!r} is not allowed; allowed: {allowed}")
            for name, ok, allowed in (
                ("task", self.task == task, f"{task}, the sweep's task"),
                (
                    "trials",
                    fewest <= self.trials <= MOST_TRIALS,
                    f"{fewest}..{MOST_TRIALS}, at least one for each fusion",
                ),
                ("confirm_seeds", 0 <= self.confirm_seeds <= MOST_SEEDS, f"0..{MOST_SEEDS}"),
                ("max_length", 8 <= self.max_length <= window, f"8..{window}, the encoder's window"),
            )
            if not ok
        ]


@dataclass(frozen=True)
class _Entry:
    """One searched parameter of the file: a number, `{choices}` or `{low, high, step, log, grid}`."""

    where: str
    name: str
    shape: EncoderShape

    def read(self, entry: object) -> tuple[BaseDistribution, tuple[Any, ...]]:
        """Return the distribution and the points of the grid, none for a range without them."""
        if self.name not in _SEARCHABLE:
            hint = suggestion(self.name, list(_SEARCHABLE))
            raise ConfigError(f"{self.where}: unknown field{hint}; allowed: {', '.join(_SEARCHABLE)}")
        if not isinstance(entry, Mapping):
            value = self._value(entry)
            return CategoricalDistribution((value,)), (value,)
        if set(entry) == {"choices"}:
            choices = self._values("choices", entry["choices"])
            return CategoricalDistribution(choices), choices
        whole = _SEARCHABLE[self.name] is int
        optional = {"log", "grid", "step"} if whole else {"log", "grid"}
        if not {"low", "high"} <= set(entry) <= {"low", "high"} | optional:
            names = ", ".join(sorted(optional))
            raise self._error(dict(entry), f"a number, {{choices}}, or {{low, high}} with any of {names}")
        low, high, log = self._value(entry["low"]), self._value(entry["high"]), entry.get("log", False)
        if low > high or (log and low <= 0) or not isinstance(log, bool):
            raise self._error(dict(entry), "low at most high, and above 0 where log is true")
        step = entry.get("step", 1)
        if isinstance(step, bool) or not isinstance(step, int) or step < 1 or (step > 1 and log):
            raise self._error(dict(entry), "step: a whole number, at least 1, without log")
        points = self._values("grid", entry["grid"]) if "grid" in entry else ()
        if not all(low <= point <= high for point in points):
            raise self._error(dict(entry), "grid points between low and high")
        if not whole:
            return FloatDistribution(low, high, log=log), points
        steps = range(int(low), int(high) + 1, step)
        if len(steps) > _MOST_STEPS:
            raise self._error(dict(entry), f"a range of at most {_MOST_STEPS} steps")
        if not set(points) <= set(steps):
            raise self._error(dict(entry), f"grid points of {', '.join(map(str, steps))}")
        return IntDistribution(steps[0], steps[-1], step=step, log=log), points or tuple(steps)

    def _values(self, key: str, values: object) -> tuple[int | float, ...]:
        if not isinstance(values, list) or not values:
            raise self._error(values, f"{key}: a list of numbers")
        read = tuple(self._value(value) for value in values)
        if len(set(read)) < len(read):
            raise self._error(values, f"{key}: each number once")
        return read

    def _value(self, value: object) -> int | float:
        if self.name == _LAYER:
            depth = re.fullmatch(r"L-([1-9]\d*)", value) if isinstance(value, str) else None
            layer = self.shape.layers - int(depth[1]) if depth else value
            top = self.shape.layers - 1
            if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer <= top:
                raise self._error(value, f"0..{top}, the layers below the encoder's last, or L-1, L-2, ...")
            return layer
        if self.name == _RATIO:
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= self.shape.hidden_size:
                raise self._error(value, f"1..{self.shape.hidden_size}, the encoder's hidden size")
            return value
        config = ModelConfig if self.name == "dropout" else TrainingConfig
        known = {"encoder": "", "fusion": "none"} if self.name == "dropout" else {}
        # The configuration's own checks are the only ones, and say what is allowed.
        checked = from_mapping(config, known | {self.name: value}, self.where.removesuffix(f".{self.name}"))
        number: int | float | None = getattr(checked, self.name)
        if number is None:
            raise self._error(value, "a number")
        return number

    def _error(self, value: object, allowed: str) -> ConfigError:
        return ConfigError(f"{self.where}: {value!r} is not allowed; allowed: {allowed}")
