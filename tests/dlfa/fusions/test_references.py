"""Every fusion against its equations in NumPy, which see the real tokens of each window and never a mask."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from dlfa.fusions import DLFA, GatedFusion, MaskedBatchNorm, MeanFusion, ScalarMix

Array = npt.NDArray[np.float64]
EPS = 1e-5

MASK = torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0]])


def parts(module: nn.Module, branch: str) -> list[tuple[Array, Array]]:
    """Return weight and bias (or running mean and variance, behind them) of a branch's layers, in order."""
    found = []
    for name, layer in module.named_modules():
        if f"{branch}_branch." in f"{name}." and isinstance(layer, (nn.Linear, MaskedBatchNorm)):
            found.append((layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()))
            if isinstance(layer, MaskedBatchNorm):
                found.append((layer.running_mean.double().numpy(), layer.running_var.double().numpy()))
    return found


def batch_norm(x_NE: Array, affine: tuple[Array, Array], running: tuple[Array, Array], training: bool) -> Array:
    mean, var = (x_NE.mean(axis=0), x_NE.var(axis=0)) if training else running
    return np.asarray((x_NE - mean) / np.sqrt(var + EPS) * affine[0] + affine[1])


def branch(layers: list[tuple[Array, Array]], x_NE: Array, training: bool) -> Array:
    """Conv1d(1), BN, ReLU, Conv1d(1), BN over N values, as in the poster's figure 3."""
    (w1, b1), norm1, running1, (w2, b2), norm2, running2 = layers
    x_NR = batch_norm(x_NE @ w1.T + b1, norm1, running1, training)
    return batch_norm(np.maximum(x_NR, 0) @ w2.T + b2, norm2, running2, training)


def plain_branch(layers: list[tuple[Array, Array]], x_NE: Array) -> Array:
    (w1, b1), (w2, b2) = layers
    return np.asarray(np.maximum(x_NE @ w1.T + b1, 0) @ w2.T + b2)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def windows(states: Sequence[Tensor], mask_BT: Tensor) -> list[list[Array]]:
    """Return for each window its real tokens of each state, TE."""
    return [[state[b][mask_BT[b].bool()].double().numpy() for state in states] for b in range(len(mask_BT))]


def reference_dlfa(dlfa: DLFA, lower_BTE: Tensor, last_BTE: Tensor, mask_BT: Tensor, *, training: bool) -> list[Array]:
    """Equations 1 and 2, window by window; batch statistics over the tokens, or the windows, of all of them."""
    found = windows([lower_BTE, last_BTE], mask_BT)
    means = [(lower + last) / 2 for lower, last in found]
    local = branch(parts(dlfa, "local"), np.concatenate(means), training)
    overall = branch(parts(dlfa, "global"), np.stack([w.mean(axis=0) for w in means]), training)
    ends = np.cumsum([len(w) for w in means])[:-1]
    result = []
    for (lower, last), w, w_local, w_global in zip(found, means, np.split(local, ends), overall, strict=True):
        weight = w * sigmoid(w_global + w_local)  # (1)
        result.append(np.asarray(lower * weight + last * (1 - weight)))  # (2)
    return result


