"""The paper's numbers: whole, and consistent with each other as far as they can be checked."""

import pytest

from dlfa.tasks import TASKS
from dlfa.tasks.published import PUBLISHED

SCORES = {(n.task, n.fusion_layer, n.score): n.value for n in PUBLISHED}


def test_every_task_has_the_baseline_and_eleven_layers() -> None:
    assert {task for task, *_ in SCORES} == set(TASKS)
    for task in TASKS:
        rows = [layer for of, layer, score in SCORES if (of, score) == (task, "avg")]
        assert rows == [None, *range(11, 0, -1)]
    assert len(SCORES) == len(PUBLISHED)  # none stands there twice


@pytest.mark.parametrize(
    ("task", "layer", "gain"), [("xnli", 11, 1.5), ("pawsx", 6, 2.4), ("panx", 8, 1.2), ("udpos", 10, 1.5)]
)
def test_the_best_layers_gain_what_the_abstract_says(task: str, layer: int, gain: float) -> None:
    averages = {row: value for (of, row, score), value in SCORES.items() if (of, score) == (task, "avg")}
    assert max(averages, key=lambda row: averages[row]) == layer
    assert averages[layer] - averages[None] == pytest.approx(gain, abs=0.05)


@pytest.mark.parametrize(("task", "near", "layers"), [("xnli", 2, (None, 8, 11)), ("pawsx", 2, (None, 6, 10))])
def test_close_relatives_and_the_rest_make_the_average(task: str, near: int, layers: tuple[int | None, ...]) -> None:
    languages = len(TASKS[task].languages)
    for layer in layers:
        enf, far = SCORES[task, layer, "enf"], SCORES[task, layer, "far"]
        mean = (near * enf + (languages - near) * far) / languages
        assert mean == pytest.approx(SCORES[task, layer, "avg"], abs=0.02)  # each is rounded


@pytest.mark.parametrize("layer", [None, 6, 10])
def test_paws_x_languages_make_its_mean_over_close_relatives(layer: int | None) -> None:
    mean = (SCORES["pawsx", layer, "en"] + SCORES["pawsx", layer, "de"]) / 2
    assert mean == pytest.approx(SCORES["pawsx", layer, "enf"], abs=0.06)
