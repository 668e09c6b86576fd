"""Which examples judge a trained generator, and what is said of it.

    judges = Judges(source, record, trained, validation, base_saw_lessons=True)
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
from torch.utils.data import Dataset

from ocd.data import dataset_size
from ocd.fitting.copies import belonging
from ocd.lessons import FitRecord, FoldedLessons, LessonSource, warning_if_seen
from ocd.prediction import HeldOut, held_out_examples, held_out_lessons
from ocd.training import Trained


@dataclass(frozen=True)
class Judges:
    """`trained`: the generator, and which examples it was not trained on. `validation`: a
    user's, unseen by base and fit. `base_saw_lessons`: as the user says, and no bases were trained
    without them."""

    source: LessonSource
    record: FitRecord
    trained: Trained
    validation: Dataset[Any] | None
    base_saw_lessons: bool

    def examples(self, seed: int) -> HeldOut | None:
        """The examples to choose on; None where there are none."""
        if self.validation is not None:
            return self._validated(self.validation, seed)
        held_out = self.trained.held_out
        return held_out_lessons(self.source, held_out, seed) if len(held_out) else None

    def say(self) -> None:
        """Notes on which examples were used for what."""
        choosing, judging = len(self.trained.choosing), len(self.trained.held_out)
        text = f"examples: {len(self.source.examples) - choosing - judging} lessons train the generator"
        if choosing:
            text += f"; {choosing} others choose its best weights"
        if self.validation is None:
            text += f"; {judging} others judge moves, and choose how draws are taken"
        else:
            text += (
                f"; {dataset_size(self.validation)} validation examples judge moves, and choose how "
            )
            text += "draws are taken"
        self.record.note(text)
        if self.base_saw_lessons and self.validation is None:
            self.record.note(
                "the base was fitted on the lessons (seen=True), and everything is chosen on them: "
                "what gains there may harm new inputs. Give validation=, fit_base=, or examples that "
                "it has not seen"
            )

    def _validated(self, validation: Dataset[Any], seed: int) -> HeldOut:
        """The validation examples; and a warning where the base has seen the lessons."""
        overfitter = self.source.overfitter
        # Groups are of the lessons; of these only copies are known.
        belongs, said = belonging(None, validation)
        self.record.note(*([] if said is None else [f"validation {said}"]))
        problem = replace(overfitter.problem, dataset=validation, transform=None, belongs=belongs)
        crossed = isinstance(self.source, FoldedLessons) and self.source.reserves
        if not crossed and (warning := warning_if_seen(overfitter.frozen, overfitter.problem, problem)):
            warnings.warn(warning, stacklevel=2)
            self.record.note(warning)
        judges = replace(overfitter, problem=problem)
        every = torch.arange(dataset_size(validation))
        return replace(held_out_examples(judges, every, seed), words="validation examples")
