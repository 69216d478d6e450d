"""Masked batch normalisation against torch's own, which sees the values that are not padding and no mask."""

import pytest
import torch
from torch import nn

from dlfa.fusions import MaskedBatchNorm


def both(features: int = 5) -> tuple[MaskedBatchNorm, nn.BatchNorm1d]:
    """Return ours and torch's, with the same weights and running statistics, in double precision."""
    torch.manual_seed(0)
    ours, torchs = MaskedBatchNorm(features).double(), nn.BatchNorm1d(features).double()
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = torch.rand(features, dtype=torch.float64) + 0.5
            getattr(ours, name).copy_(value)
            getattr(torchs, name).copy_(value)
    return ours, torchs


def values(*shape: int, seed: int = 1) -> torch.Tensor:
    return 3 + 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REAL = torch.tensor([[True, True, True], [True, False, False], [False, True, False], [False, False, False]])


def test_starts_as_torchs_does() -> None:
    ours, torchs = MaskedBatchNorm(5), nn.BatchNorm1d(5)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, torchs.state_dict()[name])
    assert (ours.eps, ours.momentum) == (torchs.eps, torchs.momentum)


def test_training_equals_torchs_on_the_real_values_and_so_do_gradients_and_running_statistics() -> None:
    ours, torchs = both()
    weights = values(4, 3, 5, seed=9)
    for step in range(3):
        mine = values(4, 3, 5, seed=step).requires_grad_()
        theirs = mine.detach().clone().requires_grad_()
        result, expected = ours(mine, REAL), torchs(theirs[REAL])
        torch.testing.assert_close(result[REAL], expected)
        (result * weights)[REAL].sum().backward()
        (expected * weights[REAL]).sum().backward()
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert ours.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad, torchs.weight.grad)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)  # the unbiased variance, not the one it divides by


def test_evaluation_equals_torchs_and_moves_nothing() -> None:
    ours, torchs = both()
    before = ours.running_mean.clone(), ours.running_var.clone()
    result = ours.eval()(values(4, 3, 5), REAL)
    torch.testing.assert_close(result[REAL], torchs.eval()(values(4, 3, 5)[REAL]))
    assert torch.equal(ours.running_mean, before[0])
    assert torch.equal(ours.running_var, before[1])


@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_of_at_most_one_value_is_normalised_by_the_running_statistics(count: int) -> None:
    ours, torchs = both()
    before = ours.running_mean.clone(), ours.running_var.clone()
    batch, real = values(4, 5), torch.arange(4) < count
    result = ours(batch, real)
    torch.testing.assert_close(result, torchs.eval()(batch))
    assert torch.equal(ours.running_mean, before[0])
    assert torch.equal(ours.running_var, before[1])
    assert torch.isfinite(result).all()


def test_computes_in_float32_under_autocast() -> None:
    ours = MaskedBatchNorm(1)
    batch = torch.tensor([[1000.0], [1000.5]]).bfloat16().float()
    near = torch.tensor([[1.0], [1.0 + 2**-7]]).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(batch, torch.tensor([True, True])).dtype == torch.float32
        result = MaskedBatchNorm(1, eps=0.0)(near, torch.tensor([True, True]))
    # The mean of the two lies between them, which bf16 could not hold.
    torch.testing.assert_close(result, torch.tensor([[-1.0], [1.0]]))


def test_gradients_equal_finite_differences() -> None:
    ours, _ = both(2)
    batch = values(4, 3, 2).requires_grad_()

    def normalised(h: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = ours(h, REAL)
        return result[REAL]

    assert torch.autograd.gradcheck(normalised, (batch,))
