"""A student of the denoiser that answers at once what all its steps lead to (beyond the paper).

With eta = 0 a draw is a function of its starting noise and of I(x). The student, a denoiser of the same
form that starts from the trained one's weights, learns that function by regression on fresh noise
(knowledge distillation of Luhman and Luhman 2021): one pass a draw in place of ten. The denoiser stays,
for `mode="mean"`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.data import Log
from ocd.errors import OCDError
from ocd.generator import Denoiser, HyperNetwork, MLPDenoiser, UNetDenoiser
from ocd.lessons import LessonBatch, LessonSource, Overfitter
from ocd.training.trainer import Trainer, TrainingConfig

NUM_STARTS = 4
"""Starting noises an example of a batch."""


@dataclass(frozen=True)
class DistillationConfig:
    """How a student of one step is taught."""

    num_steps: int = 0
    """Optimiser steps; 0: no student, and a draw takes `diffusion.num_sampling_steps` passes."""
    lr: float = 1e-3
    """Largest learning rate."""

    def __post_init__(self) -> None:
        if self.num_steps < 0:
            raise OCDError(f"distillation.num_steps is {self.num_steps}: it must be at least 0")
        if self.lr <= 0:
            raise OCDError(f"distillation.lr is {self.lr:g}: it must be above 0")


@dataclass(frozen=True)
class FollowTeacher:
    """The objective: mean squared distance to where all steps of the teacher lead from the same noise,
    in units of a code's elements."""

    teacher: HyperNetwork

    def losses(
        self, network: Denoiser, rows: LessonBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return {"loss": self.held_out(network, rows, generator)}

    def held_out(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        teacher = self.teacher
        with torch.no_grad():
            embedding = teacher.embed(rows.features, rows.inputs)
            condition = embedding.denoiser
            size = (len(rows), NUM_STARTS, *teacher.diffused_shape)
            start = torch.randn(size, generator=generator).to(condition.device)
            end = teacher.steps_of_draw(embedding, start)
        answer: Tensor = network(start, teacher.level(teacher.diffusion.last_step), condition)
        return (answer - end).square().mean()


def distill(
    teacher: HyperNetwork,
    source: LessonSource,
    overfitter: Overfitter,
    config: DistillationConfig,
    training: TrainingConfig,
    seed: int,
    log: Log,
    checkpoint: Path,
    key: str,
    advance: Callable[[int], None] = lambda steps: None,
) -> None:
    """Give the teacher its student. Batches and the like are those of its own training; resumes."""
    teacher.eval().requires_grad_(False)
    student = copy.deepcopy(teacher.denoiser).requires_grad_(True)
    training = replace(
        training, num_steps=config.num_steps, lr=config.lr, max_epochs=0, num_accumulated=1,
        patience=0, keep_best=False, schedule="one_cycle",
    )  # fmt: skip
    objective = FollowTeacher(teacher)
    trainer = Trainer(student, source, overfitter, objective, training, seed, log, checkpoint, key)
    trainer.resume()
    trained = trainer.run(advance)
    teacher.requires_grad_(True)
    assert isinstance(trained, MLPDenoiser | UNetDenoiser)
    teacher.student = trained
