"""Capability against structure: known balances, planted outcomes, and none at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dlfa.errors import DataError
from orchestrator.report.arms import KEY
from orchestrator.report.balance import Balance, balance
from orchestrator.report.best_layers import best_layers, model_runs
from orchestrator.report.equilibrium import equilibrium, sweep_equilibrium, verdicts

from .simulated import simulate

_EXAMPLES = 200


def _measured(shares: Mapping[str, Mapping[str, Sequence[float]]], examples: int = _EXAMPLES) -> pd.DataFrame:
    """Return measures whose accuracies are the given ones: measure to language to a share for each layer."""
    rows = []
    for measure, languages in shares.items():
        for language, layers in languages.items():
            for layer, share in enumerate(layers):
                right = np.arange(examples) < round(share * examples)
                rows += [(measure, language, layer, example, hit, 1) for example, hit in enumerate(right)]
    frame: pd.DataFrame = pd.DataFrame(
        rows, columns=["measure", "language", "layer", "example", "numerator", "denominator"]
    ).astype({"layer": "Int64", "numerator": "float64"})
    return frame


KNOWN = {
    "retrieval": {"de": [0.1, 0.3, 0.5], "fi": [0.3, 0.5, 0.7]},
    "language": {"de": [1.0, 0.9, 0.8], "en": [1.0, 0.9, 0.8]},
    "upos": {"en": [0.9, 0.8, 0.5], "de": [0.7, 0.7, 0.5]},
}


def test_known_answers() -> None:
    found = balance(_measured(KNOWN), "en")
    assert found.layers.tolist() == [0, 1, 2]
    assert found.retrieval == pytest.approx([0.2, 0.4, 0.6])
    assert found.language == pytest.approx([1.0, 0.9, 0.8])
    assert found.capability[0] == pytest.approx([0.1, 0.25, 0.4])
    assert found.structure[0] == pytest.approx([0.8, 0.75, 0.5])
    assert found.source == pytest.approx([0.9, 0.8, 0.5])
    # Scaled: C 0, 1/2, 1; S 1, 5/6, 0. The harmonic mean of 1/2 and 5/6 is 5/8.
    assert found.equilibrium[0] == pytest.approx([0, 0.625, 0])


def test_examples_count_as_often_as_they_stand_there() -> None:
    measured = _measured(KNOWN, examples=10)
    is_upos = measured["measure"].eq("upos") & measured["example"].ge(5)  # long sentences, all wrong in fact
    measured.loc[is_upos, "denominator"] = 3
    found = balance(measured, "en")
    assert found.structure[0][2] == pytest.approx(5 / 20)


def test_a_band_is_as_wide_as_a_binomials() -> None:
    found = balance(_measured(KNOWN), "en")
    sd = np.sqrt((0.1 * 0.9 + 0.3 * 0.7) / _EXAMPLES) / 2  # of retrieval at layer 0, two languages
    assert found.capability[1:, 0].std() == pytest.approx(sd / 2, rel=0.1)
    assert found.capability.shape == found.structure.shape == found.equilibrium.shape == (2001, 3)
    assert np.isfinite(found.equilibrium).all()


def test_layers_that_are_all_alike_have_no_equilibrium() -> None:
    flat = KNOWN | {"upos": {"en": [0.5, 0.5, 0.5]}}
    found = balance(_measured(flat), "en")
    assert np.isnan(found.equilibrium[0]).all()
    scores = pd.Series([60.0, 61.0], index=[1, 2])
    assert verdicts({"pretrained": found}, _NO_DRAWS, _layers("dlfa", scores)) == [
        "encoder pretrained, dlfa: no equilibrium (all layers are alike, or none that was measured has a confirmed run)"
    ]


def test_a_measure_that_is_missing() -> None:
    with pytest.raises(DataError, match="no upos; allowed: retrieval, language and upos"):
        balance(_measured({name: KNOWN[name] for name in ("retrieval", "language")}), "en")


_LAYERS = 12


def _hill(top: int, examples: int = 2000) -> Balance:
    """Capability rises and structure falls, so that layer `top` of 12 is between them."""
    layers = np.arange(_LAYERS + 1)
    rising = 0.2 + 0.6 / (1 + np.exp(-(layers - top) / 1.5))
    falling = 0.9 - 0.5 / (1 + np.exp(-(layers - top) / 1.5))
    shares = {
        "retrieval": {"de": rising.tolist()},
        "language": {"de": [1.0] * (_LAYERS + 1)},
        "upos": {"en": falling.tolist()},
    }
    return balance(_measured(shares, examples), "en")


def _targets(scores: pd.Series, sd: float, seed: int = 0) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    drawn = chance.normal(scores.to_numpy(), sd, size=(2000, len(scores)))
    targets: pd.DataFrame = pd.DataFrame(drawn, columns=_columns("dlfa", scores.index))
    return targets


def _columns(fusion: str, layers: Iterable[int]) -> pd.MultiIndex:
    columns: pd.MultiIndex = pd.MultiIndex.from_tuples([(fusion, int(layer)) for layer in layers], names=KEY)
    return columns


def _layers(fusion: str, scores: pd.Series, **more: Any) -> pd.DataFrame:
    """Return what `best_layers` says of a fusion whose layers score so."""
    table: pd.DataFrame = pd.DataFrame(
        {
            "fusion": pd.array([fusion] * len(scores), dtype="string"),
            "fusion_layer": scores.index.astype("Int64"),
            "avg_target": scores.to_numpy(),
            **more,
        }
    )
    return table


_NO_DRAWS = pd.DataFrame(index=range(2000), columns=_columns("dlfa", []))


def _scores(values: Sequence[float]) -> pd.Series:
    scores: pd.Series = pd.Series(values, index=pd.Index(range(1, _LAYERS), dtype="Int64"), dtype="float64")
    return scores


def test_a_planted_layer_is_predicted_and_is_the_best() -> None:
    scores = _scores([60 - abs(layer - 6) for layer in range(1, _LAYERS)])
    lines = verdicts({"pretrained": _hill(6)}, _targets(scores, 0.1), _layers("dlfa", scores))
    assert lines[0] == "encoder pretrained, dlfa: predicted layer 6 (highest equilibrium of the fusion layers)"
    assert (
        lines[1]
        == "encoder pretrained, dlfa: the predicted layer is the one with the best mean over the target test sets"
    )
    assert "rho +1.00" in lines[2] or "rho +0.9" in lines[2]
    assert "permutation p 0.000" in lines[2]


def test_a_planted_layer_elsewhere_is_told_apart_or_not() -> None:
    scores = _scores([60 - 0.5 * abs(layer - 9) for layer in range(1, _LAYERS)])
    sure, unsure = (verdicts({"dlfa": _hill(6)}, _targets(scores, sd), _layers("dlfa", scores))[1] for sd in (0.1, 2.0))
    assert "the predicted layer is worse than the best on the target test sets, 9 (ahead by 1.50 [+1." in sure
    assert "the predicted layer lies within the interval of the best on the target test sets, 9" in unsure


def test_layers_that_few_examples_cannot_tell_apart_are_named() -> None:
    scores = _scores([60 - abs(layer - 6) for layer in range(1, _LAYERS)])
    line = verdicts({"pretrained": _hill(6, examples=100)}, _targets(scores, 0.1), _layers("dlfa", scores))[0]
    assert "cannot be told from it" in line
    assert "5" in line
    assert "7" in line


def test_few_fusion_layers_are_not_correlated() -> None:
    scores = pd.Series([60.0, 61.0, 60.0], index=pd.Index([2, 6, 10], dtype="Int64"))
    assert (
        verdicts({"pretrained": _hill(6)}, _targets(scores, 0.1), _layers("dlfa", scores))[-1]
        == "encoder pretrained, dlfa: 3 fusion layers are too few to correlate equilibrium and target score"
    )


def test_without_draws_nothing_is_said_of_intervals() -> None:
    scores = _scores([60 - abs(layer - 9) for layer in range(1, _LAYERS)])
    lines = verdicts({"pretrained": _hill(6)}, _NO_DRAWS, _layers("dlfa", scores))
    assert (
        lines[1] == "encoder pretrained, dlfa: best layer on the target test sets 9; no intervals, so no more is said"
    )
    assert "[" not in lines[2]


def test_where_nothing_is_planted_nothing_is_found_more_often_than_by_chance() -> None:
    found = _hill(6, examples=200)
    chance = np.random.default_rng(3)
    p = []
    for _ in range(200):
        scores = _scores(chance.normal(60, 1, _LAYERS - 1).tolist())
        line = verdicts({"pretrained": found}, _NO_DRAWS, _layers("dlfa", scores))[-1]
        p.append(float(line.split("permutation p ")[1].split()[0]))
    # Of 200 at the nominal rate of 5 %, 19 or more happen once in a hundred times.
    assert sum(value < 0.05 for value in p) < 19
    assert np.mean(p) == pytest.approx(0.5, abs=0.08)


def test_the_table() -> None:
    scores = _scores([60 - abs(layer - 6) for layer in range(1, _LAYERS)])
    table = equilibrium({"pretrained": _hill(6), "dlfa": _hill(8)}, _targets(scores, 0.5), _layers("dlfa", scores))
    assert table["encoder"].tolist() == ["pretrained"] * 13 + ["dlfa"] * 13
    assert table["layer"].tolist() == [*range(13)] * 2
    assert table.loc[table["selected"], ["encoder", "layer"]].to_numpy().tolist() == [["pretrained", 6], ["dlfa", 8]]
    assert table["target"].isna().tolist() == ([True] + [False] * 11 + [True]) * 2
    for name in ("capability", "structure", "equilibrium"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    middle = table[table["layer"].eq(6)].iloc[0]
    assert middle["target"] == 60
    assert middle["target_high"] - middle["target_low"] == pytest.approx(2 * 1.96 * 0.5, rel=0.1)
    assert middle["retrieval"] == pytest.approx(50, abs=0.1)
    assert middle["language"] == 100


def test_the_embedding_layer_and_the_last_are_never_predicted() -> None:
    """They may have the highest equilibrium; no fusion layer can be one of them unless it was searched."""
    scores = pd.Series([60.0, 61.0], index=pd.Index([2, 3], dtype="Int64"))
    table = equilibrium({"pretrained": _hill(8)}, _targets(scores, 0.1), _layers("dlfa", scores))
    assert table.loc[table["selected"], "layer"].tolist() == [3]


def _both() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return draws and layers of two fusions, the best of which are layers 6 and 9."""
    scores = {
        fusion: _scores([60 - abs(layer - best) for layer in range(1, _LAYERS)])
        for fusion, best in (("dlfa", 6), ("gate", 9))
    }
    parts = {fusion: _targets(of_fusion, 0.1) for fusion, of_fusion in scores.items()}
    parts["gate"].columns = _columns("gate", scores["gate"].index)
    layers = [
        _layers(fusion, of_fusion, near=of_fusion.to_numpy() + 5, similarity=of_fusion.to_numpy() / 100)
        for fusion, of_fusion in scores.items()
    ]
    return pd.concat([*parts.values()], axis="columns"), pd.concat(layers, ignore_index=True)


