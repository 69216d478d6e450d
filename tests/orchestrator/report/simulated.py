"""Sweeps that nobody ran: frames and examples with a truth that is known."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from dlfa.fusions import FUSIONS
from dlfa.tasks.languages import find_language
from orchestrator.report.trials import COLUMNS, Sweep

from .conftest import SETTINGS, fused, none

__all__ = ["simulate"]

Gain = Callable[[int, str], float]
"""What a layer truly gains in a language, in points."""


def simulate(
    gain: Gain,
    chance: np.random.Generator,
    *,
    languages: Sequence[str] = ("de", "fr"),
    layers: Sequence[int] = (1, 2, 3),
    fusions: Mapping[str, float] = MappingProxyType({"dlfa": 0.0}),
    seeds: int = 3,
    examples: int = 60,
    trials: int = 0,
    seed_sd: float = 1.0,
    layer_sd: float = 3.0,
    own_sd: float = 3.0,
    name: str = "s",
    similar: bool = False,
) -> Sweep:
    """Return a finished sweep of udpos with a dev score that is as good a guess of a layer's gain as a test score.

    Every run scores 60 plus its layer's gain, plus what its seed makes (seed_sd, in points), plus in each example what
    its layer makes of it (layer_sd) and what it alone does (own_sd). Of the baseline the gain is 0.
    Each fusion gains so many points more than its layer; one without layers gains these alone. With `similar`, runs
    have similarities, which rise with the layer.
    """
    rows: list[dict[str, Any]] = []
    parts: list[pd.DataFrame] = []
    common = {"sweep": name, "task": "udpos", "source_language": "en", "select_on": "source", "superseded": False}
    names = ["en", *languages]
    arms: list[tuple[str, int | None]] = [("none", None)]
    arms += [(fusion, layer) for fusion in fusions for layer in (layers if FUSIONS[fusion].has_layer else [None])]
    of_arm = {arm: chance.normal(0, layer_sd, (len(names), examples)) for arm in arms}
    for number, (arm, seed) in enumerate((arm, seed) for arm in arms for seed in range(seeds)):
        fusion, layer = arm
        trial = f"confirm-{number:04d}"
        true = np.array([0.0 if layer is None else gain(layer, language) for language in names])
        true = true + fusions.get(fusion, 0.0)
        values = (60 + true + chance.normal(0, seed_sd))[:, None] + of_arm[arm]
        values = values + chance.normal(0, own_sd, values.shape)
        scores = values.mean(axis=1)
        run = {**common, "trial": trial, "phase": "confirm", "number": number, "state": "COMPLETE", "seed": seed}
        run |= none() if fusion == "none" else fused(fusion, layer)
        dev = 60 + true[1:].mean() + chance.normal(0, seed_sd)
        rows.append({**run, "split": "selection", "metric": "f1", "step": 3, "value": dev})
        for step in (1, 2, 3):
            rows.append({**run, "split": "dev", "language": "en", "metric": "f1", "step": step, "value": dev + step})
        for language, score in zip(names, scores, strict=True):
            rows.append({**run, "split": "test", "language": language, "metric": "f1", "step": 3, "value": score})
        for metric, value in {
            "avg": scores.mean(), "avg_target": scores[1:].mean(), "worst": scores[1:].min(),
            "gap": scores[0] - scores[1:].mean(), **_by_genus(names, scores),
        }.items():  # fmt: skip
            rows.append({**run, "split": "test", "metric": metric, "step": 3, "value": value})
        for language in names[1:] if similar else ():
            cosines = {"similarity": 0.5 + 0.03 * (layer or 0), "similarity_unrelated": 0.3 + 0.01 * (layer or 0)}
            for metric, value in cosines.items():
                rows.append({**run, "split": "test", "language": language, "metric": metric, "step": 3, "value": value})
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
        # Every fifth trial is of the baseline.
        fusion = "none" if number % 5 == 0 else [*fusions][number // 3 % len(fusions)]
        rows += _search_trial(common, number, fusion, chance.choice(list(layers)), gain, names[1:], chance)
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return Sweep(
        name=name,
        settings={**SETTINGS, "name": name, "confirm_seeds": seeds},
        layers=tuple(layers),
        frame=frame,
        examples=pd.concat(parts, ignore_index=True),
    )


def _by_genus(names: Sequence[str], scores: Any) -> dict[str, float]:
    """Return near and far, those of them that there is a language for."""
    genus = [None if (found := find_language(name)) is None else found.genus for name in names]
    near = [score for own, score in zip(genus[1:], scores[1:], strict=True) if own == genus[0]]
    far = [score for own, score in zip(genus[1:], scores[1:], strict=True) if own not in (genus[0], None)]
    return {name: float(np.mean(part)) for name, part in (("near", near), ("far", far)) if part}


def _search_trial(
    common: dict[str, Any],
    number: int,
    fusion: str,
    layer: int,
    gain: Gain,
    targets: Sequence[str],
    chance: np.random.Generator,
) -> list[dict[str, Any]]:
    """Return the rows of a search trial, of which every third is pruned."""
    baseline, pruned = fusion == "none", number % 3 == 1
    rate = float(10 ** chance.uniform(-5.3, -4.1))
    ratio = int(2 ** chance.integers(1, 7))
    ratios = {"reduction_ratio": ratio} if "reduction_ratio" in FUSIONS[fusion].parameters else {}
    params = none() if baseline else fused(fusion, int(layer), **ratios)
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
