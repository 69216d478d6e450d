"""Settings checked and a sweep told beforehand: what is said, what it rests on, and that nothing is kept."""

import re
import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from toy import write_toy

import orchestrator.plan
from dlfa.config import DataConfig, TrialConfig
from dlfa.errors import ConfigError, DataError
from dlfa.memory import GpuMemory
from orchestrator.display import duration
from orchestrator.events import TrialRef
from orchestrator.plan import dry_run
from orchestrator.prepare import Prepared, describe_slots, encode_all, prepare
from orchestrator.resources import Available, Slots
from orchestrator.settings import SweepSettings

SPACE = """
task: udpos
search:
  fusion_layer: {low: 1, high: L-1}
  reduction_ratio: {choices: [2, 4]}
  learning_rate: {low: 3.0e-4, high: 1.0e-2, log: true, grid: [1.0e-3, 3.0e-3]}
  dropout: 0.1
training: {epochs: 4, batch_size: 16, reports_per_trial: 4}
max_length: 64
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of data (German, English, Spanish, French) and of an encoder of six layers."""
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator.plan, "local", lambda: Available(cpus=4, gpus=0, where="this machine"))


@pytest.fixture
def settings(toy: tuple[Path, Path], tmp_path: Path) -> SweepSettings:
    data, encoder = toy
    return SweepSettings(
        name="toy",
        task="udpos",
        encoder=str(encoder),
        data=DataConfig(path=str(data), cache=str(tmp_path / "cache"), max_length=64, train_limit=64, eval_limit=5),
        space=SPACE,
        space_file="s.yaml",
        trials=12,
        confirm_seeds=2,
    )


def told(settings: SweepSettings, width: int = 80) -> list[str]:
    out = StringIO()
    dry_run(prepare(settings), Console(file=out, width=width, highlight=False))
    return out.getvalue().splitlines()


def refusal(settings: SweepSettings) -> str:
    with pytest.raises((ConfigError, DataError)) as error:
        told(settings)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


# --- what is prepared


def test_targets_and_provenance_are_filled_in(settings: SweepSettings) -> None:
    prepared = prepare(settings)
    assert prepared.settings.data.languages == ("de", "es", "fr")
    assert prepared.sets == {"train": ("en",), "dev": ("en",), "test": ("en", "de", "es", "fr")}
    assert set(prepared.settings.data.fingerprints) == {
        "en train", "en dev", "en test", "de test", "es test", "fr test",
    }  # fmt: skip
    data = replace(prepared.settings.data, languages=(), fingerprints={})
    assert replace(prepared.settings, provenance={}, data=data) == settings


def test_target_dev_sets_are_read_for_oracle_selection_only(settings: SweepSettings) -> None:
    prepared = prepare(replace(settings, select_on="targets", data=replace(settings.data, languages=("fr", "de"))))
    assert prepared.sets == {"train": ("en",), "dev": ("fr", "de"), "test": ("en", "fr", "de")}
    assert set(prepared.settings.data.fingerprints) == {
        "en train", "en test", "fr dev", "de dev", "fr test", "de test",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "confirm_seeds", "message"),
    [
        (2**31 - 1, 0, None),
        (2**31 - 3, 2, None),
        (2**31, 0, "--seed: 2147483648 is not allowed; allowed: 0..2147483647"),
        (2**31 - 2, 2, "--seed: 2147483646 is not allowed; allowed: 0..2147483645"),
    ],
)
def test_the_confirm_phases_seeds_are_seeds(
    settings: SweepSettings, seed: int, confirm_seeds: int, message: str | None
) -> None:
    asked = replace(settings, seed=seed, confirm_seeds=confirm_seeds)
    if message is None:
        assert prepare(asked).settings.seed == seed
    else:
        assert refusal(asked) == message


