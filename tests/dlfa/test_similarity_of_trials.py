"""Similarity of aligned test sets in a trial's scores, on the command line, and in a sweep's preparation."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import trial_config, write_encoder

import dlfa.trial
from dlfa.cli import main
from dlfa.config import TrialConfig
from dlfa.data.batching import collate
from dlfa.errors import ConfigError, DataError
from dlfa.evaluation import predict_all, predict_with_states
from dlfa.metrics import aggregate
from dlfa.tasks import TASKS
from dlfa.trial import TrialResult, open_corpus, run_trial

TASK = TASKS["pawsx"]
WORDS = {"en": ("the", "dog", "cat"), "de": ("der", "Hund", "cat"), "fr": ("le", "house", "small")}


def rows(language: str, count: int, **changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)  # the same sentences in every language
    found: list[dict[str, Any]] = []
    for n in range(count):
        first, second = ([WORDS[language][word] for word in rng.integers(0, 3, 4)] for _ in range(2))
        label = int(rng.integers(0, 2))
        found.append(
            {"id": n, "sentence1": " ".join(first), "sentence2": " ".join([*second, "ab"[label]]), "label": label}
        )
    for name, change in changes.items():
        found[int(name[1:])] |= change
    return found


def write(folder: Path, name: str, found: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of four languages, of which one has no labels, and an encoder."""
    root = tmp_path_factory.mktemp("root")
    data = root / "data"
    write(data, "train-en", rows("en", 32))
    write(data, "dev-en", rows("en", 10))
    write(data, "test-en", rows("en", 60))
    write(data, "test-de", rows("de", 60, r4={"sentence1": "NS"}, r9={"label": 1 - rows("de", 60)[9]["label"]}))
    write(data, "test-fr", [{**row, "label": None} for row in rows("fr", 60)])
    write_encoder(root / "encoder", words=sorted({word for words in WORDS.values() for word in words}))
    return root


def config(root: Path, data: Path | None = None, task: str = "pawsx", **changes: Any) -> TrialConfig:
    whole = trial_config(
        TASKS[task], data or root / "data", root / "cache", root / "encoder", epochs=1, batch_size=16, reports=2
    )
    return replace(whole, data=replace(whole.data, **{"aligned": True, **changes}))


@pytest.fixture(scope="module")
def result(root: Path) -> TrialResult:
    return run_trial(config(root))


def states(result: TrialResult, language: str) -> np.ndarray:
    corpus = open_corpus(result.config)
    split = corpus.split(language, "test")
    batch = collate(split, np.arange(len(split.lengths)), int(corpus.tokenizer.pad_token_id or 0))
    with torch.no_grad():
        found = result.model.eval().states(*batch.inputs()).double().numpy()
    units: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return units


def test_scores_have_the_cosines_of_the_rows_that_are_compared(result: TrialResult) -> None:
    assert list(result.scores) == [
        "test/en/accuracy",
        "test/de/accuracy",
        "test/de/similarity",
        "test/de/similarity_unrelated",
        *(f"test/{name}" for name in ("avg", "avg_target", "worst", "gap", "near", "enf")),
    ]
    used = [n for n in range(60) if n not in (4, 9)]
    labels = np.array([row["label"] for row in rows("en", 60)])[used]
    cosines = states(result, "en")[used] @ states(result, "de")[used].T
    same = (labels[:, None] == labels) & ~np.eye(len(used), dtype=bool)
    unrelated = [row[others].mean() for row, others in zip(cosines, same, strict=True)]
    assert result.scores["test/de/similarity"] == pytest.approx(cosines.diagonal().mean(), abs=1e-5)
    assert result.scores["test/de/similarity_unrelated"] == pytest.approx(np.mean(unrelated), abs=1e-5)
    assert -1 <= np.mean(unrelated) < cosines.diagonal().mean() < 1


def test_cosines_are_in_no_mean_and_change_no_score(result: TrialResult, root: Path) -> None:
    main_scores = {language: result.scores[f"test/{language}/accuracy"] for language in ("en", "de")}
    means = {f"test/{name}": value for name, value in aggregate(main_scores, "en").items()}
    assert {name: result.scores[name] for name in result.scores if name.count("/") == 1} == means
    plain = run_trial(config(root, aligned=None))
    assert plain.scores == {name: value for name, value in result.scores.items() if "similarity" not in name}
    assert plain.reports == result.reports
    assert plain.predictions == result.predictions


