"""`dlfa-train` as a user meets it: what it prints, what it writes, how it fails; wrong lines are in `bad_input`."""

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from seqeval.metrics import f1_score
from toy import write_toy

import dlfa.cli
import dlfa.trial
from dlfa.checkpoint import CheckpointFile
from dlfa.compute import Compute
from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig, from_mapping
from dlfa.data.encode import encode
from dlfa.data.sources import open_source
from dlfa.evaluation import predict
from dlfa.model import load_model, load_tokenizer
from dlfa.progress import Report
from dlfa.tasks import TASKS
from dlfa.trial import TrialResult, run_trial

pytestmark = pytest.mark.filterwarnings("ignore:.* seems not to be NE tag")

LANGUAGES = ("de", "en", "es", "fr")
BASELINE = ("--fusion", "none")
FUSED = ("--fusion-layer", "2", "--reduction-ratio", "4")


@dataclass(frozen=True)
class Toy:
    root: Path
    data: Path
    encoder: Path

    def arguments(self, out: Path, *more: str) -> list[str]:
        """A run of seven steps and three reports; later flags win."""
        flags = f"--task udpos --data {self.data} --encoder {self.encoder} --cache {self.root / 'cache'} --out {out}"
        size = "--learning-rate 3e-3 --epochs 1 --train-limit 200 --eval-limit 30 --reports 3 --max-length 32"
        return [*flags.split(), *size.split(), "--threads", "1", "--precision", "fp32", "--device", "cpu", *more]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def run(arguments: Sequence[str]) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = dlfa.cli.main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else -1
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    root = tmp_path_factory.mktemp("toy")
    return Toy(root, *write_toy(root))


