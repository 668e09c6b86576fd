"""Alg. 1: train a network on overfitted deltas."""

from ocd.training.config import TrainingConfig, shortened
from ocd.training.generator_training import Trained, train_generator
from ocd.training.objectives import JUDGED_DRAWS, Objective, task_excerpt
from ocd.training.scores import (
    check_goal,
    closer,
    distribution_score,
    energy_scores,
    kind_of_score,
    known_rows,
    score_of,
)
from ocd.training.trainer import Trainer, TrainingFiles

__all__ = [
    "JUDGED_DRAWS", "Objective", "Trained", "Trainer", "TrainingConfig", "TrainingFiles",
    "check_goal", "closer", "distribution_score", "energy_scores", "kind_of_score", "known_rows",
    "score_of", "shortened", "task_excerpt", "train_generator",
]  # fmt: skip
