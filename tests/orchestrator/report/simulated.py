"""Sweeps that nobody ran: frames and examples with a truth that is known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.report.trials import COLUMNS, Sweep

from .conftest import SETTINGS, dlfa, none

__all__ = ["simulate"]

Gain = Callable[[int, str], float]
"""What a layer truly gains in a language, in points."""


def simulate(
    gain: Gain,
    chance: np.random.Generator,
    *,
    languages: Sequence[str] = ("de", "fr"),
    layers: Sequence[int] = (1, 2, 3),
    seeds: int = 3,
    examples: int = 60,
    trials: int = 0,
    seed_sd: float = 1.0,
    layer_sd: float = 3.0,
    own_sd: float = 3.0,
    name: str = "s",
) -> Sweep:
    """Return a finished sweep of udpos with a dev score that is as good a guess of a layer's gain as a test score.

    Every run scores 60 plus its layer's gain, plus what its seed makes (seed_sd, in points), plus in each example what
    its layer makes of it (layer_sd) and what it alone does (own_sd). Of the baseline the gain is 0.
    """
    rows: list[dict[str, Any]] = []
    parts: list[pd.DataFrame] = []
    common = {"sweep": name, "task": "udpos", "source_language": "en", "select_on": "source", "superseded": False}
    names = ["en", *languages]
    arms = [None, *layers]
    of_layer = {layer: chance.normal(0, layer_sd, (len(names), examples)) for layer in arms}
    for number, (layer, seed) in enumerate((layer, seed) for layer in arms for seed in range(seeds)):
        trial = f"confirm-{number:04d}"
        true = np.array([0.0 if layer is None else gain(layer, language) for language in names])
        values = (60 + true + chance.normal(0, seed_sd))[:, None] + of_layer[layer]
        values = values + chance.normal(0, own_sd, values.shape)
        scores = values.mean(axis=1)
        run = {**common, "trial": trial, "phase": "confirm", "number": number, "state": "COMPLETE", "seed": seed}
        run |= none() if layer is None else dlfa(layer)
        dev = 60 + true[1:].mean() + chance.normal(0, seed_sd)
        rows.append({**run, "split": "selection", "metric": "f1", "step": 3, "value": dev})
        for step in (1, 2, 3):
            rows.append({**run, "split": "dev", "language": "en", "metric": "f1", "step": step, "value": dev + step})
        for language, score in zip(names, scores, strict=True):
            rows.append({**run, "split": "test", "language": language, "metric": "f1", "step": 3, "value": score})
        for metric, value in {
            "avg": scores.mean(), "avg_target": scores[1:].mean(), "worst": scores[1:].min(),
            "gap": scores[0] - scores[1:].mean(),
        }.items():  # fmt: skip
            rows.append({**run, "split": "test", "metric": metric, "step": 3, "value": value})
        parts.append(
            pd.DataFrame(
                {
                    "trial": trial,
                    "language": np.repeat(names, examples),
                    "example": np.tile(np.arange(examples), len(names)),
                    "numerator": values.ravel() / 100,
                    "denominator": 1.0,
                }
            )
        )
    for number in range(trials):
        rows += _search_trial(common, number, chance.choice(list(layers)), gain, names[1:], chance)
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return Sweep(
        name=name,
        settings={**SETTINGS, "name": name, "confirm_seeds": seeds},
        layers=tuple(layers),
        frame=frame,
        examples=pd.concat(parts, ignore_index=True),
    )


def _search_trial(
    common: dict[str, Any], number: int, layer: int, gain: Gain, targets: Sequence[str], chance: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the rows of a search trial, of which every fifth is of the baseline and every third is pruned."""
    baseline, pruned = number % 5 == 0, number % 3 == 1
    rate = float(10 ** chance.uniform(-5.3, -4.1))
    ratio = int(2 ** chance.integers(1, 7))
    params = none() if baseline else dlfa(int(layer), reduction_ratio=ratio)
    best = 80 + 8 * np.log10(rate / 5e-6) + (0 if baseline else float(np.mean([gain(layer, t) for t in targets])))
    trial = {
        **common, **params, "trial": f"search-{number:04d}", "phase": "search", "number": number, "seed": 1,
        "state": "PRUNED" if pruned else "COMPLETE", "learning_rate": rate,
    }  # fmt: skip
    reports = [
        {**trial, "split": "dev", "language": "en", "metric": "f1", "step": step, "value": best - 20 / step}
        for step in range(1, 3 if pruned else 7)
    ]
    last = {**trial, "split": "selection", "metric": "f1", "step": 6, "value": best - 20 / 6}
    return reports if pruned else [*reports, last]
