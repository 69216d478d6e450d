"""Intervals of differences: what they must hold, on runs whose examples are known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from dlfa.errors import DataError
from orchestrator.report.arms import NO_LAYER
from orchestrator.report.intervals import DRAWS, intervals, target_draws


def make_runs(*keys: tuple[int | str | None, int]) -> pd.DataFrame:
    """Return runs of a layer of dlfa (None: the baseline; text: a fusion without layers) and seed: t0, t1, ..."""
    rows = [
        (
            "none" if layer is None else layer if isinstance(layer, str) else "dlfa",
            layer if isinstance(layer, int) else None,
            seed,
        )
        for layer, seed in keys
    ]
    runs: pd.DataFrame = pd.DataFrame(rows, columns=["fusion", "fusion_layer", "seed"]).astype(
        {"fusion": "string", "fusion_layer": "Int64", "seed": "Int64"}
    )
    runs["trial"] = [f"t{number}" for number in range(len(keys))]
    return runs


def examples_of(trial: int, language: str, right: Any, of: Any = 10) -> pd.DataFrame:
    """Return a trial's examples, each with as many right of ten."""
    right = np.asarray(right)
    frame: pd.DataFrame = pd.DataFrame(
        {
            "trial": f"t{trial}",
            "language": language,
            "example": np.arange(len(right)),
            "numerator": right,
            "denominator": of,
        }
    )
    return frame


def edges(table: pd.DataFrame, layer: int, language: str | None) -> tuple[float, float]:
    of_language = table["language"].isna() if language is None else table["language"].eq(language)
    (row,) = table[table["fusion_layer"].eq(layer) & of_language.fillna(False)].itertuples()
    return row.low, row.high


def test_a_difference_that_is_the_same_in_every_example_and_seed_is_certain() -> None:
    chance = np.random.default_rng(1)
    base = chance.integers(0, 8, 60)
    runs = make_runs((None, 2), (None, 3), (4, 3), (4, 2))
    examples = pd.concat([examples_of(n, lang, base + 2 * (n >= 2)) for n in range(4) for lang in ("en", "de", "fr")])
    table = intervals(runs, examples, "en")
    for language in ("en", "de", "fr", None):  # though the scores themselves vary from draw to draw
        assert edges(table, 4, language) == pytest.approx((20, 20), abs=1e-9)
    assert len(table) == 4


def test_the_mean_is_over_targets_alone_and_seeds_are_paired() -> None:
    ten = np.ones(40)
    runs = make_runs((None, 1), (None, 2), (3, 2), (3, 1))
    # Seeds differ by 30 points, and layer and baseline of one seed by 10 in de, -20 in fr and 50 in en.
    by_seed = {0: 1, 1: 4, 2: 4, 3: 1}
    gain = {"en": 5, "de": 1, "fr": -2}
    examples = pd.concat(
        [examples_of(n, lang, (3 + by_seed[n] + gain[lang] * (n >= 2)) * ten) for n in range(4) for lang in gain]
    )
    table = intervals(runs, examples, "en")
    assert edges(table, 3, "de") == pytest.approx((10, 10))
    assert edges(table, 3, "fr") == pytest.approx((-20, -20))
    assert edges(table, 3, None) == pytest.approx((-5, -5))


def test_long_examples_count_more_in_numerator_and_denominator_alike() -> None:
    sizes = np.arange(1, 41) * 2
    runs = make_runs((None, 1), (2, 1))
    examples = pd.concat([examples_of(0, "de", sizes / 2, of=sizes), examples_of(1, "de", sizes, of=sizes)])
    assert edges(intervals(runs, examples, "en"), 2, "de") == pytest.approx((50, 50))


def test_examples_alone_give_the_width_that_theory_gives() -> None:
    # Of 400 examples the layer is right in 60 %, the baseline in 50 %, independently: the difference of two
    # proportions has a standard error of sqrt(.24 / 400 + .25 / 400).
    chance = np.random.default_rng(2)
    layer, base = (chance.random(400) < share for share in (0.6, 0.5))
    runs = make_runs((None, 1), (2, 1))
    examples = pd.concat([examples_of(0, "de", base.astype(int), 1), examples_of(1, "de", layer.astype(int), 1)])
    low, high = edges(intervals(runs, examples, "en"), 2, None)
    observed = 100 * (layer.mean() - base.mean())
    assert low < observed < high
    assert (high - low) / 2 == pytest.approx(1.96 * 100 * np.sqrt(0.49 / 400), rel=0.15)


def test_seeds_that_differ_widen_the_interval() -> None:
    ten = np.ones(30)
    runs = make_runs((None, 1), (None, 2), (2, 1), (2, 2))
    examples = pd.concat([examples_of(n, "de", gain * ten) for n, gain in enumerate((5, 5, 6, 8))])
    # Differences of 10 and 30: a mean of 20 with a standard error of 10, and t with one degree of freedom.
    expected = (20 - 10 * t.ppf(0.975, 1), 20 + 10 * t.ppf(0.975, 1))
    assert edges(intervals(runs, examples, "en"), 2, None) == pytest.approx(expected, rel=0.02)


