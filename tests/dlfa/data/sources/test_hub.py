"""Data sets of the Hub: folders in its own layout, and a small stand-in for it on the loopback interface."""

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar, get_args
from urllib.parse import urlsplit

import huggingface_hub
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import yaml
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import trial_config, write_encoder

from dlfa.config import DataConfig
from dlfa.data.cache import Corpus
from dlfa.data.sources import Example, Pair, Sentence, Source, Split
from dlfa.data.sources.hub import HUB_FOLDERS, fetch
from dlfa.errors import ConfigError, DataError
from dlfa.model import load_tokenizer
from dlfa.tasks import TASKS, TaskSpec
from dlfa.trial import run_trial

Rows = list[dict[str, Any]]


def named(column: str, names: Sequence[str], wrap: str = "sequence") -> dict[str, Any]:
    """A column of labels as a header describes it: `dtype` for one label, `sequence` or `list` for several."""
    return {"name": column, wrap: {"class_label": {"names": {str(i): name for i, name in enumerate(names)}}}}


def plain(*columns: str) -> list[dict[str, Any]]:
    return [{"name": column, "dtype": "string"} for column in columns]


@dataclass(frozen=True)
class Config:
    """One configuration of a data set."""

    splits: Mapping[str, Rows]
    features: list[dict[str, Any]] = field(default_factory=list)
    shards: int = 1
    metadata: Mapping[str, Any] | None = None
    """What the parquet files tell of their columns."""


def write_data_set(folder: Path, configs: Mapping[str, Config]) -> Path:
    """Write a data set as the Hub has them: files by configuration, and a README.md that names them."""
    header: dict[str, list[Any]] = {"language": ["en"], "dataset_info": [], "configs": []}
    for name, config in configs.items():
        sizes = [{"name": split, "num_examples": len(rows)} for split, rows in config.splits.items()]
        header["dataset_info"].append({"config_name": name, "features": config.features, "splits": sizes})
        files = [{"split": split, "path": f"{name}/{split}-*"} for split in config.splits]
        header["configs"].append({"config_name": name, "data_files": files})
        for split, rows in config.splits.items():
            for shard in range(config.shards):
                table = pa.Table.from_pylist(rows[shard :: config.shards])
                if config.metadata is not None:
                    table = table.replace_schema_metadata({"huggingface": json.dumps(config.metadata)})
                path = folder / name / f"{split}-{shard:05}-of-{config.shards:05}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(table, path)
    write_header(folder, header)
    return folder


def write_header(folder: Path, header: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(header), sort_keys=False)
    (folder / "README.md").write_text(f"---\n{text}---\n\n# A card\n\n---\nconfigs: not the header\n---\n", "utf-8")


def read_header(folder: Path) -> dict[str, Any]:
    header = yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])
    assert isinstance(header, dict)
    return header


TAGS = [*reversed(TASKS["udpos"].labels)]  # another order than ours: a number taken for its own would be wrong
ENTITIES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
NLI = ["entailment", "neutral", "contradiction"]


def tagged(words: str, tags: str, names: Sequence[str], column: str) -> dict[str, Any]:
    return {"tokens": words.split(), column: [names.index(tag) for tag in tags.split()]}


def pos(words: str, tags: str) -> dict[str, Any]:
    return tagged(words, tags, TAGS, "pos_tags")


def udpos() -> dict[str, Config]:
    features = [{"name": "tokens", "sequence": "string"}, named("pos_tags", TAGS)]
    english = {split: [pos(f"a {split} .", "DET NOUN PUNCT")] * 3 for split in ("train", "validation", "test")}
    return {
        "tatoeba.afr": Config({"validation": [{"source_sentence": "x"}]}, plain("source_sentence")),
        "udpos.English": Config(english, features),
        "udpos.German": Config({split: [pos(f"ein {split}", "DET NOUN")] for split in english}, features),
        "udpos.French": Config({split: [pos("un chien", "DET NOUN")] for split in english}, features),
        "udpos.Kazakh": Config({split: [pos("ит", "NOUN")] for split in ("train", "test")}, features),
        "udpos.Thai": Config({"test": [pos("หมา เห่า", "NOUN VERB")]}, features),
    }


def panx() -> dict[str, Config]:
    features = [{"name": column, "list": "string"} for column in ("tokens", "langs")]
    features.append(named("ner_tags", ENTITIES, "list"))
    rows = [tagged("Ada in Rom", "B-PER O B-LOC", ENTITIES, "ner_tags") | {"langs": ["en"] * 3}]
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    return {f"PAN-X.{language}": Config(splits, features) for language in ("de", "en")}


def pawsx() -> dict[str, Config]:
    features = plain("sentence1", "sentence2", "label")
    rows = [{"sentence1": "a b", "sentence2": "b a", "label": "0"}, {"sentence1": "a", "sentence2": "A", "label": "1"}]
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    return {f"PAWS-X.{language}": Config(splits, features) for language in ("de", "en")}


def xnli() -> dict[str, Config]:
    features = plain("language", "sentence1", "sentence2", "gold_label")
    rows = [
        {"language": language, "sentence1": f"{language} {split} {label}", "sentence2": "h", "gold_label": label}
        for split in ("test",)
        for label in ("neutral", "contradiction", "entailment")
        for language in ("de", "en", "th")
    ]
    dev = [row for row in rows if row["language"] != "th"]
    return {"XNLI": Config({"test": rows, "validation": dev}, features)}


