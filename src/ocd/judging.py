"""Which examples judge a trained generator, and what is said of it.

    judges = Judges(source, record, held_out, validation, base_saw_lessons=True)
    examples = judges.examples(seed)   # None where there are none to judge on
    judges.say()                       # which examples were used for what, into the notes

A user's validation examples come first; else a fold that neither base nor generator has seen; else the
lessons that were held out from the generator (ocd.prediction.held_out).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ocd.data import dataset_size
from ocd.lessons import FitRecord, LessonSource, warning_if_seen
from ocd.prediction import HeldOut, held_out_examples, held_out_lessons


@dataclass(frozen=True)
class Judges:
    """`held_out`: indices of the examples that the generator was not trained on. `validation`: a
    user's, unseen by base and fit. `base_saw_lessons`: as the user says, and no bases were trained
    without them."""

    source: LessonSource
    record: FitRecord
    held_out: Tensor
    validation: Dataset[Any] | None
    base_saw_lessons: bool

    def examples(self, seed: int) -> HeldOut | None:
        """The examples to choose on; None where there are none."""
        if self.validation is not None:
            return self._validated(self.validation, seed)
        return held_out_lessons(self.source, self.held_out, seed) if len(self.held_out) else None

    def say(self) -> None:
        """Notes on which examples were used for what."""
        trained = len(self.source.examples) - len(self.held_out)
        choosing = "these choose how draws are taken"
        if self.validation is not None:
            count = dataset_size(self.validation)
            choosing = f"{count} validation examples choose how draws are taken"
        self.record.note(
            f"examples: {trained} lessons train the generator, {len(self.held_out)} are held out from "
            f"it; {choosing}"
        )
        if self.base_saw_lessons and self.validation is None:
            self.record.note(
                "the base was fitted on the lessons (seen=True), and everything is chosen on them: "
                "moves may be too short. Give fit_base=, validation=, or examples that it has not seen"
            )

    def _validated(self, validation: Dataset[Any], seed: int) -> HeldOut:
        """The validation examples; and a warning where the base has seen the lessons."""
        overfitter = self.source.overfitter
        problem = replace(overfitter.problem, dataset=validation, transform=None)
        if warning := warning_if_seen(overfitter.frozen, overfitter.problem, problem):
            warnings.warn(warning, stacklevel=2)
            self.record.note(warning)
        judges = replace(overfitter, problem=problem)
        every = torch.arange(dataset_size(validation))
        return replace(held_out_examples(judges, every, seed), words="validation examples")
