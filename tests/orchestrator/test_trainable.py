"""What a trial's process sends to the driver, without Ray."""

import errno
import gc
import json
import multiprocessing
import os
import shutil
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from toy import write_toy

from dlfa.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    TrainingConfig,
    TrialConfig,
    from_mapping,
    to_mapping,
)
from dlfa.data.sources import Sentence, open_source
from dlfa.model import load_model
from dlfa.prediction import load_predictor
from dlfa.tasks import TASKS
from dlfa.trial import TrialResult, open_corpus, sets_read
from orchestrator import trainable

Messages = list[dict[str, Any]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    sent: Messages = []
    monkeypatch.setattr(tune, "report", sent.append)
    return sent


def _assignment(folder: Path, toy: tuple[Path, Path], learning_rate: float = 1e-3) -> dict[str, Any]:
    config = TrialConfig(
        task="udpos",
        data=DataConfig(path=str(toy[0]), cache=str(toy[0].parent / "cache"), max_length=32, train_limit=64),
        model=ModelConfig(encoder=str(toy[1]), fusion="none"),
        training=TrainingConfig(
            learning_rate=learning_rate, epochs=1, batch_size=16, reports_per_trial=2, checkpoint_seconds=0
        ),
        compute=ComputeConfig(device="cpu", precision="fp32"),
    )
    return {"config": to_mapping(config), "folder": str(folder), "report_timeout": 600.0, "keep_model": False}


def test_reports_then_a_summary_and_files(tmp_path: Path, toy: tuple[Path, Path], messages: Messages) -> None:
    trainable.train(_assignment(tmp_path, toy))
    *reports, last = messages
    assert [report["step"] for report in reports] == [1, 2]
    summary = json.loads(last["summary"])
    assert summary == json.loads((tmp_path / "scores.json").read_text())
    assert summary["selection_score"] == max(report["score"] for report in reports)
    assert not any("test" in key for report in reports for key in json.loads(report["metrics"]))


@pytest.mark.parametrize("keep", [True, False])
def test_a_model_is_kept_where_it_is_wanted_and_is_whole_before_the_scores_say_so(
    tmp_path: Path, toy: tuple[Path, Path], messages: Messages, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    save, found = TrialResult.save, []

    def save_and_look(result: TrialResult, folder: Path) -> None:
        found.append((folder / trainable.MODEL / "dlfa.safetensors").is_file())
        save(result, folder)

    monkeypatch.setattr(TrialResult, "save", save_and_look)
    trainable.train(_assignment(tmp_path, toy) | {"keep_model": keep})
    assert "summary" in messages[-1]
    assert found == [keep]
    assert (tmp_path / trainable.MODEL).exists() == keep
    if not keep:
        return
    assert load_model(tmp_path / trainable.MODEL).labels == TASKS["udpos"].labels
    predictor = load_predictor(tmp_path / trainable.MODEL, ComputeConfig(device="cpu", precision="fp32"))
    assert predictor.max_length == 32
    for language in ("en", "de"):
        tests = open_source(toy[0], TASKS["udpos"]).read(language, "test")
        tags = predictor.tags([sentence.words for sentence in tests if isinstance(sentence, Sentence)])
        written = (tmp_path / "predictions" / "udpos" / f"test-{language}.tsv").read_text("utf-8")
        assert tags == [block.split("\n") for block in written.strip().split("\n\n")]


def test_a_trial_that_an_earlier_driver_did_not_hear_of_is_not_run_again(
    tmp_path: Path, toy: tuple[Path, Path], messages: Messages
) -> None:
    trainable.train(_assignment(tmp_path, toy))
    told = messages[-1]
    messages.clear()
    trainable.train(_assignment(tmp_path, toy))
    assert messages == [told]


def test_files_of_another_configuration_are_not_taken_for_this_ones(
    tmp_path: Path, toy: tuple[Path, Path], messages: Messages
) -> None:
    trainable.train(_assignment(tmp_path, toy))
    messages.clear()
    trainable.train(_assignment(tmp_path, toy, learning_rate=2e-3))
    (message,) = messages
    assert "checkpoint of another configuration" in message["error"]
    (tmp_path / trainable.CHECKPOINT).unlink()
    messages.clear()
    trainable.train(_assignment(tmp_path, toy, learning_rate=2e-3))
    assert len(messages) == 3


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no encoder", "--encoder: 'TMP/nowhere': there is no such folder; "),
        ("a changed set", "TMP/data: the test set of 'de' (de_toy-test.conllu) has changed meanwhile"),
        ("a lost set", "TMP/data: sets have come or gone meanwhile: en test"),
        ("an unreadable set", "TMP/data/en/en_toy-train.conllu:1: 2 columns; allowed: 10"),
    ],
)
def test_what_would_be_wrong_for_every_trial_is_no_trials_result(
    tmp_path: Path, toy: tuple[Path, Path], messages: Messages, what: str, told: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy[0], data)
    assignment = _assignment(tmp_path, toy)
    config = assignment["config"]
    config["data"] |= {"path": str(data), "cache": str(tmp_path / "cache"), "languages": ["de", "es", "fr"]}
    before = from_mapping(TrialConfig, config)
    corpus = open_corpus(before)
    config["data"]["fingerprints"] = {
        f"{language} {split}": corpus.fingerprint(language, split)
        for split, languages in sets_read(before, corpus).items()
        for language in languages
    }
    match what:
        case "no encoder":
            config["model"]["encoder"] = str(tmp_path / "nowhere")
        case "a changed set":
            with (data / "de" / "de_toy-test.conllu").open("a") as file:
                file.write("1\tx\t_\tNOUN" + 6 * "\t_" + "\n\n")
        case "a lost set":
            (data / "en" / "en_toy-test.conllu").unlink()
        case "an unreadable set":
            config["data"]["fingerprints"] = {}
            (data / "en" / "en_toy-train.conllu").write_text("1\tx\n\n")
    trainable.train(assignment)
    fault = messages[-1]["fault"]
    assert fault.startswith(told.replace("TMP", str(tmp_path)))
    assert fault.endswith(f" (on {os.uname().nodename})")
    assert "\n" not in fault
    assert not (tmp_path / "scores.json").exists()