@pytest.mark.parametrize("trials", [12, 23])
def test_a_grid_is_run_whole(settings: SweepSettings, trials: int) -> None:
    grid = replace(settings, sampler="grid")
    prepared = prepare(replace(grid, trials=22))
    assert (prepared.trials, prepared.shares) == (22, {"none": 2, "dlfa": 20})
    assert refusal(replace(grid, trials=trials)) == (
        f"--trials: {trials} is not allowed; allowed with --sampler grid: 22, the whole grid of each fusion (2 for "
        "none, 20 for dlfa)"
    )


def test_arms_have_equal_shares_and_no_configuration_twice(settings: SweepSettings) -> None:
    assert prepare(replace(settings, trials=13)).shares == {"none": 6, "dlfa": 6}
    text = yaml.safe_load(settings.space)
    text["search"]["learning_rate"] = {"choices": text["search"]["learning_rate"]["grid"]}
    finite = replace(settings, space=yaml.safe_dump(text))
    assert prepare(replace(finite, trials=23)).shares == {"none": 2, "dlfa": 11}
    assert prepare(replace(finite, trials=100)).shares == {"none": 2, "dlfa": 20}
    lines = told(replace(finite, trials=23))
    assert "        10 of 23 trials are not run: arms have equal shares, and none is run twice" in lines
    assert refusal(replace(settings, trials=1)) == (
        "--trials: 1 is not allowed; allowed: at least 2, one for each of none, dlfa"
    )


def test_a_budget_must_have_as_many_steps_as_reports(settings: SweepSettings) -> None:
    assert refusal(replace(settings, epochs=0.5)) == (
        "reports_per_trial: 4 is not allowed; allowed: at most 2, the optimiser steps of 0.5 epochs over 64 windows "
        "in batches of 16"
    )


def test_targets_without_any_tags_cannot_be_scored(settings: SweepSettings, tmp_path: Path) -> None:
    data = tmp_path / "download" / "udpos"
    data.mkdir(parents=True)
    for name in ("train-en", "dev-en", "test-en"):
        (data / f"{name}.tsv").write_text("the\tDET\ndog\tNOUN\n\n" * 80)
    (data / "test-de.tsv").write_text("der\nHund\n\n")
    plain = replace(settings, data=replace(settings.data, path=str(data.parent)))
    assert refusal(plain) == (
        f"--data: '{data.parent}' is not allowed; allowed: data with tags in the test set of at least one target "
        "language (de)"
    )
    (data / "test-fr.tsv").write_text("le\tDET\nchien\tNOUN\n\n")
    lines = told(plain)
    assert "no tags, so predicted but not scored: test sets of de" in lines
    assert any(line.endswith("test: 7 sentences in 3 languages (en, de, fr)") for line in lines)


def aligned_pairs(settings: SweepSettings, folder: Path, german: str, aligned: bool | None = True) -> SweepSettings:
    """Settings of a sweep over pairs, whose English test set has the labels 0, 1, 0, 1."""
    folder.mkdir()
    for name, labels in {"train-en": "01" * 40, "dev-en": "01", "test-en": "0101", "test-de": german}.items():
        (folder / f"{name}.tsv").write_text(
            "".join(f"{name} {n}\tthe dog\t{label}\n" for n, label in enumerate(labels))
        )
    data = replace(settings.data, path=str(folder), aligned=aligned)
    return replace(settings, task="pawsx", space=SPACE.replace("udpos", "pawsx"), data=data)


def test_similarity_is_told_of_before_a_sweep(settings: SweepSettings, tmp_path: Path) -> None:
    lines: list[str] = []
    prepared = encode_all(prepare(aligned_pairs(settings, tmp_path / "pairs", "0101")), lines.append)
    assert lines[-1] == "similarity to en by pairs: de 4 of 4"
    assert prepared.settings.provenance["remarks"][-1] == lines[-1]
    encode_all(prepare(aligned_pairs(settings, tmp_path / "unsaid", "0101", None)), lines.append)
    assert lines[-1].startswith("no similarity between languages: the data does not say that its test sets are aligned")


