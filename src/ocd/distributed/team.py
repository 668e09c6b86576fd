"""Several processes that train one network: each on its part of a batch, with averaged gradients.

    torchrun --nproc-per-node 2 -m ocd train DIR        # gloo on CPUs, NCCL on GPUs

    team = team_of(launched())                          # None where this process is alone
    own = indices[team.own(len(indices))]
    losses = team.gradients(network, losses, inputs)   # then the optimiser steps as if alone

What data parallelism is (DDP): gradients of all processes are averaged before each step, so that all
have the same weights. Here each counts by its examples: the average is the gradient of the whole batch
also where parts are uneven, or where one has no example that is finite. `accelerate` sets the processes
up; they meet in one sum a step, and in two for each batch norm of an encoder, forward and backward,
whose statistics are those of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.data import Inputs, Shard, call, num_rows
from ocd.distributed.batch_norm import has_batch_norms, over_all_processes
from ocd.errors import OCDError, install

LOSSES = ("loss", "denoise_loss", "scale_loss", "task_loss", "score")
"""Losses that a step may have, in the order in which they are summed: a process without a row has no
names of its own, and has to know which sum is which."""


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
            f"training in several processes needs accelerate: {install('distributed')}"
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

    @contextmanager
    def together(self, network: nn.Module, step: int, batch_size: int) -> Iterator[None]:
        """A training of the network from `step` on: all processes begin it with the first one's
        parameters and buffers. Raises OCDError, in every process, where they do not all go on at the
        same step, and where a batch has fewer rows than there are processes."""
        if batch_size < self.share.of:
            raise OCDError(
                f"training.batch_size is {batch_size}, fewer than the {self.share.of} processes that "
                "share a batch: start fewer"
            )
        self._check_step(step)
        for tensor in (*network.parameters(), *network.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)
        with over_all_processes(_encoder(network)):
            yield

    def _check_step(self, step: int) -> None:
        steps = torch.zeros(self.share.of, dtype=torch.long, device=_device())
        steps[self.share.number] = step
        torch.distributed.all_reduce(steps)
        if len(steps.unique()) > 1:
            found = ", ".join(f"process {number} at {at}" for number, at in enumerate(steps.tolist()))
            raise OCDError(
                f"processes of one training go on at different steps ({found}): all of them must see "
                "the same folder, with the same checkpoint/ in it"
            )

    def gradients(
        self, network: nn.Module, losses: dict[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        """Give the network the gradients of the whole batch's "loss"; returns its losses by name.

        `losses`: means over this process's rows, `inputs` (B, ...); {} where it has none. {} comes back
        where no process has any. A parameter that no process has a gradient of gets none.
        """
        rows, encoder = num_rows(inputs), _encoder(network)
        if rows:
            (rows * losses["loss"]).backward()
        elif encoder is not None and has_batch_norms(encoder):  # in whose sums it takes part
            call(encoder, inputs).sum().backward()
        return self._averaged(network, losses, rows)

    @torch.no_grad()
    def _averaged(self, network: nn.Module, losses: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        """Gradients of the mean over the whole batch in place of those of the sum over `rows`."""
        parameters = [one for one in network.parameters() if one.requires_grad]
        device = parameters[0].device
        if unknown := losses.keys() - set(LOSSES):
            raise ValueError(f"losses of an unknown name: {', '.join(sorted(unknown))}")
        num_losses = len(LOSSES)
        head = torch.zeros(1 + 2 * num_losses + len(parameters), device=device)
        head[0] = rows
        for place, name in enumerate(LOSSES, 1):
            if name in losses:
                head[place] = rows * losses[name].detach().float()
                head[place + num_losses] = 1
        for place, parameter in enumerate(parameters, 1 + 2 * num_losses):
            head[place] = float(parameter.grad is not None)
        flat = torch.cat([head, *map(_flat, parameters)])
        torch.distributed.all_reduce(flat)
        total = int(flat[0])
        if not total:
            return {}
        found = flat[len(head) :] / total
        is_known, has_one = flat[1 + num_losses : len(head)].split([num_losses, len(parameters)])
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, values, one in zip(
            parameters, found.split(sizes), has_one.tolist(), strict=True
        ):
            parameter.grad = values.view_as(parameter).to(parameter.dtype) if one else None
        means = zip(LOSSES, flat[1 : 1 + num_losses] / total, is_known.tolist(), strict=True)
        return {name: mean for name, mean, known in means if known}


def _device() -> torch.device:
    """Where tensors are that processes sum: NCCL takes those of GPUs alone."""
    on_gpu = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def _flat(parameter: Tensor) -> Tensor:
    """A parameter's gradient, (numbers,); zeros where it has none."""
    if parameter.grad is None:
        return torch.zeros(parameter.numel(), device=parameter.device)
    return parameter.grad.reshape(-1).float()


def _encoder(network: nn.Module) -> nn.Module | None:
    """The user's encoder of x in a generator, the only part of it that may have batch norms."""
    encoder = getattr(network, "encoder", None)
    return encoder if isinstance(encoder, nn.Module) else None