def test_any_other_error_is_named(
    tmp_path: Path, toy: tuple[Path, Path], messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(trainable, "run_trial", broken)
    trainable.train(_assignment(tmp_path, toy))
    assert messages == [{"error": "ZeroDivisionError: by nothing"}]
    assert "Traceback" in (tmp_path / "error.txt").read_text()


@pytest.mark.parametrize("full", ["checkpoint.safetensors", "error.txt"])
def test_a_full_disk_is_no_trials_fault(
    tmp_path: Path, toy: tuple[Path, Path], messages: Messages, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError if full == "error.txt" else OSError(errno.ENOSPC, "No space", str(tmp_path / full))

    def cannot_write(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainable, "run_trial", broken)
    monkeypatch.setattr(trainable, "atomic_write", cannot_write)
    trainable.train(_assignment(tmp_path, toy))
    assert messages == [{"fault": f"{tmp_path / full}: No space left on device on {os.uname().nodename}"}]


def test_a_node_that_does_not_see_the_trials_folder(tmp_path: Path, toy: tuple[Path, Path], messages: Messages) -> None:
    trainable.train(_assignment(tmp_path / "elsewhere", toy))
    (message,) = messages
    expected = f"{tmp_path / 'elsewhere'} is not there on {os.uname().nodename}: every node needs the same --storage"
    assert message == {"fault": expected}


def _hang(place: str, assignment: dict[str, Any]) -> None:
    def forever(*args: object) -> None:
        time.sleep(600)

    if place == "driver":  # it takes long to answer, which is not the trial's fault
        setattr(tune, "report", lambda message: time.sleep(2))  # noqa: B010 - in a process of its own
    else:
        setattr(tune, "report", lambda message: None)  # noqa: B010
        setattr(trainable, "run_trial", forever)  # noqa: B010
    trainable.train(assignment)


@pytest.mark.parametrize(("place", "code"), [("trial", 1), ("driver", 0)])
def test_a_trial_that_hangs_ends_its_process_and_tells_where(
    tmp_path: Path, toy: tuple[Path, Path], place: str, code: int
) -> None:
    assignment = _assignment(tmp_path, toy) | {"report_timeout": 1.5}
    process = multiprocessing.get_context("fork").Process(target=_hang, args=(place, assignment))
    process.start()
    process.join(120)
    assert process.exitcode == code
    log = tmp_path / "hang.txt"
    assert log.exists() == (place == "trial")
    if place == "trial":
        assert "in forever" in log.read_text()


def test_ending_a_trial_at_a_report_is_no_error(
    tmp_path: Path, toy: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(message: dict[str, Any]) -> None:
        raise SystemExit  # how Tune ends the thread of a trial that was stopped

    monkeypatch.setattr(tune, "report", stop)
    with pytest.raises(SystemExit):
        trainable.train(_assignment(tmp_path, toy))
    assert not (tmp_path / "error.txt").exists()
    assert not (tmp_path / trainable.CHECKPOINT).exists(), "nothing will need it"


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_what_a_trial_leaves_is_collected_before_the_next_one_but_what_was_imported_is_not_looked_at() -> None:
    trainable._spare_imports.cache_clear()
    gc.unfreeze()
    trainable._release_memory()
    try:
        spared = gc.get_freeze_count()
        assert spared > len(sys.modules)
        left = weakref.ref(_Cycle())
        trainable._release_memory()
        assert left() is None
        assert gc.get_freeze_count() <= spared, "what trials leave is never spared"
    finally:
        gc.unfreeze()
        trainable._spare_imports.cache_clear()
