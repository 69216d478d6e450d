"""What a sweep searches: arms with equal shares of the trials, and for each its parameters."""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dlfa.config import TrainingConfig
from dlfa.errors import ConfigError
from dlfa.fusions import FUSIONS

__all__ = ["CONDITIONAL", "Params", "SearchSpace"]

Params = dict[str, str | int | float]

CONDITIONAL = ("fusion_layer", "reduction_ratio")
"""Parameters that only some fusions have: see `dlfa.fusions`."""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a sweep searches. An arm is what it compares: today one fusion, of which the baseline (`none`) is one."""

    task: str

    fusions: tuple[str, ...]
    """Fusions that are compared, in the order of `FUSIONS`: the baseline first."""

    trials: int
    """Trials of the search phase, shared equally by the arms."""

    confirm_seeds: int
    """Seeds per configuration in the confirm phase."""

    distributions: Mapping[str, BaseDistribution]
    """Of every searched parameter."""

    grid: Mapping[str, tuple[int | float, ...]]
    """Points of every searched parameter that has any; a range of floats may have none."""

    training: TrainingConfig
    """What is fixed; a searched field's value here is not used."""

    max_length: int

    aligned: bool | None = None
    """Whether the test sets of all languages are translations of each other, row by row; None: what is known."""

    def suggest(self, trial: optuna.Trial) -> Params:
        """Return the trial's parameters, sampling those that are not fixed yet."""
        fusion = trial.suggest_categorical("fusion", self.fusions)
        searched = self._searched(fusion).items()
        return {"fusion": fusion} | {name: _suggest(trial, name, distribution) for name, distribution in searched}

    def largest(self) -> Params:
        """Return the parameters of a trial that needs as much memory as any: see `dlfa.memory`.

        The fusion is the one that keeps the most, the gate is at its widest, the batch at its largest, and all rows of
        the embedding table are trained if those of any trial are.
        """
        fusion = max(self.fusions, key=lambda name: (len(FUSIONS[name].parameters), FUSIONS[name].batch_statistics))
        params: Params = {"fusion": fusion}
        for name, distribution in self._searched(fusion).items():
            low, high = _ends(distribution)
            params[name] = high if name in ("batch_size", "weight_decay") else low
        return params

    def size(self, fusion: str) -> float:
        """Return how many configurations of a fusion there are; infinite where a range of floats is searched."""
        points = map(_points, self._searched(fusion).values())
        return math.prod(math.inf if values is None else len(values) for values in points)

    def shares(self, trials: int) -> dict[str, int]:
        """Return the search trials of every arm: an equal share of so many, or as many as it has configurations.

        What does not divide, and what an arm has no configurations for, is not handed on: the others would be tuned
        harder.
        """
        each = trials // len(self.fusions)
        return {fusion: int(min(each, self.size(fusion))) for fusion in self.fusions}

    def configurations(self, fixed: Params, seed: int) -> Iterator[Params]:
        """Yield all configurations with some parameters fixed, in an order drawn from a seed.

        Args:
            fixed: `fusion` and any others; what is left must be finite: see `size`.
            seed: Of the order.
        """
        rng = random.Random(seed)
        axes: dict[str, Sequence[Any]] = {}
        for name, distribution in self._searched(str(fixed["fusion"])).items():
            points = _points(distribution)
            assert points is not None, f"{name} is a range of floats"
            axes[name] = (fixed[name],) if name in fixed else rng.sample(points, len(points))
        for values in itertools.product(*axes.values()):
            yield {"fusion": fixed["fusion"], **dict(zip(axes, values, strict=True))}

    def _searched(self, fusion: str) -> dict[str, BaseDistribution]:
        left_out = set(CONDITIONAL) - set(FUSIONS[fusion].parameters)
        return {name: distribution for name, distribution in self.distributions.items() if name not in left_out}

    def plan(self, seed: int, trials: int) -> Callable[[int], Params]:
        """Return what is fixed for each search trial, by its number, before the sampler fills in the rest.

        The arms take turns, so that they are as far at any time, and a longer search begins as a shorter one. Every
        fusion layer of an arm is tried once before any is tried twice, so that none is left without a run.

        Args:
            seed: Of the order of layers.
            trials: Of the search.
        """
        shares = self.shares(trials)
        turns = [
            (fusion, turn) for turn in range(max(shares.values())) for fusion, share in shares.items() if turn < share
        ]
        rng = random.Random(seed)
        layers = {
            fusion: rng.sample(self.grid["fusion_layer"], len(self.grid["fusion_layer"]))
            for fusion in self.fusions
            if FUSIONS[fusion].has_layer
        }

        def fixed(number: int) -> Params:
            fusion, turn = turns[number]
            order = layers.get(fusion, [])
            return {"fusion": fusion} | ({"fusion_layer": order[turn]} if turn < len(order) else {})

        return fixed

    def grid_points(self, seed: int) -> list[Params]:
        """Return every point of every arm's grid in an order drawn from the seed, the baseline's first.

        Raises:
            ConfigError: A searched parameter is a range without grid points.
        """
        for name in self.distributions:
            if name not in self.grid:
                raise ConfigError(
                    f"--sampler: 'grid' is not allowed; allowed: tpe, random, because search.{name} has no grid: [...]"
                )
        rng = random.Random(seed)
        points: list[Params] = []
        for fusion in self.fusions:
            axes = {name: self.grid[name] for name in self._searched(fusion)}
            product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
            points += [{"fusion": fusion, **point} for point in rng.sample(product, len(product))]
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
