"""A sweep's settings: written and read again, and turned into the configurations of trials."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from bad_input.values import mutated, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig, to_mapping
from dlfa.errors import ConfigError
from dlfa.model import EncoderShape
from orchestrator.events import TrialRef
from orchestrator.settings import SETTINGS, SweepSettings, provenance, read_settings, sweep_folder, write_settings
from orchestrator.space import Params
from orchestrator.space_file import load_space

DATA = DataConfig(path="/data", cache="/cache", languages=("de", "fr"), max_length=64, train_limit=100, eval_limit=10)
SPACE_TEXT = """# Mine: Ärger, 語
task: udpos
search: {fusion_layer: 1, reduction_ratio: 2, learning_rate: 2e-5}
training: {epochs: 4, batch_size: 16, weight_decay: 0.01, reports_per_trial: 2}
max_length: 64
"""
SPACE = load_space(
    SPACE_TEXT, "s.yaml", "udpos", EncoderShape(layers=4, hidden_size=32, vocabulary=9, max_positions=64)
)
MINIMAL = SweepSettings(
    name="udpos-1", task="udpos", encoder="/encoder", data=DATA, space=SPACE_TEXT, space_file="s.yaml", trials=12
)
FULL = SweepSettings(
    name="udpos-2",
    task="udpos",
    encoder="org/encoder",
    data=DATA,
    space=SPACE_TEXT,
    space_file="dir/s.yaml",
    trials=12,
    time_budget=7200.0,
    sampler="random",
    pruner="median",
    select_on="targets",
    confirm_seeds=0,
    seed=5,
    epochs=0.5,
    gpus=0,
    gpus_per_trial=0.25,
    cpus_per_trial=2,
    address="head:6379",
    tracking_uri="sqlite:////mlflow.db",
    provenance={"command": "dlfa-sweep", "git_commit": None},
)


@pytest.mark.parametrize(
    "written", [MINIMAL, FULL, replace(FULL, gpus_per_trial="auto")], ids=["minimal", "full", "shared GPUs"]
)
def test_what_is_written_is_read(tmp_path: Path, written: SweepSettings) -> None:
    write_settings(tmp_path, written)
    assert read_settings(tmp_path) == written
    text = (tmp_path / SETTINGS).read_text(encoding="utf-8")
    assert "Ärger, 語" in text  # for people, too
    assert list(yaml.safe_load(text)) == list(SweepSettings.__dataclass_fields__)


def test_written_settings_replace_older_ones(tmp_path: Path) -> None:
    write_settings(tmp_path, MINIMAL)
    write_settings(tmp_path, replace(MINIMAL, trials=99))
    assert read_settings(tmp_path).trials == 99
    assert [path.name for path in tmp_path.iterdir()] == [SETTINGS]


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as error:
        read_settings(folder)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("trials: 12", "trials: twelve", ".trials: 'twelve' is not allowed; allowed: a whole number"),
        ("trials: 12", "trails: 12", ".trails: unknown field (did you mean trials?); allowed: name, task, "),
        ("trials: 12", "", ".trials: missing"),
        ("sampler: tpe", "sampler: bayes", ".sampler: 'bayes' is not allowed; allowed: tpe, random, grid"),
        ("pruner: hyperband", "pruner:", ".pruner: None is not allowed; allowed: hyperband, median, none"),
        (
            "max_length: 64\n  train",
            "max_length: 4\n  train",
            ".data: max_length: 4 is not allowed; allowed: a whole number of pieces",
        ),
        ("name: udpos-1", "name: [", ": not readable as a sweep's settings (while parsing"),
        ("name: udpos-1", "name: 2026-99-99", ": not readable as a sweep's settings (month must be in 1..12)"),
        ("name: udpos-1", "name: !!bool x", ": not readable as a sweep's settings ('x')"),
        ("name: udpos-1", "name: !!timestamp x", ": not readable as a sweep's settings ("),
        ("provenance: {}", "provenance: 3", ".provenance: 3 is not allowed; allowed: fields with values"),
    ],
)
def test_damaged_settings_are_refused_in_one_line(tmp_path: Path, old: str, new: str, told: str) -> None:
    write_settings(tmp_path, MINIMAL)
    path = tmp_path / SETTINGS
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert f"{path}{told}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ": None is not allowed; allowed: fields with values"),
        (b"\xff\xfe\x00", ": not readable as a sweep's settings ("),
        (b"- a", ": ['a'] is not allowed; allowed: fields with values"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / SETTINGS).write_bytes(content)
    assert refusal(tmp_path).startswith(f"{tmp_path / SETTINGS}{told}")


def test_a_part_of_a_file_is_no_traceback(tmp_path: Path) -> None:
    write_settings(tmp_path, FULL)
    path = tmp_path / SETTINGS
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 13):
        path.write_bytes(whole[:size])
        try:
            read_settings(tmp_path)
        except ConfigError as error:
            message = str(error)
        else:
            continue
        assert message.startswith(str(path))
        assert len(message.splitlines()) == 1


def test_settings_that_are_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path / SETTINGS}: not readable as a sweep's settings "
        f"([Errno 2] No such file or directory: '{tmp_path / SETTINGS}')"
    )


def settings_or_refusal(folder: Path, text: str) -> SweepSettings | None:
    (folder / SETTINGS).write_text(text, encoding="utf-8", newline="")
    try:
        return read_settings(folder)
    except ConfigError as error:
        message = str(error)
    assert message.startswith(str(folder / SETTINGS))
    assert message.isprintable()
    return None


_RIGHT = to_mapping(FULL)
_ANY_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_ANY_FOLDER
@given(text=st.text() | mutated(yaml.safe_dump(_RIGHT, sort_keys=False)) | values([*_RIGHT]).map(yaml.safe_dump))
def test_any_text_is_settings_or_refused(tmp_path: Path, text: str) -> None:
    settings_or_refusal(tmp_path, text)


@_ANY_FOLDER
@given(
    top=st.dictionaries(st.sampled_from([*_RIGHT]), values(), max_size=2),
    data=st.dictionaries(st.sampled_from([*_RIGHT["data"]]), values(), max_size=2),
)
def test_any_values_are_settings_or_refused(tmp_path: Path, top: dict[str, object], data: dict[str, object]) -> None:
    found = settings_or_refusal(tmp_path, yaml.safe_dump({**_RIGHT, "data": _RIGHT["data"] | data, **top}))
    if found is not None:
        write_settings(tmp_path, found)
        assert read_settings(tmp_path) == found


# --- folders


def test_the_folder_of_a_sweep(tmp_path: Path) -> None:
    for name in ("udpos-20261122-1", "mine"):
        (tmp_path / name).mkdir()
        write_settings(tmp_path / name, MINIMAL)
    (tmp_path / "other").mkdir()
    assert sweep_folder(tmp_path, "mine") == tmp_path / "mine"
    with pytest.raises(ConfigError) as error:
        sweep_folder(tmp_path, "udpos-20261122-2")
    assert str(error.value) == (
        f"'udpos-20261122-2' is no sweep in {tmp_path} (did you mean udpos-20261122-1?); "
        "allowed: mine, udpos-20261122-1"
    )
    with pytest.raises(ConfigError, match=r"^'other' is no sweep in .*; allowed: mine, udpos-20261122-1$"):
        sweep_folder(tmp_path, "other")


def test_the_folder_of_a_sweep_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        sweep_folder(tmp_path / "runs", "x")
    assert str(error.value) == f"'x' is no sweep in {tmp_path / 'runs'}; allowed: none there yet"


# --- trials


def test_the_configuration_of_a_baseline() -> None:
    ref = TrialRef(phase="search", number=0, params={"fusion": "none", "learning_rate": 3e-5}, seed=9)
    assert MINIMAL.trial_config(SPACE, ref, ComputeConfig(device="cpu", threads=3)) == TrialConfig(
        task="udpos",
        data=DATA,
        model=ModelConfig(encoder="/encoder", fusion="none"),
        training=TrainingConfig(learning_rate=3e-5, epochs=4, batch_size=16, weight_decay=0.01, reports_per_trial=2),
        compute=ComputeConfig(device="cpu", threads=3),
        select_on="source",
        seed=9,
    )


def test_every_searched_parameter_gets_where_it_belongs() -> None:
    params: Params = {
        "fusion": "dlfa",
        "fusion_layer": 3,
        "reduction_ratio": 8,
        "learning_rate": 3e-5,
        "head_learning_rate": 1e-3,
        "batch_size": 32,
        "weight_decay": 0.1,
        "warmup_fraction": 0.05,
        "dropout": 0.3,
    }
    config = FULL.trial_config(SPACE, TrialRef(phase="confirm", number=1, params=params, seed=2), ComputeConfig())
    assert config.model == ModelConfig(encoder="org/encoder", fusion_layer=3, reduction_ratio=8, dropout=0.3)
    assert config.training == TrainingConfig(
        learning_rate=3e-5,
        head_learning_rate=1e-3,
        epochs=0.5,  # --epochs instead of the space's four
        batch_size=32,
        weight_decay=0.1,
        warmup_fraction=0.05,
        reports_per_trial=2,
    )
    assert config.select_on == "targets"
    assert config.seed == 2


def test_the_baseline_has_no_place_for_a_layer() -> None:
    ref = TrialRef(phase="search", number=0, params={"fusion": "none", "fusion_layer": 3}, seed=1)
    with pytest.raises(ConfigError, match=r"fusion_layer: 3 is not allowed; allowed: no value, because fusion is none"):
        MINIMAL.trial_config(SPACE, ref, ComputeConfig())


# --- provenance


def test_what_a_later_reader_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/dlfa-sweep", "--task", "udpos"])
    found = provenance("CoNLL-U folders", "cd")
    assert found["command"] == "dlfa-sweep --task udpos"
    assert found["layout"] == "CoNLL-U folders"
    assert found["encoder_fingerprint"] == "cd"
    assert set(found["versions"]) == {
        "dlfa-sweep", "torch", "transformers", "ray", "optuna", "mlflow", "seqeval", "numpy",
    }  # fmt: skip
    assert all(re.match(r"\d+\.\d+", text) for text in [found["python"], *found["versions"].values()])
    assert found["git_commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", found["git_commit"])
    assert yaml.safe_load(yaml.safe_dump(found)) == found
