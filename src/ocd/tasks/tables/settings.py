"""What the tables' tasks have in common: settings, and how draws answer as one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError


def nothing(options: Any) -> None:
    """A table has no augmentation."""
    return None


def as_features(inputs: Inputs) -> Tensor:
    """The features (B, D) of a table. Raises OCDError for anything else."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 2:
        raise OCDError("a table's inputs are one tensor of features (B, D)")
    return inputs


SETTINGS: dict[str, object] = {
    # Eq. 1 to its end: a residual is met to a hundredth (docs/experiments.md).
    "overfit.optimizer": "polyak",
    "overfit.lr": 1.0,
    "overfit.num_steps": 8,
    "collection.storage": "on_the_fly",
    # One draw is a sample of a distribution: how far goes with where to.
    "scale.kind": "joint",
    "condition.layer_input": False,
    "condition.layer_output": False,
    "denoiser.width": 128,
    "diffusion.num_sampling_steps": 20,
    "training.num_steps": 2400,
    "training.max_epochs": 85,  # a small table would be learnt by heart
    "training.batch_size": 512,
    "training.num_noise_levels": 4,
    "training.weight_decay": 0.5,
    "training.validation_share": 0.1,
    "training.validate_every": 200,
    "training.keep_best": False,
    "sampling.scale_factor": 1.0,
    "sampling.coverage": 0.9,
}
"""Differences from `fast` of a table's regression, chosen on held-out training examples."""


SETTINGS_OF_SMALL = SETTINGS | {"training.keep_best": True, "training.validate_every": 50}
"""Where a table may be small, and its residuals are learnt by heart before the training ends."""


RUN_SETTINGS: dict[str, object] = {
    "num_draws": 100,  # one is a sample: their mean is what settles
    "other_draws": (5, 20),
    "alternative": False,  # costs as much as all else, and was worse (docs/experiments.md)
    "augment": False,
    "cross_fit": True,  # of its own residuals a base has fitted away a part
}
