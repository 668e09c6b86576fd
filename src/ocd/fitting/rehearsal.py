"""A fit in small, on two examples: what `OCD.fit` tries before long work.

    inputs, targets, unit = few_examples(problem, "fc1")          # two with a finite loss
    config = rehearsal_config(ocd.config, "fc1", "answer", unit)  # one step of training

A fit collects for minutes or hours, and some of what can go wrong comes last: an encoder that cannot be
saved, a layer in half precision whose code cannot be trained, a describe function that fails on a
single example. With every step tried on two examples first, such an error comes within a second, and
nothing is lost. The rehearsal leaves no file behind, and the random numbers of the fit are what they
are without it.
"""

from __future__ import annotations

import torch

from ocd.base import FrozenBase, example_losses, loss_unit
from ocd.config import OCDConfig
from ocd.data import Inputs, Targets, dataset_size, take_rows
from ocd.lessons import Problem
from ocd.training import TrainingConfig, shortened

MANY_EXAMPLES, MANY_STEPS = 1000, 200
"""More of these take so long that a fit's last steps are worth a trial first."""
SMALL_LR = 1e-6
"""Where no learning rate is configured, for a loss of ordinary size: two examples are too few to choose
one."""
TRIED = 64
"""Examples among which two with a finite loss are looked for."""


def is_long(problem: Problem, training: TrainingConfig) -> bool:
    """Whether a fit is worth a trial first."""
    total = dataset_size(problem.dataset)
    return total > MANY_EXAMPLES or shortened(training, total).num_steps > MANY_STEPS


def rehearsal_config(config: OCDConfig, layer: str, goal: str, unit: float = 1.0) -> OCDConfig:
    """The settings of a fit, with one step of training and everything written to files. `unit`: of the
    loss (ocd.base.losses)."""
    storage = config.collection.storage
    small = SMALL_LR / unit if config.overfit.optimizer == "sgd" else SMALL_LR
    return config.replace(
        {
            "layer": layer,
            "goal": goal,
            "common_move": "never",
            "overfit.lr": config.overfit.lr or small,
            "training.num_steps": 1,
            "collection.num_workers": min(1, config.collection.num_workers),
            "collection.storage": "store" if storage == "auto" else storage,
        }
    )


def few_examples(problem: Problem, layer: str) -> tuple[Inputs, Targets, float] | None:
    """Two examples whose loss is finite, or the only one there is, and the unit of the loss; None where
    there are none such among the first: the fit itself says then how many there are."""
    inputs, targets = problem.fetch(torch.arange(min(TRIED, dataset_size(problem.dataset))))
    frozen = FrozenBase(problem.base, layer, outputs=problem.outputs)
    losses = example_losses(problem.packed_loss, frozen.answer(inputs), targets)
    few = losses.isfinite().nonzero()[:2, 0]
    if len(few) < min(2, len(losses)):
        return None
    return take_rows(inputs, few), take_rows(targets, few), loss_unit(losses)