@pytest.fixture(scope="module", params=[BASELINE, FUSED], ids=["baseline", "fused"])
def trained(request: pytest.FixtureRequest, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    out = tmp_path_factory.mktemp("runs") / "out"
    return run(toy.arguments(out, *request.param)), out


def gold(toy: Toy, language: str) -> list[list[str]]:
    """The first 30 sentences' tags, read without the project's reader."""
    text = (toy.data / language / f"{language}_toy-test.conllu").read_text()
    return [[row.split("\t")[3] for row in block.splitlines()] for block in text.strip().split("\n\n")][:30]


def predictions(out: Path, language: str) -> list[list[str]]:
    text = (out / "predictions" / "udpos" / f"test-{language}.tsv").read_text()
    return [block.split("\n") for block in text.removesuffix("\n\n").split("\n\n")]


def test_prints_every_report_and_the_scores(trained: tuple[Done, Path], toy: Toy) -> None:
    done, out = trained
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    number = r"-?\d+\.\d\d"
    assert lines[0] == f"data: CoNLL-U folders in {toy.data}"
    assert lines[1].startswith("leakage: sentences of the training set are also in en dev (1 of 30, ")
    for step in (1, 2, 3):
        assert re.fullmatch(rf"report {step}/3: loss \d\.\d{{4}}, dev {number}", lines[step + 1])
    scores = json.loads((out / "scores.json").read_text())["scores"]
    for language in LANGUAGES:
        f1, accuracy = (scores[f"test/{language}/{metric}"] for metric in ("f1", "accuracy"))
        assert [language, f"{f1:.2f}", f"{accuracy:.2f}"] in [line.split() for line in lines]
    for name in ("avg", "avg_target", "worst", "gap", "near", "far", "enf"):
        assert [name, f"{scores[f'test/{name}']:.2f}"] in [line.split() for line in lines]
    assert lines[-1] == f"wrote {out}/scores.json, predictions/ and model/"


def test_writes_scores_predictions_and_model_and_nothing_else(trained: tuple[Done, Path]) -> None:
    _, out = trained
    assert sorted(path.name for path in out.iterdir()) == ["examples.parquet", "model", "predictions", "scores.json"]
    assert [path.name for path in (out / "predictions").iterdir()] == ["udpos"]
    assert sorted(path.name for path in (out / "predictions" / "udpos").iterdir()) == [
        f"test-{language}.tsv" for language in LANGUAGES
    ]
    summary = json.loads((out / "scores.json").read_text())
    assert list(summary) == ["config", "scores", "best_step", "selection_score", "reports", "counts"]
    assert list(summary["scores"]) == [
        *(f"test/{language}/{metric}" for language in ("en", "de", "es", "fr") for metric in ("f1", "accuracy")),
        *(f"test/{name}" for name in ("avg", "avg_target", "worst", "gap", "near", "far", "enf")),
    ]
    assert len(summary["reports"]) == 3
    assert summary["reports"][summary["best_step"] - 1]["score"] == summary["selection_score"]


def test_the_flags_are_the_configuration(trained: tuple[Done, Path], toy: Toy) -> None:
    config = from_mapping(TrialConfig, json.loads((trained[1] / "scores.json").read_text())["config"])
    fused = config.model.fusion == "dlfa"
    assert (config.model.fusion_layer, config.model.reduction_ratio) == ((2, 4) if fused else (None, None))
    assert (config.data.path, config.data.cache) == (str(toy.data), str(toy.root / "cache"))
    assert (config.data.train_limit, config.data.eval_limit, config.data.max_length) == (200, 30, 32)
    assert (config.training.learning_rate, config.training.epochs, config.training.reports_per_trial) == (3e-3, 1, 3)
    assert (config.compute.device, config.compute.precision, config.compute.threads) == ("cpu", "fp32", 1)
    assert (config.select_on, config.seed, config.training.batch_size) == ("source", 1, 32)


def test_every_score_follows_from_the_written_predictions(trained: tuple[Done, Path], toy: Toy) -> None:
    scores = json.loads((trained[1] / "scores.json").read_text())["scores"]
    for language in LANGUAGES:
        expected, found = gold(toy, language), predictions(trained[1], language)
        assert [len(tags) for tags in found] == [len(tags) for tags in expected]
        assert scores[f"test/{language}/f1"] == 100 * float(f1_score(expected, found))
        pairs = [p for e, f in zip(expected, found, strict=True) for p in zip(e, f, strict=True)]
        assert scores[f"test/{language}/accuracy"] == pytest.approx(100 * sum(a == b for a, b in pairs) / len(pairs))
    assert len({tag for language in LANGUAGES for tags in predictions(trained[1], language) for tag in tags}) > 3


def test_the_written_model_makes_the_written_predictions(trained: tuple[Done, Path], toy: Toy) -> None:
    _, out = trained
    model, tokenizer, task = load_model(out / "model"), load_tokenizer(str(out / "model")), TASKS["udpos"]
    assert model.labels == task.labels
    pad = tokenizer.pad_token_id
    assert isinstance(pad, int)
    for language in LANGUAGES:
        split = encode(open_source(toy.data, task).read(language, "test")[:30], tokenizer, task, 32)
        predicted = predict(model, split, Compute(torch.device("cpu"), bf16=False), pad)
        assert split.by_example(predicted, model.labels) == predictions(out, language)


def test_short_windows_split_sentences_and_lose_no_word(toy: Toy, tmp_path: Path) -> None:
    done = run(toy.arguments(tmp_path / "out", *FUSED, "--max-length", "8", "--languages", "de"))
    assert (done.code, done.err) == (0, "")
    summary = json.loads((tmp_path / "out" / "scores.json").read_text())
    expected, found = gold(toy, "de"), predictions(tmp_path / "out", "de")
    assert max(len(tags) for tags in expected) > 8
    assert [len(tags) for tags in found] == [len(tags) for tags in expected]
    assert summary["scores"]["test/de/f1"] == 100 * float(f1_score(expected, found))
    assert summary["counts"]["split_sentences"] > sum(len(tags) > 6 for tags in expected)


def test_select_on_targets_reads_target_dev_sets(toy: Toy, tmp_path: Path) -> None:
    done = run(toy.arguments(tmp_path / "out", *BASELINE, "--select-on", "targets", "--languages", "de, fr"))
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert summary["config"]["select_on"] == "targets"
    metrics = summary["reports"][0]["metrics"]
    assert list(metrics) == [
        "dev/de/f1",
        "dev/de/accuracy",
        "dev/fr/f1",
        "dev/fr/accuracy",
        "train/loss",
        "train/micro_batch_size",
    ]
    assert summary["reports"][0]["score"] == pytest.approx((metrics["dev/de/f1"] + metrics["dev/fr/f1"]) / 2)


def interrupted_at(number: int) -> Callable[..., TrialResult]:
    """`run_trial`, interrupted right after a report was printed."""

    def run_until(
        config: TrialConfig,
        report: Callable[[Report], None],
        checkpoint: CheckpointFile,
        say: Callable[[str], None],
    ) -> TrialResult:
        def report_and_stop(entry: Report) -> None:
            report(entry)
            if entry.step == number:
                raise KeyboardInterrupt

        return run_trial(config, report_and_stop, checkpoint, say)

    return run_until


@pytest.mark.usefixtures("minutes")
def test_an_interrupted_run_goes_on_to_the_same_scores(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    assert run(toy.arguments(whole, *FUSED)).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(dlfa.trial, "run_trial", interrupted_at(2))
        done = run(toy.arguments(again, *FUSED))
    assert done.code == 130
    assert done.err == "\ndlfa-train: interrupted; the same command goes on from the last checkpoint\n"
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["data", "leakage", "report 1/3", "report 2/3"]
    assert [path.name for path in again.iterdir()] == ["checkpoint.safetensors"]

    # Another configuration must not go on from there.
    other = run(toy.arguments(again, *FUSED, "--seed", "2"))
    assert other.code == 2
    assert "report" not in other.out
    assert other.err == (
        f"dlfa-train: {again}/checkpoint.safetensors: a checkpoint of another configuration; allowed: the same "
        "configuration, or a folder without a checkpoint\n"
    )

    done = run(toy.arguments(again, *FUSED))
    assert (done.code, done.err) == (0, "")
    reports = [line.split(":")[0] for line in done.out.splitlines() if line.startswith("report")]
    assert reports == ["report 1/3", "report 2/3", "report 3/3"]  # the earlier ones are told again
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*") if path.is_file())
    for name in names:
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_interrupted_before_the_first_checkpoint(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> TrialResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(dlfa.trial, "run_trial", never)
    assert run(toy.arguments(tmp_path / "out", *BASELINE)).code == 130
    assert not (tmp_path / "out").exists()


def test_out_may_be_an_empty_folder_and_paths_may_be_relative(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy.data, "data")
    relative = ["--data", "data", "--cache", "cache", "--out", "out"]
    short = ["--train-limit", "32", "--eval-limit", "5", "--reports", "1"]
    done = run(toy.arguments(tmp_path / "none", *BASELINE, *relative, *short))
    assert (done.code, done.err) == (0, "")
    config = json.loads(Path("out", "scores.json").read_text())["config"]["data"]
    assert (config["path"], config["cache"]) == (str(tmp_path / "data"), str(tmp_path / "cache"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "out"]


def test_training_that_diverges_is_a_failure(toy: Toy, tmp_path: Path) -> None:
    broken = tmp_path / "encoder"
    shutil.copytree(toy.encoder, broken)
    weights = load_file(broken / "model.safetensors")
    weights["embeddings.LayerNorm.bias"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    done = run(toy.arguments(tmp_path / "out", *BASELINE, "--encoder", str(broken)))
    assert (done.code, done.err) == (1, "dlfa-train: training: loss nan with gradient norm nan is not finite\n")
    assert "report" not in done.out
    assert not (tmp_path / "out").exists()


def asked(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> TrialConfig:
    """The configuration that a command line would train."""
    configs: list[TrialConfig] = []

    def record(config: TrialConfig, *args: Any) -> TrialResult:
        configs.append(config)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dlfa.trial, "run_trial", record)
        assert run(arguments).code == 130
    return configs[0]


def test_every_flag_reaches_the_configuration(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (
        "--task udpos --source-lang fr --languages de,en --epochs 0.5 --train-limit 7 --eval-limit 8 --seed 0 "
        "--select-on targets --fusion dlfa --fusion-layer 0 --reduction-ratio 3 --learning-rate 1e-5 "
        "--head-learning-rate 1e-3 --batch-size 16 --max-length 64 --reports 2 --precision bf16 "
        "--device cpu --threads 3"
    )
    paths = ["--data", str(toy.data), "--encoder", "hub/id", "--cache", str(tmp_path), "--out", str(tmp_path / "out")]
    assert asked([*flags.split(), *paths], monkeypatch) == TrialConfig(
        task="udpos",
        data=DataConfig(
            path=str(toy.data),
            cache=str(tmp_path),
            source_language="fr",
            languages=("de", "en"),
            max_length=64,
            train_limit=7,
            eval_limit=8,
        ),
        model=ModelConfig(encoder="hub/id", fusion_layer=0, reduction_ratio=3),
        training=TrainingConfig(
            learning_rate=1e-5, head_learning_rate=1e-3, epochs=0.5, batch_size=16, reports_per_trial=2
        ),
        compute=ComputeConfig(device="cpu", precision="bf16", threads=3),
        select_on="targets",
        seed=0,
    )


def test_flags_that_are_left_out(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    required = f"--task udpos --fusion none --learning-rate 1e-5 --data {toy.data} --encoder e --out {tmp_path}/out"
    assert asked(required.split(), monkeypatch) == TrialConfig(
        task="udpos",
        data=DataConfig(path=str(toy.data), cache=str(tmp_path / ".cache" / "dlfa-sweep")),
        model=ModelConfig(encoder="e", fusion="none"),
        training=TrainingConfig(learning_rate=1e-5),
        compute=ComputeConfig(threads=len(os.sched_getaffinity(0))),
    )


def test_version() -> None:
    assert run(["--version"]) == Done(0, f"dlfa-sweep {version('dlfa-sweep')}\n", "")
