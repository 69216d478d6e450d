"""Cosines of states, against every pair of rows by itself."""

from itertools import product

import numpy as np
import pytest

from dlfa.similarity import similarity


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_by_hand() -> None:
    source = np.array([[2, 0], [0, 3], [1, 1], [0, -1]], np.float32)
    target = np.array([[1, 0], [0, -1], [5, 5], [1, 0]], np.float32)
    found = similarity(source, target, np.array([0, 0, 1, 0], np.int16))
    half = [(0 + 1) / 2, (0 + 0) / 2, (0 + 1) / 2]  # the third row is alone with its label
    assert found == {
        "similarity": pytest.approx((1 - 1 + 1 + 0) / 4),
        "similarity_unrelated": pytest.approx(sum(half) / 3),
    }


@pytest.mark.parametrize("seed", range(5))
def test_unrelated_is_the_mean_over_all_pairs_of_one_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 7], size=40, p=[0.6, 0.3, 0.08, 0.02]).astype(np.int16)
    source = rng.normal(1, 1, (40, 6)).astype(np.float32)
    target = (source + rng.normal(0, 2, (40, 6))).astype(np.float32)
    found = similarity(source, target, labels)
    by_row: dict[int, list[float]] = {}
    for i, j in product(range(40), repeat=2):
        if i != j and labels[i] == labels[j]:
            by_row.setdefault(i, []).append(cosine(source[i], target[j]))
    related = [cosine(a, b) for a, b in zip(source, target, strict=True)]
    assert found["similarity"] == pytest.approx(np.mean(related), abs=1e-6)
    expected = np.mean([np.mean(row) for row in by_row.values()])
    assert found["similarity_unrelated"] == pytest.approx(expected, abs=1e-6)


def test_the_size_of_states_does_not_count() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 9, 4)).astype(np.float32)
    labels = np.zeros(9, np.int16)
    scale = rng.uniform(1e-15, 1e15, (9, 1)).astype(np.float32)
    assert similarity(source * scale, target, labels) == pytest.approx(similarity(source, target, labels), abs=1e-5)


def test_where_every_row_is_alone_with_its_label_nothing_is_unrelated() -> None:
    states = np.ones((2, 3), np.float32)
    assert similarity(states, states, np.array([0, 1], np.int16)) == {"similarity": pytest.approx(1)}


def test_a_state_of_zeros_has_no_direction() -> None:
    states = np.array([[0, 0], [1, 0]], np.float32)
    assert similarity(states, states, np.zeros(2, np.int16)) == {"similarity": 0.5, "similarity_unrelated": 0.0}
