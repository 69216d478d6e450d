"""Safe by default: what a stranger wrote runs nothing, what is secret stays where it is, and nobody else is let in."""

import json
import os
import pickle
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import transformers.modeling_utils
import yaml
from bad_input.world import World, make_world
from sweeps import Storage, driving, space

import dlfa.cli
import orchestrator.sweep
from dlfa.config import to_mapping
from dlfa.data.sources import open_source
from dlfa.errors import DlfaError
from dlfa.model import EncoderShape, load_encoder, load_model, load_tokenizer
from dlfa.tasks import TASKS
from dlfa.untrusted import has_secret, without_secrets
from orchestrator.cli import sweep_main
from orchestrator.pruning import make_pruner
from orchestrator.report import load
from orchestrator.search import make_sampler, open_storage
from orchestrator.settings import read_settings
from orchestrator.space_file import load_space

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for package in ("dlfa", "orchestrator") for path in (ROOT / package).rglob("*.py"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail("something was about to be unpickled")

    monkeypatch.setattr(torch, "load", refuse)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)


# --- nothing that a stranger wrote is run


@pytest.mark.usefixtures("no_pickle")
@pytest.mark.parametrize("name", ["pickle", "pickle-by-index", "own-code"])
def test_no_code_of_an_encoder_is_run(toy: World, name: str) -> None:
    folder = toy.root / "encoders" / name
    for reader in (load_encoder, load_tokenizer):
        if name == "own-code" or reader is load_encoder:
            with pytest.raises(DlfaError):
                reader(str(folder))
    assert not (toy.root / "encoders" / "code was run").exists()


def test_the_traps_work(toy: World, tmp_path: Path) -> None:
    """Else the tests above would tell nothing."""
    torch.load(toy.root / "encoders" / "pickle" / "pytorch_model.bin", weights_only=False)
    (toy.root / "encoders" / "code was run").rmdir()
    yaml.unsafe_load(f"!!python/object/apply:os.mkdir [{tmp_path}/trap]")
    assert (tmp_path / "trap").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
