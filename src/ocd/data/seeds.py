"""Random generators that depend on numbers alone, so that any step of a run can be repeated."""

from __future__ import annotations

import torch


def seeded(*numbers: int) -> torch.Generator:
    """A generator that depends on nothing but these numbers, so that any step can be repeated."""
    state = 0
    for number in numbers:
        state = (state * 1_000_003 + number + 1) % (2**63 - 25)
    return torch.Generator().manual_seed(state)
