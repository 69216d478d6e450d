"""Nearest neighbours and linear probes on states whose answers are known."""

import numpy as np
import pytest

from dlfa.probing import probes
from dlfa.probing.probes import majority_hits, probe_hits, retrieval_hits


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(0)


def _states(chance: np.random.Generator, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return chance.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows", [1024, 3])
def test_a_translation_is_found_in_both_directions(
    chance: np.random.Generator, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(probes, "_ROWS", rows)
    states = _states(chance, 10, 8)
    assert retrieval_hits(states, 5 * states).tolist() == [2] * 10  # the cosine looks at directions alone
    assert retrieval_hits(states, states[::-1]).tolist() == [0] * 10
    swapped = states.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert retrieval_hits(states, swapped).tolist() == [0, 0, *[2] * 8]


def test_directions_count_apart() -> None:
    one = np.asarray([[1, 0], [0.9, 0.1]], np.float32)
    other = np.asarray([[1, 0], [0, 1]], np.float32)
    # Both of `one` are nearest to the first of `other`; of `other`, each is nearest to its own.
    assert retrieval_hits(one, other).tolist() == [2, 1]


def test_a_zero_state_is_nobodys_translation(chance: np.random.Generator) -> None:
    states = _states(chance, 4, 8)
    blank = states.copy()
    blank[2] = 0
    assert retrieval_hits(states, blank).tolist() == [2, 2, 0, 2]


def test_a_probe_reads_what_is_linear_and_nothing_else(chance: np.random.Generator) -> None:
    states = _states(chance, 600, 16)
    linear = np.where(states[:, 3] > 0, "NOUN", "VERB")
    product = np.where(states[:, 3] * states[:, 4] > 0, "NOUN", "VERB")  # an exclusive or of two signs
    train, test = slice(0, 400), slice(400, 600)
    assert probe_hits(states[train], linear[train], states[test], linear[test]).mean() > 0.95
    assert probe_hits(states[train], product[train], states[test], product[test]).mean() == pytest.approx(0.5, abs=0.12)


def test_the_scale_of_a_unit_does_not_matter(chance: np.random.Generator) -> None:
    states = _states(chance, 300, 8)
    labels = np.where(states[:, 0] > 0, 1, 0)
    scaled = states * np.asarray([1e-3, *[1e3] * 7], np.float32)
    hits = probe_hits(scaled[:200], labels[:200], scaled[200:], labels[200:])
    assert hits.mean() > 0.95


def test_labels_that_were_never_seen_are_wrong(chance: np.random.Generator) -> None:
    states = _states(chance, 40, 4)
    train = np.asarray([0, 1] * 20)
    test = np.full(40, 7)
    assert probe_hits(states, train, states, test).sum() == 0
    assert probe_hits(states, np.zeros(40, int), states, train).tolist() == [1, 0] * 20  # one label alone


def test_the_majority() -> None:
    train, test = np.asarray(["N", "V", "N", "X"]), np.asarray(["N", "N", "V", "A"])
    assert majority_hits(train, test).tolist() == [1, 1, 0, 0]
