"""Follows docs/adding-a-task.md to the letter: one entry, one search space, and the commands know the task."""

import json
import re
from pathlib import Path

import pytest
from contracts.test_tasks import text
from tiny import examples, write_encoder

import dlfa.cli
from dlfa.tasks import TASKS, TaskSpec
from orchestrator.cli import sweep_main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-task.md"


def block(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{PAGE} has {len(found)} blocks of {language}"
    return str(found[0])


def test_a_fifth_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    entries = eval("{" + block("python") + "}", {"TaskSpec": TaskSpec})
    assert not entries.keys() & TASKS.keys()
    for name, spec in entries.items():
        monkeypatch.setitem(TASKS, name, spec)
    ((name, task),) = entries.items()
    (tmp_path / "data" / name).mkdir(parents=True)
    for seed, (part, count) in enumerate({"train-en": 300, "dev-en": 30, "test-en": 30, "test-de": 30}.items()):
        content = "".join(map(text, examples(task, count, seed)))
        (tmp_path / "data" / name / f"{part}.tsv").write_text(content, "utf-8")
    encoder = write_encoder(tmp_path / "encoder", layers=2)
    data = ["--task", name, "--data", str(tmp_path / "data"), "--encoder", str(encoder)]

    monkeypatch.chdir(tmp_path)
    space = block("yaml").replace("max_length: 128", "max_length: 32")  # the tiny encoder's window
    (tmp_path / "space.yaml").write_text(space, "utf-8")
    assert sweep_main([*data, "--space", "space.yaml", "--dry-run"]) == 0
    out = capfd.readouterr().out
    assert "train en: 300 pairs; dev en: 30 pairs; test: 60 pairs in 2 languages (en, de)\n" in out
    assert "search: 60 trials (30 for none, 30 for dlfa)" in out

    more = (
        "--fusion none --learning-rate 3e-3 --batch-size 8 --max-length 32 --reports 1 --epochs 8 --threads 1 --out o"
    )
    assert dlfa.cli.main([*data, *more.split(), "--cache", "cache"]) == 0
    scores = json.loads((tmp_path / "o" / "scores.json").read_text("utf-8"))["scores"]
    assert scores["test/de/accuracy"] > 70
    lines = (tmp_path / "o" / "predictions" / name / "test-de.tsv").read_text("utf-8").split()
    assert len(lines) == 30
    assert set(lines) <= set(task.labels)
