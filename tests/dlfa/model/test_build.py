"""The whole model, on tiny encoders of every family and on a real one."""

from pathlib import Path

import pytest
import torch
from tiny import FAMILIES, everywhere, write_encoder
from transformers import AutoModel

from dlfa.config import ModelConfig
from dlfa.errors import ConfigError
from dlfa.fusions import DLFA, FUSIONS, Fusion
from dlfa.model import Classifier, build_model, load_tokenizer

LABELS = ("NOUN", "VERB", "X")
WORDS = ["the", "dogs", "sees", "a", "house"]


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp(request.param), request.param))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("bert")))


def fused(encoder: str, layer: int = 1, ratio: int = 4) -> ModelConfig:
    return ModelConfig(encoder=encoder, fusion_layer=layer, reduction_ratio=ratio)


def trained(model: Classifier) -> Classifier:
    """Give the new layers weights, and running statistics, of their own."""
    with torch.no_grad():
        for parameter in model.new_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
        for buffer in model.fusion.buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(7)) + 0.5)
    return model.eval()


@pytest.mark.parametrize("layer", [None, 0, 3])
def test_padding_changes_no_logits(encoder: str, layer: int | None) -> None:
    config = ModelConfig(encoder=encoder, fusion="none") if layer is None else fused(encoder, layer)
    model, tokenizer = trained(build_model(config, "tagging", LABELS)), load_tokenizer(encoder)
    short, long = WORDS[:2], WORDS * 2
    alone = tokenizer(short, is_split_into_words=True, return_tensors="pt")
    batch = tokenizer([long, short], is_split_into_words=True, padding=True, return_tensors="pt")
    ids_BT, mask_BT, length = batch["input_ids"], batch["attention_mask"], alone["input_ids"].shape[1]
    assert mask_BT[1].tolist() == [1] * length + [0] * (ids_BT.shape[1] - length)
    with torch.no_grad():
        expected_TC = model(*everywhere(alone["input_ids"], alone["attention_mask"]))
        logits_BTC = model(*everywhere(ids_BT, mask_BT)).view(2, -1, len(LABELS))
        other_ids_BT = torch.where(mask_BT == 1, ids_BT, 9)
        other_logits_BTC = model(*everywhere(other_ids_BT, mask_BT)).view(2, -1, len(LABELS))
    assert logits_BTC.shape == (2, ids_BT.shape[1], len(LABELS))
    torch.testing.assert_close(logits_BTC[1, :length], expected_TC, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other_logits_BTC[1, :length], expected_TC, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other_logits_BTC[0], logits_BTC[0])


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_the_head_reads_what_the_fusion_makes_of_its_states(encoder: str, fusion: Fusion, layer: int) -> None:
    values = {"fusion_layer": layer, "reduction_ratio": 4}
    own = {name: values[name] for name in fusion.parameters}
    model = trained(build_model(ModelConfig(encoder=encoder, fusion=fusion.name, **own), "tagging", LABELS))
    ids_BT = torch.tensor([[0, 5, 6, 7, 2]])
    with torch.no_grad():
        states = AutoModel.from_pretrained(encoder)(input_ids=ids_BT, output_hidden_states=True).hidden_states
        assert torch.equal(states[-1], AutoModel.from_pretrained(encoder)(input_ids=ids_BT).last_hidden_state)
        read = {"dlfa": [layer, 4], "gate": [layer, 4], "mean": [layer, 4], "scalar_mix": range(5), "none": [4]}
        fused_BTE = model.fusion(*(states[i] for i in read[fusion.name]), attention_mask_BT=torch.ones_like(ids_BT))
        expected_TC = model.head.linear(fused_BTE)[0]
        torch.testing.assert_close(model(*everywhere(ids_BT)), expected_TC, rtol=1e-5, atol=1e-5)