def xnli_train() -> dict[str, Config]:
    features = [*plain("premise", "hypothesis"), named("label", NLI, "dtype")]
    rows = [{"premise": f"p{label}", "hypothesis": "h", "label": label} for label in (2, 0, 1)]
    splits = dict.fromkeys(("train", "test", "validation"), rows)
    return {language: Config(splits, features) for language in ("de", "en")}


DATA_SETS = {"udpos": udpos, "panx": panx, "pawsx": pawsx, "xnli": xnli}


def open_folder(path: Path, task: str | TaskSpec = "udpos") -> Source:
    source = HUB_FOLDERS.recognise(path, TASKS[task] if isinstance(task, str) else task)
    assert source is not None
    return source


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone of `google/xtreme` with its part-of-speech tags."""
    return write_data_set(tmp_path / "clone", udpos())


def test_tasks_name_xtremes_configurations() -> None:
    configs = {name: list(TASKS[name].hub[0].configs.values()) for name in TASKS}
    assert " ".join(sorted(configs["udpos"])).replace("udpos.", "") == (
        "Afrikaans Arabic Basque Bulgarian Chinese Dutch English Estonian Finnish French German Greek Hebrew Hindi "
        "Hungarian Indonesian Italian Japanese Kazakh Korean Marathi Persian Portuguese Russian Spanish Tagalog "
        "Tamil Telugu Thai Turkish Urdu Vietnamese Yoruba"
    )
    assert configs["pawsx"] == [f"PAWS-X.{language}" for language in ("de", "en", "es", "fr", "ja", "ko", "zh")]
    assert len(configs["panx"]) == 40
    assert set(configs["xnli"]) == {"XNLI"}
    for name, task in TASKS.items():
        assert {language for table in task.hub for language in table.configs} == set(task.languages), name


def test_tags_are_taken_by_name(repository: Path) -> None:
    source = open_folder(repository)
    assert source.read("en", "dev") == [Sentence(("a", "validation", "."), ("DET", "NOUN", "PUNCT"))] * 3
    assert (source.layout, source.root) == ("Hub data set", repository)


def test_a_language_has_the_splits_that_there_are(repository: Path) -> None:
    source = open_folder(repository)
    assert source.languages() == ("de", "en", "fr", "kk", "th")
    splits = {
        language: [split for split in ("train", "dev", "test") if source.files(language, split)]
        for language in ("en", "kk", "th", "xx")
    }
    assert splits == {"en": ["train", "dev", "test"], "kk": ["train", "test"], "th": ["test"], "xx": []}


def test_files_are_those_that_determine_the_examples(tmp_path: Path) -> None:
    write_data_set(tmp_path, {"udpos.English": replace(udpos()["udpos.English"], shards=3)})
    assert open_folder(tmp_path).files("en", "test") == (
        tmp_path / "README.md",
        *(tmp_path / "udpos.English" / f"test-0000{shard}-of-00003.parquet" for shard in range(3)),
    )


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    rows = [pos(f"w{number}", "X") for number in range(12)]
    write_data_set(tmp_path, {"udpos.English": Config({"test": rows}, [named("pos_tags", TAGS)], shards=12)})
    assert [s.words[0] for s in open_folder(tmp_path).read("en", "test") if isinstance(s, Sentence)] == [
        f"w{number}" for number in range(12)
    ]


def test_entities_and_other_columns(tmp_path: Path) -> None:
    write_data_set(tmp_path, panx())
    assert open_folder(tmp_path, "panx").read("de", "train") == [
        Sentence(("Ada", "in", "Rom"), ("B-PER", "O", "B-LOC"))
    ]


def test_labels_that_are_text(tmp_path: Path) -> None:
    write_data_set(tmp_path, pawsx())
    assert open_folder(tmp_path, "pawsx").read("en", "test") == [Pair("a b", "b a", "0"), Pair("a", "A", "1")]


@pytest.mark.parametrize(("task", "expected"), [("pawsx", True), ("xnli", True), ("udpos", False), ("panx", False)])
def test_test_sets_that_are_translations_of_one_another(task: str, expected: bool, tmp_path: Path) -> None:
    write_data_set(tmp_path / "clone", DATA_SETS[task]())
    assert open_folder(tmp_path / "clone", task).aligned is expected
    write_data_set(tmp_path / "hub" / "google" / "xtreme", DATA_SETS[task]())
    assert open_folder(tmp_path / "hub", task).aligned is expected


def test_without_test_sets_nothing_is_aligned(tmp_path: Path) -> None:
    write_data_set(tmp_path, xnli_train())
    assert not open_folder(tmp_path, "xnli").aligned


def test_languages_of_one_file_are_encoded_each_by_itself(tmp_path: Path) -> None:
    write_data_set(tmp_path / "clone", xnli())
    tokenizer = load_tokenizer(str(write_encoder(tmp_path / "encoder")))
    config = DataConfig(path=str(tmp_path / "clone"), cache=str(tmp_path / "cache"), max_length=32)
    corpus = Corpus(open_folder(tmp_path / "clone", "xnli"), TASKS["xnli"], tokenizer, config)
    found = {
        language: str(tokenizer.decode(corpus.split(language, "test").input_ids)) for language in ("en", "de", "th")
    }
    assert [text.split()[1] for text in found.values()] == ["e", "d", "t"]  # of "en test", "de test", "th test"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with both data sets that XNLI is made of."""
    write_data_set(tmp_path / "google" / "xtreme", xnli())
    write_data_set(tmp_path / "facebook" / "xnli", xnli_train())
    return tmp_path


