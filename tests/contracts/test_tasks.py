"""What every task can do: its files are read, a trial learns it, and what is written is what was predicted."""

import math
from pathlib import Path

import pytest
from tiny import examples, trial_config, write_encoder

from dlfa.compute import Compute, choose
from dlfa.data.encode import encode
from dlfa.data.sources import Example, Pair, open_source
from dlfa.evaluation import predict, score
from dlfa.model import encoder_shape, load_model, load_tokenizer
from dlfa.tasks import TASKS, TaskSpec
from dlfa.trial import TrialResult, run_trial
from orchestrator.space_file import load_space, packaged_space

LANGUAGES = {"en": 40, "de": 15, "fr": 10}
"""Test examples per language."""


@pytest.fixture(scope="module", params=TASKS.values(), ids=lambda task: task.name)
def task(request: pytest.FixtureRequest) -> TaskSpec:
    assert isinstance(request.param, TaskSpec)
    return request.param


def text(example: Example) -> str:
    """The example as XTREME's download has it."""
    if isinstance(example, Pair):
        return f"{example.first}\t{example.second}\t{example.label}\n"
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(example.words, example.tags or (), strict=True)) + "\n"


def labels(example: Example) -> list[str]:
    return [str(example.label)] if isinstance(example, Pair) else list(example.tags or ())


@pytest.fixture(scope="module")
def data(task: TaskSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("download")
    (folder / task.name).mkdir()
    sets = {("en", "train"): 300, ("en", "dev"): 30} | {(name, "test"): count for name, count in LANGUAGES.items()}
    for seed, ((language, split), count) in enumerate(sets.items()):
        path = folder / task.name / f"{split}-{language}.tsv"
        path.write_text("".join(map(text, examples(task, count, seed))), "utf-8")
    return folder


@pytest.fixture(scope="module")
def result(task: TaskSpec, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrialResult:
    encoder = write_encoder(tmp_path_factory.mktemp("encoder"), layers=2)
    return run_trial(trial_config(task, data, data / "cache", encoder, epochs=8, batch_size=8, reports=2))


def test_spec_is_whole(task: TaskSpec) -> None:
    assert TASKS[task.name] is task
    assert len(set(task.labels)) == len(task.labels) > 1
    assert set(task.aliases.values()) <= set(task.labels)
    assert not set(task.aliases) & set(task.labels)
    assert task.metric == task.metrics[0]
    assert "en" in task.languages
    assert sorted(set(task.languages)) == list(task.languages)
    assert task.epochs > 0


def test_search_space_ships_and_has_xtremes_budget(task: TaskSpec, tmp_path: Path) -> None:
    shape = encoder_shape(str(write_encoder(tmp_path, layers=12, hidden_size=64)))
    shape = type(shape)(**(vars(shape) | {"max_positions": 512}))
    assert load_space(*packaged_space(task.name, "paper"), task.name, shape).training.epochs == task.epochs


def test_files_are_read(task: TaskSpec, data: Path) -> None:
    assert open_source(data, task).read("en", "dev") == examples(task, 30, 1)


def test_trial_learns_and_scores_every_language(task: TaskSpec, result: TrialResult) -> None:
    assert {key for key in result.scores if key.count("/") == 2} == {
        f"test/{language}/{metric}" for language in LANGUAGES for metric in task.metrics
    }
    chance = 100 / len(task.labels)
    for language in LANGUAGES:
        assert result.scores[f"test/{language}/{task.metric}"] > chance + 20
    targets = [result.scores[f"test/{language}/{task.metric}"] for language in ("de", "fr")]
    assert result.scores["test/avg_target"] == pytest.approx(math.fsum(targets) / 2)


def test_predictions_are_written_in_xtremes_layout(task: TaskSpec, result: TrialResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    for language, count in LANGUAGES.items():
        lines = (tmp_path / "predictions" / task.name / f"test-{language}.tsv").read_text("utf-8").split("\n")
        by_example = result.predictions[language]
        assert len(by_example) == count
        if task.kind == "pair":  # a label per line
            assert lines == [label for [label] in by_example] + [""]
        else:  # a tag per line, an empty line after each sentence
            assert "\n".join(lines) == "".join("\n".join(tags) + "\n\n" for tags in by_example)
        assert {label for found in by_example for label in found} <= set(task.labels)


def test_saved_model_predicts_the_same(task: TaskSpec, data: Path, result: TrialResult, tmp_path: Path) -> None:
    result.save_model(tmp_path)
    model, tokenizer = load_model(tmp_path), load_tokenizer(str(tmp_path))
    split = encode(open_source(data, task).read("de", "test"), tokenizer, task, 16)
    compute: Compute = choose(result.config.compute)
    predicted = predict(model, split, compute, int(tokenizer.pad_token_id or 0))
    assert split.by_example(predicted, model.labels) == result.predictions["de"]
    assert score(task, split, predicted)[task.metric] == result.scores[f"test/de/{task.metric}"]
