"""Families on small frames with answers worked by hand."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.families import alikeness, families, gain_similarity
from orchestrator.report.languages import families_of

from .test_tables import column, confirm, make_frame

GAINS = {
    # Profiles over layers 1, 2, 3 and 4: de and nl alike, fi and et alike and the opposite, ja level.
    "de": (1, 2, 3, 4),
    "nl": (2, 4, 6, 8),
    "fi": (4, 3, 2, 1),
    "et": (8, 6, 4, 2),
    "ja": (1, 1, 1, 1),
    "en": (9, 0, 9, 0),
}


def frame_of(layers: int = 4) -> pd.DataFrame:
    trials = [confirm(None, 1, dev=80.0, target=60.0)]
    trials += [confirm(layer, 1, dev=80.0, target=60.0) for layer in range(1, layers + 1)]
    for number, (_, numbers) in enumerate(trials):
        for key in [key for key in numbers if key[0] == "test"]:
            del numbers[key]
        for language, gains in GAINS.items():
            numbers["test", language, "f1", 3] = 50.0 + (gains[number - 1] if number else 0)
    return make_frame(*trials)


def test_languages_that_gain_at_the_same_layers_are_alike() -> None:
    alike = gain_similarity(frame_of())
    assert list(alike.index) == list(alike.columns) == ["de", "et", "fi", "nl"], "neither the source nor a level one"
    assert alike.loc["de", "nl"] == pytest.approx(1)
    assert alike.loc["fi", "et"] == pytest.approx(1)
    assert alike.loc["de", "fi"] == pytest.approx(-1)


def test_three_layers_are_too_few() -> None:
    assert gain_similarity(frame_of(layers=3)).empty


def test_families_are_more_alike_within_than_drawn_at_random() -> None:
    alike = gain_similarity(frame_of())
    known = families_of(alike.index)
    assert known == {"de": "Indo-European", "nl": "Indo-European", "fi": "Uralic", "et": "Uralic"}
    found = alikeness(alike, known)
    assert found is not None
    assert found.within == pytest.approx(1)
    assert found.between == pytest.approx(-1)
    # Of the three ways to pair four languages one is this: a third of all permutations.
    assert found.p == pytest.approx(1 / 3, abs=0.02)


def test_families_that_are_not_alike_are_not_found_to_be() -> None:
    names = [f"l{number}" for number in range(30)]
    chance = np.random.default_rng(1)
    alike = pd.DataFrame(np.corrcoef(chance.normal(size=(30, 8))), index=names, columns=names)
    found = alikeness(alike, {name: f"family {number % 5}" for number, name in enumerate(names)})
    assert found is not None
    assert found.p > 0.05
    strong = alike.copy()
    for number, name in enumerate(names):
        for other_number, other in enumerate(names):
            strong.loc[name, other] += 0.5 * (number % 5 == other_number % 5)
    found = alikeness(strong, {name: f"family {number % 5}" for number, name in enumerate(names)})
    assert found is not None
    assert found.p == 1 / 10_000


@pytest.mark.parametrize("known", [{}, {"de": "a", "nl": "a"}, {"de": "a", "fi": "b"}])
def test_without_pairs_of_both_kinds_nothing_is_compared(known: dict[str, str]) -> None:
    assert alikeness(gain_similarity(frame_of()), known) is None


def test_what_families_gain() -> None:
    table = families(frame_of())
    assert column(table, "family") == ["Indo-European", "Japonic", "Uralic"]
    assert column(table, "languages") == ["de nl", "ja", "et fi"]
    assert column(table, "layer_1") == [1.5, 1.0, 6.0]
    assert column(table, "layer_4") == [6.0, 1.0, 1.5]
    assert column(table, "within") == [pytest.approx(1), None, pytest.approx(1)]


def test_a_language_that_nothing_is_known_of_has_no_family() -> None:
    frame = frame_of().replace({"language": {"nl": "xx"}})
    table = families(frame)
    assert column(table, "family") == ["Indo-European", "Japonic", "Uralic", "unknown"]
    assert families(make_frame(confirm(None, 1, dev=80.0, target=60.0))).empty