def test_a_table_of_mixed_languages_and_a_train_set_from_elsewhere(two: Path) -> None:
    source = open_folder(two, "xnli")
    assert source.languages() == ("de", "en", "th")
    assert source.read("th", "test") == [
        Pair(f"th test {label}", "h", label) for label in ("neutral", "contradiction", "entailment")
    ]
    assert source.files("th", "dev") == ()
    assert source.files("th", "train") == ()
    # Entailment is 0 here and contradiction is 0 in the order of our labels.
    assert source.read("en", "train") == [
        Pair("p2", "h", "contradiction"), Pair("p0", "h", "entailment"), Pair("p1", "h", "neutral")
    ]  # fmt: skip
    assert [path.relative_to(two).parts[:2] for path in source.files("en", "train")] == [("facebook", "xnli")] * 2


def test_dev_and_test_of_a_data_set_that_is_not_the_tables_are_left_alone(two: Path) -> None:
    assert [path.relative_to(two).parts[:2] for path in open_folder(two, "xnli").files("en", "test")] == [
        ("google", "xtreme")
    ] * 2


def columns(entry: Example) -> dict[str, Any]:
    if isinstance(entry, Sentence):
        return {"words": entry.words, "tags": entry.tags}
    return {"sentence1": entry.first, "sentence2": entry.second, "label": entry.label}


@pytest.mark.filterwarnings("ignore:.* seems not to be NE tag")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_clone_gets_the_scores_of_the_same_content_as_json_lines(task: TaskSpec, tmp_path: Path) -> None:
    clone, lines = tmp_path / "clone", tmp_path / "lines"
    lines.mkdir()
    write_data_set(clone / "google" / "xtreme", DATA_SETS[task.name]())
    if task.name == "xnli":
        write_data_set(clone / "facebook" / "xnli", xnli_train())
    source = open_folder(clone if task.name == "xnli" else clone / "google" / "xtreme", task)
    for language in source.languages():
        for split in get_args(Split):
            if source.files(language, split):
                read = source.read(language, split)
                rows = [columns(entry) for entry in read]
                (lines / f"{split}-{language}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    encoder = write_encoder(tmp_path / "encoder", layers=2)
    configs = [
        trial_config(task, folder, tmp_path / "cache", encoder, epochs=3, batch_size=1, reports=1)
        for folder in (source.root, lines)
    ]
    if task.kind == "pair":  # lines do not tell that their test sets are aligned
        configs[1] = replace(configs[1], data=replace(configs[1].data, aligned=True))
    found = [run_trial(config) for config in configs]
    assert ("test/de/similarity" in found[0].scores) == (task.kind == "pair")
    assert found[0].scores == found[1].scores
    assert found[0].predictions == found[1].predictions


def test_names_told_by_the_file_alone(tmp_path: Path) -> None:
    for form in (
        {"feature": {"names": TAGS, "_type": "ClassLabel"}, "_type": "Sequence"},
        {"feature": {"names": TAGS, "_type": "ClassLabel"}, "_type": "List"},
    ):
        told = {"info": {"features": {"pos_tags": form}}}
        write_data_set(tmp_path, {"udpos.Thai": Config({"test": [pos("a b", "X NUM")]}, metadata=told)})
        assert open_folder(tmp_path).read("th", "test") == [Sentence(("a", "b"), ("X", "NUM"))]


def test_names_that_yaml_would_take_for_truth_values(tmp_path: Path) -> None:
    table = replace(TASKS["udpos"].hub[0], configs={"no": "no"})
    task = replace(TASKS["udpos"], labels=("yes", "no", "on"), hub=(table,))
    write_data_set(tmp_path, {"no": Config({"test": [{"tokens": ["a", "b"], "pos_tags": [1, 2]}]})})
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: no\n  data_files:\n  - split: test\n    path: no/test-*\n"
        "dataset_info:\n  config_name: no\n  features:\n  - name: pos_tags\n    sequence:\n      class_label:\n"
        "        names:\n          0: yes\n          1: no\n          2: on\n---\n"
    )
    assert open_folder(tmp_path, task).read("no", "test") == [Sentence(("a", "b"), ("no", "on"))]


def write_test_set(folder: Path, task: str, rows: Rows, split: str = "test") -> None:
    config, features = {
        "udpos": ("udpos.English", [named("pos_tags", TAGS)]),
        "pawsx": ("PAWS-X.en", plain("label")),
    }[task]
    write_data_set(folder, {config: Config({split: rows}, features)})


HIDDEN = [
    ("udpos", [{"tokens": ["a", "b"], "pos_tags": [-1, -1]}]),
    ("udpos", [{"tokens": ["a", "b"], "pos_tags": None}]),
    ("udpos", [{"tokens": ["a", "b"], "pos_tags": [None, None]}]),
    ("pawsx", [{"sentence1": "a", "sentence2": "b", "label": "-1"}]),
    ("pawsx", [{"sentence1": "a", "sentence2": "b", "label": -1}]),
    ("pawsx", [{"sentence1": "a", "sentence2": "b", "label": None}]),
]


