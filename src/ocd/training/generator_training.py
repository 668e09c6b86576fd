"""Train the generator of a fit: set it up, run the trainer, and say which examples were held out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.data import progress_bar
from ocd.generator import GeneratorConfig, HyperNetwork
from ocd.lessons import FitRecord, LessonSource
from ocd.training.batches import split_indices
from ocd.training.config import TrainingConfig
from ocd.training.objectives import DiffusionObjective
from ocd.training.setup import make_generator
from ocd.training.trainer import Trainer, TrainingFiles


@dataclass(frozen=True)
class Trained:
    """A trained generator. `held_out`: dataset indices of the examples that it was not trained on."""

    network: HyperNetwork
    held_out: Tensor


def train_generator(
    source: LessonSource,
    record: FitRecord,
    generator: GeneratorConfig,
    training: TrainingConfig,
    seed: int,
    progress: bool = True,
) -> Trained:
    """Alg. 1 on the lessons of a fit; resumes from `checkpoint/training.pt` in the work folder."""
    plan, work = record.plan, record.work
    assert plan is not None
    among, _ = split_indices(source.examples, training.validation_share, seed, source.reserved)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = make_generator(source, plan.code, generator, seed, among)
    record.note(*made.notes)
    record.save()
    objective = DiffusionObjective(
        source.overfitter, training.num_noise_levels, training.task_loss_weight
    )
    files = TrainingFiles(work.log(), work.checkpoint / "training.pt", record.key["all"])
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
    return Trained(network, source.examples[trainer.held_out].unique())