def test_test_sets_that_are_said_to_be_aligned_are(settings: SweepSettings, tmp_path: Path) -> None:
    start = "not aligned row by row with the test set of en, as --aligned (aligned: true) says: de"
    for german, reason in {
        "010": "3 rows, not 4",
        "0111": "another label in 1 of 4 rows; allowed: in at most 2 %",
    }.items():
        folder = tmp_path / german
        assert refusal(aligned_pairs(settings, folder, german)) == f"{folder}: {start} ({reason})"


def test_aligned_rows_need_one_label_each(settings: SweepSettings) -> None:
    assert refusal(replace(settings, data=replace(settings.data, aligned=True))) == (
        "--aligned (aligned): true is not allowed for udpos, which has a label for every word; allowed for: xnli, pawsx"
    )


def test_everything_that_trials_read_is_encoded(settings: SweepSettings, tmp_path: Path) -> None:
    lines: list[str] = []
    prepared = prepare(replace(settings, select_on="targets"))
    encode_all(prepared, lines.append)
    files = {path.stem for path in (tmp_path / "cache" / "encoded").iterdir()}
    corpus = prepared.corpus
    assert files == {
        corpus.address(*split)  # type: ignore[arg-type]
        for split in [("en", "train")]
        + [(language, "dev") for language in ("de", "es", "fr")]
        + [(language, "test") for language in ("de", "en", "es", "fr")]
    }
    assert lines[0] == f"data: {corpus.source.layout} in {settings.data.path}"
    assert re.fullmatch(
        r"train en: 64 sentences, \d+ words; dev de: 5 sentences, \d+ words, es: 5 sentences, \d+ words, "
        r"fr: 5 sentences, \d+ words; test: 20 sentences in 4 languages \(en, de, es, fr\)",
        lines[1],
    )
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("slots", "line"),
    [
        (Slots(count=2, cpus=1, gpus=0), "slots: no GPU in use; 2 trials at a time, 1 CPU each, on here"),
        (Slots(count=8, cpus=4, gpus=1), "slots: 8 trials at a time, 1 GPU and 4 CPUs each, on here"),
        (Slots(count=3, cpus=1, gpus=0.25), "slots: 3 trials at a time, 0.25 GPU and 1 CPU each, on here"),
    ],
)
def test_slots_in_a_line(slots: Slots, line: str) -> None:
    assert describe_slots(slots, "here") == line


def test_a_trial_without_a_gpu_in_its_slot_leaves_gpus_alone(settings: SweepSettings) -> None:
    prepared = prepare(settings)
    ref = TrialRef(phase="search", number=0, params={"fusion": "none", "learning_rate": 1e-3}, seed=4)
    for gpus, device in ((0, "cpu"), (0.5, "auto")):
        config = prepared.trial_config(ref, Slots(count=1, cpus=3, gpus=gpus))
        assert (config.compute.device, config.compute.threads, config.seed) == (device, 3, 4)


# --- a dry run


