"""Train the generator of a fit: set it up, run the trainer, and say which examples were held out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.data import progress_bar
from ocd.generator import GeneratorConfig, HyperNetwork
from ocd.lessons import FitRecord, LessonSource
from ocd.training.batches import split_lessons
from ocd.training.config import TrainingConfig
from ocd.training.objectives import DiffusionObjective
from ocd.training.setup import make_generator
from ocd.training.trainer import Trainer, TrainingFiles


@dataclass(frozen=True)
class Trained:
    """A trained generator. Dataset indices of the examples that it was not trained on: `choosing`, on
    which its best weights were chosen, and `held_out`, all others."""

    network: HyperNetwork
    held_out: Tensor
    choosing: Tensor


def train_generator(
    source: LessonSource,
    record: FitRecord,
    generator: GeneratorConfig,
    training: TrainingConfig,
    seed: int,
    progress: bool = True,
    goal: str = "answer",
) -> Trained:
    """Alg. 1 on the lessons of a fit; resumes from `checkpoint/training.pt` in the work folder. `goal`:
    whether the best weights are those of the best answer, or of the best draws."""
    plan, work = record.plan, record.work
    assert plan is not None
    among, *_ = split_lessons(source, training.validation_share, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = make_generator(source, plan.code, generator, seed, among)
    record.note(*made.notes)
    record.save()
    objective = DiffusionObjective(
        source.overfitter,
        training.num_noise_levels,
        training.task_loss_weight,
        training.score_weight,
        goal,
    )
    files = TrainingFiles(work.log(), work.checkpoint / "training.pt", record.key["all"], work.share)
    trainer = Trainer(made.network, source, objective, training, seed, files)
    if trainer.config.num_steps < training.num_steps:
        record.note(
            f"training of {trainer.config.num_steps} steps in place of {training.num_steps:,}: "
            f"{training.max_epochs} passes over {len(trainer.indices)} examples (training.max_epochs)"
        )
    trainer.resume()
    with progress_bar(f"train {plan.layer}", trainer.config.num_steps, progress) as advance:
        network = trainer.run(advance)
    assert isinstance(network, HyperNetwork)
    choosing, every = (source.examples[of].unique() for of in (trainer.choosing, trainer.held_out))
    return Trained(network, every[~torch.isin(every, choosing)], choosing)
