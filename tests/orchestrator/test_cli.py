"""`dlfa-sweep` and `dlfa-report` as a user types them: what a right line becomes; wrong ones are in `bad_input`."""

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
from bad_input.world import SPACE
from rich.console import Console
from toy import write_toy

import dlfa.cli
import orchestrator.sweep
from dlfa.config import DataConfig
from dlfa.tasks import TASKS
from orchestrator.cli import report_main, sweep_main
from orchestrator.prepare import Prepared, prepare
from orchestrator.settings import SweepSettings, write_settings


@dataclass(frozen=True)
class Toy:
    """A folder with data, an encoder and search spaces."""

    root: Path
    data: Path
    encoder: Path


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    root = tmp_path_factory.mktemp("toy")
    data, encoder = write_toy(root)
    (root / "space.yaml").write_text(SPACE)
    (root / "grid.yaml").write_text(SPACE.replace("log: true", "log: true, grid: [1.0e-3]"))
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


def test_more_gpus_than_there_are_write_the_cache_at_most(storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = ["--task", "xnli", "--profile", "quickstart", "--gpus", "8", "--storage", str(storage), *SMALL]
    assert code_of(line) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "dlfa-sweep: --gpus: 8 is not allowed; allowed: 0..0, what this machine has\n"
    assert [path.name for path in storage.iterdir()] == [".cache"]


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
    assert prepared.settings.data.fingerprints == expected.data.fingerprints != {}


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
            fingerprints=settings.data.fingerprints,
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


@pytest.mark.parametrize(("text", "share"), [("auto", "auto"), ("2", 2.0), ("0.25", 0.25)])
def test_shares_of_a_gpu(toy: Toy, storage: Path, runs: Runs, text: str, share: float | str) -> None:
    assert code_of(flags(toy, storage, "--gpus-per-trial", text)) == 0
    assert runs.calls[0][1].settings.gpus_per_trial == share


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
        r"search: 12 trials \(6 for none, 6 for dlfa\), sampler tpe, pruner hyperband, selected on the source",
        r"confirm: up to \d+ trials, \d seeds for the baseline and each layer tried",
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


def test_a_sweep_that_has_not_begun_has_no_report(toy: Toy, storage: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begin(toy, storage, "mine")
    assert code_of(["mine", "--storage", str(storage)], report_main) == 2
    assert capfd.readouterr().err == (
        f"dlfa-report: {storage / 'mine'}: not a sweep, or none that has begun: no study.db in it\n"
    )
