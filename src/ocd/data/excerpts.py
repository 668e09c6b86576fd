"""Parts of large examples: where a whole one is dear, a step looks at an excerpt of it.

A view has ten thousand rays, a recording a hundred thousand moments. Its loss is a mean over them, so a
random part of it tells the direction of a step. What a part is, the user says; how large, the settings
`overfit.excerpt`, `training.excerpt` and `selection.excerpt` (0: the whole example). The condition I(x)
is always of the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ocd.data.inputs import Inputs

Excerpt = Callable[[Inputs, Tensor, int, torch.Generator], tuple[Inputs, Tensor]]
"""(inputs (B, ...), targets (B, ...), size, generator) -> a random part of each of the B examples,
`size` positions large: inputs that the base takes, and what of the targets belongs to them."""


def take_excerpt(
    excerpt: Excerpt | None, inputs: Inputs, targets: Tensor, size: int, generator: torch.Generator
) -> tuple[Inputs, Tensor]:
    """The excerpt, or the whole examples where `size` is 0 or nobody said what a part is."""
    if excerpt is None or size == 0:
        return inputs, targets
    return excerpt(inputs, targets, size, generator)
