"""Separated voices as a person wants them: in one order, and as loud as in the recording."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.evaluation import in_voices_order


def as_in_mixture(voices: Tensor, order: Tensor, mixture: Tensor) -> Tensor:
    """Voices (B, C, T) in the order of others (B, C, T), each with the factor with which they add up to
    the mixture (B, T) best: a separator that was trained by SI-SDR knows neither order, loudness nor
    sign."""
    voices = in_voices_order(voices, order).double()
    voices = voices - voices.mean(dim=2, keepdim=True)
    wanted = mixture.double()[:, :, None]
    factors = torch.linalg.lstsq(voices.transpose(1, 2), wanted, driver="gelsd").solution
    return (factors * voices).float()
