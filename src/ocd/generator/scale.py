"""Eq. 8: the scale ρ of a delta, predicted apart from its direction.

direction = delta / ρ. Whether ρ is a norm or a standard deviation is the setting `scale.normalization`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.errors import OCDError

NORMALIZATIONS = ("l2", "l2_unit_variance", "std")
SCALE_KINDS = ("joint", "constant", "log", "eq8", "released")
# A delta below this norm has no direction worth learning. It also keeps log ρ finite.
SMALLEST = 1e-12
WIDEST = 5.0
"""Deviations of log ρ within which generated scales are held."""
WIDTH = 256
"""Hidden width of the scale network."""


@dataclass(frozen=True)
class ScaleConfig:
    """What the scale of a delta is, and how it is predicted."""

    normalization: str = "l2_unit_variance"
    """l2 (the paper), l2_unit_variance (elements of unit variance), or std (released)."""
    kind: str = "log"
    """joint (log ρ is one more diffused element), constant (the delta itself is diffused, in units of
    the training deltas' mean ρ), log (regression of log ρ), eq8, released."""
    own_encoders: bool = False
    """Whether the scale network has encoders of I(x) of its own, as in the released code."""

    def __post_init__(self) -> None:
        if self.normalization not in NORMALIZATIONS:
            raise OCDError(
                f"scale.normalization is {self.normalization!r}: use one of {NORMALIZATIONS}"
            )
        if self.kind not in SCALE_KINDS:
            raise OCDError(f"scale.kind is {self.kind!r}: use one of {SCALE_KINDS}")


def code_scale(code: Tensor, normalization: str) -> Tensor:
    """ρ of codes (B, *code): (B,), so that code = ρ · direction."""
    flat = code.flatten(1)
    if normalization == "std":
        return flat.std(dim=1).clamp_min(SMALLEST)
    norm = flat.norm(dim=1).clamp_min(SMALLEST)
    return norm if normalization == "l2" else norm / math.sqrt(flat.shape[1])


class ScaleNetwork(nn.Module):
    """ρ(x, I(x)), an MLP on the condition: (B, C) -> (B,)."""

    def __init__(self, condition_size: int, config: ScaleConfig) -> None:
        super().__init__()
        self.kind = config.kind
        self.layers = nn.Sequential(
            nn.SiLU(),
            nn.Linear(condition_size, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, 1),
        )

    def raw(self, condition: Tensor) -> Tensor:
        """The output of the layers before it becomes a scale: (B,)."""
        answer: Tensor = self.layers(condition)
        return answer[:, 0]

    def forward(
        self, condition: Tensor, log_mean: Tensor, log_std: Tensor, largest: Tensor | float = WIDEST
    ) -> Tensor:
        """ρ, (B,). `log_mean`, `log_std`, `largest` (standardised): of log ρ over the training
        examples."""
        raw = self.raw(condition)
        if self.kind == "released":
            return raw.sigmoid()
        if self.kind == "eq8":
            return nn.functional.softplus(raw)
        return bounded_exp(raw, log_mean, log_std, largest)

    def loss(self, condition: Tensor, scale: Tensor, log_mean: Tensor, log_std: Tensor) -> Tensor:
        """The configured objective, averaged over the examples. `scale`: ρ_s, (B,)."""
        if self.kind == "log":
            standard = (scale.log() - log_mean) / log_std
            return (self.raw(condition) - standard).square().mean()
        error = (self(condition, log_mean, log_std) - scale).square()
        if self.kind == "released":
            return (10 * torch.log10(error / (scale.square() + 1e-12) + 1e-8)).mean()
        # Eq. 8 as printed; the two small terms keep an exact hit and a zero scale finite.
        return (10 * torch.log10((error + 1e-12) / (scale + 1e-12))).mean()


def bounded_exp(
    standard: Tensor, log_mean: Tensor, log_std: Tensor, largest: Tensor | float = WIDEST
) -> Tensor:
    """exp of a standardised log ρ, held within five deviations of the training scales and not above
    `largest` (standardised), that of the longest training delta: an input that is unlike all lessons
    must not be moved farther than any of them."""
    held = torch.minimum(standard.clamp_min(-WIDEST), torch.as_tensor(largest).to(standard))
    return (held * log_std + log_mean).exp()