@pytest.mark.parametrize(("task", "rows"), HIDDEN)
def test_hidden_labels_of_a_test_set(tmp_path: Path, task: str, rows: Rows) -> None:
    write_test_set(tmp_path, task, rows)
    assert [example.labelled for example in open_folder(tmp_path, task).read("en", "test")] == [False]


@pytest.mark.parametrize(("task", "rows"), HIDDEN)
@pytest.mark.parametrize(("split", "theirs"), [("train", "train"), ("dev", "validation")])
def test_hidden_labels_elsewhere(tmp_path: Path, task: str, rows: Rows, split: Any, theirs: str) -> None:
    write_test_set(tmp_path, task, rows, theirs)
    with pytest.raises(DataError, match=r"no label in 1 of 1 examples of 'en'; allowed: labels in all of them, or in"):
        open_folder(tmp_path, task).read("en", split)


def test_labels_hidden_in_some_rows_of_a_test_set(tmp_path: Path) -> None:
    write_test_set(tmp_path, "udpos", [pos("a b", "X X"), {"tokens": ["a"], "pos_tags": [-1]}])
    with pytest.raises(DataError, match="no label in 1 of 2 examples of 'en'; allowed: labels in all of them"):
        open_folder(tmp_path).read("en", "test")


ROWS = [
    ("udpos", {"tokens": ["a"], "pos_tags": [17]}, "label 17 is not allowed; allowed: -1 (hidden) to 16"),
    ("udpos", {"tokens": ["a"], "pos_tags": [-2]}, "label -2 is not allowed; allowed: -1 (hidden) to 16"),
    ("udpos", {"tokens": ["a"], "pos_tags": [True]}, "label True is not allowed; allowed: -1 (hidden) to 16"),
    ("udpos", {"tokens": ["a", "b"], "pos_tags": [0, -1]}, "no label for 1 of 2 words; allowed: all or none"),
    ("udpos", {"tokens": ["a", "b"], "pos_tags": [0]}, "labels are [0]; allowed: a list of 2, one per word"),
    ("udpos", {"tokens": ["a"], "pos_tags": 0}, "labels are 0; allowed: a list of 1, one per word"),
    ("udpos", {"tokens": [], "pos_tags": []}, "words are []; allowed: a list of one or more words"),
    ("udpos", {"tokens": "a", "pos_tags": [0]}, "words are a; allowed: a list of one or more words"),
    ("udpos", {"tokens": [None], "pos_tags": [0]}, "words are [None]; allowed: a list of one or more words"),
    ("pawsx", {"sentence1": "a", "sentence2": None, "label": "1"}, "sentences are ('a', None); allowed: two texts"),
    ("pawsx", {"sentence1": "a", "sentence2": "b", "label": "2"}, "label '2' is not allowed; allowed: 0, 1"),
    ("pawsx", {"sentence1": "a", "sentence2": "b", "label": ""}, "label '' is not allowed; allowed: 0, 1"),
    ("pawsx", {"sentence1": "a", "sentence2": "b", "label": 1}, "label 1 has no name in README.md or the file"),
    ("pawsx", {"sentence1": "a", "sentence2": "b", "label": True}, "label True has no name in README.md or the"),
]


@pytest.mark.parametrize(("task", "row", "message"), ROWS)
def test_error_names_file_and_row(tmp_path: Path, task: str, row: dict[str, Any], message: str) -> None:
    write_test_set(tmp_path, task, [row])
    source = open_folder(tmp_path, task)
    with pytest.raises(DataError) as caught:
        source.read("en", "test")
    (path,) = tmp_path.rglob("*.parquet")
    assert str(caught.value).startswith(f"{path}: row 1: {message}")


def test_rows_are_counted_in_the_table_that_mixes_languages(two: Path) -> None:
    rows = [
        {"language": language, "sentence1": "a", "sentence2": "", "gold_label": "maybe"} for language in ("de", "en")
    ]
    write_data_set(two / "google" / "xtreme", {"XNLI": Config({"test": rows})})
    with pytest.raises(DataError, match="row 2: label 'maybe' is not allowed"):
        open_folder(two, "xnli").read("en", "test")


def test_words_and_sentences_without_a_character_are_read_as_published(tmp_path: Path) -> None:
    write_test_set(tmp_path / "pos", "udpos", [{"tokens": ["a", "", " "], "pos_tags": [0, 1, 2]}])
    (found,) = open_folder(tmp_path / "pos", "udpos").read("en", "test")
    assert isinstance(found, Sentence)
    assert found.words == ("a", "", " ")
    write_test_set(tmp_path / "paws", "pawsx", [{"sentence1": "", "sentence2": "b", "label": "1"}])
    assert open_folder(tmp_path / "paws", "pawsx").read("en", "test") == [Pair("", "b", "1")]


def damage_header(repository: Path, config: str, change: Any) -> None:
    header = read_header(repository)
    change(next(entry for entry in header["configs"] if entry["config_name"] == config))
    write_header(repository, header)


