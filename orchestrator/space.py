"""A YAML file to a search space, with every error at once, before anything starts."""

import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.resources import files
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dlfa.config import ModelConfig, TrainingConfig, from_mapping, suggestion
from dlfa.errors import ConfigError
from dlfa.model import EncoderShape
from dlfa.untrusted import load_yaml, printable
from orchestrator.limits import MOST_SEEDS, MOST_TRIALS

__all__ = ["Params", "SearchSpace", "load_space", "packaged_space"]

Params = dict[str, str | int | float]

_MOST_STEPS = 100_000

_LAYER, _RATIO = "fusion_layer", "reduction_ratio"
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
_REQUIRED = (_LAYER, _RATIO, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a sweep searches; the baseline (`fusion: none`) has neither layer nor ratio."""

    task: str
    trials: int
    """Trials of the search phase: the file's, or 60, or where it has fewer points as many."""

    baseline_share: Fraction
    """Share of the search trials that tunes the baseline, at least one in five."""

    confirm_seeds: int
    """Seeds per configuration in the confirm phase."""

    distributions: Mapping[str, BaseDistribution]
    """Of every searched parameter."""

    grid: Mapping[str, tuple[int | float, ...]]
    """Points of every searched parameter that has any; a range of floats may have none."""

    training: TrainingConfig
    """What is fixed; a searched field's value here is not used."""

    max_length: int

    def suggest(self, trial: optuna.Trial) -> Params:
        """Return the trial's parameters, sampling those that are not fixed yet."""
        fusion = trial.suggest_categorical("fusion", ("dlfa", "none"))
        searched = self._searched(fusion).items()
        return {"fusion": fusion} | {name: _suggest(trial, name, distribution) for name, distribution in searched}

    def largest(self) -> Params:
        """Return the parameters of a trial that needs as much memory as any: see `dlfa.memory`.

        The gate is at its widest, the batch at its largest, and all rows of the embedding table are trained if those of
        any trial are.
        """
        params: Params = {"fusion": "dlfa"}
        for name, distribution in self.distributions.items():
            low, high = _ends(distribution)
            params[name] = high if name in ("batch_size", "weight_decay") else low
        return params

    def size(self, fusion: str) -> float:
        """Return how many configurations of a fusion there are; infinite where a range of floats is searched."""
        points = map(_points, self._searched(fusion).values())
        return math.prod(math.inf if values is None else len(values) for values in points)

    @property
    def points(self) -> float:
        """Configurations of both fusions, of which a search tries each once."""
        return self.size("dlfa") + self.size("none")

    def configurations(self, fixed: Params, seed: int) -> Iterator[Params]:
        """Yield all configurations with some parameters fixed, in an order drawn from a seed.

        Args:
            fixed: `fusion` and any others; what is left must be finite: see `size`.
            seed: Of the order.
        """
        chance = random.Random(seed)
        axes: dict[str, Sequence[Any]] = {}
        for name, distribution in self._searched(str(fixed["fusion"])).items():
            points = _points(distribution)
            assert points is not None, f"{name} is a range of floats"
            axes[name] = (fixed[name],) if name in fixed else chance.sample(points, len(points))
        for values in itertools.product(*axes.values()):
            yield {"fusion": fixed["fusion"], **dict(zip(axes, values, strict=True))}

    def is_baseline(self, number: int) -> bool:
        """Whether the search trial of this number belongs to the baseline: an even, fixed share.

        Where either has fewer configurations than its share, the other has the rest: none is run twice.
        """
        return self._baselines(number + 1) > self._baselines(number)

    def _baselines(self, trials: int) -> int:
        """Return how many of the first search trials are the baseline's."""
        share = math.ceil(trials * self.baseline_share)
        return int(min(max(share, trials - self.size("dlfa")), self.size("none")))

    def _searched(self, fusion: str) -> dict[str, BaseDistribution]:
        return {
            name: distribution
            for name, distribution in self.distributions.items()
            if fusion == "dlfa" or name not in (_LAYER, _RATIO)
        }

    def plan(self, seed: int) -> Callable[[int], Params]:
        """Return what is fixed for each search trial, by its number, before the sampler fills in the rest.

        Every fusion layer is tried once before any is tried twice, so that none is left without a run.
        """
        layers = self.grid[_LAYER]
        order = random.Random(seed).sample(layers, len(layers))

        def fixed(number: int) -> Params:
            if self.is_baseline(number):
                return {"fusion": "none"}
            earlier = number - self._baselines(number)
            return {"fusion": "dlfa"} | ({_LAYER: order[earlier]} if earlier < len(order) else {})

        return fixed

    def grid_points(self, seed: int) -> list[Params]:
        """Return every point of the grid in an order drawn from the seed, the baseline's first.

        Raises:
            ConfigError: A searched parameter is a range without grid points.
        """
        for name in self.distributions:
            if name not in self.grid:
                raise ConfigError(
                    f"--sampler: 'grid' is not allowed; allowed: tpe, random, because search.{name} has no grid: [...]"
                )
        shared = {name: self.grid[name] for name in self._searched("none")}
        chance = random.Random(seed)
        points: list[Params] = []
        for fusion, axes in (("none", shared), ("dlfa", self.grid)):
            product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
            points += [{"fusion": fusion, **point} for point in chance.sample(product, len(product))]
        return points


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> int | float:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, CategoricalDistribution)
    number = trial.suggest_categorical(name, distribution.choices)
    assert isinstance(number, (int, float))
    return number


