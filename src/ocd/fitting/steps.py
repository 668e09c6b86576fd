"""The steps of a fit, each a call into one room, and what they need of the user.

    select    lessons: Eq. 3, which layer
    overfit   lessons: Eq. 1 for every example
    train     training: Alg. 1; prediction: how draws are taken

`OCD` (ocd.model) runs them one after another, and the run folders of the command line one at a time.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.base import (
    Fingerprint,
    FrozenBase,
    Loss,
    Output,
    Outputs,
    base_digest,
    find_layer,
    unwrapped,
)
from ocd.config import OCDConfig
from ocd.data import Chosen, Excerpt, dataset_size, seeded, some_by_chance
from ocd.errors import OCDError
from ocd.fitting.goal import settled_goal
from ocd.fitting.judging import Judges
from ocd.fitting.selecting import layer_scores
from ocd.generator import Condition, Describe, HyperNetwork
from ocd.hub import Checkpoint, save_checkpoint
from ocd.lessons import (
    Curriculum,
    FitBase,
    FitRecord,
    FoldedLessons,
    LayerScores,
    LessonSource,
    Problem,
    Transform,
    Workdir,
    make_plan,
)
from ocd.prediction import FittedGenerator, Join, join_by_mean, settle_sampling
from ocd.training import Trained, shortened, train_generator

TRIAL_STEPS = 10
"""Steps of training below which a fit is a trial of the machinery, and no model to be judged."""


class Fitting:
    """What a fit is made of, and its steps. See OCD.

    After `fit`, or `train` as the last of the steps: `hypernetwork` is the trained generator,
    `frozen` the base at its layer, `notes` the decisions and their reasons, a line each, and
    `fingerprint` what the base answers to three made-up inputs. A base inside DataParallel,
    DistributedDataParallel or torch.compile is taken out of it.
    """

    def __init__(
        self,
        base: nn.Module,
        *,
        loss: Loss | None = None,
        config: OCDConfig | None = None,
        encoder: nn.Module | None = None,
        transform: Transform | None = None,
        join: Join = join_by_mean,
        excerpt: Excerpt | None = None,
        describe: Describe | None = None,
        output: Output | None = None,
    ) -> None:
        if not isinstance(base, nn.Module):
            raise OCDError(f"base is a {type(base).__name__}: it must be a torch module")
        if config is not None and not isinstance(config, OCDConfig):
            raise OCDError(
                f"config is a {type(config).__name__}: it must be an OCDConfig, such as "
                'OCDConfig().replace({"training.num_steps": 400})'
            )
        self.base = unwrapped(base)
        self.loss = loss
        self.config = config or OCDConfig()
        if encoder is None and not self.config.condition.has_parts:
            raise OCDError(
                "condition has no part: set condition.layer_input, layer_output or output, or bring an "
                "encoder of x"
            )
        self.encoder = encoder
        self.transform = transform
        self.join = join
        self.excerpt = excerpt
        self.describe = describe
        self.outputs = Outputs(output)
        self.fit_base: FitBase | None = None
        self.belongs: Tensor | None = None
        self.seen = self.judged = False
        self.hypernetwork: HyperNetwork | None = None
        self.frozen: FrozenBase | None = None
        self.fingerprint: Fingerprint | None = None
        self.made_for: str | None = None
        self.notes: list[str] = []

    def select(self, dataset: Dataset[Any], work: Workdir) -> LayerScores | None:
        """The first step of `fit` alone: Eq. 3, if the layer is "auto". Returns all scores, or None
        where nothing was left to choose."""
        return self._select(self._course(*self.open(dataset, work)))

    def scores(self, dataset: Dataset[Any], progress: bool = True) -> LayerScores:
        """Eq. 3 alone, for the layers of the base, within the budget of a fit (docs/selection.md)."""
        return layer_scores(self.problem(dataset), self.config, progress)

    def plan(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> None:
        """What `overfit` does first, and one process alone: decide all that the lessons depend on."""
        course = self._course(*self.open(dataset, work), progress)
        self._select(course)
        self._decide(course, progress)

    def overfit(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> None:
        """The second step of `fit` alone: the plan, and Eq. 1 for every example if it wants deltas
        stored."""
        course = self._course(*self.open(dataset, work), progress)
        self._select(course)
        self._overfit(course, progress)

    def train(self, dataset: Dataset[Any], work: Workdir, progress: bool = True) -> Self:
        """The rest of `fit`: Alg. 1 on the overfitted examples, and how draws are taken, which of
        several processes the first one chooses."""
        record, source = self.lessons(dataset, work)
        trained = self._train(source, record, progress)
        return self._choose_sampling(source, record, trained) if work.share.leads else self

    @property
    def _is_trial(self) -> bool:
        return self.config.training.num_steps < TRIAL_STEPS

    def settle_goal(self, problem: Problem, record: FitRecord) -> str:
        """What draws are for, settled once (ocd.fitting.goal). "auto" is the answer for intervals,
        which have a rule of their own, and for parts of large examples, which are no whole answers."""
        if record.goal is None:
            assert record.layer is not None
            goal = self.config.goal
            parts = self.excerpt is not None or self.config.sampling.coverage > 0
            goal = "answer" if goal == "auto" and parts else goal
            record.goal, note = settled_goal(goal, problem, record.layer)
            record.note(*([] if note is None else [note]))
        return record.goal

    def _course(self, problem: Problem, record: FitRecord, progress: bool = True) -> Curriculum:
        return Curriculum.of(problem, record, self.config.lessons, progress)

    def _select(self, course: Curriculum, progress: bool = False) -> LayerScores | None:
        config, problem, record = self.config, course.template, course.record
        if record.layer is not None:
            return None
        scores = None
        if config.layer == "auto":
            start = time.perf_counter()
            scores = layer_scores(problem, config, progress)
            record.layer = scores.layer()
            seconds = time.perf_counter() - start
            record.note(f"{scores.note()}; {seconds:.1f} s")
            if scores.winner is not None and not problem.is_augmented:
                problem.adopt(*scores.winner)
        else:
            find_layer(self.base, config.layer)  # fails before anything is written
            record.layer = config.layer
        record.save()
        return scores

    def _overfit(self, course: Curriculum, progress: bool) -> None:
        self._decide(course, progress)
        course.collect(progress)

    def _decide(self, course: Curriculum, progress: bool) -> None:
        """The plan, and the common move."""
        record, config = course.record, self.config
        self.settle_goal(course.template, record)
        assert record.layer is not None
        if record.plan is None:
            record.plan, notes = make_plan(course.template, record.layer, config.lessons)
            record.note(*notes)
            record.save()
        training = shortened(config.training, dataset_size(course.problem.dataset))
        trained = 0 if self._is_trial else training.num_steps * training.batch_size
        course.find_common_move(trained, progress)

    def _train(self, source: LessonSource, record: FitRecord, progress: bool) -> Trained:
        """Alg. 1; says too which examples were held out from the generator."""
        config, goal = self.config, self.settle_goal(source.overfitter.problem, record)
        trained = train_generator(
            source, record, config.generator, config.training, config.seed, progress, goal
        )
        self.hypernetwork, self.frozen = trained.network, source.overfitter.frozen
        return trained

    def _choose_sampling(
        self,
        source: LessonSource,
        record: FitRecord,
        trained: Trained,
        validation: Dataset[Any] | None = None,
    ) -> Self:
        """Scale factor and spread of draws, by the user's validation examples or by those held out;
        then save `checkpoint/`."""
        config, overfitter = self.config, source.overfitter
        seen = self.seen and self.fit_base is None
        judges = Judges(source, record, trained, validation, seen)
        asked = validation is not None or not config.sampling.is_settled
        examples = judges.examples(config.seed) if asked else None
        judges.say()
        sampling = config.sampling
        if self._is_trial:
            sampling = replace(sampling, confidence=0.0)
            record.note(
                f"a training of {config.training.num_steps} steps is a trial: whether it gains is not "
                f"judged (training.num_steps from {TRIAL_STEPS} on is)"
            )
        problem, goal = overfitter.problem, self.settle_goal(overfitter.problem, record)
        settle = (self.generator(), overfitter, examples, self.join, sampling, goal)
        record.note(settle_sampling(*settle))
        if not problem.is_augmented and not isinstance(source, FoldedLessons):
            record.note(problem.memory.note())
        if (note := self.outputs.note()) is not None:
            record.note(note)
        record.save()
        few, _ = problem.fetch(torch.arange(min(3, dataset_size(problem.dataset))))
        self.fingerprint = Fingerprint.of(overfitter.frozen, few)
        self.notes, self.made_for = record.notes, base_digest(self.base)
        self.save_pretrained(record.work.checkpoint)
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors: the generator only, never the base. Raises OCDError
        where the base is no more as it was fitted on, before anything is overwritten."""
        network, frozen = self.fitted()
        saved = Checkpoint(self.config, network, frozen, self.notes, self.fingerprint, self.made_for)
        save_checkpoint(Path(folder), saved)

    @property
    def condition(self) -> Condition:
        """How I(x) becomes vectors."""
        return Condition(self.config.condition, self.describe)

    def problem(self, dataset: Dataset[Any]) -> Problem:
        """What is handed in for a fit on this dataset, or on some of it (collection.max_examples)."""
        most, belongs = self.config.collection.max_examples, self.belongs
        some = some_by_chance(dataset, most, seeded(self.config.seed, 28))
        if some is not None:
            dataset = Chosen(dataset, some)
            belongs = None if belongs is None else belongs[some]
        return Problem(
            self.base, self._loss(), dataset, self.condition, self.transform, self.excerpt,
            self.encoder, self.outputs, None, self.fit_base, belongs, self.judged,
        )  # fmt: skip

    def open(self, dataset: Dataset[Any], work: Workdir) -> tuple[Problem, FitRecord]:
        """The problem, and the record of what was decided in this workdir so far."""
        problem = self.problem(dataset)
        record = FitRecord.open(work, problem, self.config.to_dict())
        if problem.dataset is not dataset:
            record.note(
                f"lessons are made of {dataset_size(problem.dataset):,} of {dataset_size(dataset):,} "
                "examples, chosen by chance (collection.max_examples)"
            )
        return problem, record

    def lessons(self, dataset: Dataset[Any], work: Workdir) -> tuple[FitRecord, LessonSource]:
        """The record of a workdir, and its overfitted examples. Raises OCDError before `overfit`."""
        course = self._course(*self.open(dataset, work))
        return course.record, course.open()

    def fitted(self) -> tuple[HyperNetwork, FrozenBase]:
        """The trained generator and the base at its layer. Raises OCDError before `fit`."""
        if self.hypernetwork is None or self.frozen is None:
            raise OCDError("this OCD is not fitted: call fit, or OCD.from_pretrained")
        if self.hypernetwork.training:  # visiting all modules takes as long as a small matrix product
            self.hypernetwork.eval()
        return self.hypernetwork, self.frozen

    def generator(self) -> FittedGenerator:
        """The trained generator, ready to draw. Raises OCDError before `fit`."""
        network, frozen = self.fitted()
        network.eval()  # one part may be in training mode although the whole is not
        if next(network.parameters()).device != frozen.device:
            network.to(frozen.device)
        return FittedGenerator(network, frozen, self.condition, self.config.sampling.mixed_precision)

    def _loss(self) -> Loss:
        if self.loss is None:
            raise OCDError(
                "fit needs a loss: OCD(base, loss=loss), with loss(outputs, targets) -> (B,)"
            )
        return self.loss