def randomised(module: nn.Module, seed: int = 0) -> None:
    """Give every weight, and every running statistic, a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
        for name, buffer in module.named_buffers():
            drawn = torch.rand(buffer.shape, generator=generator)
            buffer.copy_(drawn + 0.5 if name.endswith("var") else drawn - 0.5)


def hidden(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_equal(result_BTE: Tensor, expected: list[Array], mask_BT: Tensor = MASK) -> None:
    for result_TE, real_T, window in zip(result_BTE, mask_BT.bool(), expected, strict=True):
        np.testing.assert_allclose(result_TE[real_T].detach().numpy(), window, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "ratio"), [(8, 1), (8, 4), (10, 4), (10, 10), (7, 4), (1, 1)])
def test_dlfa_is_the_posters_equations(size: int, ratio: int) -> None:
    dlfa = DLFA(size, ratio)
    randomised(dlfa)
    lower, last = hidden(4, 6, size), hidden(4, 6, size, seed=1)
    assert_equal(dlfa(lower, last, MASK), reference_dlfa(dlfa, lower, last, MASK, training=True))
    # The step before has moved the running statistics, which evaluation reads.
    assert_equal(dlfa.eval()(lower, last, MASK), reference_dlfa(dlfa, lower, last, MASK, training=False))


def test_dlfas_running_statistics_are_those_of_the_batches() -> None:
    dlfa, mean, var = DLFA(6, 2), np.zeros(3), np.ones(3)
    randomised(dlfa)
    squeeze, norm = dlfa.aif.gate.local_branch.squeeze, dlfa.aif.gate.local_branch.squeeze_norm
    assert norm is not None
    with torch.no_grad():
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    for step in range(3):
        lower, last = hidden(4, 6, 6, seed=step), hidden(4, 6, 6, seed=10 + step)
        dlfa(lower, last, MASK)
        means = np.concatenate([(a + b) / 2 for a, b in windows([lower, last], MASK)])
        squeezed = means @ squeeze.weight.detach().double().numpy().T + squeeze.bias.detach().double().numpy()
        mean = 0.9 * mean + 0.1 * squeezed.mean(axis=0)
        var = 0.9 * var + 0.1 * squeezed.var(axis=0, ddof=1)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), var, rtol=1e-5)


def test_dlfa_has_four_layers_and_four_normalisations_of_the_published_sizes() -> None:
    dlfa = DLFA(10, 4)
    linears = [layer for layer in dlfa.modules() if isinstance(layer, nn.Linear)]
    norms = [layer for layer in dlfa.modules() if isinstance(layer, MaskedBatchNorm)]
    assert [tuple(layer.weight.shape) for layer in linears] == [(2, 10), (10, 2)] * 2
    assert [tuple(layer.running_mean.shape) for layer in norms] == [(2,), (10,)] * 2
    assert [tuple(layer.running_var.shape) for layer in norms] == [(2,), (10,)] * 2
    assert sum(p.numel() for p in dlfa.parameters()) == 2 * (10 * 2 + 2 + 2 * 2 + 2 * 10 + 10 + 2 * 10)


def test_training_in_windows_of_one_keeps_the_global_branch_at_its_running_statistics() -> None:
    dlfa = DLFA(8, 2)
    optimizer = torch.optim.SGD(dlfa.parameters(), lr=0.1)
    target = hidden(1, 6, 8, seed=3)
    for step in range(50):
        lower, last = hidden(1, 6, 8, seed=step), hidden(1, 6, 8, seed=100 + step)
        optimizer.zero_grad()
        (dlfa(lower, last, torch.ones(1, 6)) - target).square().mean().backward()
        optimizer.step()
    result = dlfa.eval()(lower, last, torch.ones(1, 6))
    assert torch.isfinite(result).all()
    assert result.abs().max() < 20
    norm = dlfa.aif.gate.global_branch.squeeze_norm
    assert norm is not None
    assert torch.equal(norm.running_var, torch.ones(4))


def test_gate_equals_its_reference() -> None:
    module = GatedFusion(8, 4)
    randomised(module)
    lower, last = hidden(4, 6, 8), hidden(4, 6, 8, seed=1)
    expected = []
    for one, other in windows([lower, last], MASK):
        w = (one + other) / 2
        overall = plain_branch(parts(module, "global"), w.mean(axis=0, keepdims=True))
        m = sigmoid(plain_branch(parts(module, "local"), w) + overall)
        expected.append(np.asarray(one * m + other * (1 - m)))
    assert_equal(module(lower, last, MASK), expected)


def test_a_new_gate_is_the_mean_and_learns_from_there() -> None:
    torch.manual_seed(0)
    module, optimizer_rate = GatedFusion(8, 2), 1.0
    lower, last, mask = hidden(3, 5, 8), hidden(3, 5, 8, seed=1), torch.ones(3, 5)
    torch.testing.assert_close(module(lower, last, mask), (lower + last) / 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=optimizer_rate)
    squeezes = [module.gate.local_branch.squeeze.weight, module.gate.global_branch.squeeze.weight]
    before = [weight.detach().clone() for weight in squeezes]
    for _ in range(2):  # the first step moves the layers that start at zero, the second the others, too
        optimizer.zero_grad()
        (module(lower, last, mask) - hidden(3, 5, 8, seed=2)).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(weight, old) for weight, old in zip(squeezes, before, strict=True))


def test_the_gate_moves_in_steps_that_bf16_does_not_have() -> None:
    module = GatedFusion(4, 1)
    with torch.no_grad():
        module.gate.local_branch.expand.bias.fill_(2**-7)
    with torch.autocast("cpu", torch.bfloat16):
        result = module(torch.ones(1, 3, 4), torch.zeros(1, 3, 4), torch.ones(1, 3))
    torch.testing.assert_close(result, torch.full((1, 3, 4), 2**-7).sigmoid(), rtol=0, atol=1e-7)


def test_mean_is_the_mean() -> None:
    lower, last = hidden(4, 6, 8), hidden(4, 6, 8, seed=1)
    assert torch.equal(MeanFusion()(lower, last, MASK), (lower + last) / 2)


def test_scalar_mix_equals_its_reference() -> None:
    module, states = ScalarMix(5), [hidden(4, 6, 8, seed=seed) for seed in range(5)]
    torch.testing.assert_close(module(*states, attention_mask_BT=MASK), torch.stack(states).mean(dim=0))
    randomised(module)
    s = module.weights.detach().double().numpy()
    shares = np.exp(s) / np.exp(s).sum()
    expected = float(module.scale.detach()) * sum(
        share * state.double().numpy() for share, state in zip(shares, states, strict=True)
    )
    result = module(*states, attention_mask_BT=MASK)
    np.testing.assert_allclose(result.detach().numpy(), np.asarray(expected), rtol=1e-5, atol=1e-5)
