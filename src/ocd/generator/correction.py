"""Beyond the paper: a small network of the condition that adds to every generated code.

It learns from the base's own loss alone (`training.task_loss_weight`). Through scale · direction that
loss learns badly: while directions are still random, the smallest loss is reached without any move, so
every scale is made to vanish (docs/experiments.md).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Correction(nn.Module):
    """Condition (B, C) -> code (B, *code_shape), in units of the training deltas' mean scale.

    Its last layer starts at zero, so that an untrained correction changes nothing.
    """

    def __init__(self, condition_size: int, code_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.code_shape = code_shape
        self.hidden = nn.Linear(condition_size, condition_size)
        self.leave = nn.Linear(condition_size, math.prod(code_shape))
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, condition: Tensor) -> Tensor:
        hidden = F.silu(self.hidden(F.silu(condition)))
        answer: Tensor = self.leave(hidden)
        return answer.view(len(condition), *self.code_shape)