@pytest.mark.parametrize(
    "files",
    [
        "udpos.English/test-*",
        None,
        [{"split": "test"}],
        [{"path": "udpos.English/test-*"}],
        [{"split": "test", "path": "/etc/*"}],
        [{"split": "test", "path": ["ok/*", "../other/*"]}],
        [{"split": "test", "path": {"a": "b"}}],
    ],
)
def test_data_files_of_another_form(repository: Path, files: Any) -> None:
    damage_header(repository, "udpos.English", lambda entry: entry.update(data_files=files))
    with pytest.raises(DataError) as caught:
        open_folder(repository)
    assert str(caught.value).startswith(f"{repository}/README.md: data_files of configuration 'udpos.English' are ")
    assert str(caught.value).endswith("; allowed: a list of split and path, the path inside the data set")


def test_other_configurations_may_have_any_form(repository: Path) -> None:
    damage_header(repository, "tatoeba.afr", lambda entry: entry.update(data_files="all.csv"))
    assert open_folder(repository).languages() == ("de", "en", "fr", "kk", "th")


def test_header_that_is_not_yaml(repository: Path) -> None:
    (repository / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(DataError, match=r"README\.md: its header is not YAML \(.*line 2") as caught:
        open_folder(repository)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["", "# A project\n\n---\nconfigs: 1\n---\n", "---\ntitle: x\n---\n", "---\n- 1\n---\n"]
)
def test_a_folder_with_another_readme_is_not_of_this_layout(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert HUB_FOLDERS.recognise(tmp_path, TASKS["udpos"]) is None


def test_a_data_set_of_another_task_is_not_recognised(repository: Path, tmp_path: Path) -> None:
    assert HUB_FOLDERS.recognise(repository, TASKS["panx"]) is None
    assert HUB_FOLDERS.recognise(tmp_path / "missing", TASKS["panx"]) is None
    assert HUB_FOLDERS.recognise(repository, replace(TASKS["udpos"], hub=())) is None


def test_header_with_windows_line_ends_and_a_byte_order_mark(repository: Path) -> None:
    card = repository / "README.md"
    card.write_bytes(b"\xef\xbb\xbf" + card.read_bytes().replace(b"\n", b"\r\n"))
    assert open_folder(repository).read("th", "test") == [Sentence(("หมา", "เห่า"), ("NOUN", "VERB"))]


@pytest.mark.parametrize("names", [{"0": "X", "2": "NUM"}, {"a": "X"}, "X", {"0": ["X"]}])
def test_names_of_labels_that_leave_numbers_out(repository: Path, names: Any) -> None:
    header = read_header(repository)
    for info in header["dataset_info"]:
        info["features"] = [{"name": "pos_tags", "sequence": {"class_label": {"names": names}}}]
    write_header(repository, header)
    with pytest.raises(DataError, match=r"README\.md: names of labels are .*; allowed: one for each number from 0 on"):
        open_folder(repository).read("en", "test")


def test_file_and_card_that_name_labels_differently(tmp_path: Path) -> None:
    told = {"info": {"features": {"pos_tags": {"feature": {"names": TAGS[::-1], "_type": "ClassLabel"}}}}}
    config = Config({"test": [pos("a", "X")]}, [named("pos_tags", TAGS)], metadata=told)
    write_data_set(tmp_path, {"udpos.Thai": config})
    with pytest.raises(DataError, match=r"parquet: labels are ADJ, .*README\.md has them as X, "):
        open_folder(tmp_path).read("th", "test")


def test_numbers_without_names(tmp_path: Path) -> None:
    write_data_set(tmp_path, {"udpos.Thai": Config({"test": [pos("a", "X")]})})
    with pytest.raises(DataError, match=r"row 1: label 0 has no name in README\.md or the file; allowed: labels with"):
        open_folder(tmp_path).read("th", "test")


def test_columns_of_other_names(tmp_path: Path) -> None:
    write_data_set(tmp_path, {"udpos.Thai": Config({"test": [{"words": ["a"], "pos_tags": [0]}]})})
    with pytest.raises(DataError, match=r"-00001\.parquet: no column tokens; found words, pos_tags$"):
        open_folder(tmp_path).read("th", "test")


def test_mixed_table_without_its_language_column(two: Path) -> None:
    write_data_set(two / "google" / "xtreme", {"XNLI": Config({"test": [{"sentence1": "a"}]})})
    with pytest.raises(DataError, match="no column language; found sentence1"):
        open_folder(two, "xnli")


def test_missing_shard(tmp_path: Path) -> None:
    write_data_set(tmp_path, {"udpos.English": replace(udpos()["udpos.English"], shards=3)})
    (tmp_path / "udpos.English" / "test-00001-of-00003.parquet").unlink()
    with pytest.raises(DataError, match=r"of-00003\.parquet: 2 files of the test split are here; allowed: 3"):
        open_folder(tmp_path)


def test_other_number_of_rows_than_told(repository: Path) -> None:
    header = read_header(repository)
    header["dataset_info"][1]["splits"][2]["num_examples"] = 4
    write_header(repository, header)
    with pytest.raises(DataError, match=r"README\.md: 4 rows in the test split of 'udpos\.English'; found 3"):
        open_folder(repository).read("en", "test")


def test_no_rows(tmp_path: Path) -> None:
    write_data_set(tmp_path, {"udpos.Thai": Config({"test": [pos("a", "X")]}, [named("pos_tags", TAGS)])})
    path = tmp_path / "udpos.Thai" / "test-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    header = read_header(tmp_path)
    header["dataset_info"][0]["splits"] = []
    write_header(tmp_path, header)
    with pytest.raises(DataError, match=r"\.parquet: no example in this file; allowed: one or more"):
        open_folder(tmp_path).read("th", "test")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (POINTER, "a pointer of Git LFS; allowed: the file itself (git lfs pull)"),
        (b"", "not readable as a parquet file ("),
        (b"PAR1 and no more", "not readable as a parquet file ("),
    ],
)
def test_file_that_is_no_parquet_file(repository: Path, content: bytes, message: str) -> None:
    path = repository / "udpos.Thai" / "test-00000-of-00001.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_folder(repository).read("th", "test")
    assert str(caught.value).startswith(f"{path}: {message}")


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    write_data_set(tmp_path, {"udpos.Thai": Config({"test": [pos("hund", "X")]}, [named("pos_tags", TAGS)])})
    path = tmp_path / "udpos.Thai" / "test-00000-of-00001.parquet"
    words = pa.array([[b"h\xffnd"]], pa.list_(pa.binary())).cast(pa.list_(pa.binary()))
    table = pa.table({"tokens": words.view(pa.list_(pa.string())), "pos_tags": [[0]]})
    pq.write_table(table, path)
    with pytest.raises(DataError, match="not readable as a parquet file"):
        open_folder(tmp_path).read("th", "test")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 4000), at=st.integers(0, 4000), byte=st.integers(0, 255))
