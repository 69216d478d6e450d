"""Models written to a folder and read back."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, everywhere, write_encoder

from dlfa.config import ModelConfig
from dlfa.errors import ConfigError
from dlfa.model import Classifier, build_model, load_encoder, load_model, load_tokenizer, save_model, saved_window
from dlfa.tasks import Kind

LABELS = ("NOUN", "VERB", "ظرف")
ALLOWED = "a folder that a model was saved in"
IDS_BT = torch.tensor([[0, 5, 6, 7, 2]])


def saved(tmp_path: Path, family: str = "bert", fusion: bool = True, kind: Kind = "tagging") -> tuple[Classifier, Path]:
    encoder = str(write_encoder(tmp_path / "encoder", family))
    config = (
        ModelConfig(encoder=encoder, fusion_layer=1, reduction_ratio=4)
        if fusion
        else ModelConfig(encoder=encoder, fusion="none", dropout=0.2)
    )
    model = build_model(config, kind, LABELS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    save_model(model, tmp_path / "deep" / "model", config, load_tokenizer(encoder))
    for path in (tmp_path / "encoder").iterdir():  # the saved model stands on its own
        path.unlink()
    return model, tmp_path / "deep" / "model"


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fusion", [True, False])
@pytest.mark.parametrize("kind", ["tagging", "pair"])
def test_loads_back_with_the_same_logits_to_the_bit(family: str, fusion: bool, kind: Kind, tmp_path: Path) -> None:
    model, folder = saved(tmp_path, family, fusion, kind)
    before = torch.get_rng_state()
    loaded = load_model(folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.training
    assert (loaded.kind, loaded.labels) == (kind, LABELS)
    assert (loaded.reads, loaded.head.dropout.p) == (model.reads, model.head.dropout.p)
    with torch.no_grad():
        assert torch.equal(loaded(*everywhere(IDS_BT)), model(*everywhere(IDS_BT)))


def test_folder_is_an_encoder_for_a_further_training(tmp_path: Path) -> None:
    model, folder = saved(tmp_path)
    expected, loaded = model.encoder.state_dict(), load_encoder(str(folder)).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert load_tokenizer(str(folder)).tokenize("dogs") == ["dog", "##s"]


def test_settings_are_readable(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    text = (folder / "dlfa.json").read_text("utf-8")
    assert json.loads(text) == {
        "model": {
            "encoder": str(tmp_path / "encoder"),
            "fusion": "dlfa",
            "fusion_layer": 1,
            "reduction_ratio": 4,
            "dropout": 0.1,
        },
        "kind": "tagging",
        "labels": list(LABELS),
    }
    assert "ظرف" in text


def test_the_window_is_kept_and_a_folder_without_it_loads_all_the_same(tmp_path: Path) -> None:
    model, folder = saved(tmp_path)
    assert saved_window(folder) is None
    config = ModelConfig(encoder=str(folder), fusion_layer=1, reduction_ratio=4)
    save_model(model, tmp_path / "again", config, load_tokenizer(str(folder)), 48)
    assert saved_window(tmp_path / "again") == 48
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "again")(*everywhere(IDS_BT)), model(*everywhere(IDS_BT)))


@pytest.mark.parametrize("window", [7, "64", True, 64.0])
def test_refuses_a_window_that_is_none(window: object, tmp_path: Path) -> None:
    settings = {"model": {}, "kind": "pair", "labels": ["X"], "max_length": window}
    (tmp_path / "dlfa.json").write_text(json.dumps(settings), "utf-8")
    assert refusal(tmp_path) == (
        f"{tmp_path}/dlfa.json: max_length: {window!r} is not allowed; allowed: a whole number, at least 8"
    )


def test_saving_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", [None, "{", "\xff"])
def test_refuses_settings_that_cannot_be_read(text: str | None, tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    path = folder / "dlfa.json"
    if text is None:
        path.unlink()
    else:
        path.write_text(text, "latin-1")
    message = refusal(folder)
    assert message.startswith(f"{path}: cannot be read (")
    assert message.endswith(f"); allowed: {ALLOWED}")


@pytest.mark.parametrize("text", ["[]", "{}", '{"model": {}, "kind": "pair", "labels": [], "more": 1}'])
def test_refuses_other_settings(text: str, tmp_path: Path) -> None:
    (tmp_path / "dlfa.json").write_text(text, "utf-8")
    assert refusal(tmp_path) == (
        f"{tmp_path}/dlfa.json: has other fields than `model`, `kind`, `labels` and `max_length`; allowed: {ALLOWED}"
    )


@pytest.mark.parametrize("labels", [[], [1], "NOUN", None])
def test_refuses_labels_that_are_no_names(labels: object, tmp_path: Path) -> None:
    (tmp_path / "dlfa.json").write_text(json.dumps({"model": {}, "kind": "pair", "labels": labels}), "utf-8")
    assert refusal(tmp_path) == (
        f"{tmp_path}/dlfa.json: labels: {labels!r} is not allowed; allowed: a list of label names"
    )


def test_refuses_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "dlfa.json").write_text('{"model": {}, "kind": "span", "labels": ["X"]}', "utf-8")
    assert refusal(tmp_path) == f"{tmp_path}/dlfa.json: kind: 'span' is not allowed; allowed: tagging, pair"


def test_refuses_an_unknown_setting(tmp_path: Path) -> None:
    (tmp_path / "dlfa.json").write_text('{"model": {"fusions": "none"}, "kind": "tagging", "labels": ["X"]}', "utf-8")
    assert refusal(tmp_path).startswith(f"{tmp_path}/dlfa.json.fusions: unknown field (did you mean fusion?)")


def test_refuses_a_folder_without_the_encoder(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    (folder / "model.safetensors").unlink()
    assert refusal(folder).startswith(f"--encoder: {str(folder)!r}: it has no model.safetensors; ")


def test_refuses_damaged_or_missing_weights(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    path = folder / "dlfa.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    assert refusal(folder).startswith(f"{path}: cannot be read (")
    path.unlink()
    assert refusal(folder).startswith(f"{path}: cannot be read (")


def test_refuses_weights_of_another_model(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    path = folder / "dlfa.safetensors"
    weights = load_file(path)
    bias, *rest = sorted(weights, key=lambda name: name != "head.linear.bias")
    save_file({name: weights[name] for name in rest}, path)
    end = f"by dlfa.json; allowed: {ALLOWED}"
    assert refusal(folder) == f"{path}: {bias} is missing, but (3,) {end}"
    save_file(weights | {bias: torch.zeros(4)}, path)
    assert refusal(folder) == f"{path}: {bias} is (4,), but (3,) {end}"
    save_file(weights | {"head.second.bias": torch.zeros(4)}, path)
    assert refusal(folder) == f"{path}: head.second.bias is (4,), but unknown {end}"
