"""A whole trial on the toy: what it reads and when, what it scores, what it writes."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from seqeval.metrics import f1_score
from tiny import FAMILIES, write_encoder
from torch import nn
from torch.nn import Module
from torch.nn.modules.module import register_module_forward_hook
from toy import write_toy

import dlfa.trial
from dlfa.checkpoint import CheckpointFile
from dlfa.compute import choose
from dlfa.config import ComputeConfig, DataConfig, ModelConfig, TrainingConfig, TrialConfig, from_mapping, to_mapping
from dlfa.data.sources import Sentence, Source, Split, open_source
from dlfa.errors import ConfigError, DataError
from dlfa.evaluation import predict, score
from dlfa.fusions import DLFA, FUSIONS
from dlfa.model import Classifier, load_encoder
from dlfa.progress import Report
from dlfa.tasks import TASKS
from dlfa.training import trained_pieces
from dlfa.trial import EXAMPLES, TrialResult, identity, open_corpus, run_trial, sets_read

pytestmark = pytest.mark.filterwarnings("ignore:.* seems not to be NE tag")

TASK = TASKS["udpos"]
Toy = tuple[Path, Path]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return write_toy(tmp_path_factory.mktemp("toy"))


def configuration(data: Path, toy: Toy, **changes: Any) -> TrialConfig:
    """A trial of seven steps and two reports; changes of data and training go by field name."""
    parts: dict[str, Any] = {
        "data": DataConfig(
            path=str(data), cache=str(toy[0].parent / "cache"), max_length=32, train_limit=200, eval_limit=30
        ),
        "training": TrainingConfig(learning_rate=3e-3, epochs=1, reports_per_trial=2, checkpoint_seconds=0),
    }
    for part in parts:
        known = {name: changes.pop(name) for name in list(changes) if hasattr(parts[part], name)}
        parts[part] = replace(parts[part], **known)
    return TrialConfig(
        task="udpos",
        model=changes.pop("model", ModelConfig(encoder=str(toy[1]), fusion_layer=2, reduction_ratio=4)),
        compute=ComputeConfig(device="cpu", precision="fp32"),
        **parts,
        **changes,
    )


@pytest.fixture(scope="module")
def result(toy: Toy) -> TrialResult:
    return run_trial(configuration(toy[0], toy))


def gold(data: Path, language: str, split: Split = "test", limit: int = 30) -> list[list[str]]:
    return [list(sentence.tags or ()) for sentence in sentences(open_source(data, TASK), language, split)[:limit]]


def sentences(source: Source, language: str, split: Split) -> list[Sentence]:
    return [example for example in source.read(language, split) if isinstance(example, Sentence)]


def test_result_of_a_trial(result: TrialResult, toy: Toy) -> None:
    languages = ("en", "de", "es", "fr")
    assert list(result.scores) == [
        *(f"test/{language}/{metric}" for language in languages for metric in ("f1", "accuracy")),
        *(f"test/{name}" for name in ("avg", "avg_target", "worst", "gap", "near", "far", "enf")),
    ]
    for language in languages:
        predicted = result.predictions[language]
        assert result.scores[f"test/{language}/f1"] == 100 * f1_score(gold(toy[0], language), predicted)
    f1 = {language: result.scores[f"test/{language}/f1"] for language in languages}
    assert result.scores["test/avg"] == pytest.approx(sum(f1.values()) / 4)
    assert result.scores["test/worst"] == min(f1["de"], f1["es"], f1["fr"])
    assert f1["en"] > 30  # the toy is learnt, so that equal scores elsewhere mean something
    assert [report.step for report in result.reports] == [1, 2]
    assert list(result.reports[0].metrics) == ["dev/en/f1", "dev/en/accuracy", "train/loss", "train/micro_batch_size"]
    assert [report.score for report in result.reports] == [report.metrics["dev/en/f1"] for report in result.reports]
    assert result.best == max(result.reports, key=lambda report: report.score)
    assert result.counts == {"train_windows": 200, "split_sentences": 0, "shortened_words": 0, "unknown_words": 0}


def test_summary_is_json_and_holds_the_configuration(result: TrialResult) -> None:
    summary = json.loads(json.dumps(result.summary()))
    assert from_mapping(TrialConfig, summary["config"]) == result.config
    assert summary["scores"] == result.scores
    assert (summary["best_step"], summary["selection_score"]) == (result.best.step, result.best.score)
    assert [report["step"] for report in summary["reports"]] == [1, 2]
    assert summary["reports"][1]["metrics"] == result.reports[1].metrics
    assert summary["counts"] == result.counts


def test_same_configuration_same_numbers(result: TrialResult) -> None:
    again = run_trial(result.config)
    assert again.summary() == result.summary()
    assert again.predictions == result.predictions
    expected = result.model.state_dict()
    assert [name for name, value in again.model.state_dict().items() if not torch.equal(value, expected[name])] == []
    assert run_trial(replace(result.config, seed=2)).reports != result.reports


def test_test_sets_are_not_read_before_training_is_over(result: TrialResult, toy: Toy, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy[0], data)
    tests = list(data.glob("*/*-test.conllu"))
    assert len(tests) == 4
    for path in tests:
        path.write_text("nothing that could be read\n")

    def report(entry: Report) -> None:
        if entry.step == 2:  # the last one
            for path in tests:
                shutil.copy(toy[0] / path.relative_to(data), path)

    assert run_trial(configuration(data, toy), report).scores == result.scores


def test_files_of_other_splits_are_not_read(result: TrialResult, toy: Toy, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy[0], data)
    unused = list(data.glob("[!e]*/*-dev.conllu"))  # dev sets of targets: only an oracle looks at those
    assert len(unused) == 2
    for path in unused:
        path.write_text("nothing that could be read\n")
    assert run_trial(configuration(data, toy)).scores == result.scores


def test_oracle_selection_reads_the_targets_dev_sets(toy: Toy) -> None:
    found = run_trial(configuration(toy[0], toy, select_on="targets", languages=("fr", "de")))
    first = found.reports[0]
    assert list(first.metrics) == [
        "dev/fr/f1",
        "dev/fr/accuracy",
        "dev/de/f1",
        "dev/de/accuracy",
        "train/loss",
        "train/micro_batch_size",
    ]
    assert first.score == pytest.approx((first.metrics["dev/fr/f1"] + first.metrics["dev/de/f1"]) / 2)
    assert first.metrics["dev/fr/f1"] != first.metrics["dev/de/f1"]
    assert list(found.predictions) == ["en", "fr", "de"]


def test_sets_that_a_trial_reads(toy: Toy, tmp_path: Path) -> None:
    def sets(**changes: Any) -> dict[Split, tuple[str, ...]]:
        config = configuration(data, toy, **changes)
        return sets_read(config, open_corpus(config))

    data = tmp_path / "data"
    shutil.copytree(toy[0], data)
    everything = ("en", "de", "es", "fr")
    assert sets() == {"train": ("en",), "dev": ("en",), "test": everything}
    assert sets(languages=("fr",)) == {"train": ("en",), "dev": ("en",), "test": ("en", "fr")}
    assert sets(select_on="targets") == {"train": ("en",), "dev": ("de", "es", "fr"), "test": everything}
    (data / "fr" / "fr_toy-dev.conllu").unlink()
    (data / "en" / "en_toy-test.conllu").unlink()
    assert sets(select_on="targets") == {"train": ("en",), "dev": ("de", "es"), "test": ("de", "es", "fr")}
    with pytest.raises(ConfigError) as caught:
        run_trial(configuration(data, toy, select_on="targets", languages=("fr",)))
    assert str(caught.value) == (
        "--select-on: 'targets' is not allowed; allowed: source, because no target has a dev set"
    )


def test_sentences_beyond_the_window_are_scored_whole(toy: Toy) -> None:
    config = configuration(toy[0], toy, max_length=8, languages=("de",))
    found = run_trial(config)
    whole = gold(toy[0], "de")
    assert max(len(tags) for tags in whole) > 8
    assert [len(tags) for tags in found.predictions["de"]] == [len(tags) for tags in whole]
    assert found.scores["test/de/f1"] == 100 * f1_score(whole, found.predictions["de"])
    # Of all sets that were used: en train, dev, test, and de test. Every toy word is one piece.
    used = gold(toy[0], "en", "train", 200) + gold(toy[0], "en", "dev") + gold(toy[0], "en") + whole
    assert found.counts["split_sentences"] == sum(len(tags) > 6 for tags in used)
    assert found.counts["train_windows"] > 200


def test_layouts_give_the_same_scores_and_untagged_tests_none(result: TrialResult, toy: Toy, tmp_path: Path) -> None:
    source = open_source(toy[0], TASK)
    folder = tmp_path / "download" / "udpos"
    folder.mkdir(parents=True)
    for language in source.languages():
        for split in get_args(Split):
            found = sentences(source, language, split) if source.files(language, split) else []
            untagged = (language, split) == ("fr", "test")
            lines = [
                "".join(
                    word + ("" if untagged else f"\t{tag}") + "\n"
                    for word, tag in zip(sentence.words, sentence.tags or (), strict=True)
                )
                for sentence in found
            ]
            if lines:
                (folder / f"{split}-{language}.tsv").write_text("\n".join(lines))
    other = run_trial(configuration(folder.parent, toy))
    assert other.predictions == result.predictions  # French included
    assert other.reports == result.reports
    f1 = {language: result.scores[f"test/{language}/f1"] for language in ("en", "de", "es")}
    expected = {name: value for name, value in result.scores.items() if name.split("/")[1] in f1}
    assert other.scores == expected | {
        "test/avg": pytest.approx(sum(f1.values()) / 3),
        "test/avg_target": pytest.approx((f1["de"] + f1["es"]) / 2),
        "test/worst": min(f1["de"], f1["es"]),
        "test/gap": pytest.approx(f1["en"] - (f1["de"] + f1["es"]) / 2),
        "test/near": f1["de"],
        "test/far": f1["es"],
        "test/enf": pytest.approx((f1["en"] + f1["de"]) / 2),
    }


def test_a_source_without_a_test_set_is_not_scored(toy: Toy, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy[0], data)
    (data / "en" / "en_toy-test.conllu").unlink()
    found = run_trial(configuration(data, toy, languages=("de",)))
    assert list(found.predictions) == ["de"]
    means = ["test/avg", "test/avg_target", "test/worst", "test/near"]
    assert list(found.scores) == ["test/de/f1", "test/de/accuracy", *means]


def test_the_sets_of_all_languages_share_batches(toy: Toy) -> None:
    evaluated: list[list[int]] = [[]]

    def count(module: Module, inputs: Any, logits: Any) -> None:
        if isinstance(module, Classifier) and not module.training:
            evaluated[-1].append(len(inputs[0]))

    with register_module_forward_hook(count):
        run_trial(configuration(toy[0], toy, select_on="targets"), report=lambda report: evaluated.append([]))
    assert [sum(batches) for batches in evaluated] == [90, 90, 120]  # three dev sets of targets, four test sets
    assert [len(batches) for batches in evaluated] == [2, 2, 2]  # by itself, each language would have one at least


def test_sets_that_share_batches_have_the_scores_of_each_language_by_itself(toy: Toy) -> None:
    config = configuration(toy[0], toy, select_on="targets")
    found = run_trial(config)
    corpus, compute = open_corpus(config), choose(config.compute)
    pad = int(corpus.tokenizer.pad_token_id or 0)

    def alone(language: str, split: Split) -> dict[str, float]:
        encoded = corpus.split(language, split)
        return score(TASK, encoded, predict(found.model, encoded, compute, pad))

    for language in ("de", "es", "fr"):
        for metric, value in alone(language, "dev").items():
            assert found.best.metrics[f"dev/{language}/{metric}"] == value
    for language in ("en", "de", "es", "fr"):
        for metric, value in alone(language, "test").items():
            assert found.scores[f"test/{language}/{metric}"] == value


def test_limits_hold_for_every_set(result: TrialResult) -> None:
    assert result.counts["train_windows"] == 200
    assert {language: len(sentences) for language, sentences in result.predictions.items()} == {
        "en": 30, "de": 30, "es": 30, "fr": 30,
    }  # fmt: skip


def test_what_is_written(result: TrialResult, tmp_path: Path) -> None:
    result.save(tmp_path / "out")
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    predictions = [f"predictions/udpos/test-{lang}.tsv" for lang in ("de", "en", "es", "fr")]
    assert files == ["examples.parquet", *predictions, "scores.json"]
    text = (tmp_path / "out" / "predictions" / "udpos" / "test-de.tsv").read_text()
    assert [block.split("\n") for block in text.removesuffix("\n\n").split("\n\n")] == result.predictions["de"]
    assert text.endswith("\n\n")
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == json.loads(json.dumps(result.summary()))


def test_examples_add_up_to_the_scores(result: TrialResult, tmp_path: Path) -> None:
    result.save(tmp_path)
    examples = pd.read_parquet(tmp_path / EXAMPLES)
    assert list(examples.columns) == ["language", "metric", "example", "numerator", "denominator"]
    for (language, metric), rows in examples.groupby(["language", "metric"]):
        assert list(rows["example"]) == list(range(30))
        score = 100 * rows["numerator"].sum() / rows["denominator"].sum()
        assert result.scores[f"test/{language}/{metric}"] == pytest.approx(score, abs=1e-9)
    assert len(examples) == 4 * 2 * 30


def test_without_labels_there_are_no_examples(result: TrialResult, tmp_path: Path) -> None:
    replace(result, tallies={}).save(tmp_path)
    assert pd.read_parquet(tmp_path / EXAMPLES).empty


class Stop(Exception):
    pass


def interrupted(config: TrialConfig, checkpoint: CheckpointFile, at: int) -> None:
    """Run a trial to a report, which leaves the checkpoint of the report before."""

    def stop(entry: Report) -> None:
        if entry.step == at:
            raise Stop

    with pytest.raises(Stop):
        run_trial(config, stop, checkpoint)
    assert checkpoint.path.exists() == (at > 1)


@pytest.mark.parametrize("at", [1, 2, None])
def test_a_resumed_trial_has_the_undisturbed_scores(at: int | None, result: TrialResult, tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    if at is None:  # its tests were interrupted
        run_trial(result.config, checkpoint=checkpoint)
    else:
        interrupted(result.config, checkpoint, at)
    told: list[Report] = []
    # Where it computes, and where its data is kept, may have changed meanwhile.
    config = replace(
        result.config,
        data=replace(result.config.data, cache=str(tmp_path / "cache")),
        compute=replace(result.config.compute, device="auto" if not torch.cuda.is_available() else "cpu"),
    )
    resumed = run_trial(config, told.append, checkpoint)
    assert told == list(result.reports)
    assert resumed.summary() == result.summary() | {"config": to_mapping(config)}
    assert resumed.predictions == result.predictions


def test_another_configurations_checkpoint_is_refused(result: TrialResult, tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    interrupted(result.config, checkpoint, 2)
    others = (
        replace(result.config, seed=2),
        replace(result.config, model=replace(result.config.model, fusion_layer=3)),
        replace(result.config, training=replace(result.config.training, learning_rate=1e-3)),
        replace(result.config, data=replace(result.config.data, train_limit=199)),
    )
    for other in others:
        with pytest.raises(DataError) as caught:
            run_trial(other, checkpoint=checkpoint)
        assert str(caught.value) == (
            f"{checkpoint.path}: a checkpoint of another configuration; allowed: the same configuration, or a folder "
            "without a checkpoint"
        )


def few_sentences(toy: Toy, encoder: Path, **changes: Any) -> TrialConfig:
    """So few that dev and test sets have pieces that the training set has not; three steps, each one reported."""
    found = configuration(
        toy[0], toy, model=ModelConfig(encoder=str(encoder), fusion_layer=1, reduction_ratio=4), train_limit=24,
        batch_size=8, reports_per_trial=3, languages=("de",), **changes,
    )  # fmt: skip
    corpus = open_corpus(found)
    trained = trained_pieces(corpus.split("en", "train"), corpus.tokenizer.pad_token_id)
    for other in (corpus.split("en", "dev"), corpus.split("de", "test")):
        assert set(other.input_ids) - set(trained)
    return found


def whole_table(config: TrialConfig, monkeypatch: pytest.MonkeyPatch) -> TrialResult:
    """What an encoder gives all of whose embeddings are trained."""
    with monkeypatch.context() as patch:
        patch.setattr(dlfa.trial, "small_table", lambda *arguments: nullcontext())
        return run_trial(config)


def words(toy: Toy) -> list[str]:
    found = {w for lang in ("en", "de") for s in sentences(open_source(toy[0], TASK), lang, "test") for w in s.words}
    return sorted(found)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.25])
def test_embeddings_of_the_training_set_alone_give_the_same_to_the_bit(
    family: str, weight_decay: float, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = write_encoder(tmp_path / "encoder", family, layers=2, words=words(toy))
    # Where no gradient is clipped, their norm, a sum over more or fewer zeros, changes nothing.
    config = few_sentences(toy, encoder, max_grad_norm=1e9, weight_decay=weight_decay)
    expected, found = whole_table(config, monkeypatch), run_trial(config)
    assert found.summary() == expected.summary()
    assert found.predictions == expected.predictions
    for name, result in (("whole", expected), ("small", found)):
        result.save_model(tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "small")]
    assert files[0] == files[1]
    # What is saved has the vocabulary's size; without weight decay only rows of the training set have moved.
    table, before = whole_table_of(tmp_path / "small"), whole_table_of(encoder)
    corpus = open_corpus(config)
    trained = trained_pieces(corpus.split("en", "train"), corpus.tokenizer.pad_token_id)
    moved = torch.ne(table, before).any(dim=1).nonzero().flatten().tolist()
    assert len(moved) > len(trained) if weight_decay else set(moved) < set(trained.tolist())


def whole_table_of(encoder: Path) -> torch.Tensor:
    table = load_encoder(str(encoder)).get_input_embeddings()
    assert isinstance(table, torch.nn.Embedding)
    return table.weight


def test_clipped_gradients_of_fewer_embeddings_are_the_same_but_for_rounding(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = write_encoder(tmp_path / "encoder", layers=2, words=words(toy))
    config = few_sentences(toy, encoder, max_grad_norm=0.1)
    expected, found = whole_table(config, monkeypatch), run_trial(config)
    assert found.predictions == expected.predictions
    for one, other in zip(found.reports, expected.reports, strict=True):
        assert dict(one.metrics) == pytest.approx(dict(other.metrics), rel=1e-5)
    torch.testing.assert_close(found.model.state_dict(), expected.model.state_dict(), rtol=1e-4, atol=1e-6)


def test_a_checkpoint_holds_the_trained_embeddings_alone(toy: Toy, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder", layers=2, words=words(toy))
    config = few_sentences(toy, encoder)
    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    interrupted(config, checkpoint, 2)
    corpus = open_corpus(config)
    trained = trained_pieces(corpus.split("en", "train"), corpus.tokenizer.pad_token_id)
    name = "encoder.embeddings.word_embeddings.weight"
    assert load_file(checkpoint.path)[f"model.{name}"].shape == (len(trained), 32)
    expected, resumed = run_trial(config), run_trial(config, checkpoint=checkpoint)
    assert resumed.summary() == expected.summary()
    assert torch.equal(resumed.model.state_dict()[name], expected.model.state_dict()[name])


def test_a_checkpoint_of_other_embeddings_is_refused(toy: Toy, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(toy[0], data)
    config = configuration(data, toy)
    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    interrupted(config, checkpoint, 2)

    def refused() -> None:
        with pytest.raises(DataError, match=r"^\S+: a checkpoint of another configuration; allowed: [^\n]+$"):
            run_trial(config, checkpoint=checkpoint)

    # The training set has changed, and nobody has given fingerprints.
    train = data / "en" / "en_toy-train.conllu"
    before = train.read_text()
    train.write_text(before.replace("\tAnna\t", "\tBrücke\t"))
    refused()
    train.write_text(before)
    run_trial(config, checkpoint=checkpoint)
    # An earlier version's, which held every row, and whose owner was the configuration.
    replace(checkpoint, owner=identity(config)).save(
        {"model.encoder.embeddings.word_embeddings.weight": torch.ones(9)}, {}
    )
    refused()


def test_a_checkpoint_of_other_weights_is_refused(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, checkpoint = configuration(toy[0], toy), CheckpointFile(tmp_path / "checkpoint.safetensors")

    class Former(DLFA):
        """As a version might have had it whose layers had other names."""

        def __init__(self, hidden_size: int, reduction_ratio: int) -> None:
            super().__init__(hidden_size, reduction_ratio)
            self.former = nn.Linear(1, 1)

    with monkeypatch.context() as patch:
        former = replace(FUSIONS["dlfa"], build=lambda shape: Former(shape.hidden_size, shape.reduction_ratio or 1))
        patch.setitem(FUSIONS, "dlfa", former)
        interrupted(config, checkpoint, 2)
    with pytest.raises(DataError, match=r"^\S+: a checkpoint of another configuration; allowed: [^\n]+$"):
        run_trial(config, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 129}, "max_length: 129 is not allowed; allowed: 8..128, the window of {encoder}"),
        (
            {"reports_per_trial": 8},
            "reports_per_trial: 8 is not allowed; allowed: at most 7, the optimiser steps of 1 epochs over 200 windows "
            "in batches of 32",
        ),
        (
            {"languages": ("de", "frr")},
            "--languages: 'frr' is not in {data} (did you mean fr?); allowed: de, en, es, fr",
        ),
        ({"source_language": "xx"}, "--source-lang: 'xx' is not in {data}; allowed: de, en, es, fr"),
    ],
)
def test_what_does_not_fit_is_told_before_training(
    changes: dict[str, Any], message: str, toy: Toy, tmp_path: Path
) -> None:
    reports: list[Report] = []
    checkpoint = CheckpointFile(tmp_path / "new" / "checkpoint.safetensors")
    with pytest.raises(ConfigError) as caught:
        run_trial(configuration(toy[0], toy, **changes), reports.append, checkpoint)
    assert str(caught.value) == message.format(encoder=toy[1], data=toy[0])
    assert (reports, checkpoint.path.parent.exists()) == ([], False)


def test_data_and_tasks_that_are_not_there(toy: Toy) -> None:
    with pytest.raises(ConfigError, match=r"^task: 'udpso' is not allowed \(did you mean udpos\?\); allowed: udpos, "):
        run_trial(replace(configuration(toy[0], toy), task="udpso"))
    with pytest.raises(DataError, match=r"^.*/encoder: found .*; allowed for udpos: one of <language>/"):
        run_trial(configuration(toy[1], toy))
    with pytest.raises(DataError, match=r"/data: no train set for language 'de'$"):
        run_trial(configuration(toy[0], toy, source_language="de"))