def test_no_fusion_is_the_plain_recipe(encoder: str) -> None:
    model = build_model(ModelConfig(encoder=encoder, fusion="none"), "tagging", LABELS).eval()
    ids_BT, mask_BT = torch.tensor([[0, 5, 6, 7, 2], [0, 8, 2, 1, 1]]), torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    plain = AutoModel.from_pretrained(encoder)
    with torch.no_grad():
        h_BTE = plain(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        assert torch.equal(model(*everywhere(ids_BT, mask_BT)), model.head.linear(h_BTE).view(-1, len(LABELS)))
    pretrained = sum(p.numel() for name, p in plain.named_parameters() if not name.startswith("pooler."))
    assert not model.fusion.state_dict()
    assert sum(p.numel() for p in model.parameters()) == pretrained + 32 * 3 + 3


def test_token_types_reach_the_encoders_that_have_them(encoder: str) -> None:
    model = build_model(ModelConfig(encoder=encoder, fusion="none"), "pair", LABELS).eval()
    ids_BT, mask_BT, types_BT, row_W, column_W = everywhere(torch.tensor([[0, 5, 6, 7, 2]]))
    other_BT = types_BT.index_fill(1, torch.tensor([3, 4]), 1)
    with torch.no_grad():
        same = torch.equal(
            model(ids_BT, mask_BT, types_BT, row_W, column_W), model(ids_BT, mask_BT, other_BT, row_W, column_W)
        )
    assert same is (getattr(model.encoder.config, "type_vocab_size", 0) < 2)


@pytest.mark.parametrize("fusion", [True, False])
def test_every_parameter_is_either_pretrained_or_new_and_learns(encoder: str, fusion: bool) -> None:
    config = fused(encoder) if fusion else ModelConfig(encoder=encoder, fusion="none")
    model = build_model(config, "tagging", LABELS)
    assert all(module.training for module in model.modules())
    old, new = model.encoder_parameters(), model.new_parameters()
    assert {id(p) for p in old + new} == {id(p) for p in model.parameters()}
    assert len(old) + len(new) == len(list(model.parameters()))
    assert sum(p.numel() for p in new) == 32 * 3 + 3 + (2 * (2 * 32 * 8 + 3 * 8 + 3 * 32) if fusion else 0)
    ids_BT = torch.tensor([[0, 5, 6, 7, 2]])
    trained(model).train()(*everywhere(ids_BT)).square().mean().backward()
    assert all(p.grad is not None for p in old + new)


def test_one_seed_gives_baseline_and_fusion_the_same_head(bert: str) -> None:
    heads = []
    for config in (fused(bert), fused(bert, 2, 1), ModelConfig(encoder=bert, fusion="none")):
        torch.manual_seed(5)
        heads.append(build_model(config, "tagging", LABELS).head.linear.weight)
    assert torch.equal(heads[0], heads[1])
    assert torch.equal(heads[0], heads[2])
    torch.manual_seed(6)
    assert not torch.equal(heads[0], build_model(fused(bert), "tagging", LABELS).head.linear.weight)


def test_head_starts_with_the_encoders_initializer_range(bert: str) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(encoder=bert, fusion="none", dropout=0.25), "tagging", [str(i) for i in range(200)])
    assert abs(model.head.linear.weight.std().item() - 0.1) < 0.01
    assert model.head.dropout.p == 0.25
    assert model.labels[:2] == ("0", "1")


def test_all_that_an_encoder_is_too_small_for_is_told_at_once(bert: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(fused(bert, 4, 33), "tagging", LABELS)
    assert str(caught.value) == (
        "--fusion-layer (fusion_layer): 4 is not allowed; "
        f"allowed: 0..3, the layers below the last of encoder {bert!r}; "
        "--reduction-ratio (reduction_ratio): 33 is not allowed; "
        f"allowed: 1..32, the hidden size of encoder {bert!r}"
    )


@pytest.mark.parametrize(("layer", "ratio"), [(3, 1), (0, 32)])
def test_ends_of_the_ranges_are_allowed(bert: str, layer: int, ratio: int) -> None:
    model = build_model(fused(bert, layer, ratio), "tagging", LABELS)
    assert model.reads == (layer, 4)
    assert isinstance(model.fusion, DLFA)
    assert model.fusion.aif.gate.local_branch.squeeze.out_features == 32 // ratio


def test_range_is_checked_before_weights_are_read(bert: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((Path(bert) / "config.json").read_bytes())
    with pytest.raises(ConfigError, match=r"^--fusion-layer"):
        build_model(fused(str(tmp_path), 12), "tagging", LABELS)


def test_real_encoder(shared_encoder: Path) -> None:
    model = trained(build_model(fused(str(shared_encoder), 6, 16), "tagging", LABELS))
    tokenizer = load_tokenizer(str(shared_encoder))
    batch = tokenizer(
        ["Der", "Hund", "schläft", "unter", "dem", "Tisch", "."], is_split_into_words=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits_WC = model(*everywhere(batch["input_ids"], batch["attention_mask"]))
    assert logits_WC.shape == (batch["input_ids"].numel(), len(LABELS))
    assert torch.isfinite(logits_WC).all()