def test_the_test_sets_are_passed_through_the_model_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[list[str]] = []

    def watched(*args: Any) -> Any:
        passes.append(list(args[1]))
        return predict_with_states(*args)

    def dev_alone(model: Any, splits: Any, *args: Any) -> Any:
        assert list(splits) == ["en"]
        return predict_all(model, splits, *args)

    monkeypatch.setattr(dlfa.trial, "predict_with_states", watched)
    monkeypatch.setattr(dlfa.trial, "predict_all", dev_alone)
    run_trial(config(root))
    assert passes == [["en", "de", "fr"]]


def test_nothing_is_kept_of_test_sets_that_are_not_aligned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlfa.trial, "predict_with_states", pytest.fail)
    for aligned in (None, False):
        run_trial(config(root, aligned=aligned))


def test_limited_sets_are_compared_by_the_rows_that_are_left(root: Path) -> None:
    lines: list[str] = []
    found = run_trial(config(root, eval_limit=8), say=lines.append)
    assert "test/de/similarity" in found.scores
    assert lines[-2:] == [
        "similarity to en by pairs: de 7 of 8 (1 with NS left out)",
        "no similarity to en, because there are no labels: fr",
    ]


@pytest.fixture
def unlike(tmp_path: Path) -> Path:
    """Data whose German test set is another one."""
    for name, found in {"train-en": rows("en", 32), "dev-en": rows("en", 10), "test-en": rows("en", 60)}.items():
        write(tmp_path / "unlike", name, found)
    write(tmp_path / "unlike", "test-de", [{**row, "label": 1 - row["label"]} for row in rows("de", 60)])
    return tmp_path / "unlike"


def test_what_is_said_to_be_aligned_and_is_not_is_refused_before_training(
    root: Path, unlike: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlfa.trial, "fit", pytest.fail)
    expected = r"as --aligned \(aligned: true\) says: de \(another label in 60 of 60 rows; allowed: in at most 2 %\)$"
    with pytest.raises(DataError, match=expected):
        run_trial(config(root, unlike))


def test_a_task_with_a_label_for_every_word_has_no_aligned_rows(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--aligned \(aligned\): true is not allowed for udpos"):
        run_trial(config(root, task="udpos"))


def command(root: Path, data: Path, out: Path, *flags: str) -> int:
    given = {
        "--task": "pawsx", "--encoder": root / "encoder", "--data": data, "--cache": root / "cache", "--out": out,
        "--fusion": "none", "--learning-rate": 1e-3, "--epochs": 1, "--reports": 1, "--max-length": 16, "--threads": 1,
    }  # fmt: skip
    return main([*(str(word) for item in given.items() for word in item), *flags])


def test_the_printed_table_has_columns_of_cosines(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, root / "data", tmp_path / "out", "--aligned") == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = table.index(["language", "accuracy", "similarity", "unrelated"])
    assert table[start - 1][-5:] == ["in", "percent;", "similarities", "are", "cosines"]
    assert table[start + 1] == ["en", f"{scores['test/en/accuracy']:.2f}", "-", "-"]
    assert table[start + 2] == [
        "de",
        f"{scores['test/de/accuracy']:.2f}",
        f"{scores['test/de/similarity']:.4f}",
        f"{scores['test/de/similarity_unrelated']:.4f}",
    ]


@pytest.mark.parametrize("flags", [(), ("--no-aligned",)])
def test_without_cosines_there_are_no_columns_of_them(
    flags: tuple[str, ...], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, root / "data", tmp_path / "out", *flags) == 0
    out = capsys.readouterr().out
    assert "\nlanguage      accuracy\n" in out
    assert out.count("similarit") == (not flags)  # the remark that says why


def test_the_command_refuses_what_is_not_aligned_in_one_line(
    root: Path, unlike: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, unlike, tmp_path / "out", "--aligned") == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith(f"dlfa-train: {unlike}: not aligned row by row with the test set of en, ")
    assert not (tmp_path / "out").exists()
