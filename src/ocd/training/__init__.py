"""Alg. 1: train a network on overfitted deltas."""

from ocd.training.distillation import DistillationConfig, distill
from ocd.training.objectives import DiffusionObjective, Objective
from ocd.training.prefetch import Fetched
from ocd.training.trainer import Trainer, TrainingConfig

__all__ = [
    "DiffusionObjective",
    "DistillationConfig",
    "Fetched",
    "Objective",
    "Trainer",
    "TrainingConfig",
    "distill",
]
