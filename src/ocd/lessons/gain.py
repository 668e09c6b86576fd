"""Is a gain beyond doubt? Student's t on paired differences, one-sided."""

from __future__ import annotations

import torch
from torch import Tensor

FEWEST = 16
"""Examples below which no gain is beyond doubt."""
FEWEST_JUDGES = 50
"""Examples below which no gain of generated moves is beyond doubt: losses have long tails, and a move
that goes wrong does so for a few inputs."""


def is_gain(gains: Tensor, confidence: float, fewest: int = FEWEST) -> Tensor:
    """Whether the mean of paired gains (rows, examples) is above zero, by row, at this one-sided
    confidence, on `fewest` examples or more; the quantile of Student's t by the first term of the
    Cornish-Fisher expansion."""
    count = gains.shape[1]
    if count < fewest:
        return torch.zeros(len(gains), dtype=torch.bool)
    z = float(torch.special.ndtri(torch.tensor(confidence, dtype=torch.float64)))
    quantile = z * (1 + (z * z + 1) / (4 * (count - 1)))
    return gains.mean(dim=1) > quantile * gains.std(dim=1) / count**0.5


def as_evidence(losses: Tensor, example: Tensor | None) -> Tensor:
    """Losses (..., B) as means (..., G) over the copies of each example, or over each group of examples
    that belong together: they are no further evidence. `example` (B,): its number; None: each is one of
    its own."""
    if example is None:
        return losses
    names, place = example.to(losses.device).unique(return_inverse=True)
    sums = losses.new_zeros(*losses.shape[:-1], len(names)).index_add_(-1, place, losses)
    return sums / place.bincount().to(losses)
