"""Encoded data on disk: built once, found by content, never half there; and which languages are scored."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import write_encoder
from transformers import PreTrainedTokenizerBase

from dlfa.config import DataConfig
from dlfa.data.cache import Corpus
from dlfa.data.encode import EncodedSplit, encode
from dlfa.data.sources import open_source
from dlfa.errors import ConfigError, DataError
from dlfa.model import load_tokenizer
from dlfa.tasks import TASKS

TASK = TASKS["udpos"]
ARRAYS = (
    "input_ids",
    "token_types",
    "window_start",
    "window_label_start",
    "label_position",
    "labels",
    "example_label_start",
    "example_ids",
    "untranslated",
)
SPLITS = {"en": ("train", "dev", "test"), "de": ("dev", "test"), "fr": ("test",), "ru": ("dev",)}


def conllu(*sentences: str) -> str:
    """Sentences of `word/TAG word/TAG`."""
    return "".join(
        "".join(
            f"{number}\t{pair.split('/')[0]}\t_\t{pair.split('/')[1]}" + 6 * "\t_" + "\n"
            for number, pair in enumerate(sentence.split(), start=1)
        )
        + "\n"
        for sentence in sentences
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(write_encoder(tmp_path_factory.mktemp("encoder"))))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for language, splits in SPLITS.items():
        for split in splits:
            path = tmp_path / "data" / language / f"{language}_x-{split}.conllu"
            path.parent.mkdir(parents=True, exist_ok=True)
            long = "the/DET small/ADJ dogs/NOUN sees/VERB the/DET house/NOUN abcdefghij/X"
            path.write_text(conllu(f"{language}/X {split}/NOUN", long, "cat/NOUN"))
    return tmp_path / "data"


def corpus(data: Path, tokenizer: PreTrainedTokenizerBase, **changes: Any) -> Corpus:
    config = DataConfig(path=str(data), cache=str(data.parent / "cache"), max_length=8)
    return Corpus(open_source(data, TASK), TASK, tokenizer, dataclasses.replace(config, **changes))


def cached(data: Path) -> list[Path]:
    """Every file of the cache, hidden ones included."""
    return [path for path in (data.parent / "cache").rglob("*") if path.is_file()]


def assert_equal(one: EncodedSplit, other: EncodedSplit) -> None:
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, name)
    assert one.counts == other.counts


def test_first_split_is_encoded_and_the_second_is_read(
    data: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sorted((*ARRAYS, "counts")) == sorted(field.name for field in dataclasses.fields(EncodedSplit))
    expected = encode(open_source(data, TASK).read("en", "train"), tokenizer, TASK, 8)
    assert expected.counts == {
        "split_sentences": 2,
        "shortened_words": 1,
        "unknown_words": 0,
    }  # counts that could get lost
    assert_equal(corpus(data, tokenizer).split("en", "train"), expected)
    assert [path.parent.name for path in cached(data)] == ["encoded"]

    def fail(*args: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr("dlfa.data.cache.encode", fail)
    assert_equal(corpus(data, tokenizer).split("en", "train"), expected)
    with pytest.raises(AssertionError, match="encoded again"):
        corpus(data, tokenizer).split("en", "dev")
    assert len(cached(data)) == 1


def test_arrays_are_memory_mapped(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not tell what a process maps")
    split = corpus(data, tokenizer).split("en", "train")
    (path,) = cached(data)
    assert str(path) in maps.read_text()
    del split


def test_address_is_of_the_content_and_not_of_the_path(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    before = corpus(data, tokenizer).address("en", "train")
    moved = data.parent / "elsewhere" / "data"
    shutil.copytree(data, moved)
    assert corpus(moved, tokenizer).address("en", "train") == before
    assert corpus(data, tokenizer, cache="other").address("en", "train") == before
    assert corpus(data, tokenizer, languages=("de",)).address("en", "train") == before
    renamed = data / "en" / "other_name-train.conllu"
    (data / "en" / "en_x-train.conllu").rename(renamed)
    assert corpus(data, tokenizer).address("en", "train") == before
    renamed.write_text(renamed.read_text().replace("cat", "hat"))
    assert corpus(data, tokenizer).address("en", "train") != before


def test_data_that_has_changed_is_encoded_anew(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    before = corpus(data, tokenizer).split("en", "dev")
    (data / "en" / "en_x-dev.conllu").write_text(conllu("dogs/NOUN"))
    assert corpus(data, tokenizer).split("en", "dev").labels.tolist() == [TASK.labels.index("NOUN")]
    assert len(before.labels) == 10
    assert len(cached(data)) == 2


def test_every_part_of_the_address_counts(data: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    source, config = corpus(data, tokenizer).source, corpus(data, tokenizer).config
    other_tokenizer = load_tokenizer(str(write_encoder(tmp_path / "other", words=("the", "dog"))))
    labels = dataclasses.replace(TASK, labels=(*TASK.labels[1:], TASK.labels[0]))
    variants = {
        "as it is": corpus(data, tokenizer),
        "tokenizer": corpus(data, other_tokenizer),
        "max_length": corpus(data, tokenizer, max_length=9),
        "train_limit": corpus(data, tokenizer, train_limit=2),
        "labels": Corpus(source, labels, tokenizer, config),
    }
    addresses = {name: variant.address("en", "train") for name, variant in variants.items()}
    assert len(set(addresses.values())) == len(variants), addresses
    assert addresses["as it is"] != corpus(data, tokenizer).address("en", "dev")
    # A limit of the other kind changes nothing.
    assert corpus(data, tokenizer, eval_limit=2).address("en", "train") == addresses["as it is"]
    dev = corpus(data, tokenizer).address("en", "dev")
    assert corpus(data, tokenizer, train_limit=2).address("en", "dev") == dev
    assert corpus(data, tokenizer, eval_limit=2).address("en", "dev") != dev


def test_limits_take_sentences_from_the_start(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    limited = corpus(data, tokenizer, train_limit=1, eval_limit=2)
    assert len(limited.split("en", "train").labels) == 2
    assert len(limited.split("en", "dev").labels) == 2 + 7
    assert len(limited.split("de", "test").labels) == 2 + 7
    assert len(corpus(data, tokenizer, train_limit=99).split("en", "train").labels) == 2 + 7 + 1


# Each process waits within `encode` until the other is there too: both build, whichever is faster.
BUILD = """
import sys, time
from pathlib import Path
import dlfa.data.cache
from dlfa.config import DataConfig
from dlfa.data.sources import open_source
from dlfa.model import load_tokenizer
from dlfa.tasks import TASKS

