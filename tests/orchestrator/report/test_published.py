"""The paper's numbers beside a sweep: compared where that says something, and only there."""

from typing import Any

import pandas as pd
import pytest

from dlfa.data.sources.hub import HUB_FOLDERS
from dlfa.tasks import TASKS
from dlfa.tasks.published import PUBLISHED, PUBLISHED_ENCODER
from orchestrator.report.published import not_comparable, published
from orchestrator.report.render import render
from orchestrator.report.trials import Sweep

from .conftest import SETTINGS, fused, none
from .test_tables import Numbers, make_frame, make_sweep

DATA = {**SETTINGS["data"], "train_limit": None, "eval_limit": None}


def run(layer: int | None, seed: int, shift: float, fusion: str = "dlfa") -> tuple[dict[str, Any], Numbers]:
    """Return a confirm run of pawsx whose scores lie so far above 80, language by language alike."""
    params = none() if layer is None else fused(fusion, layer)
    numbers: Numbers = {("selection", None, "accuracy", 3): 90.0}
    for language in TASKS["pawsx"].languages:
        numbers["test", language, "accuracy", 3] = 80.0 + shift
        if language != "en":
            numbers["test", language, "similarity", 3] = 0.9
    for name, value in {"avg": 81.0, "enf": 85.0, "far": 79.0}.items():
        numbers["test", None, name, 3] = value + shift
    return {**params, "seed": seed}, numbers


def sweep_of(frame: pd.DataFrame, **settings: Any) -> Sweep:
    own = {"task": "pawsx", "encoder": PUBLISHED_ENCODER, "data": DATA, "provenance": {"layout": HUB_FOLDERS.name}}
    return make_sweep(frame, **{**own, **settings})


FRAME = make_frame(
    run(None, 1, 1.0), run(None, 2, 2.0), run(10, 1, 3.0), run(10, 2, 5.0), run(10, 1, 50.0, fusion="gate"),
    task="pawsx",
)  # fmt: skip


def test_a_sweep_with_the_papers_encoder_and_data_stands_beside_it() -> None:
    sweep = sweep_of(FRAME)
    assert not_comparable(sweep) == []
    (scores, similarities), lines = published("pawsx", sweep)
    assert [*scores[1].columns] == ["fusion", "fusion_layer", "score", "published", "ours", "difference"]
    tenth = scores[1][scores[1]["fusion_layer"].eq(10).fillna(False)].set_index("score")
    found = {score: (row["published"], row["ours"]) for score, row in tenth.iterrows()}
    assert found["avg"] == (84.33, 85.0)  # the mean over two seeds, and not the gate's
    assert found["enf"] == (90.30, 89.0)
    assert found["far"] == (81.94, 83.0)
    assert found["ko"] == (75.8, 84.0)
    baseline = scores[1][scores[1]["fusion"].eq("none")].set_index("score")
    assert baseline["ours"].to_dict() == pytest.approx(
        {"avg": 82.5, "enf": 86.5, "far": 80.5} | dict.fromkeys(("en", "de", "fr", "es", "ko", "zh"), 81.5)
    )
    assert baseline.at["avg", "difference"] == pytest.approx(82.5 - 81.94)
    assert scores[1].loc[scores[1]["fusion_layer"].eq(6).fillna(False), "ours"].isna().all()  # no such run
    assert similarities[1]["similarity_published"].tolist() == [0.9461, 0.8548]
    assert similarities[1]["similarity_ours"].tolist()[1] == pytest.approx(0.9)
    assert "0.8548" in render(similarities[1], lines, similarities[0], "table")
    assert any(line.startswith("ours: sweep s") for line in lines)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"encoder": "encoders/mine"}, "its encoder is encoders/mine, the paper's google-bert/bert-base-multilingual"),
        (
            {"provenance": {"layout": "PAWS-X x-final"}},
            "its data is no data set of the Hub (PAWS-X x-final), the paper",
        ),
        ({"data": {**DATA, "source_language": "de"}}, "it was trained on de, the paper's on en"),
        (
            {"data": {**DATA, "train_limit": 9, "eval_limit": 8}},
            "its sets are limited (--train-limit 9, --eval-limit 8",
        ),
        ({"select_on": "targets"}, "it was selected on the targets (oracle selection)"),
    ],
)
def test_other_sweeps_are_not_compared_and_why(settings: dict[str, Any], reason: str) -> None:
    sweep = sweep_of(FRAME, **settings)
    assert len(not_comparable(sweep)) == 1
    assert not_comparable(sweep)[0].startswith(reason)
    (scores, _), lines = published("pawsx", sweep)
    assert [*scores[1].columns] == ["fusion", "fusion_layer", "score", "published"]
    assert f"not compared with sweep s: {not_comparable(sweep)[0]}" in lines


def test_a_sweep_without_all_languages_is_not_compared() -> None:
    frame = FRAME[~FRAME["language"].isin(["ko", "ja"])]
    assert not_comparable(sweep_of(frame)) == ["it has no test scores in ja, ko"]


def test_the_table_alone_has_every_number() -> None:
    shown = 0
    for task in TASKS:
        tables, _ = published(task)
        shown += sum(len(table) for _, table in tables)
        assert tables[0][1]["fusion"].iloc[0] == "none"
    assert shown == len(PUBLISHED)


def test_udpos_is_marked() -> None:
    frame = FRAME.assign(task="udpos")
    frame = pd.concat(
        [frame, *(frame[frame["language"].eq("de")].assign(language=x) for x in TASKS["udpos"].languages)]
    )
    _, lines = published("udpos", sweep_of(frame, task="udpos"))
    assert any(line.startswith("udpos: other words") for line in lines)
