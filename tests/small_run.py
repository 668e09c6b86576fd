"""What makes a whole run take a second: settings of the task `digits`, and constants of the library."""

from __future__ import annotations

import pytest

SMALL = {
    "train_size": 60,
    "test_size": 20,
    "base_epochs": 1,
    "alternative": False,
    "baselines": "none",
    "num_bases": 2,
    "layer": "fc1",
    "overfit.lr": 0.02,
    "collection.storage": "on_the_fly",
    "selection.num_draws": 4,
    "selection.num_examples": 4,
    "denoiser.width": 32,
    "training.num_steps": 10,
    "training.task_loss_weight": 0.5,
    "training.batch_size": 16,
    "training.validate_every": 5,
}
"""Settings of the task `digits`."""

CONSTANTS = {
    # All fits are trials, and move in any case: what moving gains has tests of its own.
    "ocd.fitting.steps.TRIAL_STEPS": 10**9,
    "ocd.lessons.common_move.CONFIDENCE": 0.5,  # on sixty examples, hardly anything is sure
    "ocd.training.batches.ENOUGH_TO_JUDGE": 0,  # tests/test_never_harm.py has the real one
    "ocd.training.trainer.CHECKPOINT_EVERY": 5,
    "ocd.training.trainer.LOG_EVERY": 5,
    "ocd.generator.denoisers.LEVELS": (1, 2),
    "ocd.generator.denoisers.ATTENTION_SIDE": 5,
}
"""Checkpoints and log lines in a training of ten steps, and a U-Net of one downsampling."""


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Give the library its small constants, in this process and in those that are forked from it."""
    for name, value in CONSTANTS.items():
        patch.setattr(name, value)
