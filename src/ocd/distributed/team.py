"""Several processes that train one network: each on its part of a batch, with averaged gradients.

    torchrun --nproc-per-node 2 -m ocd train DIR        # gloo on CPUs, NCCL on GPUs

    team = team_of(launched())                          # None where this process is alone
    own = indices[team.own(len(indices))]
    losses = team.average(network, losses, len(own))   # then the optimiser steps as if alone

What data parallelism is (DDP): gradients of all processes are averaged before each step, so that all
have the same weights. Here each counts by its examples: the average is the gradient of the whole batch
also where parts are uneven, or where one has no example that is finite. `accelerate` sets the processes
up; they meet in one sum a step. Statistics of a batch (batch norm in an encoder) are those of a part.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.data import Shard
from ocd.errors import OCDError

MOST_LOSSES = 8
"""Losses by name that a step may have."""


def launched() -> Shard:
    """Which of the processes of torchrun or `accelerate launch` this is, by their environment; alone
    where it was started without them."""
    try:
        number, of = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        raise OCDError("RANK and WORLD_SIZE are not numbers: start processes by torchrun") from None
    return Shard(number, of)


def check_alone(what: str) -> None:
    """Raises OCDError where this is one of several processes that were launched."""
    if not launched().is_alone:
        raise OCDError(f"{what} is for one process: give several a folder that all of them see")


def team_of(share: Shard) -> Team | None:
    """The processes of this training, which meet here the first time; None where it is alone."""
    if share.is_alone:
        return None
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise OCDError(
            "training in several processes needs accelerate: pip install 'ocd-torch[distributed]'"
        ) from error
    state = PartialState(cpu=not torch.cuda.is_available())
    if state.num_processes != share.of:
        raise OCDError(
            f"this is one of {share.of} processes, but {state.num_processes} have met: training in "
            "several processes is started by torchrun or accelerate launch"
        )
    return Team(share)


@dataclass(frozen=True)
class Team:
    """`share`: which of the processes this is."""

    share: Shard

    def own(self, count: int) -> slice:
        """This process's part of `count` rows."""
        number, of = self.share.number, self.share.of
        return slice(count * number // of, count * (number + 1) // of)

    def start_alike(self, network: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        for tensor in (*network.parameters(), *network.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)

    @torch.no_grad()
    def average(self, network: nn.Module, losses: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        """Gradients of the whole batch in place of those of this process's rows.

        `losses`: means over `rows` examples, whose gradients `network` has; {} for no row. Returns the
        losses of the whole batch by name; {} where it has no row. A parameter that no process has a
        gradient of keeps none.
        """
        parameters = [one for one in network.parameters() if one.requires_grad]
        device = parameters[0].device
        names = sorted(losses)
        if len(names) > MOST_LOSSES:
            raise ValueError(f"a step has {len(names)} losses, and at most {MOST_LOSSES} are averaged")
        head = torch.zeros(1 + MOST_LOSSES + len(parameters), device=device)
        head[0] = rows
        for place, name in enumerate(names, 1):
            head[place] = rows * losses[name].detach().float()
        for place, parameter in enumerate(parameters, 1 + MOST_LOSSES):
            head[place] = float(parameter.grad is not None)
        flat = torch.cat([head, *(_flat(parameter, rows) for parameter in parameters)])
        torch.distributed.all_reduce(flat)
        total = int(flat[0])
        if not total:
            return {}
        found = flat[len(head) :] / total
        has_one = flat[1 + MOST_LOSSES : len(head)].tolist()
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, values, one in zip(parameters, found.split(sizes), has_one, strict=True):
            parameter.grad = values.view_as(parameter).to(parameter.dtype) if one else None
        means = flat[1 : 1 + MOST_LOSSES] / total
        return dict(zip(names or ["loss"], means, strict=False))


def _flat(parameter: Tensor, rows: int) -> Tensor:
    """A parameter's gradient times the rows that it is a mean over."""
    if parameter.grad is None or not rows:
        return torch.zeros(parameter.numel(), device=parameter.device)
    return rows * parameter.grad.reshape(-1).float()