def _points(distribution: BaseDistribution) -> Sequence[Any] | None:
    """Return all values that there are, or nothing of a range of floats."""
    if isinstance(distribution, FloatDistribution):
        return (distribution.low,) if distribution.low == distribution.high else None
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, CategoricalDistribution)
    return distribution.choices


def _ends(distribution: BaseDistribution) -> tuple[int | float, int | float]:
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        return distribution.low, distribution.high
    assert isinstance(distribution, CategoricalDistribution)
    return min(distribution.choices), max(distribution.choices)  # type: ignore[return-value, type-var]


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
        try:
            from_mapping(_Settings, {"task": task, key: value}, where)
        except ConfigError as error:
            errors.append(str(error))
        else:
            right[key] = value
    settings = from_mapping(_Settings, right, where)
    errors += [text for name, text in settings.wrong(where, task, shape) if name in right or name not in rest]
    section = mapping.get("search")
    if not isinstance(section, Mapping):
        errors.append(f"{where}.search: {section!r} is not allowed; allowed: at least {', '.join(_REQUIRED)}")
        section = {}
    else:
        errors += [f"{where}.search.{name}: missing" for name in _REQUIRED if name not in section]
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
    space = SearchSpace(
        task=task,
        trials=settings.trials,
        baseline_share=Fraction(str(settings.baseline_share)),
        confirm_seeds=settings.confirm_seeds,
        distributions=distributions,
        grid=grid,
        training=settings.training,
        max_length=settings.max_length,
    )
    return space if "trials" in rest else replace(space, trials=int(min(settings.trials, space.points)))


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The file without its `search` section."""

    task: str
    trials: int = 60
    baseline_share: float = 0.2
    confirm_seeds: int = 3
    training: TrainingConfig = field(default_factory=TrainingConfig)
    max_length: int = 128

    def wrong(self, where: str, task: str, shape: EncoderShape) -> list[tuple[str, str]]:
        """Return every field that is out of its range, and what to say of it."""
        window = shape.max_positions
        return [
            (name, f"{where}.{name}: {getattr(self, name)!r} is not allowed; allowed: {allowed}")
            for name, ok, allowed in (
                ("task", self.task == task, f"{task}, the sweep's task"),
                ("trials", 1 <= self.trials <= MOST_TRIALS, f"1..{MOST_TRIALS}"),
                ("baseline_share", 0.2 <= self.baseline_share < 1, "at least 0.2, below 1"),
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
