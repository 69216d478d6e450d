"""Bad input through the real commands; the table is in `lines.py` and `files.py`.

Of every case: exit code 2, one line on standard error that begins with the program's name, nothing on standard output,
nothing started, and nothing left behind.
"""

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from bad_input.files import IN_A_SPACE, IN_A_STUDY, IN_DATA, IN_REPORTED_SETTINGS, IN_SETTINGS
from bad_input.lines import ONCE_ENCODED, REAL, REPORT, SWEEP, SWEEP_ALONE, TRAIN, TRAIN_WITHOUT
from bad_input.world import SPACE, World, edited, make_world, permissions_bind, tree, write_data

import dlfa.cli
import orchestrator.sweep
from orchestrator.cli import report_main, sweep_main

PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "dlfa-sweep": sweep_main,
    "dlfa-report": report_main,
    "dlfa-train": dlfa.cli.main,
}
GROUPS: Sequence[Sequence[tuple[str, ...]]] = (
    SWEEP, SWEEP_ALONE, REPORT, TRAIN, TRAIN_WITHOUT, ONCE_ENCODED,
    IN_A_SPACE, IN_SETTINGS, IN_REPORTED_SETTINGS, IN_A_STUDY, IN_DATA,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = make_world(tmp_path_factory.mktemp("toy"))
    before = tree(world.root)
    yield world
    assert tree(world.root) == before
    for name in ("hidden", "locked", "encoders/hidden"):  # else pytest cannot delete them
        (world.root / name).chmod(0o755)


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def start(*arguments: object, **options: object) -> None:
        pytest.fail("something was about to be started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(orchestrator.sweep, "connect", start)
    monkeypatch.setattr(torch.optim.AdamW, "step", start)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def assert_refused(
    program: str, arguments: Sequence[str], told: str, here: Path, capfd: pytest.CaptureFixture[str], cache: str = ""
) -> None:
    """Run a command: it is refused in one line, and leaves nothing but what it has encoded, where that is its way."""
    before = tree(here)
    with permissions_bind():
        try:
            code: object = PROGRAMS[program](arguments)
        except SystemExit as end:
            code = end.code
    out, err = capfd.readouterr()
    assert (code, out) == (2, ""), err
    assert err.endswith("\n")
    line = err[:-1]
    assert line.isprintable(), repr(line)  # so that it is one
    assert line.startswith(f"{program}: ")
    assert told in line
    assert "secret@" not in line
    left = {path for path in tree(here).items() - before.items() if not (cache and path[0].startswith(cache))}
    assert not left


def words(line: str, toy: World, here: Path) -> list[str]:
    return [word.replace("TOY", str(toy.root)).replace("HERE", str(here)) for word in shlex.split(line)]


def filled(told: str, toy: World, here: Path) -> str:
    return told.replace("TOY", str(toy.root)).replace("HERE", str(here))


def names(cases: Sequence[tuple[str, ...]]) -> list[str]:
    return [ascii(case[0])[1:-1][:40] for case in cases]


def test_the_table_is_long_and_has_nothing_twice() -> None:
    assert all(len({case[:-1] for case in group}) == len(group) for group in GROUPS)
    assert sum(map(len, GROUPS)) >= 400


@pytest.mark.parametrize(("line", "told"), SWEEP, ids=names(SWEEP))
def test_sweep(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, told: str) -> None:
    arguments = [*toy.flags("dlfa-sweep", tmp_path), *words(line, toy, tmp_path)]
    assert_refused("dlfa-sweep", arguments, filled(told, toy, tmp_path), tmp_path, capfd)


@pytest.mark.parametrize(("line", "told"), SWEEP_ALONE, ids=names(SWEEP_ALONE))
def test_sweep_alone(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, told: str) -> None:
    assert_refused("dlfa-sweep", words(line, toy, tmp_path), filled(told, toy, tmp_path), tmp_path, capfd)


@pytest.mark.parametrize(("line", "told"), REPORT, ids=names(REPORT))
def test_report(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, told: str) -> None:
    assert_refused("dlfa-report", words(line, toy, tmp_path), filled(told, toy, tmp_path), tmp_path, capfd)


@pytest.mark.parametrize(("line", "told"), TRAIN, ids=names(TRAIN))
def test_train(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, told: str) -> None:
    arguments = [*toy.flags("dlfa-train", tmp_path), *words(line, toy, tmp_path)]
    assert_refused("dlfa-train", arguments, filled(told, toy, tmp_path), tmp_path, capfd, f"{tmp_path}/cache")


@pytest.mark.parametrize(("flag", "told"), TRAIN_WITHOUT, ids=names(TRAIN_WITHOUT))
def test_train_without(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], flag: str, told: str) -> None:
    arguments = toy.flags("dlfa-train", tmp_path)
    at = arguments.index(flag)
    assert_refused("dlfa-train", arguments[:at] + arguments[at + 2 :], told, tmp_path, capfd)


@pytest.mark.parametrize(("program", "line", "told"), ONCE_ENCODED)
def test_once_encoded(
    toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], program: str, line: str, told: str
) -> None:
    assert PROGRAMS[program]([*toy.flags(program, tmp_path), *line.split()]) == 2
    out, err = capfd.readouterr()
    assert err == f"{program}: {told}\n"
    assert all(text.startswith(("data: ", "leakage: ")) for text in out.splitlines())
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        path.name for path in tmp_path.rglob("encoded/*.safetensors")
    }


