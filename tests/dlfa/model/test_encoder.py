"""Encoders and tokenizers as files: what is read, and how each fault is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, write_encoder
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from dlfa.errors import ConfigError
from dlfa.model import EncoderShape, encoder_fingerprint, encoder_shape, load_encoder, load_tokenizer

ALLOWED = "a folder with config.json, tokenizer.json and model.safetensors, or a hub id that can be reached"
Load = Callable[[str], Any]
EVERY_LOADER = pytest.mark.parametrize("load", [encoder_shape, load_tokenizer, load_encoder])


def refusal(load: Load, encoder: str | Path) -> str:
    """Return the reason in the one line that a refused encoder is told with."""
    with pytest.raises(ConfigError) as caught:
        load(str(encoder))
    message = str(caught.value)
    start, end = f"--encoder: {str(encoder)!r}: ", f"; allowed: {ALLOWED}"
    assert message.startswith(start)
    assert message.endswith(end)
    assert "\n" not in message
    return message[len(start) : -len(end)]


def edit_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_one_state_per_layer_and_the_embeddings(family: str, tmp_path: Path) -> None:
    name = str(write_encoder(tmp_path, family, layers=3, hidden_size=16))
    shape, encoder, tokenizer = encoder_shape(name), load_encoder(name), load_tokenizer(name)
    assert shape == EncoderShape(layers=3, hidden_size=16, vocabulary=len(tokenizer), max_positions=64)
    assert not encoder.training
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert not any("pooler" in parameter_name for parameter_name, _ in encoder.named_parameters())
    # The longest input that the shape promises: XLM-R's table of positions has two rows that are none.
    ids_BT = torch.randint(5, shape.vocabulary, (2, shape.max_positions))
    output = encoder(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), output_hidden_states=True)
    assert [tuple(h_BTE.shape) for h_BTE in output.hidden_states] == [(2, 64, 16)] * 4
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert not torch.equal(output.hidden_states[0], output.hidden_states[1])


def test_tokenizer_knows_the_word_of_each_piece(folder: Path) -> None:
    batch = load_tokenizer(str(folder))(["the", "dogs", "ab"], is_split_into_words=True)
    assert batch.tokens() == ["<s>", "the", "dog", "##s", "a", "##b", "</s>"]
    assert batch.word_ids() == [None, 0, 1, 1, 2, 2, None]


def test_loading_draws_nothing_from_the_global_generator(folder: Path) -> None:
    before = torch.get_rng_state()
    load_encoder(str(folder))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_saved_in_half_precision_become_float32(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in weights.items()}, folder / "model.safetensors")
    edit_config(folder, dtype="float16")
    assert {parameter.dtype for parameter in load_encoder(str(folder)).parameters()} == {torch.float32}


def test_reads_a_file_named_as_in_mbert(folder: Path) -> None:
    """Names of 2018, a prefix, a pooler and heads of pretraining are no fault."""
    expected = load_encoder(str(folder)).state_dict()
    weights = load_file(folder / "model.safetensors")
    old = {
        "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
        for name, tensor in weights.items()
    }
    assert sum("gamma" in name for name in old) == 9
    old |= {"cls.predictions.bias": torch.ones(4), "cls.seq_relationship.weight": torch.ones(2, 32)}
    save_file(old, folder / "model.safetensors")
    loaded = load_encoder(str(folder)).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_file_without_a_pooler_is_read(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    bare = {name: tensor for name, tensor in weights.items() if not name.startswith("pooler.")}
    assert len(bare) == len(weights) - 2
    save_file(bare, folder / "model.safetensors")
    load_encoder(str(folder))


def test_loading_is_silent_and_leaves_reporting_as_it_was(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_warning()
    logging.enable_progress_bar()
    try:
        load_encoder(str(folder))  # whose unused pooler transformers reports
        edit_config(folder, num_hidden_layers=5)
        refusal(load_encoder, folder)
        load_tokenizer(str(folder))
        assert logging.get_verbosity() == logging.WARNING  # type: ignore[attr-defined]
        assert logging.is_progress_bar_enabled()
        assert capfd.readouterr() == ("", "")
    finally:
        logging.set_verbosity(verbosity)
        if not bars:
            logging.disable_progress_bar()


def test_folder_without_slash_is_no_hub_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert encoder_shape("encoder") == encoder_shape(str(folder)) == encoder_shape("./encoder")


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert encoder_shape("~/encoder") == encoder_shape(str(folder))


@EVERY_LOADER
@pytest.mark.parametrize("encoder", ["./nowhere", "/nowhere/at/all", "~/nowhere"])
def test_refuses_a_folder_that_is_not_there(load: Load, encoder: str) -> None:
    assert refusal(load, encoder) == "there is no such folder"


@EVERY_LOADER
def test_refuses_a_hub_id_that_cannot_be_reached(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("nobody/none")
    assert str(caught.value) == (
        "--encoder: 'nobody/none': https://huggingface.co cannot be reached, and what was downloaded before lacks its "
        "config; allowed without the Hub: --encoder PATH with --data PATH, or --profile quickstart"
    )


@EVERY_LOADER
def test_refuses_a_folder_without_config(load: Load, folder: Path) -> None:
    (folder / "config.json").unlink()
    assert refusal(load, folder) == "it has no config.json"


@EVERY_LOADER
@pytest.mark.parametrize(
    "text", ["{", "[1]", "{}", '{"model_type": "nonsense"}', '{"model_type": "bert", "hidden_size": "x"}']
)
def test_refuses_a_broken_config(load: Load, text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text, "utf-8")
    assert refusal(load, folder).startswith("its config cannot be read: ")


@EVERY_LOADER
def test_never_runs_code_of_an_encoder(load: Load, folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "code was run"
    (folder / "own.py").write_text(f"open({str(trap)!r}, 'w')\n", "utf-8")
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}), "utf-8")
    assert refusal(load, folder) == "its config cannot be read: it needs code of its own, which is never run"
    assert not trap.exists()


def test_refuses_what_is_no_text_encoder(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "t5"}', "utf-8")
    assert refusal(encoder_shape, folder) == "t5 is an encoder with a decoder"
    (folder / "config.json").write_text('{"model_type": "vit"}', "utf-8")
    assert refusal(encoder_shape, folder) == (
        "its config.json has None for max_position_embeddings, so it is no text encoder"
    )


def test_refuses_a_folder_without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert refusal(load_tokenizer, folder) == "it has no tokenizer.json"


@pytest.mark.parametrize("text", ["{", "{}"])
def test_refuses_a_broken_tokenizer(text: str, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(text, "utf-8")
    assert refusal(load_tokenizer, folder).startswith("its tokenizer cannot be read: ")


def test_refuses_a_tokenizer_that_is_not_fast(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}', "utf-8")
    assert refusal(load_tokenizer, folder) == "CanineTokenizer is not a fast tokenizer"


def test_refuses_a_tokenizer_without_pieces(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    content["model"]["vocab"] = {piece: content["model"]["vocab"][piece] for piece in ("<s>", "</s>", "<unk>")}
    content["model"]["vocab"] |= {"<pad>": 1, "<mask>": 4}
    path.write_text(json.dumps(content), "utf-8")
    assert refusal(load_tokenizer, folder) == "its tokenizer has no pieces but special tokens"


def test_refuses_a_tokenizer_with_more_pieces_than_the_encoder(folder: Path) -> None:
    edit_config(folder, vocab_size=100)
    assert refusal(load_tokenizer, folder) == "its tokenizer has 202 pieces, and config.json a vocab_size of 100"


def test_refuses_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(load_encoder, folder) == "it has no model.safetensors"


def test_refuses_pickled_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert refusal(load_encoder, folder) == (
        "it has no model.safetensors; pytorch_model.bin is a pickle, which can run code when it is read"
    )


def test_refuses_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-100], b"", b"not safetensors at all"):
        path.write_bytes(damaged)
        assert refusal(load_encoder, folder).startswith("its weights cannot be read: SafetensorError: ")


def test_refuses_weights_of_another_size(folder: Path) -> None:
    edit_config(folder, vocab_size=300)
    assert refusal(load_encoder, folder) == (
        "embeddings.word_embeddings.weight is (202, 32) in the weights and (300, 32) by config.json"
    )
    edit_config(folder, vocab_size=202, intermediate_size=48)
    assert refusal(load_encoder, folder) == (
        "encoder.layer.0.intermediate.dense.bias is (64,) in the weights and (48,) by config.json (and 11 more)"
    )


def test_refuses_weights_that_lack_layers(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=5)
    assert refusal(load_encoder, folder) == (
        "its weights lack encoder.layer.4.attention.output.LayerNorm.bias (and 15 more), which config.json asks for"
    )


def test_refuses_weights_with_more_layers_than_the_config(folder: Path) -> None:
    edit_config(folder, num_hidden_layers=3)
    assert refusal(load_encoder, folder) == (
        "its weights have encoder.layer.3.attention.output.LayerNorm.bias (and 15 more), beyond config.json's layers"
    )


def test_byte_level_tokenizers_see_where_a_word_begins(folder: Path) -> None:
    byte_level = Tokenizer(BPE())
    byte_level.pre_tokenizer = ByteLevel(add_prefix_space=False)
    pieces = BpeTrainer(special_tokens=["<pad>", "<s>", "</s>"], show_progress=False)
    byte_level.train_from_iterator(["the dog sees the dog"] * 9, pieces)
    PreTrainedTokenizerFast(tokenizer_object=byte_level, pad_token="<pad>").save_pretrained(folder)
    tokenizer = load_tokenizer(str(folder))
    read = tokenizer([["the", "dog"]], is_split_into_words=True, add_special_tokens=False)
    assert tokenizer.convert_ids_to_tokens(read["input_ids"][0]) == ["Ġthe", "Ġdog"]


def test_a_fingerprint_is_of_what_the_encoder_is_read_from(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "encoder")
    before = encoder_fingerprint(str(folder))
    (folder / "README.md").write_text("a card")
    assert encoder_fingerprint(str(folder)) == before == encoder_fingerprint(str(write_encoder(tmp_path / "again")))
    (folder / "vocab.txt").write_text("the")
    assert encoder_fingerprint(str(folder)) != before


def test_a_fingerprint_of_the_hub_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--me--mine"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    write_encoder(snapshot)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert encoder_fingerprint("me/mine") == commit
    assert encoder_fingerprint("me/another") is None
