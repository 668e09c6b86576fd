"""The few examples that claims about a base are proven on."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.data import Inputs, num_rows, tensors


def unlike_examples(inputs: Inputs) -> Tensor:
    """Three examples that are as unlike as can be told cheaply: the first, and those with the
    smallest and largest sum of the tensor that says most about an example's form (a mask before
    numbers).

    Never fewer than three: by broadcasting a single one would go with any batch size.
    """
    num_rows(inputs)  # all parts have as many rows
    parts = sorted(tensors(inputs), key=lambda part: part.element_size())
    sums = parts[0].reshape(len(parts[0]), -1).float().nan_to_num().sum(dim=1)
    return torch.stack([torch.zeros_like(sums.argmin()), sums.argmin(), sums.argmax()]).cpu()


def finite_rows(output: Tensor) -> Tensor:
    """Whether examples have finite answers, (B,): as many finite numbers as any of them has, since a
    base may mask some on purpose. Others prove nothing: NaN equals NaN whatever led to it."""
    count = output.reshape(len(output), -1).isfinite().sum(dim=1)
    return (count > 0) & (count == count.max()) if len(count) else count > 0
