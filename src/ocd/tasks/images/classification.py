"""What the image classifiers share: loss, ensembles, base training, shifts, encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.data import (
    Examples,
    GlobalRandom,
    ResumableLoop,
    call,
    copied,
    to_device,
)
from ocd.tasks.task import Progress


def cross_entropy_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Logits (B, C) and classes (B,) -> cross-entropy (B,) in nats, the loss."""
    return F.cross_entropy(outputs, targets, reduction="none")


def log_mean_softmax(outputs: Tensor) -> Tensor:
    """Logits of K draws (K, B, C) -> log of their mean probabilities (B, C), itself logits."""
    return outputs.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(outputs))


def train_classifier(
    base: nn.Module,
    examples: Examples,
    *,
    epochs: int,
    seed: int,
    progress: Progress,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    channels_last: bool = False,
) -> None:
    """Trains a classifier from new weights with Adam, the rate falling linearly to zero.

    The base is changed in place and left in eval mode. The result depends on the seed alone,
    not on the weights that the base came with, and the global random state is left as it was.
    """
    device = next(base.parameters()).device
    order = torch.Generator().manual_seed(seed)
    num_batches = math.ceil(len(examples) / batch_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reset(base)
        base.train()
        optimizer = torch.optim.Adam(base.parameters(), lr=learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, total_iters=max(1, epochs * num_batches)
        )
        random = GlobalRandom(device)
        loop = ResumableLoop(
            "classifier", base=base, optimizer=optimizer, schedule=schedule, order=order, random=random
        )
        epoch = loop.values
        for step in loop.steps(epochs * num_batches):
            number, batch = divmod(step, num_batches)
            if batch == 0:
                epoch["rows"] = torch.randperm(len(examples), generator=order)
                epoch["total"] = torch.zeros((), device=device)
            rows = epoch["rows"][batch * batch_size :][:batch_size]
            loss = _classifier_loss(base, examples, rows, channels_last)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch["total"] = epoch["total"].to(device) + loss.detach()
            if batch == num_batches - 1:
                mean = epoch["total"].item() / num_batches
                progress(f"base: epoch {number + 1} of {epochs}, loss {mean:.4f}")
    base.eval()


def _classifier_loss(base: nn.Module, examples: Examples, rows: Tensor, channels_last: bool) -> Tensor:
    """The mean cross-entropy of some examples."""
    device = next(base.parameters()).device
    inputs, targets = examples.rows(rows)
    inputs = to_device(inputs, device)
    if channels_last:
        inputs = copied(inputs, channels_last)
    return F.cross_entropy(call(base, inputs), targets.to(device))


def reset(network: nn.Module) -> None:
    """New weights in every module that has a way to make them, from the global random state."""
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
