"""Batch normalisation that leaves padding out.

Shapes: N values (tokens or windows), E features.
"""

import torch
from torch import Tensor, nn

__all__ = ["MaskedBatchNorm"]


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (arXiv 1502.03167) over the values that are not padding, in float32.

    In training mode each feature is normalised by the mean and the biased variance of the batch, and the running
    statistics move towards its mean and its unbiased variance; in evaluation mode the running statistics normalise. A
    batch of a single value has no variance: it is normalised by the running statistics and does not move them. So is a
    batch of padding alone.

    Args:
        features: E.
        eps: Added to the variance.
        momentum: Share of the batch's statistics in the new running ones.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, h_NE: Tensor, real_N: Tensor) -> Tensor:
        """Return the normalised values, of the same shape, in float32 or what is more precise.

        Args:
            h_NE: Values; there may be more than one dimension before the last.
            real_N: Of the same dimensions without the last: False where a value is padding.
        """
        with torch.autocast(h_NE.device.type, enabled=False):
            h_NE = h_NE.to(torch.promote_types(h_NE.dtype, torch.float32))
            mean_E, var_E = self.running_mean, self.running_var
            if self.training:
                mean_E, var_E = self._batch_statistics(h_NE, real_N)
            scale_E = self.weight * torch.rsqrt(var_E + self.eps)
            return torch.addcmul(self.bias - mean_E * scale_E, h_NE, scale_E)

    def _batch_statistics(self, h_NE: Tensor, real_N: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and biased variance, and move the running statistics; no value is brought to the host."""
        # Filling, unlike multiplying, keeps even an infinity at a padding position out.
        h_NE = h_NE.flatten(0, -2).masked_fill(~real_N.flatten()[:, None], 0.0)
        real_N = real_N.flatten().to(h_NE.dtype)
        count = real_N.sum()
        share_N = real_N / count.clamp(min=1)
        mean_E = share_N @ h_NE
        var_E = share_N @ (h_NE - mean_E).square()
        several = count > 1
        with torch.no_grad():
            unbiased_E = var_E * (count / (count - 1).clamp(min=1))
            for running_E, batch_E in ((self.running_mean, mean_E), (self.running_var, unbiased_E)):
                running_E += self.momentum * several * (batch_E - running_E)
        return torch.where(several, mean_E, self.running_mean), torch.where(several, var_E, self.running_var)
