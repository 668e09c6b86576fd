"""The entropy H of Eq. 3, of a kernel density fitted to losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Losses closer together than this are the same in float32; keeps the entropy of a constant finite.
SMALLEST_SPREAD = 1e-7


def kde_entropies(losses: Tensor, unit: float = 1.0) -> Tensor:
    """Entropy of a Gaussian KDE of each row, in nats: (N, R) -> (N,). `unit`: of the loss, what counts
    as the same goes with (ocd.base.losses).

    Silverman's bandwidth as in scipy.stats.gaussian_kde; −∫ p log p by the trapezoid rule on a grid
    that reaches four bandwidths beyond the losses.
    """
    losses = losses.double() / unit
    num_draws = losses.shape[1]
    spread = losses.std(dim=1, keepdim=True).clamp_min(SMALLEST_SPREAD)
    bandwidth = spread * (num_draws * 3 / 4) ** -0.2
    low = losses.amin(dim=1, keepdim=True) - 4 * bandwidth
    high = losses.amax(dim=1, keepdim=True) + 4 * bandwidth
    # Four points a bandwidth for the row that reaches farthest; an outlier far away costs points.
    grid_size = min(4096, max(256, math.ceil(4 * float(((high - low) / bandwidth).max()))))
    share = torch.linspace(0, 1, grid_size, dtype=torch.float64, device=losses.device)
    grid = low + (high - low) * share
    density = torch.zeros_like(grid)
    block = max(1, 2**22 // grid.numel())  # bounds the (N, grid, draws) block
    for part in losses.split(block, dim=1):
        scaled = (grid[:, :, None] - part[:, None, :]) / bandwidth[..., None]
        density += torch.exp(-0.5 * scaled.square()).sum(dim=2)
    density = density / (num_draws * bandwidth * math.sqrt(2 * math.pi))
    entropies = torch.trapezoid(-torch.special.xlogy(density, density), grid, dim=1)
    return entropies + math.log(unit)
