"""Which base each lesson of a fit is made on, and where its layer starts from.

    course = Curriculum.of(problem, record, config)   # with `fit_base`: a base for each fold
    course.template                                   # the problem that layer and plan are chosen on
    course.find_common_move(); course.collect()
    source = course.open()

Without `fit_base` and without a common move all lessons are made on the base that is served. With
either they are made in folds (ocd.lessons.folds).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch

from ocd.data import read_tensors, write_tensors
from ocd.lessons.collection import collect_lessons, open_lessons
from ocd.lessons.common_move import Group, find_common_move, groups_of
from ocd.lessons.config import LessonConfig
from ocd.lessons.cross_fitting import fold_bases
from ocd.lessons.folds import Fold, FoldedLessons, only
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.plan import Plan
from ocd.lessons.problem import Problem
from ocd.lessons.record import FitRecord
from ocd.lessons.sources import LessonSource

NUM_GROUPS = 3
"""Parts of the lessons, each of which starts from the common move of the others, on one base."""


@dataclass
class Curriculum:
    """The lessons of one fit. `problem`: as the user handed it in. `folds`: of cross-fitting."""

    problem: Problem
    record: FitRecord
    config: LessonConfig
    folds: list[Fold] = field(default_factory=list)

    @classmethod
    def of(
        cls, problem: Problem, record: FitRecord, config: LessonConfig, progress: bool = True
    ) -> Curriculum:
        """With `problem.fit_base`, the bases that have not seen a fold are trained first, or read."""
        course = cls(problem, record, config)
        if problem.fit_base is not None:
            key = record.key["base"] + record.key["data"]
            course.folds = fold_bases(
                replace(problem, fit_base=None), problem.fit_base, config.cross_fitting, config.seed,
                record.work.bases, key, progress,
            )  # fmt: skip
            sizes = [len(fold.index) for fold in course.folds]
            record.note(
                f"cross-fitting: {len(sizes)} bases were trained, each without one fold of "
                f"{sum(sizes)} examples; lessons are made on the base that has not seen them; the last "
                f"fold ({sizes[-1]}) and its base are kept from the generator, to judge it"
            )
        return course

    @property
    def template(self) -> Problem:
        """The problem on which the layer and the plan are chosen: examples that its base has not seen,
        where there are such."""
        return self.folds[0].problem if self.folds else self.problem

    def find_common_move(self, trained: int, progress: bool = True) -> None:
        """Look for the common move, where the settings want one; kept in the record's folder.
        `trained`: lessons that the generator's training takes, which bounds the search."""
        record, use = self.record, self.config.common_move
        if record.has_common_move is None:
            found = None
            if use != "never":
                seed, size = self.config.seed, self.config.overfit.excerpt // 4
                found = find_common_move(self._groups(), use, size, seed, trained, progress)
                record.note(found.note)
            if found is not None and found.delta is not None and found.of_others is not None:
                tensors = {"delta": found.delta.cpu(), "of_others": found.of_others.cpu()}
                write_tensors(self.record.work.common_moves, tensors)
            record.has_common_move = found is not None and found.delta is not None
        if record.num_folds is None:
            record.num_folds = len(self._moved_folds())
            record.save()

    def collect(self, progress: bool = True) -> None:
        """Eq. 1 for every lesson that is to be stored."""
        for problem, record in self._parts():
            collect_lessons(problem, record, self.config, progress)

    def open(self) -> LessonSource:
        """The lessons, to train on. Raises OCDError where they are not complete."""
        parts = list(self._parts())
        if parts[0][1] is self.record:
            return open_lessons(*parts[0], self.config)
        sources = [open_lessons(problem, record, self.config) for problem, record in parts]
        overfitter = Overfitter.of_plan(self.served, self._plan, self.config)
        folded = list(zip(self._moved_folds(), sources, strict=True))
        return FoldedLessons(overfitter, folded, reserves=bool(self.folds))

    @property
    def served(self) -> Problem:
        """The base that answers in the end, with the common move of all lessons, on all of them."""
        if not self.record.has_common_move:
            return self.problem
        delta = read_tensors(self.record.work.common_moves)["delta"].to(self.problem.device)
        return replace(self.problem, start=delta)

    # ----------------------------------------------------------- details

    @property
    def _plan(self) -> Plan:
        assert self.record.plan is not None
        return self.record.plan

    def _groups(self) -> list[Group]:
        """The folds, or by chance some groups of the base's own lessons."""
        plan, config = self._plan, self.config
        if not self.folds:
            frozen = Overfitter.of_plan(self.problem, plan, config).frozen
            return groups_of(self.problem, frozen, NUM_GROUPS, config.seed)
        return [
            Group(
                fold.problem,
                torch.arange(len(fold.index)),
                Overfitter.of_plan(fold.problem, plan, config).frozen,
            )
            for fold in self.folds
        ]

    def _moved_folds(self) -> list[Fold]:
        """The folds, each starting from the common move of the others where there is one."""
        if not self.record.has_common_move:
            return self.folds
        starts = read_tensors(self.record.work.common_moves)["of_others"].to(self.problem.device)
        folds = self.folds or [
            Fold(only(self.problem, group.index), group.index) for group in self._groups()
        ]
        return [
            Fold(replace(fold.problem, start=start), fold.index)
            for fold, start in zip(folds, starts, strict=True)
        ]

    def _parts(self) -> Iterator[tuple[Problem, FitRecord]]:
        """The problem and the record of each fold; of the whole where there are none."""
        folds = self._moved_folds()
        if not folds:
            yield self.problem, self.record
            return
        for number, fold in enumerate(folds):
            own = self.record.work.of_fold(number)
            record = FitRecord.open(own, fold.problem, self.record.settings)
            record.layer, record.plan = self.record.layer, self.record.plan
            record.num_folds = 0
            record.save()
            yield fold.problem, record