data, encoder, cache, name, other = sys.argv[1:]
real = dlfa.data.cache.encode

def wait_and_encode(*args):
    Path(cache, "waiting-" + name).touch()
    deadline = time.monotonic() + 300
    while not Path(cache, "waiting-" + other).exists():
        assert time.monotonic() < deadline, "the other process did not come"
        time.sleep(0.01)
    return real(*args)

dlfa.data.cache.encode = wait_and_encode
config = DataConfig(path=data, cache=cache, max_length=8)
task = TASKS["udpos"]
corpus = dlfa.data.cache.Corpus(open_source(data, task), task, load_tokenizer(encoder), config)
print(corpus.split("en", "train").input_ids.tolist())
"""


def test_two_processes_build_the_same_split_at_once(
    data: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(data), tokenizer.name_or_path, str(cache), name, other],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name, other in (("a", "b"), ("b", "a"))
    ]
    results = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    expected = corpus(data, tokenizer).split("en", "train").input_ids.tolist()
    assert results == [f"{expected}\n"] * 2
    address = corpus(data, tokenizer).address("en", "train")
    assert sorted(str(path.relative_to(cache)) for path in cached(data)) == [
        f"encoded/{address}.safetensors",
        "waiting-a",
        "waiting-b",
    ]


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no counts"])
def test_a_damaged_file_is_named(damage: str, data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    expected = corpus(data, tokenizer).split("en", "train").labels.tolist()
    (path,) = cached(data)
    content = path.read_bytes()
    if damage == "no counts":
        save_file({name: np.zeros(2, np.int64) for name in ARRAYS}, path)
    else:
        path.write_bytes({"empty": b"", "cut": content[:-8], "text": b"not tensors" * 99}[damage])
    with pytest.raises(DataError) as caught:
        corpus(data, tokenizer).split("en", "train")
    message = str(caught.value)
    assert message.startswith(f"{path}: not readable as encoded data (")
    assert message.endswith("); delete it, and it is built again")
    assert "\n" not in message
    path.unlink()
    assert corpus(data, tokenizer).split("en", "train").labels.tolist() == expected


def test_a_split_that_is_not_there(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    for language, split in (("fr", "train"), ("xx", "test")):
        with pytest.raises(DataError) as caught:
            corpus(data, tokenizer).split(language, split)  # type: ignore[arg-type]
        assert str(caught.value) == f"{data}: no {split} set for language {language!r}"
    assert cached(data) == []


def test_a_malformed_split_leaves_nothing_in_the_cache(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    path = data / "en" / "en_x-dev.conllu"
    path.write_text(conllu("the/DEET"))
    with pytest.raises(DataError) as caught:
        corpus(data, tokenizer).split("en", "dev")
    assert str(caught.value).startswith(f"{path}:1: tag 'DEET' is not allowed; allowed: ADJ, ")
    assert cached(data) == []


def refusal(corpus: Corpus) -> str:
    with pytest.raises(ConfigError) as caught:
        corpus.targets()
    return str(caught.value)


def test_targets_are_the_languages_with_a_test_set_but_the_source(
    data: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    assert corpus(data, tokenizer).targets() == ("de", "fr")
    assert corpus(data, tokenizer, source_language="de").targets() == ("en", "fr")
    assert corpus(data, tokenizer, source_language="ru").targets() == ("de", "en", "fr")
    assert corpus(data, tokenizer, languages=("fr", "en", "de", "fr")).targets() == ("fr", "de")
    assert corpus(data, tokenizer, languages=("en",)).targets() == ()


def test_languages_that_are_not_there(data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    assert refusal(corpus(data, tokenizer, languages=("de", "ded"))) == (
        f"--languages: 'ded' is not in {data} (did you mean de?); allowed: de, en, fr, ru"
    )
    assert refusal(corpus(data, tokenizer, languages=("zz",))) == (
        f"--languages: 'zz' is not in {data}; allowed: de, en, fr, ru"
    )
    assert refusal(corpus(data, tokenizer, languages=("de", "ru"))) == (
        f"--languages: 'ru' has no test set in {data}; allowed: de, en, fr"
    )
    assert refusal(corpus(data, tokenizer, source_language="e")) == (
        f"--source-lang: 'e' is not in {data} (did you mean en?); allowed: de, en, fr, ru"
    )
