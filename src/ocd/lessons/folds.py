"""Lessons in folds, each made on a base of its own: one that has not seen them, or that starts from the
common move of the others.

    folds = [Fold(problem, index), ...]       # `index`: which of the user's examples they are
    lessons = FoldedLessons(serving, [(fold, source), ...])

Training sees one source. What differs from fold to fold is the base that an example is described by,
and run on: a batch has a part for each fold (`LessonBatch.parts`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ocd.base import Delta, DenseDelta, RankOneDelta
from ocd.data import Batch, Chosen, Examples, join_rows
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.problem import Problem
from ocd.lessons.sources import LessonBatch, LessonSource


@dataclass(frozen=True)
class Fold:
    """`problem`: the base that these lessons are made on, and a dataset of theirs alone. `index`: which
    examples of the user's dataset they are."""

    problem: Problem
    index: Tensor


def only(problem: Problem, index: Tensor) -> Problem:
    """The problem with some of its examples alone."""
    if problem.belongs is not None:
        problem = replace(problem, belongs=problem.belongs[index])
    if type(problem.dataset) is Examples:  # a copy: what users and workers get is as simple as it was
        return replace(problem, dataset=Examples(*problem.dataset.rows(index)))
    if type(problem.dataset) is TensorDataset:
        return replace(problem, dataset=TensorDataset(*(t[index] for t in problem.dataset.tensors)))
    return replace(problem, dataset=Chosen(problem.dataset, index))


@dataclass
class FoldedLessons:
    """The lessons of all folds as one source. `overfitter`: of the base that is served in the end, on
    the user's dataset. `reserves`: whether the last fold is kept from the generator, to judge it on a
    base that it does not know."""

    overfitter: Overfitter
    folds: list[tuple[Fold, LessonSource]]
    reserves: bool = False
    reads_dataset = False

    def __post_init__(self) -> None:
        self.examples = torch.cat([fold.index[source.examples] for fold, source in self.folds])
        sizes = [len(source.examples) for _, source in self.folds]
        self._starts = torch.tensor([0, *sizes]).cumsum(0)

    @property
    def reserved(self) -> Tensor | None:
        """Places of the examples that are kept from the generator; None: training chooses some."""
        if not self.reserves or len(self.folds) < 2:
            return None
        return torch.arange(int(self._starts[-2]), int(self._starts[-1]))

    def rows(
        self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None
    ) -> LessonBatch:
        parts = []
        for number, (_, source) in enumerate(self.folds):
            start, stop = self._starts[number], self._starts[number + 1]
            own = indices[(indices >= start) & (indices < stop)] - start
            if len(own) and len(rows := source.rows(own, generator)):
                parts.append((source.overfitter, rows))
        if not parts:  # none of the batch is finite: an empty batch, as its own source gives it
            return source.rows(own[:0], generator)
        return joined(parts)

    def of_examples(self, examples: Tensor) -> list[tuple[Overfitter, Tensor]]:
        """Examples of the user's dataset by fold: the overfitter of their base, and where they are in
        its own dataset."""
        found = []
        for fold, source in self.folds:
            own = torch.isin(fold.index, examples).nonzero()[:, 0]
            if len(own):
                found.append((source.overfitter, own))
        return found


def in_order(source: LessonSource, indices: Tensor) -> Tensor:
    """The places of a batch in the order in which the source gives its rows: fold by fold."""
    if not isinstance(source, FoldedLessons):
        return indices
    fold = torch.bucketize(indices, source._starts[1:], right=True)
    return indices[fold.argsort(stable=True)]


def joined(parts: list[tuple[Overfitter, LessonBatch]]) -> LessonBatch:
    """Lessons of several bases as one batch, in their order."""
    if len(parts) == 1:
        rows = parts[0][1]
        return LessonBatch(rows.features, rows.inputs, rows.targets, rows.delta, parts=parts)
    _, first = parts[0]
    inputs, targets = first.inputs, first.targets
    for _, rows in parts[1:]:
        inputs, targets = join_rows(inputs, rows.inputs), join_rows(targets, rows.targets)
    features = {name: torch.cat([rows.features[name] for _, rows in parts]) for name in first.features}
    deltas = [rows.delta for _, rows in parts if rows.delta is not None]
    return LessonBatch(features, inputs, targets, join_deltas(deltas) if deltas else None, parts=parts)


def join_deltas(deltas: list[Delta]) -> Delta:
    """The deltas of several batches as those of one."""
    if all(isinstance(delta, RankOneDelta) for delta in deltas):
        left = torch.cat([delta.left for delta in deltas if isinstance(delta, RankOneDelta)])
        right = torch.cat([delta.right for delta in deltas if isinstance(delta, RankOneDelta)])
        first = deltas[0]
        assert isinstance(first, RankOneDelta)
        return RankOneDelta(left, right, first.weight_shape)
    return DenseDelta(torch.cat([delta.dense() for delta in deltas]))
