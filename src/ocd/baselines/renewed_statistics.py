"""The statistics of batch norms taken anew on the training examples, everything else as it was.

The cheapest answer to inputs that have changed (Li et al. 2017, "Revisiting batch normalization for
practical domain adaptation"); no label is needed.
"""

from __future__ import annotations

import torch
from torch import nn

from ocd.base import independent_copy
from ocd.baselines.tent import BATCH_NORMS
from ocd.baselines.unchanged_base import UnchangedBase
from ocd.data import Examples, call, num_rows, take_rows, to_device
from ocd.errors import OCDError

BATCH = 256
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def has_batch_norms(base: nn.Module) -> bool:
    """Whether there are statistics to be taken anew."""
    return bool(_norms_of(base))


def fit_renewed_statistics(
    base: nn.Module, examples: Examples, num_examples: int = 10_000
) -> UnchangedBase:
    """A copy of the base whose batch norms have the mean and variance of the first `num_examples`
    inputs: the mean over batches of 256. Raises OCDError for a base without such layers."""
    network = independent_copy(base).eval().requires_grad_(False)
    norms = _norms_of(network)
    if not norms:
        raise OCDError("the base has no batch norm whose statistics could be taken anew")
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    device = next(base.parameters()).device
    inputs = take_rows(examples.inputs, slice(0, num_examples))
    with torch.inference_mode():
        for first in range(0, num_rows(inputs), BATCH):
            batch = take_rows(inputs, slice(first, first + BATCH))
            if num_rows(batch) == BATCH or first == 0:  # a shorter one would count as much
                call(network, to_device(batch, device))
    return UnchangedBase(network.eval())


def _norms_of(network: nn.Module) -> list[BatchNorm]:
    return [
        module
        for module in network.modules()
        if isinstance(module, BATCH_NORMS) and module.running_mean is not None
    ]