def test_a_plan(settings: SweepSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(orchestrator.plan, "time_step", lambda *arguments: 2.5)
    monkeypatch.setattr("time.perf_counter", lambda: 7.0)  # so that evaluations take no time
    lines = told(settings)
    assert lines[0] == f"data: {prepare(settings).corpus.source.layout} in {settings.data.path}"
    assert re.fullmatch(
        r"train en: 64 sentences, \d+ words; dev en: 5 sentences, \d+ words; "
        r"test: 20 sentences in 4 languages \(en, de, es, fr\)",
        lines[1],
    )
    assert lines[2:] == [
        "slots: no GPU in use; 4 trials at a time, 1 CPU each, on this machine",
        "space: fusion_layer: 1 to 5",
        "space: reduction_ratio: 2, 4",
        "space: learning_rate: 0.0003 to 0.01, log-uniform",
        "space: dropout: 0.1",
        "search: 12 trials (6 for none, 6 for dlfa), sampler tpe, pruner hyperband, selected on the source",
        "confirm: up to 12 trials, 2 seeds for the baseline and each layer tried",
        # 4 epochs of 4 batches; three rounds of search and three of confirm
        "time: about 40s per trial by one step timed on this machine, beside nothing else;",
        "      at most about 4m 00s in all, less what is pruned",
        "dry run: nothing was started",
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_again_and_again_takes_its_time(settings: SweepSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 105.0])
    monkeypatch.setattr(orchestrator.plan, "time_step", lambda *arguments: 0.0)
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    prepared = prepare(settings)
    dev = len(prepared.corpus.split("en", "dev").input_ids)
    test = sum(len(prepared.corpus.split(language, "test").input_ids) for language in ("de", "en", "es", "fr"))
    seconds = 4 * 5.0 + test * 5.0 / dev  # four reports on a dev set of 5 s, and one test
    (line,) = (line for line in told(settings) if line.startswith("time: "))
    assert line.startswith(f"time: about {duration(seconds)} per trial ")


def test_the_plan_of_a_small_search(settings: SweepSettings) -> None:
    lines = told(replace(settings, trials=3, confirm_seeds=1, pruner="none", sampler="random", select_on="targets"))
    assert "search: 2 trials (1 for none, 1 for dlfa), sampler random, pruner none, selected on the targets" in lines
    assert "confirm: up to 2 trials, 1 seeds for the baseline and each layer tried" in lines


def test_the_plan_of_a_grid(settings: SweepSettings) -> None:
    lines = told(replace(settings, sampler="grid", trials=22))
    assert (
        "search: 22 trials (2 for none, 20 for dlfa), sampler grid, pruner hyperband, selected on the source" in lines
    )


def test_trials_that_share_a_gpu_are_planned_as_they_would_run(
    settings: SweepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[TrialConfig] = []

    def stand_in(config: TrialConfig) -> GpuMemory:
        measured.append(config)
        return GpuMemory(name="Stand-in", taken=2**30, total=8 * 2**30)

    monkeypatch.setattr(orchestrator.plan, "local", lambda: Available(cpus=8, gpus=1, where="this machine"))
    monkeypatch.setattr(orchestrator.plan, "gpu_memory", stand_in)
    monkeypatch.setattr(orchestrator.plan, "time_step", lambda *arguments: 0.0)
    monkeypatch.setattr("time.perf_counter", lambda: 7.0)
    lines = told(replace(settings, gpus_per_trial="auto", trials=60))
    assert lines[2:4] == [
        "memory: a trial takes up to 1.0 of 8.0 GiB of Stand-in; 4 on each GPU "
        "(6 would fit, but so many at a time make a search of 60 trials worse)",
        "slots: 4 trials at a time, 0.25 GPU and 2 CPUs each, on this machine",
    ]
    (config,) = measured
    assert config.model.reduction_ratio == 2


def test_a_path_is_no_markup(settings: SweepSettings, toy: tuple[Path, Path], tmp_path: Path) -> None:
    data = tmp_path / "[bold]" / "[" / "x]"
    shutil.copytree(toy[0], data)
    lines = told(replace(settings, data=replace(settings.data, path=str(data))), width=20)
    assert lines[0].endswith(f" in {data}")


def test_an_address_is_refused(settings: SweepSettings) -> None:
    assert refusal(replace(settings, address="auto")) == (
        "--address: not allowed with --dry-run; allowed: local, to plan for this machine"
    )


def test_more_gpus_than_there_are(settings: SweepSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator.plan, "encode_all", pytest.fail)
    assert refusal(replace(settings, gpus=8)) == "--gpus: 8 is not allowed; allowed: 0..0, what this machine has"


def test_threads_are_those_of_a_trial(settings: SweepSettings) -> None:
    before = torch.get_num_threads()
    try:
        lines = told(replace(settings, cpus_per_trial=2, trials=2, confirm_seeds=0))
        assert "slots: no GPU in use; 2 trials at a time, 2 CPUs each, on this machine" in lines
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_preparing_writes_nothing(settings: SweepSettings, tmp_path: Path) -> None:
    assert isinstance(prepare(settings), Prepared)
    assert list(tmp_path.iterdir()) == []
