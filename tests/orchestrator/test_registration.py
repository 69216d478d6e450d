"""The best model of a sweep in MLflow's registry: which it is, that it predicts text elsewhere, and every refusal."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytest
import torch
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from ray import tune
from servers import free_port, mlflow_server
from tiny import write_encoder
from toy import write_toy

from dlfa.config import ComputeConfig, DataConfig, ModelConfig, to_mapping
from dlfa.data.sources import Sentence, open_source
from dlfa.embedded.corpus import tagged_sentences
from dlfa.model import build_model, encoder_shape, load_tokenizer, save_model
from dlfa.prediction import load_predictor
from dlfa.tasks import TASKS
from orchestrator import registration, trainable
from orchestrator.cli import report_main
from orchestrator.events import TrialRef
from orchestrator.registration import best_model
from orchestrator.report import load
from orchestrator.settings import SweepSettings, read_settings, write_settings
from orchestrator.space_file import load_space
from orchestrator.tracking import MlflowTracker

SPACE = """\
task: udpos
trials: 2
confirm_seeds: 1
search:
  fusion_layer: {low: 1, high: 3}
  reduction_ratio: {choices: [2, 4]}
  learning_rate: {low: 3.0e-4, high: 1.0e-2, log: true}
training: {epochs: 1, batch_size: 16, reports_per_trial: 2}
max_length: 16
"""
SPACES: Mapping[str, BaseDistribution] = {
    "fusion": CategoricalDistribution(["dlfa", "gate", "mean", "scalar_mix", "none"]),
    "fusion_layer": IntDistribution(1, 3),
    "reduction_ratio": CategoricalDistribution([2, 4]),
    "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
}
BASELINE: Mapping[str, Any] = {"fusion": "none", "learning_rate": 3e-3}
FUSED: Mapping[str, Any] = {"fusion": "dlfa", "fusion_layer": 2, "reduction_ratio": 2, "learning_rate": 3e-3}
GATED: Mapping[str, Any] = {**FUSED, "fusion": "gate", "fusion_layer": 1}
MIXED: Mapping[str, Any] = {"fusion": "scalar_mix", "learning_rate": 3e-3}
SCORES = {"test/avg_target": 40.0, "test/worst": 30.0, "test/gap": 20.0, "test/en/f1": 60.0, "test/de/f1": 40.0}

Run = tuple[TrialState, float | None, Mapping[str, Any], int]
"""State, selection score, parameters and seed of a confirm run."""
COMPLETE, FAIL, RUNNING, WAITING = TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING
TIE: Sequence[Run] = ((COMPLETE, 80.0, BASELINE, 2), (COMPLETE, 80.0, FUSED, 2))
FUSION_WINS: Sequence[Run] = ((COMPLETE, 79.0, BASELINE, 2), (COMPLETE, 80.0, FUSED, 2))
BASELINE_WINS: Sequence[Run] = ((COMPLETE, 80.5, BASELINE, 2), (COMPLETE, 80.0, FUSED, 2))


def write_study(folder: Path, runs: Sequence[Run]) -> None:
    """Write a confirm phase over what is there."""
    (folder / "study.db").unlink(missing_ok=True)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db")
    optuna.create_study(study_name="search", storage=storage, direction="maximize")
    study = optuna.create_study(study_name="confirm", storage=storage, direction="maximize")
    for state, value, params, seed in runs:
        attrs = {"seed": seed} | ({"best_step": 2, "scores": SCORES} if state is COMPLETE else {})
        spaces = {key: SPACES[key] for key in params}
        study.add_trial(
            create_trial(state=state, value=value, params=dict(params), distributions=spaces, user_attrs=attrs)
        )
    study.set_user_attr("numbers", list(range(len(runs))))
    storage.engine.dispose()


def record(settings: SweepSettings, spool: Path, *trials: TrialRef) -> None:
    """Mirror the runs of a sweep as its driver does."""
    told: list[str] = []
    tracker = MlflowTracker(
        uri=settings.tracking_uri, experiment=f"dlfa/{settings.task}", sweep=settings.name, spool=spool,
        notify=told.append,
    )  # fmt: skip
    tracker.sweep_started({}, {})
    for trial in trials:
        tracker.trial_started(trial)
        tracker.trial_ended(trial, "COMPLETE", SCORES, None)
    assert tracker.close(120) == 0, told


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep on the toy with one confirm run of the baseline and one of a layer; the layer is better."""
    root = tmp_path_factory.mktemp("registration")
    data, encoder = write_toy(root / "toy")
    folder = root / "runs" / "mine"
    settings = SweepSettings(
        name="mine",
        task="udpos",
        encoder=str(encoder),
        data=DataConfig(path=str(data), cache=str(root / "cache"), max_length=16, train_limit=96),
        space=SPACE,
        space_file="space.yaml",
        trials=2,
        confirm_seeds=1,
        tracking_uri=f"sqlite:///{root}/runs/mlflow.db",
        provenance={"layout": "CoNLL-U folders"},
    )
    write_settings(folder, settings)
    refs = [TrialRef(phase="confirm", number=n, params=params, seed=2) for n, params in enumerate((BASELINE, FUSED))]
    space = load_space(SPACE, "space.yaml", "udpos", encoder_shape(str(encoder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "report", lambda message: None)
        for ref in refs:
            (folder / "trials" / ref.name).mkdir(parents=True)
            config = settings.trial_config(space, ref, ComputeConfig(device="cpu"))
            place = str(folder / "trials" / ref.name)
            trainable.train(
                {"config": to_mapping(config), "folder": place, "report_timeout": 600.0, "keep_model": True}
            )
    write_study(folder, FUSION_WINS)
    record(settings, folder / "mlflow-spool", *refs)
    return folder


@pytest.fixture
def another(sweep: Path, tmp_path: Path) -> Path:
    """A copy of the sweep, to be changed; its MLflow is the same."""
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(sweep, folder)
    return folder


def changed(folder: Path, **fields: Any) -> None:
    """Write other settings, unchecked."""
    mapping = yaml.safe_load((folder / "sweep.yaml").read_text("utf-8"))
    (folder / "sweep.yaml").write_text(yaml.safe_dump(mapping | fields), "utf-8")


def versions(folder: Path) -> dict[str, int]:
    """Return the registered models with the number of their versions."""
    client = MlflowClient(read_settings(folder).tracking_uri)
    return {m.name: len(client.search_model_versions(f"name='{m.name}'")) for m in client.search_registered_models()}


def report(folder: Path, name: str, *more: str) -> int:
    return report_main([folder.name, "--storage", str(folder.parent), "--register", name, *more])


def refused(capfd: pytest.CaptureFixture[str], folder: Path, name: str = "mine") -> tuple[int, str]:
    """Return exit code and line of a refusal, after which MLflow is as it was."""
    code = report(folder, name)
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1), out + err
    assert err.startswith("dlfa-report: ")
    return code, err[len("dlfa-report: ") : -1]


_ELSEWHERE = """
import json, sys
import mlflow, pandas as pd
uri, model, tables = json.load(sys.stdin)
mlflow.set_tracking_uri(uri)
loaded = mlflow.pyfunc.load_model(model)
found = [loaded.predict(pd.DataFrame(table)) for table in tables]
found.append(loaded.predict(loaded.input_example))
print(json.dumps([{name: table[name].tolist() for name in table} for table in found]))
"""


def predicted_elsewhere(uri: str, model: str, tables: Sequence[Mapping[str, Any]], cwd: Path) -> list[dict[str, Any]]:
    """Return what a process that knows nothing of this one predicts, last for the model's own example."""
    hidden = ("PYTHONPATH", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    command = [sys.executable, "-c", _ELSEWHERE]
    done = subprocess.run(
        command, input=json.dumps([uri, model, tables]), cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mismatch" not in done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


# --- which model


@pytest.mark.parametrize(
    ("runs", "trial", "why"),
    [
        (FUSION_WINS, "confirm-0001", "dlfa layer 2, by mean dev f1: dlfa layer 2 80.00, the baseline 79.00"),
        (BASELINE_WINS, "confirm-0000", "the baseline, by mean dev f1: the baseline 80.50, dlfa layer 2 80.00"),
        (TIE, "confirm-0000",
         "the baseline, by mean dev f1: the baseline 80.00, dlfa layer 2 80.00; of equals the"),
        ([*FUSION_WINS, (COMPLETE, 70.0, FUSED, 3), (COMPLETE, 78.0, BASELINE, 3)], "confirm-0000",
         "the baseline, by mean dev f1: the baseline 78.50, dlfa layer 2 75.00"),
        ([*FUSION_WINS, (COMPLETE, 81.0, FUSED, 3)], "confirm-0002",
         "dlfa layer 2, by mean dev f1: dlfa layer 2 80.50, the"),
        ([*FUSION_WINS, (FAIL, None, FUSED, 3)], "confirm-0001", "dlfa layer 2, by mean dev f1: dlfa layer 2 80.00, "),
        ([(FAIL, None, BASELINE, 2), FUSION_WINS[1]], "confirm-0001", "dlfa layer 2, by mean dev f1: dlfa layer 2 80"),
        ([*FUSION_WINS, (COMPLETE, 80.5, GATED, 2), (COMPLETE, 79.5, MIXED, 2)], "confirm-0002",
         "gate layer 1, by mean dev f1: gate layer 1 80.50, dlfa layer 2 80.00, scalar_mix 79.50, the baseline 79.00"),
        ([(COMPLETE, 80.0, MIXED, 2), (COMPLETE, 80.0, GATED, 2), FUSION_WINS[0]], "confirm-0001",
         "gate layer 1, by mean dev f1: gate layer 1 80.00, scalar_mix 80.00, the baseline 79.00; of equals the"),
        ([*FUSION_WINS, (COMPLETE, 80.5, MIXED, 2)], "confirm-0002", "scalar_mix, by mean dev f1: scalar_mix 80.50"),
        ([FUSION_WINS[1], (COMPLETE, 90.0, {**FUSED, "fusion_layer": 1}, 2), FUSION_WINS[0]], "confirm-0001",
         "dlfa layer 1, by mean dev f1: dlfa layer 1 90.00, the baseline 79.00"),
    ],
)  # fmt: skip
def test_the_best_is_by_the_dev_sets_and_of_equals_the_simpler(
    another: Path, runs: Sequence[Run], trial: str, why: str
) -> None:
    write_study(another, runs)
    best = best_model(load(another))
    assert best.trial == trial
    assert best.why.startswith(why)


def test_oracle_selection_is_said(another: Path) -> None:
    changed(another, select_on="targets")
    why = best_model(load(another)).why
    assert why.startswith("dlfa layer 2, by mean dev f1 (oracle selection): dlfa layer 2 80.00")


# --- what is registered


@pytest.mark.slow
def test_it_predicts_text_in_a_clean_process_as_its_trial_did(
    sweep: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(uri := read_settings(sweep).tracking_uri)
    before = {run.info.run_id: run.info for run in client.search_runs([_experiment(client, "udpos")])}
    assert report(sweep, "toy-tagger") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.startswith("Best fusion layers of sweep mine (udpos)\n")
    assert out.splitlines()[-2:] == [
        "registered toy-tagger version 1: confirm-0001 of sweep mine, dlfa layer 2, by mean dev f1: dlfa layer 2 "
        "80.00, "
        "the baseline 79.00",
        f"load it with: mlflow.set_tracking_uri('{uri}'); mlflow.pyfunc.load_model('models:/toy-tagger/1')",
    ]

    (found,) = client.search_model_versions("name='toy-tagger'")
    run = client.get_run(str(found.run_id))
    assert {"dlfa.sweep": "mine", "dlfa.phase": "confirm", "dlfa.trial": "1"}.items() <= run.data.tags.items()
    after = {run.info.run_id: run.info for run in client.search_runs([_experiment(client, "udpos")])}
    assert {key: (i.status, i.end_time) for key, i in after.items()} == {
        key: (i.status, i.end_time) for key, i in before.items()
    }

    languages = ("en", "de", "es", "fr")
    source = open_source(Path(read_settings(sweep).data.path), TASKS["udpos"])
    tests = {language: [s for s in source.read(language, "test") if isinstance(s, Sentence)] for language in languages}
    longest = max((s for s in tests["de"]), key=lambda s: len(s.words)).words * 5  # of 45 pieces and more; 16 fit
    tables = [{"text": [" ".join(s.words) for s in tests[language]]} for language in languages]
    tables.append({"text": [" ".join(longest), ""]})
    *by_language, long, example = predicted_elsewhere(uri, "models:/toy-tagger/1", tables, tmp_path)
    trial = sweep / "trials" / "confirm-0001"
    for language, table in zip(languages, by_language, strict=True):
        written = (trial / "predictions" / "udpos" / f"test-{language}.tsv").read_text("utf-8")
        assert table == {"labels": [block.split("\n") for block in written.strip().split("\n\n")]}
    assert len(longest) >= 45
    assert [len(tags) for tags in long["labels"]] == [len(longest), 0]
    (sentence,) = tagged_sentences("panx", "en", "train", 1)
    assert [len(tags) for tags in example["labels"]] == [len(sentence.words)]


def _experiment(client: MlflowClient, task: str) -> str:
    found = client.get_experiment_by_name(f"dlfa/{task}")
    assert found is not None
    return str(found.experiment_id)


def test_it_says_what_it_is_and_holds_no_code(
    sweep: Path, another: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "uv.lock").write_text("of another project")
    (tmp_path / "here" / "pyproject.toml").write_text("[project]\n")
    monkeypatch.chdir(tmp_path / "here")
    for count, runs in enumerate((BASELINE_WINS, FUSION_WINS), start=1):
        write_study(another, runs)
        assert report(another, "described", "--format", "json") == 0
        out, err = capfd.readouterr()
        json.loads(out)
        assert err.startswith(f"registered described version {count}: confirm-000{count - 1} of sweep mine, ")
        assert err.count("\n") == 2
    uri = read_settings(another).tracking_uri
    client = MlflowClient(uri)
    baseline, fused = (client.get_model_version("described", str(number)) for number in (1, 2))
    assert fused.tags == {"dlfa.sweep": "mine", "dlfa.trial": "confirm-0001"}
    logged = [client.get_logged_model(str(found.source).removeprefix("models:/")) for found in (baseline, fused)]
    folders = [Path(model.artifact_location.removeprefix("file://")) for model in logged]
    assert baseline.run_id != fused.run_id
    assert [model.source_run_id for model in logged] == [baseline.run_id, fused.run_id]
    assert {model.experiment_id for model in logged} == {_experiment(client, "udpos")}
    assert all(folder.is_relative_to(sweep.parent / "mlartifacts") for folder in folders)
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["pyproject.toml", "uv.lock"]
    models = [Model.load(str(folder)) for folder in folders]
    assert [model.metadata for model in models] == [
        {
            "sweep": "mine", "trial": trial, "task": "udpos", "encoder": read_settings(another).encoder,
            "source_language": "en", "select_on": "source", "fusion": fusion, "fusion_layer": layer,
            "reduction_ratio": ratio, "learning_rate": 3e-3, "metric": "f1", "seeds": 1,
            "scores": {"dev": dev, "avg_target": 40.0, "source": 60.0, "worst": 30.0, "gap": 20.0},
        }
        for trial, fusion, layer, ratio, dev in (
            ("confirm-0000", "none", None, None, 80.5), ("confirm-0001", "dlfa", 2, 2, 80.0),
        )
    ]  # fmt: skip
    signature = models[1].signature
    assert signature is not None
    assert signature.to_dict() == {
        "inputs": '[{"type": "string", "name": "text", "required": true}]',
        "outputs": '[{"type": "array", "items": {"type": "string"}, "name": "labels", "required": true}]',
        "params": None,
    }
    flavor = models[1].flavors["python_function"]
    assert flavor["loader_module"] == "orchestrator.serving"
    assert flavor.keys().isdisjoint({"python_model", "model_code_path", "cloudpickle_version"})
    needed = [line.partition("==")[0] for line in (folders[1] / "requirements.txt").read_text().split()]
    assert {"dlfa-sweep", "mlflow", "torch", "transformers"} == set(needed)
    files = [path for path in folders[1].rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {"", ".json", ".safetensors", ".txt", ".yaml"}
    assert not [path for path in files if path.name in ("uv.lock", "pyproject.toml")]
    assert [path.name for path in files if not path.suffix] == ["MLmodel"]
    assert mlflow.get_tracking_uri() != uri  # the process is as it was


@pytest.mark.slow
def test_a_model_of_pairs_goes_to_a_server_and_predicts_pairs_in_a_clean_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "pairs"
    encoder = str(write_encoder(tmp_path / "encoder"))
    with mlflow_server(tmp_path, free_port()) as uri:
        settings = SweepSettings(
            name="pairs",
            task="xnli",
            encoder=encoder,
            data=DataConfig(path=str(tmp_path), cache=str(tmp_path), max_length=16, source_language="sw"),
            space=SPACE.replace("udpos", "xnli"),
            space_file="space.yaml",
            trials=1,
            confirm_seeds=1,
            tracking_uri=uri,
        )
        write_settings(folder, settings)
        write_study(folder, [(COMPLETE, 50.0, BASELINE, 2)])
        config = ModelConfig(encoder=encoder, fusion="none")
        torch.manual_seed(0)
        model = folder / "trials" / "confirm-0000" / "model"
        save_model(build_model(config, "pair", TASKS["xnli"].labels), model, config, load_tokenizer(encoder), 16)
        record(settings, folder / "mlflow-spool", TrialRef(phase="confirm", number=0, params=BASELINE, seed=2))
        assert report(folder, "pairs") == 0, capfd.readouterr().err
        assert "models:/pairs/1" in capfd.readouterr().out
        pairs = [("the dog sees", "the cat"), ("a small house " * 9, "der Hund"), ("x", "y z")]
        table = {"text": [first for first, _ in pairs], "text_pair": [second for _, second in pairs]}
        found, example = predicted_elsewhere(uri, "models:/pairs/1", [table], tmp_path)
    assert found == {"label": load_predictor(model).labels(pairs)}
    assert len(example["label"]) == 1
    assert list(tmp_path.glob("artifacts/**/dlfa.safetensors"))


# --- refusals


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([*FUSION_WINS, (WAITING, None, FUSED, 3), (RUNNING, None, BASELINE, 3)],
         "--register: sweep mine has 2 of 4 confirm runs to go; allowed: a sweep whose confirm phase has finished; "
         "dlfa-sweep --resume mine goes on with it"),
        ([(FAIL, None, BASELINE, 2)], "--register: sweep mine has no finished confirm run; allowed: a sweep whose "
         "confirm phase has finished, of one seed or more"),
        ([], "--register: sweep mine has no finished confirm run; allowed: a sweep whose confirm phase has finished, "
         "of one seed or more"),
    ],
    ids=["unfinished", "all failed", "none"],
)  # fmt: skip
def test_a_sweep_without_finished_confirm_phase(
    another: Path, capfd: pytest.CaptureFixture[str], runs: Sequence[Run], told: str
) -> None:
    write_study(another, runs)
    assert refused(capfd, another) == (2, told)


@pytest.mark.parametrize("keep", ["best", "none"])
def test_a_model_that_was_not_kept(another: Path, capfd: pytest.CaptureFixture[str], keep: str) -> None:
    shutil.rmtree(another / "trials" / "confirm-0001" / "model")
    changed(another, keep_models=keep)
    reason = (
        "the sweep ran with --keep-models none"
        if keep == "none"
        else f"there is no {another}/trials/confirm-0001/model"
    )
    assert refused(capfd, another) == (
        2,
        f"--register: the model of confirm-0001, dlfa layer 2, was not kept: {reason}; allowed: a sweep with "
        "--keep-models best, the default, which keeps the models of what is best when it first ends",
    )


def test_a_damaged_model_is_not_registered(another: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = another / "trials" / "confirm-0001" / "model" / "dlfa.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    before = versions(another)
    code, told = refused(capfd, another, "damaged")
    assert code == 2
    assert told.startswith(f"{path}: cannot be read (")
    assert versions(another) == before


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "..", "é", "a b", "x" * 101])
def test_a_name_that_could_not_be_loaded(sweep: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    assert refused(capfd, sweep, name) == (
        2,
        f"--register: {name!r} is not allowed; allowed: up to 100 letters, digits, dots, dashes and underscores",
    )


def test_a_name_that_mlflow_refuses(
    sweep: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: object, name: str) -> None:
        raise MlflowException("Three\nparts are needed", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(MlflowClient, "get_registered_model", refuse)
    code, told = refused(capfd, sweep, "mine")
    assert (code, told) == (
        2,
        "--register: 'mine' is not allowed (MLflow: Three parts are needed); allowed: a name that MLflow takes",
    )


def test_only_one_sweep_at_a_time(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert report_main(["mine", "yours", "--storage", str(sweep.parent), "--register", "both"]) == 2
    assert capfd.readouterr() == (
        "",
        "dlfa-report: --register: 2 sweeps are not allowed with it; allowed: one NAME\n",
    )


@pytest.mark.parametrize("what", ["another database", "no database", "another sweep's"])
def test_runs_that_mlflow_does_not_have(another: Path, capfd: pytest.CaptureFixture[str], what: str) -> None:
    uri = read_settings(another).tracking_uri
    name = "mine"
    if what == "another sweep's":
        changed(another, name=(name := "its"))
    else:
        uri = f"sqlite:///{another.parent}/other.db"
        if what == "another database":
            MlflowClient(uri).create_experiment("dlfa/udpos")
            capfd.readouterr()
        changed(another, tracking_uri=uri)
    assert refused(capfd, another) == (
        2,
        f"--register: no run of confirm-0001 of sweep {name} in MLflow at {uri}; allowed: a sweep whose records have "
        f"arrived; dlfa-sweep --resume {name} delivers what is waiting",
    )
    assert (another.parent / "other.db").exists() == (what == "another database")


def test_a_server_that_is_away(another: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changed(another, tracking_uri=(uri := f"http://127.0.0.1:{free_port()}"))
    code, told = refused(capfd, another)
    assert code == 1
    assert told.startswith(f"--register: MLflow at {uri} fails (")
    assert "Connection refused" in told


def test_a_server_that_does_not_answer(
    another: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "_ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        changed(another, tracking_uri=(uri := f"http://127.0.0.1:{silent.getsockname()[1]}"))
        assert refused(capfd, another) == (1, f"--register: MLflow at {uri} fails (no answer within 0.5 seconds)")


def test_a_store_that_fails_while_the_model_is_logged(
    sweep: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**arguments: object) -> None:
        raise OSError(28, "No space left on device", "/some/store")

    monkeypatch.setattr(Model, "log", fail)
    uri = read_settings(sweep).tracking_uri
    code, told = refused(capfd, sweep)
    assert (code, told) == (
        1,
        f"--register: MLflow at {uri} fails ([Errno 28] No space left on device: '/some/store')",
    )


@pytest.mark.parametrize(
    "uri", ["https://me:hunter2@127.0.0.1:1/x", "postgresql://u:hunter2@127.0.0.1/x?sslpassword=hunter2"]
)
def test_no_secret_is_shown(another: Path, capfd: pytest.CaptureFixture[str], uri: str) -> None:
    changed(another, tracking_uri=uri)
    code, told = refused(capfd, another)
    assert code == 2
    assert "tracking_uri: a password or token is not allowed in it" in told
    assert "hunter2" not in told


def test_settings_that_cannot_be_read(another: Path, capfd: pytest.CaptureFixture[str]) -> None:
    changed(another, trials=0)
    code, told = refused(capfd, another)
    assert (code, told) == (2, f"{another}/sweep.yaml.trials: 0 is not allowed; allowed: 1..100000")