@pytest.mark.parametrize(("edit", "told"), IN_A_SPACE, ids=names(IN_A_SPACE))
def test_in_a_space(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], edit: str, told: str) -> None:
    path = tmp_path / "é 語.yaml"
    path.write_text(edited(SPACE, filled(edit, toy, tmp_path)))
    arguments = [*toy.flags("dlfa-sweep", tmp_path), "--space", str(path)]
    assert_refused("dlfa-sweep", arguments, f"{path}{'' if told.startswith('.') else ': '}{told}", tmp_path, capfd)


def sweep_edited(toy: World, here: Path, edit: str) -> Path:
    """Return the settings of a sweep in HERE/runs after an edit."""
    folder = here / "runs" / "mine"
    folder.mkdir(parents=True)
    text = (toy.sweep / "sweep.yaml").read_text()
    (folder / "sweep.yaml").write_text(edited(text, filled(edit, toy, here)))
    (folder / "study.db").write_bytes((toy.sweep / "study.db").read_bytes())
    return folder / "sweep.yaml"


@pytest.mark.parametrize(("edit", "told"), IN_SETTINGS, ids=names(IN_SETTINGS))
def test_in_settings(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], edit: str, told: str) -> None:
    path = sweep_edited(toy, tmp_path, edit)
    expected = f"{path}{told}" if told[0] in ".:" else filled(told, toy, tmp_path)
    assert_refused("dlfa-sweep", ["--resume", "mine"], expected, tmp_path, capfd)


@pytest.mark.parametrize(("edit", "told"), IN_REPORTED_SETTINGS, ids=names(IN_REPORTED_SETTINGS))
def test_in_reported_settings(
    toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], edit: str, told: str
) -> None:
    path = sweep_edited(toy, tmp_path, edit)
    assert_refused("dlfa-report", ["mine"], f"{path}{told}", tmp_path, capfd)


@pytest.mark.parametrize(("statement", "told"), IN_A_STUDY, ids=names(IN_A_STUDY))
def test_in_a_study(toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], statement: str, told: str) -> None:
    folder = sweep_edited(toy, tmp_path, "name: mine").parent
    with closing(sqlite3.connect(folder / "study.db")) as study, study:
        study.execute(statement)
    assert_refused("dlfa-report", ["mine"], f"{folder}{told}", tmp_path, capfd)


@pytest.mark.parametrize(("kind", "content", "told"), IN_DATA, ids=names(IN_DATA))
def test_in_data(
    toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, content: str, told: str
) -> None:
    task, file = kind.split()
    path = write_data(tmp_path / "é 語", file, content)
    arguments = [*toy.flags("dlfa-train", tmp_path), "--task", task, "--data", str(tmp_path / "é 語")]
    assert_refused("dlfa-train", arguments, told, tmp_path, capfd, f"{tmp_path}/cache")
    assert path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_real_processes(
    toy: World, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # where libraries make folders of their own
    command = [str(Path(sys.executable).with_name(program)), *words(REAL[program], toy, tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(f"{program}: ")
    assert list(tmp_path.iterdir()) == []


def test_paths_of_any_script_and_with_spaces_are_right(
    toy: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # here work may start
    here = tmp_path / "é 語  ünï\u3000x"
    for name in ("data", "encoder", "runs"):
        shutil.copytree(getattr(toy, name) if name != "runs" else toy.sweep.parent, here / name)
    (here / "mine.yaml").write_text(SPACE)
    paths = ["--data", str(here / "data"), "--encoder", str(here / "encoder")]
    sweep = ["--space", str(here / "mine.yaml"), "--storage", str(here / "new"), "--train-limit", "32", "--dry-run"]
    assert sweep_main([*toy.flags("dlfa-sweep", here), *paths, *sweep, "--eval-limit", "5"]) == 0
    assert f"data: CoNLL-U folders in {here}/data\n" in capfd.readouterr().out
    train = ["--train-limit", "32", "--eval-limit", "5", "--reports", "1", "--out", str(here / "out")]
    assert dlfa.cli.main([*toy.flags("dlfa-train", here), *paths, *train]) == 0
    assert f"wrote {here}/out/scores.json, predictions/ and model/\n" in capfd.readouterr().out
    assert report_main(["mine", "--storage", str(here / "runs"), "--out", str(here / "tables")]) == 0
    assert f"wrote {here}/tables\n" in capfd.readouterr().out


@pytest.mark.slow
def test_an_output_that_cannot_show_a_path_shows_what_it_can(toy: World, tmp_path: Path) -> None:
    shutil.copytree(toy.sweep, tmp_path / "語" / "mine")
    command = [str(Path(sys.executable).with_name("dlfa-report")), "mine", "--storage", "語", "--out", "é"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"wrote {tmp_path}/\\xe9\n")