def test_fuzz_damaged_files_read_or_raise_data_error(tmp_path: Path, cut: int, at: int, byte: int) -> None:
    path = tmp_path / "udpos.Thai" / "test-00000-of-00001.parquet"
    rows = [pos("หมา เห่า", "NOUN VERB")]
    write_data_set(tmp_path, {"udpos.Thai": Config({"test": rows}, [named("pos_tags", TAGS)])})
    content = bytearray(path.read_bytes())
    content[at % len(content)] = byte
    path.write_bytes(bytes(content[: len(content) - cut % 9 * (cut % 2)]))
    source = open_folder(tmp_path)
    try:
        read = source.read("th", "test")
    except DataError as error:
        message = str(error)
    else:
        assert all(isinstance(s, Sentence) and s.words for s in read)
        return
    assert message.startswith(f"{tmp_path}")
    assert len(message.splitlines()) == 1


def test_missing_split_and_language_name_what_exists(repository: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_folder(repository).read("kk", "dev")
    assert str(caught.value) == (
        f"{repository}: no dev split of language 'kk'; 'kk' has test, train; languages here: de, en, fr, kk, th"
    )
    with pytest.raises(DataError, match="no test split of language 'xx'; 'xx' has no split; languages here: de"):
        open_folder(repository).read("xx", "test")


# The stand-in for the Hub.


@dataclass
class Hub:
    """What the stand-in serves, and what it was asked."""

    folder: Path
    revision: str = "1" * 40
    fault: str = ""
    """Status of every answer, `portal` for a page of HTML, or `break` for files that end half way."""

    requests: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def asked(self) -> list[str]:
        """The files that were downloaded, by data set and path."""
        return sorted(request.split(" ", 1)[1] for request in self.requests if request.startswith("GET "))


class Handler(BaseHTTPRequestHandler):
    """The few answers that a download needs."""

    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, urlsplit(self.path).path
        if "/datasets/" not in path:
            return self.answer(404, b"")  # what else the library asks about itself
        hub.tokens.add(self.headers.get("Authorization"))
        if hub.fault.isdigit() or hub.fault == "portal":
            code = {"404": "RepoNotFound", "403": "GatedRepo"}.get(hub.fault)
            self.answer(
                int(hub.fault) if hub.fault.isdigit() else 200, b"<html>", {"X-Error-Code": code} if code else {}
            )
        elif path.startswith("/api/datasets/"):
            owner, name, *rest = path.removeprefix("/api/datasets/").split("/")
            folder = hub.folder / owner / name
            if not folder.is_dir():
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif rest[:1] == ["tree"]:
                self.answer(200, json.dumps([self.entry(folder, f) for f in sorted(folder.rglob("*")) if f.is_file()]))
            else:
                self.answer(200, json.dumps({"id": f"{owner}/{name}", "sha": hub.revision, "siblings": []}))
        else:
            _, _, owner, name, _, revision, *parts = path.split("/")
            file = hub.folder / owner / name / "/".join(parts)
            assert revision == hub.revision
            hub.requests.append(f"{self.command} {owner}/{name}/{'/'.join(parts)}")
            content = file.read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": revision}
            self.answer(200, content, headers, half=hub.fault == "break" and file.suffix == ".parquet")

    def entry(self, folder: Path, file: Path) -> dict[str, Any]:
        oid = hashlib.sha256(file.read_bytes()).hexdigest()
        return {"type": "file", "oid": oid, "size": file.stat().st_size, "path": file.relative_to(folder).as_posix()}

    def answer(
        self, status: int, body: bytes | str, headers: Mapping[str, str] | None = None, half: bool = False
    ) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if half else content)
        self.close_connection = half

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four tasks' data sets."""
    folder = tmp_path_factory.mktemp("published")
    write_data_set(folder / "google" / "xtreme", {**udpos(), **panx(), **pawsx(), **xnli()})
    write_data_set(folder / "facebook" / "xnli", xnli_train())
    return folder


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in that serves all data sets, and an empty Hugging Face cache."""
    served = Hub(Path(shutil.copytree(published, tmp_path / "served")))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"hub": served}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "hf")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str, home: Path) -> None:
    """Set what the library takes from the environment when it is imported."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library's pauses between retries
    huggingface_hub.close_session()


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