def test_each_fusion_has_its_own_target_scores_beside_the_same_layers() -> None:
    targets, layers = _both()
    table = equilibrium({"pretrained": _hill(6), "gate": _hill(8)}, targets, layers)
    assert [*table.columns[:3]] == ["encoder", "fusion", "layer"]
    assert table["encoder"].tolist() == ["pretrained"] * 26 + ["gate"] * 26
    assert table["fusion"].tolist() == (["dlfa"] * 13 + ["gate"] * 13) * 2
    one, other = (table[table["fusion"].eq(fusion)].reset_index(drop=True) for fusion in ("dlfa", "gate"))
    pd.testing.assert_series_equal(one["equilibrium"], other["equilibrium"])
    at_nine = table[table["layer"].eq(9)]
    assert at_nine["target"].tolist() == [57, 60] * 2
    assert at_nine["target_low"].tolist() == pytest.approx([56.8, 59.8] * 2, abs=0.05)
    assert at_nine["near"].tolist() == [62, 65] * 2
    assert at_nine["similarity"].tolist() == pytest.approx([0.57, 0.60] * 2)
    assert table.loc[table["layer"].eq(0), ["target", "near", "similarity"]].isna().all(axis=None)
    assert table.loc[table["selected"], "layer"].tolist() == [6, 6, 8, 8]


