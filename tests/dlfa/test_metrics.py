"""Scores against seqeval called as XTREME calls it, and aggregates by hand."""

import random
import warnings

import pytest
import seqeval.metrics
from hypothesis import given
from hypothesis import strategies as st

from dlfa.metrics import aggregate, pair_scores, pair_tallies, tagging_scores, tagging_tallies
from dlfa.tasks import TASKS

IOB2 = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
Tags = list[list[str]]


def xtreme_f1(gold: Tags, predicted: Tags) -> float:
    """What google-research/xtreme's evaluate.py reports for udpos and panx."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 100 * float(seqeval.metrics.f1_score(gold, predicted))


def drawn(labels: tuple[str, ...], seed: int, right: float) -> tuple[Tags, Tags]:
    """Random tags, and predictions of which a share is right."""
    chance = random.Random(seed)
    gold = [[chance.choice(labels) for _ in range(chance.randint(1, 30))] for _ in range(20)]
    predicted = [[tag if chance.random() < right else chance.choice(labels) for tag in tags] for tags in gold]
    return gold, predicted


@pytest.mark.parametrize("labels", [TASKS["udpos"].labels, IOB2], ids=["bare tags", "IOB2"])
@pytest.mark.parametrize("right", [0.0, 0.5, 0.9, 1.0])
def test_f1_is_that_of_xtreme(labels: tuple[str, ...], right: float) -> None:
    for seed in range(5):
        gold, predicted = drawn(labels, seed, right)
        scores = tagging_scores(gold, predicted)
        assert scores.keys() == {"f1", "accuracy"}
        assert scores["f1"] == xtreme_f1(gold, predicted)
        pairs = [pair for g, p in zip(gold, predicted, strict=True) for pair in zip(g, p, strict=True)]
        assert scores["accuracy"] == pytest.approx(100 * sum(g == p for g, p in pairs) / len(pairs), abs=1e-9)
        assert (scores["f1"] == 100) == (right == 1)


@pytest.mark.parametrize("labels", [TASKS["udpos"].labels, IOB2], ids=["bare tags", "IOB2"])
@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
def test_what_sentences_add_is_the_score(labels: tuple[str, ...], right: float) -> None:
    for seed in range(5):
        gold, predicted = drawn(labels, seed, right)
        scores = tagging_scores(gold, predicted)
        for metric, tally in tagging_tallies(gold, predicted).items():
            assert tally.shape == (len(gold), 2)
            numerator, denominator = tally.sum(axis=0)
            assert 100 * numerator / denominator == pytest.approx(scores[metric], abs=1e-9)


def test_what_a_sentence_adds() -> None:
    tallies = tagging_tallies([["DET", "NOUN", "NOUN"], ["NOUN"]], [["DET", "NOUN", "VERB"], ["VERB"]])
    # Chunks: DET, NOUN NOUN against DET, NOUN, VERB, one in common; then one against another.
    assert tallies["f1"].tolist() == [[2, 5], [0, 2]]
    assert tallies["accuracy"].tolist() == [[2, 3], [0, 1]]


def test_what_a_pair_adds() -> None:
    assert pair_tallies([["0"], ["1"]], [["0"], ["0"]])["accuracy"].tolist() == [[1, 1], [0, 1]]
    assert pair_tallies([], [])["accuracy"].shape == (0, 2)


def test_chunk_f1_of_bare_tags_lies_below_token_accuracy() -> None:
    # Gold chunks: DET, NOUN NOUN, VERB, PUNCT. Predicted: DET, NOUN, VERB VERB, PUNCT. DET and PUNCT are common
    # to both, so precision and recall are 2/4, while four of five tokens are right.
    scores = tagging_scores([["DET", "NOUN", "NOUN", "VERB", "PUNCT"]], [["DET", "NOUN", "VERB", "VERB", "PUNCT"]])
    assert scores == {"f1": pytest.approx(50.0), "accuracy": pytest.approx(80.0)}


def test_chunks_end_with_their_sentence() -> None:
    # Three chunks in gold, one of them predicted, and three predicted; as one sentence it would be 1 of 2.
    assert tagging_scores([["NOUN"], ["NOUN", "VERB"]], [["NOUN"], ["VERB", "NOUN"]])["f1"] == pytest.approx(100 / 3)


def test_accuracy_of_pairs() -> None:
    gold, predicted = [["0"], ["1"], ["1"], ["0"]], [["0"], ["1"], ["0"], ["0"]]
    assert pair_scores(gold, predicted) == {"accuracy": 75.0}
    assert pair_scores(gold, gold) == {"accuracy": 100.0}


def test_pairs_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^gold and predicted labels differ in number$"):
        pair_scores([["0"]], [["0"], ["1"]])
    with pytest.raises(ValueError, match=r"^there is no pair to score$"):
        pair_scores([], [])


def test_nothing_right_is_zero() -> None:
    assert tagging_scores([["NOUN"]], [["VERB"]]) == {"f1": 0.0, "accuracy": 0.0}
    assert tagging_scores([["O", "O"]], [["O", "O"]]) == {"f1": 0.0, "accuracy": 100.0}  # no chunk to be found


def test_no_warning_is_emitted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (TASKS["udpos"].labels, IOB2):
            tagging_scores(*drawn(labels, 1, 0.5))
        tagging_scores([["O"]], [["O"]])
        with pytest.raises(UserWarning, match="still a warning"):
            warnings.warn("still a warning", stacklevel=1)


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ([["X"]], []),
        ([["X"]], [["X", "X"]]),
        ([["X", "X"], ["X"]], [["X"], ["X", "X"]]),
    ],
)
def test_shapes_must_agree(gold: Tags, predicted: Tags) -> None:
    with pytest.raises(ValueError, match=r"^gold and predicted tags differ in shape$"):
        tagging_scores(gold, predicted)


@pytest.mark.parametrize("nothing", [[], [[]], [[], []]])
def test_there_must_be_a_tag(nothing: Tags) -> None:
    with pytest.raises(ValueError, match=r"^there is no tag to score$"):
        tagging_scores(nothing, nothing)


def test_aggregates_by_hand() -> None:
    assert aggregate({"en": 80.0, "de": 60.0, "fr": 70.0, "ja": 20.0}, "en") == {
        "avg": 57.5,
        "avg_target": 50.0,
        "worst": 20.0,
        "gap": 30.0,
        "near": 60.0,
        "far": 45.0,
        "enf": 70.0,
    }
    # The source is no target, even where it is the worst.
    found = aggregate({"en": 10.0, "de": 60.0}, "en")
    assert found == {"avg": 35.0, "avg_target": 60.0, "worst": 60.0, "gap": -50.0, "near": 60.0, "enf": 35.0}


def test_near_targets_are_of_the_genus_of_the_source_whichever_it_is() -> None:
    scores = {"en": 10.0, "es": 80.0, "fr": 60.0, "pt_br": 40.0, "zh-Hant": 20.0, "xx": 99.0, "qq-Latn": 98.0}
    found = aggregate(scores, "es")
    assert {name: found[name] for name in ("near", "far", "enf")} == {"near": 50.0, "far": 15.0, "enf": 60.0}
    found = aggregate({"zh-Hant": 80.0, "zh": 60.0, "ja": 40.0}, "zh-Hant")
    assert {name: found[name] for name in ("near", "far", "enf")} == {"near": 60.0, "far": 40.0, "enf": 70.0}


def test_aggregates_of_what_is_missing_are_absent() -> None:
    every = {"avg": 65.0, "avg_target": 65.0, "worst": 60.0}
    assert aggregate({"de": 60.0, "fr": 70.0}, "en") == every | {"near": 60.0, "far": 70.0}
    assert aggregate({"es": 60.0, "fr": 70.0}, "en") == every | {"far": 65.0}
    assert aggregate({"en": 80.0}, "en") == {"avg": 80.0}
    assert aggregate({}, "en") == {}


def test_of_an_unknown_genus_nothing_is_near_or_far() -> None:
    source = aggregate({"xx": 80.0, "yy": 60.0, "de": 40.0}, "xx")
    assert source == {"avg": 60.0, "avg_target": 50.0, "worst": 40.0, "gap": 30.0}
    targets = aggregate({"en": 80.0, "xx": 60.0, "yy": 40.0}, "en")
    assert targets == {"avg": 60.0, "avg_target": 50.0, "worst": 40.0, "gap": 30.0}


@given(st.dictionaries(st.sampled_from(["en", "de", "fr", "ja", "fi"]), st.floats(0, 100), min_size=2))
def test_aggregates_do_not_depend_on_the_order(scores: dict[str, float]) -> None:
    backwards = dict(reversed(list(scores.items())))
    assert aggregate(scores, "en") == aggregate(backwards, "en")