def test_three_seeds_have_the_interval_of_students_t() -> None:
    ten = np.ones(30)
    runs = make_runs(*((layer, seed) for layer in (None, 2) for seed in range(3)))
    examples = pd.concat([examples_of(n, "de", gain * ten) for n, gain in enumerate((5, 4, 5, 6, 4, 8))])
    half = t.ppf(0.975, 2) * np.std([10, 0, 30], ddof=1) / np.sqrt(3)
    mean = 40 / 3
    assert edges(intervals(runs, examples, "en"), 2, None) == pytest.approx((mean - half, mean + half), abs=0.05 * half)


def test_what_a_seed_makes_of_an_example_counts_once() -> None:
    # Runs err on examples of their own, independently: how the seeds' scores differ is all that there is.
    chance = np.random.default_rng(6)
    keys = [(layer, seed) for layer in (None, 2) for seed in range(30)]
    examples = pd.concat([examples_of(n, "de", chance.random(200) < 0.5, 1) for n in range(len(keys))])
    low, high = edges(intervals(make_runs(*keys), examples, "en"), 2, None)
    assert (high - low) / 2 == pytest.approx(2 * 100 * np.sqrt(2 * 0.25 / 200 / 30), rel=0.25)


def test_draws_of_all_layers_are_of_one_chance() -> None:
    chance = np.random.default_rng(7)
    base = chance.integers(0, 8, 60)
    runs = make_runs((None, 2), (None, 3), (7, 3), (7, 2), (4, 2), (4, 3), (4, 9))
    better = {0: 0, 1: 1, 2: 2, 3: 1, 4: 0, 5: 1, 6: 5}
    languages = ("en", "de", "fr")
    examples = pd.concat([examples_of(n, lang, base + better[n]) for n in range(7) for lang in languages])
    draws = target_draws(runs, examples, "en")
    assert draws.shape == (DRAWS, 3)
    assert [*draws.columns] == [("none", NO_LAYER), ("dlfa", 4), ("dlfa", 7)]
    base_draws, four, seven = draws.to_numpy().T
    assert four == pytest.approx(base_draws, abs=1e-6), "the same in every example and seed; seed 9 is its own"
    assert seven - four == pytest.approx(10, abs=1e-6)
    assert draws["dlfa", 4].median() == pytest.approx(10 * base.mean() + 5, abs=1)
    assert draws["dlfa", 4].std() > 0


def test_no_draws_without_examples_or_a_seed_that_all_share() -> None:
    runs = make_runs((None, 1), (2, 1), (3, 2))
    examples = pd.concat([examples_of(n, "de", np.arange(10)) for n in range(3)])
    for found in (
        target_draws(runs, examples, "en"),  # layer 3 has another seed
        target_draws(runs[:2], examples[:10], "en"),  # layer 2 has no examples
        target_draws(runs[:2], examples[:0], "en"),
        target_draws(runs[:0], examples[:0], "en"),
        target_draws(runs.assign(seed=pd.array([None, None, None], dtype="Int64")), examples, "en"),
    ):
        assert found.columns.empty
    assert [*target_draws(runs[:2], examples, "en").columns] == [("none", NO_LAYER), ("dlfa", 2)]
    assert [*target_draws(runs[1:2], examples, "en").columns] == [("dlfa", 2)]


def test_the_same_runs_give_the_same_interval_in_any_order() -> None:
    chance = np.random.default_rng(3)
    runs = make_runs((None, 1), (None, 2), (2, 1), (2, 2), (5, 1), (5, 2))
    examples = pd.concat([examples_of(n, lang, chance.integers(0, 11, 50)) for n in range(6) for lang in ("de", "fr")])
    table = intervals(runs, examples, "en")
    shuffled = intervals(runs, examples.sample(frac=1, random_state=1), "en")
    pd.testing.assert_frame_equal(table, shuffled)


def test_layers_without_a_pair_or_without_examples_have_none() -> None:
    # Layer 2 shares no seed, layer 3 has no examples, layer 5 has them of one of two runs.
    runs = make_runs((None, 1), (2, 2), (3, 1), (4, 1), (None, 3), (5, 1), (5, 3))
    examples = pd.concat([examples_of(n, "de", np.arange(10)) for n in (0, 1, 3, 4, 5)])
    table = intervals(runs, examples, "en")
    assert set(table["fusion_layer"]) == {4}
    assert intervals(runs, examples[:0], "en").empty
    assert list(intervals(runs, examples[:0], "en").columns) == ["fusion", "fusion_layer", "language", "low", "high"]


def test_a_score_with_nothing_to_find_is_none() -> None:
    runs = make_runs((None, 1), (2, 1))
    examples = pd.concat([examples_of(n, "de", np.zeros(5), of=0) for n in range(2)])
    assert edges(intervals(runs, examples, "en"), 2, "de") == (0, 0)


def test_runs_on_other_examples_are_refused() -> None:
    runs = make_runs((None, 1), (2, 1))
    examples = pd.concat([examples_of(0, "de", np.arange(10)), examples_of(1, "de", np.arange(9))])
    with pytest.raises(DataError, match=r"^t1: not tested on all examples of 'de' that other runs were$"):
        intervals(runs, examples, "en")