def test_verdicts_are_of_each_fusion() -> None:
    targets, layers = _both()
    lines = verdicts({"pretrained": _hill(6)}, targets, layers)
    assert [line.partition(": ")[0] for line in lines] == [
        *["encoder pretrained, dlfa"] * 3,
        *["encoder pretrained, gate"] * 3,
    ]
    assert "is the one with the best mean" in lines[1]
    assert "is worse than the best on the target test sets, 9 (ahead by 3.00 [" in lines[4]


def test_without_a_fusion_layer_layers_are_measured_and_nothing_is_predicted() -> None:
    targets, layers = _both()
    table = equilibrium({"pretrained": _hill(6)}, targets.iloc[:, :0], layers[:0])
    assert len(table) == 13
    assert table["fusion"].isna().all()
    assert not table["selected"].any()
    assert verdicts({"pretrained": _hill(6)}, targets.iloc[:, :0], layers[:0]) == [
        "encoder pretrained: nothing is predicted, no fusion layer has a confirmed run"
    ]


def test_a_sweep_has_the_layers_of_every_model_that_it_kept() -> None:
    sweep = simulate(
        lambda layer, _: float(layer), np.random.default_rng(1), layers=(1, 2), fusions={"dlfa": 1.0, "mean": 0.0},
        similar=True,
    )  # fmt: skip
    runs = model_runs(sweep.frame)
    measures = {}
    for name in ("pretrained", *runs):
        measures[name] = _measured(KNOWN)
        measures[name].attrs |= {"trial": runs.get(name), "treebanks": "t", "parallel": {"de": "d"}, "limit": 200}
    measures["mean"].attrs["trial"] = "confirm-0999"
    table, lines = sweep_equilibrium(replace(sweep, measures=measures))
    assert table["encoder"].unique().tolist() == ["pretrained", "baseline", "dlfa"]
    assert "mean: measured on another run than the best one now; left out" in lines
    best = best_layers(sweep.frame).dropna(subset="fusion_layer")
    known = table[table["encoder"].eq("dlfa")].dropna(subset="target")
    for ours, theirs in (("target", "avg_target"), ("near", "near"), ("far", "far")):
        assert known[ours].tolist() == pytest.approx(best[theirs].tolist())
    assert known["similarity"].tolist() == pytest.approx([0.53, 0.56] * 2)
    assert known["similarity_unrelated"].tolist() == pytest.approx([0.31, 0.32] * 2)
    assert known["target_low"].notna().all()
