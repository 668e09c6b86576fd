"""The settings of a training loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ocd.errors import OCDError


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop of the generator, which the trained baselines share."""

    num_steps: int = 2000
    """Optimiser steps (AdamW; gradients are clipped to norm 1)."""
    max_epochs: int = 300
    """Passes over the training examples after which training ends before `num_steps`: few examples are
    learnt by heart long before; 0: no such end."""
    batch_size: int = 256
    """Examples in a batch."""
    num_noise_levels: int = 2
    """Noise levels that each example of a batch is denoised at; its condition is encoded once."""
    lr: float = 2e-3
    """Largest learning rate."""
    weight_decay: float = 0.01
    """Of AdamW; 0 is Adam."""
    schedule: str = "one_cycle"
    """one_cycle (rises over the first three tenths, then falls to zero) or constant."""
    scale_lr_factor: float = 1.0
    """The scale network's learning rate over the denoiser's; 5 in the released code."""
    task_loss_weight: float = 0.0
    """Beyond the paper: weight of the base's own loss under the mean generated delta."""
    score_weight: float = 0.0
    """Beyond the paper: weight of a proper score of four draws an example, which says how well they
    describe where its target may be (energy score or CRPS; of classes the log score). With
    diffusion.solver one_step it is what the generator learns from."""
    ema_decay: float = 0.998
    """Decay of the averaged weights, which are the ones that predict."""
    validation_share: float = 0.05
    """Share of the examples held out, to measure the loss on and to judge moves: at least 512, or a
    quarter where there are fewer than 2,048; at most 2,048; 0: none."""
    validate_every: int = 100
    """Steps between two measurements on the held-out examples."""
    keep_best: bool = True
    """Whether to predict with the averaged weights under which the base's own loss on the first batch
    of held-out examples was lowest, in place of the last weights."""

    def __post_init__(self) -> None:
        if self.schedule not in ("one_cycle", "constant"):
            raise OCDError(f"training.schedule is {self.schedule!r}: use one_cycle or constant")
        counts = ("num_steps", "batch_size", "num_noise_levels", "validate_every")
        limits = {name: (getattr(self, name) >= 1, "at least 1") for name in counts}
        limits["lr"] = (self.lr > 0, "above 0")
        for name in ("task_loss_weight", "score_weight", "max_epochs"):
            limits[name] = (getattr(self, name) >= 0, "at least 0")
        for name in ("validation_share", "ema_decay"):
            limits[name] = (0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name, (fits, wanted) in limits.items():
            if not fits:
                raise OCDError(f"training.{name} is {getattr(self, name)}: it must be {wanted}")


def shortened(config: TrainingConfig, num_examples: int) -> TrainingConfig:
    """With as many steps as `max_epochs` passes over the examples take, if these are fewer."""
    if not config.max_epochs:
        return config
    most = max(1, config.max_epochs * num_examples // config.batch_size)
    return replace(config, num_steps=min(config.num_steps, most))


def rate_factor(step: int, num_steps: int, schedule: str) -> float:
    """The learning rate of a step as a share of the largest."""
    if schedule == "constant":
        return 1.0
    rise = max(1, int(0.3 * num_steps))
    if step < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rise))
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, num_steps - rise)))
