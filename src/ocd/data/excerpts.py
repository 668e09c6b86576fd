"""Excerpts of large examples: where a whole example is expensive, each step sees a random part of it.

A view has ten thousand rays, a recording a hundred thousand time steps. Its loss is a mean over them,
so a random part is enough for the direction of a step. The user's function takes the part; the
setting `overfit.excerpt` says how large it is (0: the whole example). I(x) is always of the whole
example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ocd.data.inputs import Inputs, Targets

Excerpt = Callable[[Inputs, Any, int, torch.Generator], tuple[Inputs, Any]]
"""(inputs (B, ...), targets (B, ...), size, generator) -> a random part of each of the B examples,
`size` positions large: inputs that the base takes, and what of the targets belongs to them."""


def take_excerpt(
    excerpt: Excerpt | None, inputs: Inputs, targets: Targets, size: int, generator: torch.Generator
) -> tuple[Inputs, Targets]:
    """An excerpt of each example, or the whole examples where `size` is 0 or there is no `excerpt`."""
    if excerpt is None or size == 0:
        return inputs, targets
    return excerpt(inputs, targets, size, generator)
