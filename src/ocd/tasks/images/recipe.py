"""The usual recipe for networks on small images: crops and flips, SGD with momentum, a cosine rate.

With it the published ResNets and GoogLeNet reach their published accuracies in 100 to 200 epochs. One
epoch of GoogLeNet on CIFAR10 is some 250 teraflop: seconds on a GPU, the better part of an hour on two
cores of a CPU. So the task takes trained weights, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.data import Examples, GlobalRandom, ResumableLoop
from ocd.tasks.images.augmentation import flip, shift
from ocd.tasks.images.classification import reset
from ocd.tasks.task import Progress


@dataclass(frozen=True)
class Recipe:
    """SGD as for the published networks on CIFAR10. `pixels`: by which images are moved."""

    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    warm_up: float = 0.1
    """Share of the steps in which the rate rises."""
    pixels: int = 4


def train_by_recipe(
    base: nn.Module, examples: Examples, recipe: Recipe, seed: int, progress: Progress
) -> None:
    """Trains a classifier of images from new weights; on a GPU in bfloat16 where that is safe.

    The base is changed in place and left in eval mode; it can be interrupted and goes on. Images lie
    on the base's device for the whole training.
    """
    device = next(base.parameters()).device
    assert isinstance(examples.inputs, Tensor) and isinstance(examples.targets, Tensor)
    images, classes = examples.inputs.to(device), examples.targets.to(device)
    chance = torch.Generator().manual_seed(seed)
    num_batches = max(1, len(examples) // recipe.batch_size)  # the last, short one is left out
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reset(base)
        base.train()
        optimizer = _optimizer(base, recipe)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, _Cosine(recipe.epochs * num_batches, recipe.warm_up)
        )
        loop = ResumableLoop(
            "recipe", base=base, optimizer=optimizer, schedule=schedule, order=chance,
            random=GlobalRandom(device),
        )  # fmt: skip
        epoch = loop.values
        for step in loop.steps(recipe.epochs * num_batches):
            number, batch = divmod(step, num_batches)
            if batch == 0:
                epoch["rows"] = torch.randperm(len(examples), generator=chance)
                epoch["total"] = torch.zeros((), device=device)
            rows = epoch["rows"][batch * recipe.batch_size :][: recipe.batch_size].to(device)
            moved = flip(shift(images[rows], recipe.pixels, chance), chance)
            moved = moved.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = F.cross_entropy(base(moved), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            epoch["total"] = epoch["total"].to(device) + loss.detach()
            if batch == num_batches - 1:
                mean = epoch["total"].item() / num_batches
                progress(f"base: epoch {number + 1} of {recipe.epochs}, loss {mean:.4f}")
    base.eval()


def _optimizer(base: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov's momentum and weight decay on all parameters, as published."""
    return torch.optim.SGD(
        base.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )


@dataclass(frozen=True)
class _Cosine:
    """The rate's factor at a step: up in a line, down as a cosine to zero."""

    steps: int
    warm_up: float

    def __call__(self, step: int) -> float:
        rising = max(1.0, self.warm_up * self.steps)
        if step < rising:
            return (step + 1) / rising
        share = (step - rising) / max(1.0, self.steps - rising)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
