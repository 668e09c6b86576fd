"""The one cycle of learning rates that the bases of tables and of speech are trained with."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

RISING = 0.1
"""Share of the steps over which the learning rate rises; then it falls to nothing."""


def one_cycle(optimizer: Optimizer, lr: float, num_steps: int, **options: Any) -> OneCycleLR:
    """Smith's one cycle (2018) with `lr` as the largest rate. `num_steps`: of the schedule, 1 or more.
    `options`: of torch's OneCycleLR.

    Where a tenth of the steps is exactly one, torch would divide by the length of a rise from the first
    step to the first step; there the rates fall from the start, as they do with fewer steps.
    """
    rising = 0.0 if RISING * num_steps == 1 else RISING
    return OneCycleLR(optimizer, lr, total_steps=num_steps, pct_start=rising, **options)
