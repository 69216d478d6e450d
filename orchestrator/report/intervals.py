"""How sure a score or a difference is: draws of what other seeds and other test examples might have given."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import f
from threadpoolctl import threadpool_limits

from dlfa.errors import DataError
from dlfa.fusions import BASELINE
from orchestrator.report.arms import KEY, NO_LAYER, in_order

__all__ = ["DRAWS", "EDGES", "drawn_shares", "intervals", "target_draws"]

DRAWS = 2000
"""Draws of examples and of seeds."""

EDGES = (2.5, 97.5)
"""Percentiles that a 95 % interval lies between."""

_ROWS = 200
"""Draws at a time: a bound on memory only."""


def intervals(runs: pd.DataFrame, examples: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return 95 % intervals of what each fusion and layer differs from the baseline.

    Two things might have been otherwise. Test examples: those of every language are drawn with replacement, the same
    ones for all runs (a bootstrap; Efron and Tibshirani 1993, chapter 13). Seeds: their mean may be off by Student's t
    with P - 1 degrees of freedom times its standard error, P being the seeds that layer and baseline share. What one
    seed's model makes of one example is part of how seeds differ, and is taken out of the former. Seeds are not drawn
    with replacement: of two seeds such an interval leaves out a difference that is 0 every second time, of three every
    fourth. Two seeds say little of how seeds differ, so their interval is wide; one says nothing, and its interval is
    of the examples alone.

    Args:
        runs: One row per run: trial, seed, fusion, fusion_layer (missing for fusions that have none).
        examples: What each test example adds to a run's score: trial, language, example, numerator, denominator.
        source: The source language, which is left out of the mean over languages.

    Returns:
        fusion, fusion_layer, language (missing: the mean over the target languages), low and high, in points of 100; a
        row for each fusion, layer and language whose runs all have examples, and share a seed with the baseline.

    Raises:
        DataError: Two runs have not been tested on the same examples.
    """
    known = runs[runs["trial"].isin(examples["trial"].unique())].reset_index(drop=True)
    chance = np.random.default_rng(0)
    wanted, pairs = _pairs(runs), _pairs(known)
    pairs = {key: pair for key, pair in pairs.items() if len(pair) == len(wanted[key]) > 0}
    shifts = {key: _seed_shifts(len(pair), chance) for key, pair in pairs.items()}
    rows: list[tuple[str, int, str | None, float, float]] = []
    sums = {key: np.zeros((1 + DRAWS, 1, len(pair))) for key, pair in pairs.items()}
    targets = 0
    for language, scores in _drawn(known, examples, chance):
        targets += language != source
        for key, pair in pairs.items():
            gains = (scores[:, pair[:, 0]] - scores[:, pair[:, 1]])[:, None]
            rows.append((*key, language, *np.percentile(_means(gains, shifts[key]), EDGES)))
            sums[key] += gains * (language != source)
    if targets:
        rows += [
            (*key, None, *np.percentile(_means(gains / targets, shifts[key]), EDGES)) for key, gains in sums.items()
        ]
    table = pd.DataFrame(rows, columns=[*KEY, "language", "low", "high"])
    typed: pd.DataFrame = table.astype(
        {"fusion": "string", "fusion_layer": "Int64", "language": "string", "low": "float64", "high": "float64"}
    )
    typed["fusion_layer"] = typed["fusion_layer"].mask(typed["fusion_layer"].eq(NO_LAYER))
    return typed


def target_draws(runs: pd.DataFrame, examples: pd.DataFrame, source: str) -> pd.DataFrame:
    """Draw the mean target score of all rows together, so that what is drawn of one may be compared with another.

    A row is a fusion and a layer. Of each draw the examples, and what chance in the seeds does, are the same for all
    rows; both as in `intervals`. Only seeds count that all of them, and the baseline if it has runs, have run with.

    Args:
        runs: One row per run: trial, seed, fusion, fusion_layer (missing for fusions that have none).
        examples: What each test example adds to a run's score: trial, language, example, numerator, denominator.
        source: The source language, which is left out of the mean over languages.

    Returns:
        [DRAWS, rows], in percent; columns of two levels: fusion, in order of the registry, and layer, ascending
        (`NO_LAYER` for fusions that have none). Without columns where no seed is shared by all, or some of these runs
        have no examples.

    Raises:
        DataError: Two runs have not been tested on the same examples.
    """
    keyed = in_order(_keyed(runs), "fusion_layer", "seed").reset_index(drop=True)
    rows = keyed[KEY].drop_duplicates()
    shared = keyed.groupby("seed").size().eq(len(rows))
    known = keyed[keyed["seed"].isin(shared.index[shared])].reset_index(drop=True)
    if not known["trial"].isin(examples["trial"].unique()).all():
        known = known[:0]
    columns = pd.MultiIndex.from_frame(known[KEY].drop_duplicates())
    chance = np.random.default_rng(0)
    seeds = known["seed"].nunique()
    shifts = _seed_shifts(seeds, chance)
    targets = 0
    sums = np.zeros((1 + DRAWS, len(columns), seeds))
    for _, scores in _drawn(known, examples[examples["language"].ne(source)], chance):
        sums += scores.reshape(sums.shape)
        targets += 1
    drawn = _means(sums / targets, shifts) if targets else np.empty((DRAWS, 0))
    table: pd.DataFrame = pd.DataFrame(drawn, columns=columns[: drawn.shape[1]])
    return table


