"""Batch norm over the rows of all processes: PyTorch's own (SyncBatchNorm) is for GPUs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def has_batch_norms(module: nn.Module) -> bool:
    """Whether any part of a module is a batch norm."""
    return any(isinstance(one, _BatchNorm) for one in module.modules())


@contextmanager
def over_all_processes(module: nn.Module | None) -> Iterator[None]:
    """In this block batch norms in train mode take mean and variance of the whole batch, of which each
    process has a part, also one of no row. All processes have to pass through the module equally often,
    forward and backward, with gradients of a loss that is a sum over rows."""
    found = [] if module is None else [one for one in module.modules() if isinstance(one, _BatchNorm)]
    for norm in found:
        vars(norm)["forward"] = partial(_forward, norm, norm.forward)
    try:
        yield
    finally:
        for norm in found:
            del vars(norm)["forward"]


def _forward(norm: _BatchNorm, alone: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """(B, C, ...) of this process -> the same, normalised by the statistics of all."""
    if not norm.training:
        return alone(rows)
    others = [dim for dim in range(rows.dim()) if dim != 1]
    shape = [1, -1, *(1 for _ in others[1:])]
    values = rows.float()
    count = torch.full((1,), values.numel() / values.shape[1], device=values.device)
    sums = _summed(torch.cat([count, values.sum(others)]))
    total = sums[0].detach().clamp_min(1)
    mean = sums[1:] / total
    centred = values - mean.view(shape)
    variance = _summed(centred.square().sum(others)) / total
    unbiased = variance.detach() * total / (total - 1).clamp_min(1)
    _follow(norm, mean.detach(), unbiased, (sums[0] > 0).float())
    normed = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normed = normed * norm.weight.view(shape) + norm.bias.view(shape)
    return normed.to(rows.dtype)


class _Summed(torch.autograd.Function):
    """The sum over all processes, through which gradients flow back to each of them."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # of every process's loss
        summed = gradients[0].clone()
        torch.distributed.all_reduce(summed)
        return summed


def _summed(values: Tensor) -> Tensor:
    summed: Tensor = _Summed.apply(values)
    return summed


@torch.no_grad()
def _follow(norm: _BatchNorm, mean: Tensor, variance: Tensor, has_rows: Tensor) -> None:
    """The running statistics of eval mode, as PyTorch keeps them; as they were where `has_rows` is 0.
    `variance`: the unbiased one."""
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(has_rows.to(norm.num_batches_tracked.dtype))
    share = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.clamp_min(1)
    for kept, now in ((norm.running_mean, mean), (norm.running_var, variance)):
        kept.add_(has_rows * share * (now.to(kept.dtype) - kept))
