"""How sure a difference to the baseline is: a bootstrap over seeds and test examples."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlfa.errors import DataError

__all__ = ["DRAWS", "intervals"]

DRAWS = 2000
"""Draws of the bootstrap."""

_EDGES = (2.5, 97.5)
_ROWS = 200
"""Draws at a time: a bound on memory only."""


def intervals(runs: pd.DataFrame, examples: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return 95 % intervals of what each fusion layer differs from the baseline.

    Each draw takes the examples of every language with replacement, the same ones for all runs, and the seeds that
    layer and baseline share with replacement, the same ones for both (a hierarchical, paired bootstrap; percentiles,
    Efron and Tibshirani 1993, chapter 13). What a few seeds say of how seeds differ is little, and so the interval is
    too narrow then; of one seed it knows the examples alone.

    Args:
        runs: One row per run: trial, seed, fusion_layer (missing: the baseline).
        examples: What each test example adds to a run's score: trial, language, example, numerator, denominator.
        source: The source language, which is left out of the mean over languages.

    Returns:
        fusion_layer, language (missing: the mean over the target languages), low and high, in points of 100; a row for
        each layer and language whose runs all have examples, and share a seed with the baseline.

    Raises:
        DataError: Two runs have not been tested on the same examples.
    """
    known = runs[runs["trial"].isin(examples["trial"])].reset_index(drop=True)
    chance = np.random.default_rng(0)
    wanted, pairs = _pairs(runs), _pairs(known)
    pairs = {layer: pair for layer, pair in pairs.items() if len(pair) == len(wanted[layer]) > 0}
    seeds = {layer: chance.integers(len(pair), size=(DRAWS, len(pair))) for layer, pair in pairs.items()}
    rows: list[tuple[int, str | None, float, float]] = []
    sums: dict[int, NDArray[np.float64]] = {}
    targets = 0
    for language, scores in _drawn(known, examples, chance):
        targets += language != source
        for layer, pair in pairs.items():
            by_seed = scores[:, pair[:, 0]] - scores[:, pair[:, 1]]
            drawn = np.take_along_axis(by_seed, seeds[layer], axis=1).mean(axis=1)
            rows.append((layer, language, *np.percentile(drawn, _EDGES)))
            if language != source:
                sums[layer] = sums.get(layer, 0.0) + drawn
    rows += [(layer, None, *np.percentile(drawn / targets, _EDGES)) for layer, drawn in sums.items()]
    table = pd.DataFrame(rows, columns=["fusion_layer", "language", "low", "high"])
    typed: pd.DataFrame = table.astype(
        {"fusion_layer": "Int64", "language": "string", "low": "float64", "high": "float64"}
    )
    return typed


def _pairs(runs: pd.DataFrame) -> dict[int, NDArray[np.int64]]:
    """Return for each layer the numbers of its run and of the baseline's, [P, 2], for each seed that both have."""
    numbered = runs.assign(run=np.arange(len(runs)))
    is_baseline = runs["fusion_layer"].isna()
    both = numbered[~is_baseline].merge(numbered[is_baseline], how="left", on="seed", suffixes=("", "_baseline"))
    return {
        int(layer): of_layer[["run", "run_baseline"]].dropna().to_numpy(np.int64)
        for layer, of_layer in both.groupby("fusion_layer")
    }


def _drawn(
    runs: pd.DataFrame, examples: pd.DataFrame, chance: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield language by language the runs' scores on examples drawn with replacement, [DRAWS, runs]."""
    ours = examples[examples["trial"].isin(runs["trial"])]
    for language, of_language in ours.groupby("language", sort=True):
        parts = [
            of_language.pivot(index="example", columns="trial", values=name).reindex(columns=runs["trial"])
            for name in ("numerator", "denominator")
        ]
        if parts[0].isna().any(axis=None):
            short = parts[0].columns[parts[0].isna().any()]
            raise DataError(f"{', '.join(short)}: not tested on all examples of {language!r} that other runs were")
        numerators, denominators = (part.to_numpy("float64") for part in parts)
        count = len(numerators)
        scores = np.empty((DRAWS, len(runs)))
        for start in range(0, DRAWS, _ROWS):
            weights = chance.multinomial(count, np.full(count, 1 / count), size=min(_ROWS, DRAWS - start))
            whole = weights @ denominators
            # A score with nothing to find is 0, as seqeval's.
            scores[start : start + _ROWS] = 100 * np.divide(
                weights @ numerators, whole, out=np.zeros_like(whole), where=whole > 0
            )
        yield str(language), scores
