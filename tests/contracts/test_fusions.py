"""What every fusion promises, whichever it is: one suite over the registry."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dlfa.config import ModelConfig
from dlfa.errors import ConfigError
from dlfa.fusions import BASELINE, FUSIONS, Fusion, FusionShape

LAYERS, HIDDEN = 4, 8
VALUES = {"fusion_layer": 1, "reduction_ratio": 2}

every_fusion = pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


def shape_of(fusion: Fusion) -> FusionShape:
    return FusionShape(hidden_size=HIDDEN, layers=LAYERS, **{name: VALUES[name] for name in fusion.parameters})


def made(fusion: Fusion, seed: int = 0, *, training: bool = True) -> nn.Module:
    """Make a fusion whose parameters and running statistics have values of their own, as after some training."""
    torch.manual_seed(seed)
    module = fusion.build(shape_of(fusion))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
        for name, buffer in module.named_buffers():
            buffer.copy_(torch.rand_like(buffer) + 0.5 if name.endswith("var") else torch.randn_like(buffer))
    return module.train(training)


def states_of(fusion: Fusion, *shape: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, HIDDEN, generator=generator) for _ in fusion.reads(shape_of(fusion))]


def fused(module: nn.Module, states: list[Tensor], mask_BT: Tensor) -> Tensor:
    result: Tensor = module(*states, attention_mask_BT=mask_BT)
    return result


MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])


def test_the_baseline_is_first_and_reads_the_last_layer_as_it_is() -> None:
    assert next(iter(FUSIONS)) == BASELINE == "none"
    fusion = FUSIONS[BASELINE]
    module, states = fusion.build(shape_of(fusion)), states_of(fusion, 3, 5)
    assert fusion.reads(shape_of(fusion)) == (LAYERS,)
    assert not list(module.state_dict())
    assert fused(module, states, MASK) is states[0]


@every_fusion
def test_says_what_it_is(fusion: Fusion) -> None:
    assert FUSIONS[fusion.name] is fusion
    assert fusion.summary
    assert "\n" not in fusion.summary
    assert set(fusion.parameters) <= VALUES.keys()
    reads = fusion.reads(shape_of(fusion))
    assert list(reads) == sorted(set(reads))
    assert reads[0] >= 0
    assert reads[-1] == LAYERS
    assert fusion.batch_statistics == any(True for _ in fusion.build(shape_of(fusion)).buffers())


@every_fusion
def test_a_configuration_has_its_parameters_and_no_others(fusion: Fusion) -> None:
    own: dict[str, Any] = {name: VALUES[name] for name in fusion.parameters}
    config = ModelConfig(encoder="", fusion=fusion.name, **own)
    assert (config.fusion_layer, config.reduction_ratio) == (own.get("fusion_layer"), own.get("reduction_ratio"))
    for name, value in VALUES.items():
        given: dict[str, Any] = own | {name: None if name in own else value}
        with pytest.raises(ConfigError, match=f"^{name}: "):
            ModelConfig(encoder="", fusion=fusion.name, **given)


@every_fusion
@both_modes
def test_shape_and_type_are_those_of_the_states(fusion: Fusion, training: bool) -> None:
    result = fused(made(fusion, training=training), states_of(fusion, 3, 5), MASK)
    assert result.shape == (3, 5, HIDDEN)
    assert result.dtype == torch.float32
    assert torch.isfinite(result).all()


@every_fusion
@both_modes
def test_gradients_reach_every_state_and_every_parameter(fusion: Fusion, training: bool) -> None:
    module = made(fusion, training=training)
    states = [state.requires_grad_() for state in states_of(fusion, 3, 5)]
    weights = torch.randn(3, 5, HIDDEN, generator=torch.Generator().manual_seed(2))
    (fused(module, states, MASK) * weights)[MASK.bool()].sum().backward()
    # A bias that batch normalisation follows has no influence in training mode, so its gradient may be 0.
    for tensor in [*states, *module.parameters()]:
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    assert all(state.grad is not None and state.grad[MASK.bool()].abs().max() > 0 for state in states)


@every_fusion
@both_modes
def test_more_padding_changes_nothing(fusion: Fusion, training: bool) -> None:
    states, real = states_of(fusion, 3, 5), MASK.bool()
    narrow, wide = made(fusion, training=training), made(fusion, training=training)
    expected = fused(narrow, states, MASK)
    padded = [torch.cat([state, torch.full((3, 4, HIDDEN), 100.0)], dim=1) for state in states]
    result = fused(wide, padded, torch.cat([MASK, torch.zeros(3, 4, dtype=torch.long)], dim=1))
    torch.testing.assert_close(result[:, :5][real], expected[real])
    torch.testing.assert_close(dict(wide.named_buffers()), dict(narrow.named_buffers()))


@every_fusion
@both_modes
@pytest.mark.parametrize("kind", [torch.long, torch.bool, torch.float32])
def test_what_padding_holds_changes_nothing_not_even_infinity(
    fusion: Fusion, training: bool, kind: torch.dtype
) -> None:
    clean, real = states_of(fusion, 3, 5), MASK.bool()
    dirty = [state.clone() for state in clean]
    for state in dirty:
        state[1, 3], state[1, 4] = torch.inf, torch.nan
    one, other = made(fusion, training=training), made(fusion, training=training)
    assert torch.equal(fused(one, dirty, MASK.to(kind))[real], fused(other, clean, MASK.to(kind))[real])
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


@every_fusion
@both_modes
@pytest.mark.parametrize("size", [(1, 5), (3, 1), (1, 1)], ids=["one window", "one token each", "one token"])
def test_the_smallest_batches(fusion: Fusion, training: bool, size: tuple[int, int]) -> None:
    module = made(fusion, training=training)
    states = [state.requires_grad_() for state in states_of(fusion, *size)]
    result = fused(module, states, torch.ones(size, dtype=torch.long))
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in module.parameters())


@every_fusion
def test_a_window_of_padding_alone_harms_no_other(fusion: Fusion) -> None:
    states = [state.requires_grad_() for state in states_of(fusion, 3, 5)]
    mask = torch.tensor([[0] * 5, [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    with_it, without = made(fusion), made(fusion)
    result = fused(with_it, states, mask)
    result.sum().backward()
    assert torch.isfinite(result).all()
    assert all(state.grad is not None and torch.isfinite(state.grad).all() for state in states)
    expected = fused(without, [state.detach()[1:] for state in states], mask[1:])
    torch.testing.assert_close(result[1:][mask[1:].bool()], expected[mask[1:].bool()])


@every_fusion
@both_modes
def test_bf16_autocast_keeps_the_type_and_nearly_the_values(fusion: Fusion, training: bool) -> None:
    states = states_of(fusion, 3, 5)
    expected = fused(made(fusion, training=training), states, MASK)
    with torch.autocast("cpu", torch.bfloat16):
        result = fused(made(fusion, training=training), states, MASK)
        halves = fused(made(fusion, training=training), [state.bfloat16() for state in states], MASK)
    assert result.dtype == torch.float32
    assert halves.dtype == torch.bfloat16
    torch.testing.assert_close(result, expected, rtol=0.05, atol=0.1)
    torch.testing.assert_close(halves.float(), expected, rtol=0.1, atol=0.2)


@every_fusion
def test_save_and_load(fusion: Fusion, tmp_path: Path) -> None:
    module, states = made(fusion), states_of(fusion, 3, 5)
    fused(module, states, MASK)  # moves running statistics
    save_file(module.state_dict(), tmp_path / "fusion.safetensors")
    other = made(fusion, seed=7)
    other.load_state_dict(load_file(tmp_path / "fusion.safetensors"))
    assert torch.equal(fused(other.eval(), states, MASK), fused(module.eval(), states, MASK))


@every_fusion
@both_modes
def test_the_same_seed_gives_the_same(fusion: Fusion, training: bool) -> None:
    states = states_of(fusion, 3, 5)
    one, other = made(fusion, training=training), made(fusion, training=training)
    assert torch.equal(fused(one, states, MASK), fused(other, states, MASK))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


@every_fusion
def test_evaluation_depends_on_no_other_window_and_moves_nothing(fusion: Fusion) -> None:
    module, states = made(fusion, training=False), states_of(fusion, 3, 5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    together = fused(module, states, MASK)
    for window in range(3):
        alone = fused(module, [state[window : window + 1] for state in states], MASK[window : window + 1])
        torch.testing.assert_close(alone[0][MASK[window].bool()], together[window][MASK[window].bool()])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", [name for name, fusion in FUSIONS.items() if "reduction_ratio" in fusion.parameters])
@pytest.mark.parametrize("ratio", [-1, 0, HIDDEN + 1])
def test_a_ratio_out_of_range_is_refused(name: str, ratio: int) -> None:
    build: Callable[[FusionShape], nn.Module] = FUSIONS[name].build
    with pytest.raises(ConfigError) as caught:
        build(FusionShape(hidden_size=HIDDEN, layers=LAYERS, fusion_layer=1, reduction_ratio=ratio))
    assert str(caught.value) == f"reduction_ratio: {ratio} is not allowed; allowed: 1..8, the hidden size"