def _means(scores: NDArray[np.float64], shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw means over seeds: see `intervals`.

    Args:
        scores: [1 + DRAWS, scores, seeds]: those on the examples as they are, then those on drawn ones.
        shifts: [DRAWS, seeds], as `_seed_shifts` returns them.

    Returns:
        [DRAWS, scores].
    """
    observed, drawn = scores[0], scores[1:]
    means = drawn.mean(axis=2)
    moved = means - means.mean(axis=0)
    seeds = scores.shape[2]
    if seeds > 1:
        # Of the variance that drawn examples give to the mean, what they give to each seed apart from the others is
        # in the differences between seeds already. What is left may be below 0 by chance.
        apart = drawn - means[:, :, None]
        apart -= apart.mean(axis=0)
        variance = moved.T @ moved
        kept = variance - np.einsum("dik,djk->ij", apart, apart) / (seeds - 1) / seeds
        moved = moved @ _power(variance, -0.5) @ _power(kept, 0.5)
    result: NDArray[np.float64] = observed.mean(axis=1) + moved + shifts @ observed.T
    return result


def _power(symmetric: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Return a power of a symmetric matrix, of which eigenvalues that are not above 0 are left out."""
    values, vectors = np.linalg.eigh(symmetric)
    above = values > 1e-9 * np.abs(values).max()
    result: NDArray[np.float64] = vectors[:, above] * values[above] ** exponent @ vectors[:, above].T
    return result


def _seed_shifts(count: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """Return what to weigh the scores of so many seeds with to shift their mean by chance, [DRAWS, seeds].

    Whatever the scores, the shifts are of the distribution of t times the standard error of the mean; they are linear
    in the scores, so that the shift of a difference is the difference of the shifts.
    """
    if count < 2:
        return np.zeros((DRAWS, count))
    half = DRAWS // 2
    directions = chance.standard_normal((half, count))
    directions -= directions.mean(axis=1, keepdims=True)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Their lengths are evenly spaced quantiles, and each shift has its opposite: of two seeds, whose t has heavy tails,
    # percentiles of random ones would be a fifth off.
    quantiles = f.ppf((np.arange(half) + 0.5) / half, count - 1, count - 1)
    shifts = chance.permutation(np.sqrt(quantiles / count))[:, None] * directions
    return np.concatenate([shifts, -shifts])


def _keyed(runs: pd.DataFrame) -> pd.DataFrame:
    keyed: pd.DataFrame = runs.assign(fusion_layer=runs["fusion_layer"].fillna(NO_LAYER).astype("int64"))
    return keyed


def _pairs(runs: pd.DataFrame) -> dict[tuple[str, int], NDArray[np.int64]]:
    """Return the numbers of each row's run and of the baseline's, [P, 2], for each seed that both have."""
    numbered = _keyed(runs).assign(run=np.arange(len(runs)))
    is_baseline = runs["fusion"].eq(BASELINE).to_numpy(bool)
    baseline = numbered.loc[is_baseline, ["seed", "run"]]
    both = numbered[~is_baseline].merge(baseline, how="left", on="seed", suffixes=("", "_baseline"))
    return {
        (str(of_row["fusion"].iloc[0]), int(of_row["fusion_layer"].iloc[0])): of_row[["run", "run_baseline"]]
        .dropna()
        .to_numpy(np.int64)
        for _, of_row in in_order(both, "fusion_layer").groupby(KEY, sort=False)
    }


def _drawn(
    runs: pd.DataFrame, examples: pd.DataFrame, chance: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield by language the runs' scores, then those on examples drawn with replacement, [1 + DRAWS, runs]."""
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
        yield str(language), 100 * drawn_shares(numerators, denominators, chance)


def drawn_shares(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64], chance: np.random.Generator
) -> NDArray[np.float64]:
    """Return ratios of sums over examples as they are, then over examples drawn with replacement.

    Args:
        numerators: [examples, columns]; all columns get the same examples.
        denominators: Likewise.
        chance: What draws.

    Returns:
        [1 + DRAWS, columns]; 0 where there is nothing to find, as seqeval's.
    """
    both = np.hstack([numerators, denominators])
    sums = [both.sum(axis=0, keepdims=True)]
    # One thread: on a machine that does something else, too, threads that wait for each other take ten times as long.
    with threadpool_limits(1, "blas"):
        for start in range(0, DRAWS, _ROWS):
            sums.append(_times_drawn(len(both), min(_ROWS, DRAWS - start), chance) @ both)
    above, below = np.hsplit(np.vstack(sums), 2)
    shares: NDArray[np.float64] = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return shares


def _times_drawn(count: int, draws: int, chance: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each of so many examples is drawn, [draws, count]; a multinomial, but a tenth of its time."""
    drawn = chance.integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)
