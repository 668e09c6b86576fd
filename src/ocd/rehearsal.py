"""A fit in small, on two examples: what `OCD.fit` tries before long work."""

from __future__ import annotations

import torch

from ocd.base import FrozenBase, example_losses
from ocd.config import OCDConfig
from ocd.data import Batch, dataset_size, take_rows
from ocd.lessons import Problem

SMALL_LR = 1e-6
"""Where no learning rate is configured: two examples are too few to choose one."""
TRIED = 64
"""Examples among which two with a finite loss are looked for."""


def rehearsal_config(config: OCDConfig, layer: str) -> OCDConfig:
    """The settings of a fit, with one step of training and everything written to files."""
    storage = config.collection.storage
    return config.replace(
        {
            "layer": layer,
            "overfit.lr": config.overfit.lr or SMALL_LR,
            "training.num_steps": 1,
            "collection.num_workers": min(1, config.collection.num_workers),
            "collection.storage": "store" if storage == "auto" else storage,
        }
    )


def few_examples(problem: Problem, layer: str) -> Batch:
    """Two examples whose loss is finite (the first two where there are none), on the base's device."""
    inputs, targets = problem.fetch(torch.arange(min(TRIED, dataset_size(problem.dataset))))
    frozen = FrozenBase(problem.base, layer, outputs=problem.outputs)
    losses = example_losses(problem.packed_loss, frozen.answer(inputs), targets)
    finite = losses.isfinite().nonzero()[:2, 0]
    few = finite if len(finite) == 2 else torch.arange(min(2, len(losses)))
    return take_rows(inputs, few), take_rows(targets, few)