def test_no_kernel_that_a_config_names_is_fetched(
    toy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    def fetch(*arguments: object, **options: object) -> None:
        pytest.fail("a kernel was about to be fetched")

    monkeypatch.setattr(transformers.modeling_utils, "lazy_import_flash_attention", fetch)
    shutil.copytree(toy.encoder, tmp_path / "encoder")
    config = json.loads((toy.encoder / "config.json").read_text())
    (tmp_path / "encoder" / "config.json").write_text(json.dumps(config | {key: "kernels-community/flash-attn"}))
    assert load_encoder(str(tmp_path / "encoder")).config._attn_implementation == "sdpa"


def _space(text: str, folder: Path) -> object:
    return load_space(text, "s.yaml", "udpos", EncoderShape(layers=6, hidden_size=48, vocabulary=9, max_positions=64))


def _settings(text: str, folder: Path) -> object:
    (folder / "sweep.yaml").write_text(text)
    return read_settings(folder)


def _report(text: str, folder: Path) -> object:
    (folder / "sweep.yaml").write_text(text)
    (folder / "study.db").touch()
    return load(folder)


def _card(text: str, folder: Path) -> object:
    (folder / "README.md").write_text(f"---\n{text}\n---\n")
    return open_source(folder, TASKS["udpos"])


@pytest.mark.parametrize("read", [_space, _settings, _report, _card])
@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir", "python/object/new:os.mkdir", "python/name:os.mkdir"])
def test_tags_of_yaml_run_nothing(tmp_path: Path, read: Callable[[str, Path], object], tag: str) -> None:
    with pytest.raises(DlfaError):
        read(f"task: !!{tag} [{tmp_path}/trap]", tmp_path)
    assert not (tmp_path / "trap").exists()


@pytest.mark.usefixtures("no_pickle")
def test_a_study_that_a_stranger_wrote_unpickles_nothing(toy: World, tmp_path: Path) -> None:
    """Some of Optuna's samplers keep a pickle in a study; ours look at none."""
    folder = shutil.copytree(toy.sweep, tmp_path / "mine")
    trap = b"cos\nmkdir\n(V" + str(tmp_path / "trap").encode() + b"\ntR."
    with closing(sqlite3.connect(folder / "study.db")) as study, study:
        for key in ("cma:optimizer", "cma:optimizer:0", "cma:restart:optimizer:0", "tpe", "completed_rung_0"):
            for kind in ("trial_system_attributes", "trial_user_attributes"):
                study.execute(
                    f"INSERT INTO {kind} (trial_id, key, value_json) VALUES (1, ?, ?)", (key, json.dumps(trap.hex()))
                )
    assert load(folder).name == "mine"
    for sampler in ("tpe", "random", "grid"):
        opened = optuna.load_study(
            study_name="search",
            storage=open_storage(folder / "study.db"),
            sampler=make_sampler(sampler, 1),
            pruner=make_pruner("median", 2),
        )
        trial = opened.ask()
        trial.suggest_categorical("fusion", ("none",))
        trial.report(1.0, 1)
        trial.should_prune()
    assert not (tmp_path / "trap").exists()


@pytest.mark.usefixtures("no_pickle", "minutes")
def test_a_run_neither_writes_nor_reads_a_pickle(
    toy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = [*toy.flags("dlfa-train", tmp_path), "--train-limit", "64", "--eval-limit", "5", "--reports", "2"]
    with monkeypatch.context() as patch:  # a checkpoint that stays
        patch.setattr("dlfa.trial.TrialResult.save", _interrupt)
        assert dlfa.cli.main(line) == 130
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()
    assert dlfa.cli.main(line) == 0, capfd.readouterr().err
    load_model(tmp_path / "out" / "model")
    written = [path for folder in ("out", "cache") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".json", ".parquet", ".safetensors", ".tsv"}


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


UNSAFE = {
    r"\bpickle\b(?! and |,| in )": "pickle",
    r"\btorch\.load\(": "torch.load",
    r"weights_only\s*=\s*False": "weights_only=False",
    r"trust_remote_code\s*=\s*(?!False)": "trust_remote_code",
    r"allow_pickle": "allow_pickle",
    r"\byaml\.(unsafe_|full_)?load(_all)?\((?!.*_\w*(Loader|LOADER))": "yaml.load",
    r"(?<![.\w])(eval|exec)\(": "eval",
    r"shell\s*=\s*True|os\.system": "a shell",
    r"0\.0\.0\.0": "every interface",
}


def test_no_source_has_an_unsafe_call() -> None:
    assert len(SOURCES) > 80
    found = []
    for path in SOURCES:
        code = re.sub(r'""".*?"""|#[^\n]*|"[^"\n]*"', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        found += [f"{path}: {name}" for pattern, name in UNSAFE.items() if re.search(pattern, code)]
    assert found == []


# --- secrets

SECRETS = [
    "https://me:s3cret@host",
    "https://me:s3/c@ret@host/path",
    "https://s3cret@host",
    "postgresql://me:s3cret@host/db",
    "postgresql+psycopg2://host/db?user=me&password=s3cret",
    "postgresql://host/db?sslpassword=s3cret",
    "https://host/path?X-Amz-Signature=s3cret&x=1",
    "https://host/path?AWSAccessKeyId=s3cret",
    "https://host/#access_token=s3cret",
    "hf_s3cretS3CRETs3cretS3CRETs3cret",
    "--encoder=hf_s3cretS3CRETs3cretS3CRETs3cret",
    "AKIAS3CRETS3CRETS3CR",
]


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_known_by_their_places_and_looks(text: str) -> None:
    assert has_secret(text)
    assert "s3cret" not in without_secrets(f"dlfa-sweep --tracking-uri {text} --seed 1").lower()
    assert without_secrets(f"a {text} --seed 1").endswith(" --seed 1")


@pytest.mark.parametrize(
    "text",
    [
        "https://host:5000/path",
        "sqlite:////home/me@host/mlflow.db",
        "postgresql://host/db?sslmode=require",
        "dlfa-sweep --task udpos --encoder me/hf_model --name monkey=1 --storage /a@b:c",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_secret_that_was_typed_is_nowhere_in_the_settings(
    toy: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that a later one overrides is checked by nobody, but is a part of the command."""
    found: list[Mapping[str, Any]] = []

    def run(sweeps: list[tuple[Path, Any]], *arguments: object, **options: object) -> int:
        found.extend(to_mapping(prepared.settings) for _, prepared in sweeps)
        return 0

    monkeypatch.setattr(orchestrator.sweep, "run", run)
    uris = [f"--tracking-uri={uri}" for uri in (*SECRETS, "http://host")]
    line = [*toy.flags("dlfa-sweep", tmp_path), *uris]
    monkeypatch.setattr(sys, "argv", ["dlfa-sweep", *line])
    assert sweep_main(line) == 0
    text = yaml.safe_dump(found)
    assert "--tracking-uri=https://***@host" in found[0]["provenance"]["command"]
    assert "s3cret" not in text.lower()


_IN_THE_ENVIRONMENT = {
    "HF_TOKEN": "hf_s3cretS3CRETs3cretS3CRETs3cret",
    "MLFLOW_TRACKING_USERNAME": "s3cret-user",
    "MLFLOW_TRACKING_PASSWORD": "s3cret-password",
    "MLFLOW_TRACKING_TOKEN": "s3cret-token",
    "AWS_ACCESS_KEY_ID": "AKIAS3CRETS3CRETS3CR",
    "AWS_SECRET_ACCESS_KEY": "s3cret-key",
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, list[str]]]:
    """A whole sweep with secrets in its environment: what it printed, its folders, and where it listened meanwhile."""
    root = tmp_path_factory.mktemp("swept")
    storage = Storage.make(root, space(trials=2, layers=1, confirm_seeds=1, epochs=1))
    temporary = Path("/tmp") / f"dlfa-{os.getpid()}"  # Ray's sockets need a short path
    environment = os.environ | _IN_THE_ENVIRONMENT | {"RAY_TMPDIR": str(temporary)}
    try:
        with driving(storage.command("--name", "mine"), environment) as driver:
            driver.until("search")
            listening = _listening(driver.process.pid)
            assert driver.end() == 0, driver.printed
        shutil.copytree(temporary, root / "logs", symlinks=True, ignore=shutil.ignore_patterns("sockets"))
        yield driver.printed, root, listening
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _descendants(pid: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found


def _listening(pid: int) -> list[str]:
    """Return the addresses, in the kernel's hexadecimal, at which a process and its descendants listen."""
    sockets = set()
    for process in _descendants(pid):
        try:
            sockets |= {str(entry.readlink()) for entry in Path(f"/proc/{process}/fd").iterdir()}
        except OSError:
            continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1].partition(":")[0])
    return found


_LOOPBACK = {
    "0100007F",
    "0000000000000000FFFF00000100007F",  # the same, as IPv6 has it
    "00000000000000000000000001000000",
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_sweep_on_this_machine_listens_on_loopback_alone(swept: tuple[str, Path, list[str]]) -> None:
    assert len(swept[2]) > 3, "Ray listens somewhere"
    assert set(swept[2]) <= _LOOPBACK


@pytest.mark.slow
def test_a_sweep_writes_no_secret_of_its_environment(swept: tuple[str, Path, list[str]]) -> None:
    printed, root, _ = swept
    assert "s3cret" not in printed.lower()
    assert _with_secrets(root / "runs", "sweep.yaml", "study.db", "records.jsonl", "mlflow.db") == []


@pytest.mark.slow
def test_ray_logs_no_secret_of_a_sweeps_environment(swept: tuple[str, Path, list[str]]) -> None:
    assert _with_secrets(swept[1] / "logs", "*.log", "*.out") == []


def _with_secrets(root: Path, *kinds: str) -> list[Path]:
    """Return the files that have a secret; there must be some of every kind."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    for kind in kinds:
        assert any(path.match(kind) for path in files), kind
    return [path for path in files if b"s3cret" in path.read_bytes().lower()]
