"""A sweep goes on with its own settings, and only with the data that it began with."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from toy import write_toy

from dlfa.config import DataConfig
from dlfa.errors import ConfigError, DataError
from orchestrator.prepare import prepare
from orchestrator.resume import reopen
from orchestrator.settings import SETTINGS, SweepSettings, read_settings, write_settings

SPACE = """
task: udpos
search:
  fusion_layer: {low: 1, high: L-1}
  reduction_ratio: 2
  learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true, grid: [1.0e-3]}
max_length: 64
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def begun(toy: tuple[Path, Path], tmp_path: Path) -> SweepSettings:
    """The settings of a sweep `mine` in the folder `runs`, with its own copy of the data."""
    shutil.copytree(toy[0], tmp_path / "data")
    settings = SweepSettings(
        name="mine",
        task="udpos",
        encoder=str(toy[1]),
        data=DataConfig(path=str(tmp_path / "data"), cache=str(tmp_path / "cache"), max_length=64),
        space=SPACE,
        space_file="s.yaml",
        trials=12,
        time_budget=60.0,
    )
    settings = prepare(settings).settings
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    write_settings(tmp_path / "runs" / "mine", settings)
    return settings


def refusal(storage: Path, name: str = "mine", **changes: object) -> str:
    with pytest.raises((ConfigError, DataError)) as error:
        reopen(storage, name, changes)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def append(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "1\tx\t_\tNOUN" + 6 * "\t_" + "\n\n", encoding="utf-8")


def test_a_sweep_goes_on_with_its_own_settings(begun: SweepSettings, tmp_path: Path) -> None:
    folder, prepared = reopen(tmp_path / "runs", "mine", {})
    assert folder == tmp_path / "runs" / "mine"
    assert prepared.settings == begun
    assert prepared.sets == {"train": ("en",), "dev": ("en",), "test": ("en", "de", "es", "fr")}


def test_what_it_runs_on_may_change(begun: SweepSettings, tmp_path: Path) -> None:
    changes = {"trials": 20, "time_budget": 5.0, "cpus_per_trial": 2, "tracking_uri": "sqlite:///other.db"}
    _, prepared = reopen(tmp_path / "runs", "mine", changes)
    assert prepared.settings == replace(begun, **changes)  # type: ignore[arg-type]
    assert read_settings(tmp_path / "runs" / "mine") == begun  # written by the driver, once it has the lock


def test_what_the_sweep_began_with_stays_on_record(
    begun: SweepSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["dlfa-sweep", "--resume", "mine"])
    _, prepared = reopen(tmp_path / "runs", "mine", {})
    assert prepared.settings.provenance == begun.provenance
    assert "--resume" not in prepared.settings.provenance["command"]


def test_changed_data_is_refused(begun: SweepSettings, tmp_path: Path) -> None:
    data = tmp_path / "data"
    append(data / "de" / "de_toy-test.conllu")
    append(data / "en" / "en_toy-train.conllu")
    assert refusal(tmp_path / "runs") == (
        f"--resume: 'mine' is not allowed: {data} has changed since the sweep began (de test, en train; "
        f"fingerprints in {tmp_path / 'runs' / 'mine' / SETTINGS}); allowed: the same data, or a new sweep"
    )


def test_a_treebank_that_was_added_to_a_language_is_a_change(begun: SweepSettings, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "fr"
    shutil.copy(folder / "fr_toy-test.conllu", folder / "fr_more-test.conllu")
    assert "has changed since the sweep began (fr test; " in refusal(tmp_path / "runs")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_changed_encoder_is_refused(begun: SweepSettings, tmp_path: Path, name: str) -> None:
    path = Path(begun.encoder) / name
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b"the", b"teh", 1) if name.endswith("json") else before[:-4] + b"\0\0\0\0")
        assert path.read_bytes() != before
        assert refusal(tmp_path / "runs") == (
            f"--resume: 'mine' is not allowed: {begun.encoder} has changed since the sweep began "
            f"(encoder_fingerprint in {tmp_path / 'runs' / 'mine' / SETTINGS}); "
            "allowed: the same encoder, or a new sweep"
        )
        (Path(begun.encoder) / "README.md").write_text("a card may change")
    finally:
        path.write_bytes(before)
    reopen(tmp_path / "runs", "mine", {})


def test_what_is_not_read_may_change(begun: SweepSettings, tmp_path: Path) -> None:
    data = tmp_path / "data"
    append(data / "de" / "de_toy-dev.conllu")  # selection is on the source
    shutil.copytree(data / "de", data / "nl")  # the sweep's languages are spelled out
    _, prepared = reopen(tmp_path / "runs", "mine", {})
    assert prepared.sets["test"] == ("en", "de", "es", "fr")


def test_a_language_that_has_gone(begun: SweepSettings, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data" / "de")
    assert refusal(tmp_path / "runs").startswith(f"--languages: 'de' is not in {tmp_path / 'data'}")


def test_data_that_has_gone(begun: SweepSettings, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data")
    assert refusal(tmp_path / "runs").startswith(f"{tmp_path / 'data'}: No such file or directory")


def test_a_sweep_that_is_not_there(begun: SweepSettings, tmp_path: Path) -> None:
    assert refusal(tmp_path / "runs", "mien") == (
        f"'mien' is no sweep in {tmp_path / 'runs'} (did you mean mine?); allowed: mine"
    )


@pytest.mark.parametrize(
    ("fingerprints", "told"),
    [
        ({}, "missing; allowed: those that the sweep began with"),
        ("abc", "'abc' is not allowed; allowed: fields with values"),
    ],
)
def test_settings_without_fingerprints(begun: SweepSettings, tmp_path: Path, fingerprints: object, told: str) -> None:
    path = tmp_path / "runs" / "mine" / SETTINGS
    mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    mapping["data"]["fingerprints"] = fingerprints
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    assert refusal(tmp_path / "runs") == f"{path}.data.fingerprints: {told}"


@pytest.mark.parametrize(
    ("version", "refused"), [("0.1.0", True), ("0.1.9", True), ("0.2.0", False), ("0.10.0", False)]
)
def test_a_sweep_of_another_dlfa_is_refused(begun: SweepSettings, tmp_path: Path, version: str, refused: bool) -> None:
    settings = read_settings(tmp_path / "runs" / "mine")
    versions = {**settings.provenance["versions"], "dlfa-sweep": version}
    write_settings(
        tmp_path / "runs" / "mine", replace(settings, provenance={**settings.provenance, "versions": versions})
    )
    if not refused:
        reopen(tmp_path / "runs", "mine", {})
        return
    assert refusal(tmp_path / "runs") == (
        f"--resume: 'mine' is not allowed: it began with dlfa-sweep {version}, whose dlfa was another module than the "
        "published one; allowed: that version, or a new sweep"
    )


def test_a_grid_does_not_grow(begun: SweepSettings, tmp_path: Path) -> None:
    write_settings(tmp_path / "runs" / "mine", replace(begun, sampler="grid", trials=6))
    assert refusal(tmp_path / "runs", trials=7) == (
        "--trials: 7 is not allowed; allowed with --sampler grid: 6, the whole grid of each fusion (1 for none, 5 for "
        "dlfa)"
    )