XTREME = "google/xtreme"


def test_fetch_downloads_what_is_read_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    root = fetch(TASKS["udpos"], tmp_path / "cache", source_language="en", languages=["de", "th"])
    assert hub.asked() == [
        f"{XTREME}/README.md",
        *(f"{XTREME}/udpos.English/{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")),
        *(f"{XTREME}/udpos.German/{split}-00000-of-00001.parquet" for split in ("test", "validation")),
        f"{XTREME}/udpos.Thai/test-00000-of-00001.parquet",
    ]  # fmt: skip
    served = hub.folder
    assert snapshot(root) == {name: (served / name).read_bytes() for name in hub.asked()}
    source = open_folder(root)
    assert source.languages() == ("de", "en", "th")
    assert source.files("de", "train") == ()
    assert source.read("de", "test") == [Sentence(("ein", "test"), ("DET", "NOUN"))]


def test_the_folder_is_named_after_the_revision(hub: Hub, tmp_path: Path) -> None:
    first = fetch(TASKS["panx"], tmp_path, source_language="en", languages=["de"])
    assert first == tmp_path / "hub" / "google--xtreme@111111111111"
    before = snapshot(first)
    hub.revision = "2" * 40
    second = fetch(TASKS["panx"], tmp_path, source_language="en", languages=["de"])
    assert second == tmp_path / "hub" / "google--xtreme@222222222222"
    assert snapshot(first) == before == snapshot(second)


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_task_is_read_as_it_was_written(hub: Hub, tmp_path: Path, name: str) -> None:
    source = open_folder(fetch(TASKS[name], tmp_path / "cache", source_language="en", languages=["de"]), name)
    written = open_folder(hub.folder, name)
    for language, split in [("en", "train"), ("en", "dev"), ("en", "test"), ("de", "dev"), ("de", "test")]:
        assert source.read(language, split) == written.read(language, split)  # type: ignore[arg-type]


def test_two_data_sets_of_one_task(hub: Hub, tmp_path: Path) -> None:
    root = fetch(TASKS["xnli"], tmp_path / "cache", source_language="en", languages=["de"])
    assert root.name == "google--xtreme@111111111111+facebook--xnli@111111111111"
    assert hub.asked() == [
        "facebook/xnli/README.md",
        "facebook/xnli/en/train-00000-of-00001.parquet",
        f"{XTREME}/README.md",
        f"{XTREME}/XNLI/test-00000-of-00001.parquet",
        f"{XTREME}/XNLI/validation-00000-of-00001.parquet",
    ]


def test_a_later_fetch_adds_a_language(hub: Hub, tmp_path: Path) -> None:
    root = fetch(TASKS["udpos"], tmp_path / "cache", source_language="en", languages=["de"])
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}
    hub.requests.clear()
    assert fetch(TASKS["udpos"], tmp_path / "cache", source_language="en", languages=["th"]) == root
    assert hub.asked() == [f"{XTREME}/udpos.Thai/test-00000-of-00001.parquet"]
    assert open_folder(root).languages() == ("de", "en", "th")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_no_languages_means_all_of_the_task(hub: Hub, tmp_path: Path) -> None:
    task = replace(
        TASKS["udpos"], hub=(replace(TASKS["udpos"].hub[0], configs={"en": "udpos.English", "fr": "udpos.French"}),)
    )
    assert open_folder(fetch(task, tmp_path / "cache", source_language="en"), task).languages() == ("en", "fr")


@pytest.mark.parametrize("away", ["offline", "500", "404", "portal"])
def test_what_is_in_the_cache_needs_no_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    first = fetch(TASKS["xnli"], tmp_path / "one", source_language="en", languages=["de"])
    hub.requests.clear()
    hub.fault = "" if away == "offline" else away
    if away == "offline":
        go_offline(monkeypatch)
    second = fetch(TASKS["xnli"], tmp_path / "two", source_language="en", languages=["de"])
    assert hub.requests == []
    assert second.name == first.name
    assert snapshot(second) == snapshot(first)


WAYS_OUT = "allowed without the Hub: --data PATH with --encoder PATH, or --profile quickstart"


def refused(tmp_path: Path, task: str = "udpos", **options: Any) -> str:
    """The one line that a fetch ends with; it leaves nothing behind."""
    with pytest.raises((DataError, ConfigError)) as caught:
        fetch(TASKS[task], tmp_path / "cache", **{"source_language": "en", "languages": ["de"], **options})
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "cache").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("fault", "reason"), [("500", "HfHubHTTPError: "), ("401", "HfHubHTTPError: "), ("portal", "")]
)
def test_hub_with_a_fault(hub: Hub, tmp_path: Path, fault: str, reason: str) -> None:
    hub.fault = fault
    message = refused(tmp_path)
    assert message.startswith(f"--data: {constants.ENDPOINT}/datasets/google/xtreme cannot be reached ({reason}")
    assert message.endswith(WAYS_OUT)


def test_hub_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf")
    message = refused(tmp_path)
    assert message.startswith("--data: http://127.0.0.1:9/datasets/google/xtreme cannot be reached (ConnectError: ")
    assert message.endswith(f" and is not complete in {tmp_path}/hf/hub; {WAYS_OUT}")


