"""`dlfa-sweep` and `dlfa-report` as a user types them: what they refuse, how, and what a right line becomes."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from toy import write_toy

import dlfa.cli
import orchestrator.sweep
from dlfa.config import DataConfig
from dlfa.tasks import TASKS
from orchestrator.cli import report_main, sweep_main
from orchestrator.prepare import Prepared, prepare
from orchestrator.settings import SweepSettings, write_settings

SPACE = """
task: udpos
trials: 12
confirm_seeds: 2
search:
  fusion_layer: {low: 1, high: L-1}
  reduction_ratio: {choices: [2, 4]}
  learning_rate: {low: 3.0e-4, high: 1.0e-2, log: true}
training: {epochs: 1, batch_size: 16, reports_per_trial: 2}
max_length: 64
"""


@dataclass(frozen=True)
class Toy:
    """A folder with data, an encoder, search spaces, and files and folders that are none of these."""

    root: Path
    data: Path
    encoder: Path


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    root = tmp_path_factory.mktemp("toy")
    data, encoder = write_toy(root)
    files = {
        "space.yaml": SPACE,
        "grid.yaml": SPACE.replace("log: true", "log: true, grid: [1.0e-3]"),
        "typo.yaml": SPACE.replace("fusion_layer", "fusion_layr").replace("trials: 12", "trials: 0"),
        "long.yaml": SPACE.replace("max_length: 64", "max_length: 512"),
        "panx.yaml": SPACE.replace("udpos", "panx"),
        "broken.yaml": "task: [",
        "odd/train/en_toy-train.conllu": "",
        "no-train/en/en_toy-dev.conllu": "1\tx\t_\tNOUN" + 6 * "\t_" + "\n\n",
        "no-train/de/de_toy-test.conllu": "1\tx\t_\tNOUN" + 6 * "\t_" + "\n\n",
        "broken/en/en_toy-train.conllu": "1\tx\n\n",
        "no-encoder/config.json": "{}",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "latin.yaml").write_bytes("trials: 3 # für".encode("latin-1"))
    (root / "empty").mkdir()
    return Toy(root, data, encoder)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Where sweeps would be; not there yet."""
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def _no_ray_and_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def connect(*arguments: object) -> None:
        pytest.fail("Ray was about to be started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(orchestrator.sweep, "connect", connect)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


SMALL = ("--train-limit", "64", "--eval-limit", "2")
"""As little of the embedded corpus as will do."""


def code_of(arguments: Sequence[str], main: Any = sweep_main) -> int:
    try:
        code: int = main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else -1
    return code


def flags(toy: Toy, storage: Path, *more: str) -> list[str]:
    return [
        *("--task", "udpos", "--data", str(toy.data), "--encoder", str(toy.encoder)),
        *("--space", str(toy.root / "space.yaml"), "--storage", str(storage), *more),
    ]


def settings_of(toy: Toy, storage: Path, name: str = "mine") -> SweepSettings:
    """Return what a sweep of these flags has resolved to."""
    return prepare(
        SweepSettings(
            name=name,
            task="udpos",
            encoder=str(toy.encoder),
            data=DataConfig(path=str(toy.data), cache=str(storage / ".cache"), max_length=64),
            space=SPACE,
            space_file=str(toy.root / "space.yaml"),
            trials=12,
            confirm_seeds=2,
            tracking_uri=f"sqlite:///{storage / 'mlflow.db'}",
        )
    ).settings


def begin(toy: Toy, storage: Path, name: str) -> SweepSettings:
    settings = settings_of(toy, storage, name)
    (storage / name).mkdir(parents=True)
    write_settings(storage / name, settings)
    return settings


# --- wrong lines

# Flags after the right ones (the last one of a name wins), and what the one line must say. TOY is the toy's folder.
WRONG = [
    # what argparse sees
    ("--task posud", "argument --task: invalid choice: 'posud' (choose from"),
    ("--task udops", "(choose from 'udpos', 'panx', 'xnli', 'pawsx', 'all') (did you mean udpos?)\n"),
    ("--task", "argument --task: expected one argument"),
    ("--trails 3", "unrecognized arguments: --trails 3 (did you mean --trials?)\n"),
    ("--confirm-seed=2x", "argument --confirm-seeds: '2x' is not allowed; allowed: a whole number, at least 0"),
    ("--gpu 2", "ambiguous option: --gpu could match --gpus, --gpus-per-trial"),
    ("--sampler rnadom", "argument --sampler: invalid choice: 'rnadom' (choose from 'tpe', 'random', 'grid') (did you"),
    ("--report-timeout 0s", "argument --report-timeout: '0s' is not allowed; allowed: a time such as 90s"),
    ("udpos", "unrecognized arguments: udpos"),
    ("--profile fast", "argument --profile: invalid choice: 'fast' (choose from"),
    ("--trials 0", "argument --trials: '0' is not allowed; allowed: a whole number, at least 1"),
    ("--trials -3", "argument --trials: '-3' is not allowed; allowed: a whole number, at least 1"),
    ("--trials many", "argument --trials: 'many' is not allowed; allowed: a whole number, at least 1"),
    ("--trials 1.5", "argument --trials: '1.5' is not allowed; allowed: a whole number, at least 1"),
    ("--time-budget 2", "argument --time-budget: '2' is not allowed; allowed: a time such as 90s, 30m, 2h or 1d"),
    ("--time-budget 0h", "argument --time-budget: '0h' is not allowed; allowed: a time such as 90s"),
    ("--time-budget 2w", "argument --time-budget: '2w' is not allowed; allowed: a time such as 90s"),
    ("--time-budget -2h", "argument --time-budget:"),
    ("--gpus -1", "argument --gpus: '-1' is not allowed; allowed: a whole number, at least 0"),
    ("--gpus two", "argument --gpus: 'two' is not allowed; allowed: a whole number, at least 0"),
    ("--gpus-per-trial 0", "argument --gpus-per-trial: '0' is not allowed; allowed: a number above 0"),
    ("--gpus-per-trial nan", "argument --gpus-per-trial: 'nan' is not allowed; allowed: a number above 0"),
    ("--gpus-per-trial inf", "argument --gpus-per-trial: 'inf' is not allowed; allowed: a number above 0"),
    ("--cpus-per-trial 0", "argument --cpus-per-trial: '0' is not allowed; allowed: a whole number, at least 1"),
    ("--sampler bayes", "argument --sampler: invalid choice: 'bayes' (choose from"),
    ("--pruner asha", "argument --pruner: invalid choice: 'asha' (choose from"),
    ("--select-on test", "argument --select-on: invalid choice: 'test' (choose from"),
    ("--confirm-seeds -1", "argument --confirm-seeds: '-1' is not allowed; allowed: a whole number, at least 0"),
    ("--seed x", "argument --seed: 'x' is not allowed; allowed: a whole number, at least 0"),
    ("--epochs 0", "argument --epochs: '0' is not allowed; allowed: a number above 0"),
    ("--epochs nan", "argument --epochs: 'nan' is not allowed; allowed: a number above 0"),
    ("--train-limit 0", "argument --train-limit: '0' is not allowed; allowed: a whole number, at least 1"),
    ("--eval-limit 0", "argument --eval-limit: '0' is not allowed; allowed: a whole number, at least 1"),
    # what is wrong with a value
    ("--seed 99999999999", "--seed: 99999999999 is not allowed; allowed: 0..2147483645"),
    ("--epochs 1e9", "epochs: 1000000000.0 is not allowed; allowed: more than 0, at most 10000"),
    ("--languages de,,fr", "--languages: 'de,,fr' is not allowed; allowed: ISO codes with commas between them"),
    ("--languages=", "--languages: '' is not allowed; allowed: ISO codes with commas between them"),
    ("--languages xx", "--languages: 'xx' is not in TOY/data; allowed: de, en, es, fr"),
    ("--source-lang xx", "--source-lang: 'xx' is not in TOY/data; allowed: de, en, es, fr"),
    ("--source-lang de", "TOY/data: no train set for language 'de'"),
    ("--data TOY/nothing", "--data: 'TOY/nothing' is not allowed; allowed: hub, embedded, or a folder"),
    ("--data TOY/space.yaml", "--data: 'TOY/space.yaml' is not allowed; allowed: hub, embedded, or a folder"),
    ("--data=", "--data: '' is not allowed; allowed: hub, embedded, or a folder"),
    ("--data TOY/empty", "TOY/empty: found an empty folder; allowed for udpos: one of"),
    ("--data TOY/odd", "TOY/odd: found train/; allowed for udpos: one of"),
    ("--data TOY/no-train", "TOY/no-train: no train set for language 'en'"),
    ("--encoder TOY/nothing", "--encoder: 'TOY/nothing': there is no such folder; allowed: a folder with config.json"),
    ("--encoder TOY/empty", "--encoder: 'TOY/empty': it has no config.json; allowed: a folder with config.json"),
    ("--encoder TOY/no-encoder", "--encoder: 'TOY/no-encoder': its config cannot be read: "),
    ("--encoder no/such-encoder", "--encoder: 'no/such-encoder': https://huggingface.co cannot be reached"),
    ("--space TOY/nothing", "--space: 'TOY/nothing' is not allowed (No such file or directory); allowed: a YAML file"),
    ("--encoder=", "it has no config.json; allowed: a folder with config.json"),
    ("--space=", "--space: '' is not allowed (Is a directory); allowed: a YAML file"),
    ("--space TOY/empty", "--space: 'TOY/empty' is not allowed (Is a directory); allowed: a YAML file"),
    ("--space TOY/latin.yaml", "--space: 'TOY/latin.yaml' is not allowed (not UTF-8); allowed: a YAML file"),
    ("--space TOY/broken.yaml", "TOY/broken.yaml: not YAML: while parsing a flow node"),
    ("--space TOY/panx.yaml", "TOY/panx.yaml.task: 'panx' is not allowed; allowed: udpos, the sweep's task"),
    ("--space TOY/long.yaml", "TOY/long.yaml.max_length: 512 is not allowed; allowed: 8..128, the encoder's window"),
    ("--space TOY/typo.yaml", "TOY/typo.yaml.search.fusion_layr: unknown field (did you mean fusion_layer?)"),
    ("--space TOY/typo.yaml", "TOY/typo.yaml.trials: 0 is not allowed; allowed: at least 1"),
    ("--sampler grid", "--sampler: 'grid' is not allowed; allowed: tpe, random, because search.learning_rate has no"),
    ("--sampler grid --space TOY/grid.yaml --trials 12", "--trials: 12 is not allowed; allowed: 1..11, the points"),
    ("--name ../x", "--name: '../x' is not allowed; allowed: up to 100 letters, digits, dots, dashes and underscores"),
    ("--name=", "--name: '' is not allowed; allowed: up to 100 letters, digits, dots, dashes and underscores"),
    ("--name .x", "--name: '.x' is not allowed; allowed: up to 100 letters"),
    ("--name " + "x" * 101, f"--name: '{'x' * 101}' is not allowed; allowed: up to 100 letters"),
    ("--name ä", "--name: 'ä' is not allowed; allowed: up to 100 letters"),
    ("--tracking-uri https://me:secret@host", "--tracking-uri: a password is not allowed in it; allowed: a"),
    ("--storage TOY/space.yaml", "--storage: 'TOY/space.yaml' is not allowed (TOY/space.yaml is no folder that can be"),
    ("--storage TOY/space.yaml/x", "--storage: 'TOY/space.yaml/x' is not allowed (TOY/space.yaml is no folder that"),
    ("--storage ~nobody-there/x", "--storage: '~nobody-there/x' is not allowed ("),
    # what this machine has not, and what does not go together
    ("--gpus 8", "--gpus: 8 is not allowed; allowed: 0..0, what this machine has"),
    ("--gpus 8 --dry-run", "--gpus: 8 is not allowed; allowed: 0..0, what this machine has"),
    ("--gpus-per-trial 0.5", "--gpus-per-trial: 0.5 is not allowed; allowed: no value, because the sweep uses no GPU"),
    ("--cpus-per-trial 100000", "--cpus-per-trial: 100000 is not allowed; allowed: 1.."),
    ("--address auto --dry-run", "--address: not allowed with --dry-run; allowed: no address"),
    ("--resume mine", "--task, --encoder, --data, --space: not allowed with --resume; allowed: --storage, --trials, "),
]  # fmt: skip


def test_the_table_of_wrong_lines_is_long() -> None:
    assert len(set(WRONG)) == len(WRONG) >= 40


@pytest.mark.parametrize(("line", "told"), WRONG, ids=[line[:40] for line, _ in WRONG])
def test_a_wrong_line_is_refused_in_one_line(
    toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str], line: str, told: str
) -> None:
    line, told = (text.replace("TOY", str(toy.root)) for text in (line, told))
    assert code_of(flags(toy, storage, *line.split())) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert err.startswith("dlfa-sweep: ")
    assert told in err
    assert list(storage.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "dlfa-sweep: --task: missing; allowed: udpos, panx, xnli, pawsx, all\n"),
        (
            "--task udpos",
            "dlfa-sweep: --encoder: 'google-bert/bert-base-multilingual-cased': https:",
        ),
        ("--resume mine", "dlfa-sweep: 'mine' is no sweep in TMP/runs; allowed: none there yet\n"),
        ("--resume=", "dlfa-sweep: '' is no sweep in TMP/runs; allowed: none there yet\n"),
        ("--resume mine --seed 3 --dry-run", "dlfa-sweep: --seed, --dry-run: not allowed with --resume; allowed: --st"),
        (
            "--resume mine --tracking-uri http://me:secret@host",
            "dlfa-sweep: --tracking-uri: a password is not allowed in it; allowed: a URI without one",
        ),
    ],
)
def test_a_line_that_lacks_something(tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, told: str) -> None:
    assert code_of(line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(told.replace("TMP", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_too_few_steps_for_the_reports(toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(flags(toy, storage, "--train-limit", "16")) == 2
    out, err = capfd.readouterr()
    assert (out, err) == (
        "",
        "dlfa-sweep: reports_per_trial: 2 is not allowed; allowed: at most 1, the optimiser steps of 1 epochs over "
        "16 windows in batches of 16\n",
    )
    assert {path.name for path in storage.iterdir()} <= {".cache"}


def test_broken_data_is_named_by_its_line(toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = toy.root / "broken"
    for language in ("en", "de"):
        for split in ("dev", "test"):
            path = broken / language / f"{language}_toy-{split}.conllu"
            path.parent.mkdir(exist_ok=True)
            path.write_text("1\tx\t_\tNOUN" + 6 * "\t_" + "\n\n")
    assert code_of(flags(toy, storage, "--data", str(broken))) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"dlfa-sweep: {broken}/en/en_toy-train.conllu:1: 2 columns; allowed: 10, separated by single tabs\n"


def test_more_gpus_than_there_are_write_the_cache_at_most(storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = ["--task", "xnli", "--profile", "quickstart", "--gpus", "8", "--storage", str(storage), *SMALL]
    assert code_of(line) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "dlfa-sweep: --gpus: 8 is not allowed; allowed: 0..0, what this machine has\n"
    assert [path.name for path in storage.iterdir()] == [".cache"]


def test_a_folder_that_must_not_be_written_to(
    toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != storage.parent)
    assert code_of(flags(toy, storage / "deep")) == 2
    assert capfd.readouterr().err == (
        f"dlfa-sweep: --storage: '{storage}/deep' is not allowed ({storage.parent} is no folder that can be written "
        "to); allowed: a folder, or a new one\n"
    )


def test_a_full_disk_is_no_traceback(
    toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device", str(storage))

    monkeypatch.setattr(orchestrator.sweep, "run", full)
    assert code_of(flags(toy, storage)) == 1
    assert capfd.readouterr().err == f"dlfa-sweep: [Errno 28] No space left on device: '{storage}'\n"


def test_ctrl_c_before_anything_has_begun(
    toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(orchestrator.sweep, "run", interrupt)
    assert code_of(flags(toy, storage)) == 130
    assert capfd.readouterr().err == (
        "\ndlfa-sweep: interrupted; if its sweep has begun, dlfa-sweep --resume NAME goes on\n"
    )


# --- right lines


@dataclass
class Runs:
    """What the driver was called with, sweep by sweep."""

    calls: list[tuple[Path, Prepared, bool]]
    code: int = 0
    times: int = 0

    def __call__(self, sweeps: Sequence[tuple[Path, Prepared]], console: Console, *, new: bool) -> int:
        self.calls += [(*sweep, new) for sweep in sweeps]
        self.times += 1
        return self.code


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs([])
    monkeypatch.setattr(orchestrator.sweep, "run", found)
    return found


def test_defaults(toy: Toy, storage: Path, runs: Runs) -> None:
    runs.code = 7
    assert code_of(flags(toy, storage, "--name", "mine")) == 7  # the driver's exit code is the command's
    ((folder, prepared, new),) = runs.calls
    assert (folder, new) == (storage / "mine", True)
    expected = settings_of(toy, storage)
    assert replace(prepared.settings, provenance={}) == replace(expected, provenance={})
    assert prepared.settings.provenance["fingerprints"] == expected.provenance["fingerprints"]


def test_every_flag_is_a_setting(toy: Toy, storage: Path, runs: Runs) -> None:
    line = (
        "--name n --languages fr,de --trials 5 --time-budget 1.5h --gpus 2 --gpus-per-trial 0.5 --cpus-per-trial 3 "
        "--address head:6379 --sampler random --pruner median --select-on targets --confirm-seeds 0 --seed 9 "
        "--epochs 0.5 --train-limit 100 --eval-limit 7 --tracking-uri http://host:5000"
    )
    assert code_of(flags(toy, storage, *line.split())) == 0
    settings = runs.calls[0][1].settings
    assert replace(settings, provenance={}) == SweepSettings(
        name="n",
        task="udpos",
        encoder=str(toy.encoder),
        data=DataConfig(
            path=str(toy.data),
            cache=str(storage / ".cache"),
            languages=("fr", "de"),
            max_length=64,
            train_limit=100,
            eval_limit=7,
        ),
        space=SPACE,
        space_file=str(toy.root / "space.yaml"),
        trials=5,
        time_budget=5400.0,
        sampler="random",
        pruner="median",
        select_on="targets",
        confirm_seeds=0,
        seed=9,
        epochs=0.5,
        gpus=2,
        gpus_per_trial=0.5,
        cpus_per_trial=3,
        address="head:6379",
        tracking_uri="http://host:5000",
    )


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("0.5h", 1800)])
def test_times(toy: Toy, storage: Path, runs: Runs, text: str, seconds: float) -> None:
    assert code_of(flags(toy, storage, "--time-budget", text)) == 0
    assert runs.calls[0][1].settings.time_budget == seconds


def test_relative_paths_are_made_absolute(toy: Toy, storage: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.root)
    line = "--task udpos --data data --encoder encoder --space space.yaml --storage here --name mine"
    assert code_of(line.split()) == 0
    ((folder, prepared, _),) = runs.calls
    assert folder == toy.root / "here" / "mine"
    assert (prepared.settings.data.path, prepared.settings.encoder) == (str(toy.data), str(toy.encoder))
    assert prepared.settings.tracking_uri == f"sqlite:///{toy.root}/here/mlflow.db"
    assert not (toy.root / "here").exists()


def test_a_grid_has_as_many_trials_as_points(toy: Toy, storage: Path, runs: Runs) -> None:
    assert code_of(flags(toy, storage, "--space", str(toy.root / "grid.yaml"), "--sampler", "grid")) == 0
    assert runs.calls[0][1].settings.trials == 1 + 5 * 2


@pytest.mark.parametrize("line", ["--task panx --task xnli --task panx", "--task all"])
def test_tasks_are_sweeps_of_one_run(
    toy: Toy, storage: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr("orchestrator.prepare.prepare", lambda settings: SimpleNamespace(settings=settings))
    line += f" --profile quickstart --data {toy.data} --encoder {toy.encoder} --storage {storage} --name mine"
    assert code_of(line.split()) == 0
    tasks = list(TASKS) if "all" in line else ["panx", "xnli"]
    assert [(folder, prepared.settings.task) for folder, prepared, _ in runs.calls] == [
        (storage / f"mine-{task}", task) for task in tasks
    ]
    assert [prepared.settings.name for _, prepared, _ in runs.calls] == [f"mine-{task}" for task in tasks]
    assert runs.times == 1


def test_a_wrong_task_among_several_is_found_before_any_starts(
    toy: Toy, storage: Path, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    line = (
        f"--task udpos --task xnli --profile quickstart --data {toy.data} --encoder {toy.encoder} --storage {storage}"
    )
    assert code_of([*line.split()]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"dlfa-sweep: {toy.data}: found de/, en/, es/, fr/; allowed for xnli: ")
    assert err.count("\n") == 1
    assert runs.times == 0
    assert not storage.exists()


def test_default_names_count_up(toy: Toy, storage: Path, runs: Runs) -> None:
    for _ in range(2):
        assert code_of(flags(toy, storage)) == 0  # nothing has been made yet, so the name is free
    first = runs.calls[0][0].name
    day = re.fullmatch(r"udpos-(\d{8})-1", first)
    assert day
    assert runs.calls[1][0].name == first
    for name in (first, first[:-1] + "2", first[:-1] + "10", "udpos-20200101-3", "mine"):
        (storage / name).mkdir(parents=True)
    assert code_of(flags(toy, storage)) == 0
    third = runs.calls[2][0].name
    assert third == first[:-1] + "3" or day[1] not in third  # unless it is midnight


def test_a_name_that_is_taken(toy: Toy, storage: Path, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    (storage / "mine").mkdir(parents=True)
    assert code_of(flags(toy, storage, "--name", "mine")) == 2
    assert runs.calls == []
    assert capfd.readouterr().err == (
        f"dlfa-sweep: --name: 'mine' is not allowed; allowed: a name that {storage} does not have; `--resume mine` "
        "goes on with that one\n"
    )


def test_several_sweeps_are_resumed_in_one_run(toy: Toy, storage: Path, runs: Runs) -> None:
    for name in ("one", "two"):
        begin(toy, storage, name)
    assert code_of(["--resume", "two", "one", "two", "--storage", str(storage), "--trials", "30"]) == 0
    assert [(folder.name, prepared.settings.trials) for folder, prepared, _ in runs.calls] == [("two", 30), ("one", 30)]
    assert runs.times == 1


def test_a_sweep_is_resumed_with_its_own_settings(toy: Toy, storage: Path, runs: Runs) -> None:
    settings = begin(toy, storage, "mine")
    assert code_of(["--resume", "mine", "--storage", str(storage)]) == 0
    ((folder, prepared, new),) = runs.calls
    assert (folder, prepared.settings, new) == (storage / "mine", settings, False)


def test_what_a_sweep_runs_on_may_change(toy: Toy, storage: Path, runs: Runs) -> None:
    settings = begin(toy, storage, "mine")
    line = (
        f"--resume mine --storage {storage} --trials 20 --time-budget 2h --gpus 0 --gpus-per-trial 0.5 "
        "--cpus-per-trial 2 --address auto --tracking-uri http://host:5000"
    )
    assert code_of(line.split()) == 0
    assert runs.calls[0][1].settings == replace(
        settings,
        trials=20,
        time_budget=7200.0,
        gpus=0,
        gpus_per_trial=0.5,
        cpus_per_trial=2,
        address="auto",
        tracking_uri="http://host:5000",
    )


@pytest.mark.parametrize(
    "line",
    [
        "--languages de", "--seed 3", "--epochs 2", "--train-limit 9", "--eval-limit 9", "--sampler random",
        "--pruner none", "--select-on targets", "--confirm-seeds 9", "--name other", "--dry-run", "--source-lang de",
        "--profile quickstart",
    ],
)  # fmt: skip
def test_what_results_rest_on_does_not_change(
    toy: Toy, storage: Path, runs: Runs, capfd: pytest.CaptureFixture[str], line: str
) -> None:
    begin(toy, storage, "mine")
    assert code_of(["--resume", "mine", "--storage", str(storage), *line.split()]) == 2
    assert runs.calls == []
    assert capfd.readouterr().err == (
        f"dlfa-sweep: {line.split()[0]}: not allowed with --resume; allowed: --storage, --trials, --time-budget, "
        "--report-timeout, --gpus, --gpus-per-trial, --cpus-per-trial, --address, --tracking-uri\n"
    )


def test_a_misspelt_sweep(toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begin(toy, storage, "udpos-20261122-1")
    assert code_of(["--resume", "udpos-2026112-1", "--storage", str(storage)]) == 2
    assert capfd.readouterr().err == (
        f"dlfa-sweep: 'udpos-2026112-1' is no sweep in {storage} (did you mean udpos-20261122-1?); "
        "allowed: udpos-20261122-1\n"
    )


# --- a dry run, help, version


def test_a_dry_run_of_the_quickstart(storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = f"--task udpos --profile quickstart --dry-run --storage {storage} --cpus-per-trial 1"
    assert code_of([*line.split(), *SMALL]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for pattern in (
        r"data: CoNLL-U folders in .*/runs/\.cache/controlled-corpus-\w+/udpos-en-64-2-2/udpos",
        r"train en: 64 sentences, \d+ words; dev en: 2 sentences, \d+ words; test: \d+ sentences in \d+ languages .*",
        r"slots: no GPU in use; \d+ trials at a time, 1 CPU each, on this machine",
        r"space: fusion_layer: 1 to 11 by 2",
        r"space: reduction_ratio: 2, 4, 8",
        r"space: learning_rate: .* to .*, log-uniform",
        r"search: 12 trials, 3 of them for the baseline, sampler tpe, pruner hyperband, selected on the source",
        r"confirm: up to \d+ trials, \d seeds for each layer tried and the baseline",
        r"time: about \d+.* per trial .*",
        r" +at most about \d+.* in all, less what is pruned",
        r"dry run: nothing was started",
    ):
        assert re.search(f"^{pattern}$", out, re.MULTILINE), pattern
    assert [path.name for path in storage.iterdir()] == [".cache"]
    names = sorted(path.name.rpartition("-")[0] for path in (storage / ".cache").iterdir())
    assert names == ["controlled-corpus", "embedded-encoder"]


def test_a_dry_run_leaves_nothing(toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(flags(toy, storage, "--dry-run", "--train-limit", "32", "--eval-limit", "5")) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.endswith("\ndry run: nothing was started\n")
    assert not storage.exists()


@pytest.mark.parametrize("main", [sweep_main, report_main, dlfa.cli.main])
def test_the_version(main: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(["--version"], main) == 0
    assert re.fullmatch(rf"dlfa-(sweep|report) {re.escape(version('dlfa-sweep'))}\n", capfd.readouterr().out)


HELP = {
    sweep_main: "--task --profile --encoder --data --source-lang --languages --space --trials --time-budget --gpus "
    "--gpus-per-trial --cpus-per-trial --address --sampler --pruner --select-on --confirm-seeds --seed --epochs "
    "--train-limit --eval-limit --name --storage --tracking-uri --resume --dry-run --version",
    report_main: "NAME --format --out --storage --version",
    dlfa.cli.main: "--task --fusion --fusion-layer --reduction-ratio --learning-rate --out --encoder --data "
    "--source-lang --languages --epochs --train-limit --eval-limit --seed --select-on --version",
}


@pytest.mark.parametrize("main", HELP)
def test_help_lists_every_flag(main: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(["--help"], main) == 0
    out, err = capfd.readouterr()
    assert err == ""
    words = set(re.findall(r"[A-Za-z-]+", out))
    assert set(HELP[main].split()) <= words


# --- the report


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "dlfa-report: the following arguments are required: NAME\n"),
        ("mine --format pdf", "dlfa-report: argument --format: invalid choice: 'pdf' (choose from "),
        ("mine --formt csv", "dlfa-report: unrecognized arguments: --formt csv (did you mean --format?)\n"),
        ("mine --format", "dlfa-report: argument --format: expected one argument\n"),
        ("mine", "dlfa-report: TMP/runs/mine: no such sweep; sweeps in TMP/runs: none\n"),
        ("mine yours", "dlfa-report: TMP/runs/mine: no such sweep; sweeps in TMP/runs: none; TMP/runs/yours: no such"),
        ("mine --storage nowhere", "dlfa-report: TMP/nowhere/mine: no such sweep; sweeps in TMP/nowhere: none\n"),
    ],
)
def test_a_wrong_line_of_the_report(tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str, told: str) -> None:
    assert code_of(line.split(), report_main) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(told.replace("TMP", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_has_not_begun_has_no_report(toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begin(toy, storage, "mine")
    assert code_of(["mine", "--storage", str(storage)], report_main) == 2
    assert capfd.readouterr().err == (
        f"dlfa-report: {storage / 'mine'}: not a sweep, or none that has begun: no study.db in it\n"
    )
