"""The optimiser of a training, with a rate of its own for a generator's scale network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ocd.generator import HyperNetwork
from ocd.training.config import TrainingConfig


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW for all that is trained; each group's "factor" is of the learning rate."""
    scale = list(_scale_parameters(network))
    chosen = {id(parameter) for parameter in scale}
    rest = [one for one in network.parameters() if one.requires_grad and id(one) not in chosen]
    groups = [{"params": rest, "factor": 1.0}]
    if scale:
        groups.append({"params": scale, "factor": config.scale_lr_factor})
    return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _scale_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a generator's scale network."""
    if isinstance(network, HyperNetwork):
        for part in (network.scale, network.scale_conditioning):
            if part is not None:
                yield from part.parameters()