def test_offline_with_an_empty_cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch)
    message = refused(tmp_path)
    assert "cannot be reached (OfflineModeIsEnabled: " in message
    assert message.endswith(WAYS_OUT)
    assert hub.requests == []


def test_offline_with_other_languages_in_the_cache(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(TASKS["udpos"], tmp_path / "other", source_language="en", languages=["de"])
    go_offline(monkeypatch)
    assert refused(tmp_path, languages=["fr"]).endswith(WAYS_OUT)


def test_missing_and_gated_data_sets(hub: Hub, tmp_path: Path) -> None:
    page = f"--data: {constants.ENDPOINT}/datasets/google/xtreme"
    hub.fault = "404"
    assert refused(tmp_path) == f"{page} does not exist or is private; allowed: --data PATH, or a token in HF_TOKEN"
    hub.fault = "403"
    assert refused(tmp_path) == f"{page} is gated; allowed: --data PATH, or a token in HF_TOKEN that has access"


def test_hub_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_endpoint(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path / "hf")
        monkeypatch.setattr("dlfa.data.sources.hub._TIMEOUT", 0.1)
        assert "/datasets/google/xtreme cannot be reached (ReadTimeout: " in refused(tmp_path)


def test_download_that_ends_half_way(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub.fault = "break"
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(caplog.handler)
    try:
        assert refused(tmp_path).endswith(WAYS_OUT)
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == []  # nothing of the retries
    hub.fault = ""
    root = fetch(TASKS["udpos"], tmp_path / "cache", source_language="en", languages=["de"])
    assert open_folder(root).read("de", "test") == [Sentence(("ein", "test"), ("DET", "NOUN"))]


def test_after_a_broken_download_nothing_is_read_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fault = "break"
    refused(tmp_path)
    go_offline(monkeypatch)
    assert refused(tmp_path).endswith(WAYS_OUT)


def test_data_set_of_a_loading_script(hub: Hub, tmp_path: Path) -> None:
    header = read_header(hub.folder / XTREME)
    del header["configs"]
    write_header(hub.folder / XTREME, header)
    assert refused(tmp_path) == (
        "google/xtreme@111111111111: no configs in the header of its README.md; allowed: a data set that names its "
        "parquet files there (loading scripts are not run)"
    )


def test_configuration_that_is_missing(hub: Hub, tmp_path: Path) -> None:
    assert refused(tmp_path, languages=["hu"]) == (
        "google/xtreme@111111111111: no configuration 'udpos.Hungarian' (did you mean udpos.German?); found "
        "tatoeba.afr, udpos.English, udpos.German, udpos.French, udpos.Kazakh and 6 more"
    )


def test_splits_of_other_names(hub: Hub, tmp_path: Path) -> None:
    files = [{"split": "dev", "path": "udpos.German/validation-*"}]
    damage_header(hub.folder / XTREME, "udpos.German", lambda entry: entry.update(data_files=files))
    assert refused(tmp_path) == (
        "google/xtreme@111111111111: configuration 'udpos.German' has dev; allowed: train, validation, test"
    )


def test_files_that_are_named_and_missing(hub: Hub, tmp_path: Path) -> None:
    (hub.folder / XTREME / "udpos.German" / "test-00000-of-00001.parquet").unlink()
    assert refused(tmp_path) == (
        "google/xtreme@111111111111: no file udpos.German/test-*, the test split of configuration 'udpos.German'"
    )


def test_shards_that_are_missing_at_the_hub(hub: Hub, tmp_path: Path) -> None:
    folder = hub.folder / XTREME / "udpos.German"
    (folder / "test-00000-of-00001.parquet").rename(folder / "test-00000-of-00002.parquet")
    assert "test-00000-of-00002.parquet: 1 files of the test split are here; allowed: 2" in refused(tmp_path)


def test_language_that_the_data_set_lacks(hub: Hub, tmp_path: Path) -> None:
    assert refused(tmp_path, task="pawsx", languages=["de", "it"]) == (
        "--languages: 'it' is not in google/xtreme; allowed: de, en, es, fr, ja, ko, zh"
    )
    assert refused(tmp_path, task="xnli", source_language="enn").startswith(
        "--source-lang: 'enn' is not in google/xtreme and facebook/xnli (did you mean en?); allowed: ar, bg, "
    )
    assert hub.requests == []


def test_task_that_is_not_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data: 'hub' is not allowed for mine; allowed: a folder"):
        fetch(replace(TASKS["udpos"], name="mine", hub=()), tmp_path, source_language="en")


def test_environment_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    """Endpoint, token and cache are taken from the environment, which the library reads once per process."""
    code = (
        "import sys; from pathlib import Path; from dlfa.data.sources.hub import fetch; from dlfa.tasks import TASKS; "
        "print(fetch(TASKS['pawsx'], Path(sys.argv[1]), source_language='en', languages=['de']))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"} | {
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_secret",
    }

    def run(cache: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / cache)],
            env=environment | extra,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    online = run("one")
    assert hub.tokens == {"Bearer hf_secret"}
    assert (tmp_path / "home" / "hub" / "datasets--google--xtreme").is_dir()
    asked = len(hub.requests)
    offline = run("two", HF_HUB_OFFLINE="1")
    assert len(hub.requests) == asked
    assert online.stderr == offline.stderr == ""
    assert snapshot(Path(offline.stdout.strip())) == snapshot(Path(online.stdout.strip())) != {}
