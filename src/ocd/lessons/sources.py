"""The overfitted examples that a training loop asks for: overfitted anew for each batch, or stored.

Where overfitting costs about a forward pass (rank one), every training batch is overfitted when it is
asked for, on freshly augmented examples, and nothing is stored. Where it is expensive, it is done once,
into a store (`ocd.lessons.collection`). Training sees no difference:

    lessons = source.rows(indices, generator)
    lessons.delta, lessons.features  # what to generate, and I(x)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ocd.base import Capture, Delta, FrozenBase
from ocd.data import Batch, Inputs, Targets, dataset_size, num_rows, take_rows, to_device
from ocd.generator import Features
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.steps import check_skipped
from ocd.lessons.store import StoreReader
from ocd.lessons.store_rows import read_delta, read_examples, read_features


@dataclass(frozen=True)
class LessonBatch:
    """Overfitted examples of a training batch.

    `features`: the parts of I(x). `inputs` (B, ...) and `targets` (B, ...), augmented. `delta`:
    (B, 1, ...), None where a baseline needs none. `capture`: of the inputs, if it was made;
    `recall(few)` gives it where the base was asked before. `parts`: of lessons in folds, the lessons
    of each base in their order, with its overfitter. `within`: the place of the first of them in the
    batch of all processes, and its rows; None where there is one process.
    """

    features: Features
    inputs: Inputs
    targets: Targets
    delta: Delta | None
    capture: Capture | None = None
    recall: Callable[[slice], Capture] | None = None
    parts: list[tuple[Overfitter, LessonBatch]] | None = None
    within: tuple[int, int] | None = None

    def by_base(self, served: Overfitter) -> Iterator[tuple[slice, Overfitter, LessonBatch]]:
        """The lessons of each base: where they are, its overfitter, and the lessons. `served`: the
        overfitter where all are of one base."""
        start = 0
        for overfitter, rows in self.parts or [(served, self)]:
            yield slice(start, start + len(rows)), overfitter, rows
            start += len(rows)

    def captured(self, frozen: FrozenBase, few: slice = slice(None)) -> Capture:
        """The capture of the inputs, or of some: made already, recalled, or made now."""
        if self.capture is not None and few == slice(None):
            return self.capture
        return frozen.capture(take_rows(self.inputs, few)) if self.recall is None else self.recall(few)

    def __len__(self) -> int:
        return num_rows(self.inputs)

    @property
    def base_outputs(self) -> Tensor:
        """f(x) (B, ...), each on its own base; of batches that were captured."""
        captures = [self.capture] if self.parts is None else [rows.capture for _, rows in self.parts]
        return torch.cat([capture.output for capture in captures if capture is not None])

    def own_of_all(self, draw: Callable[[int], Tensor]) -> Tensor:
        """This batch's rows of what is drawn for the batch of all processes, `draw(rows)`: an example's
        noise is the same whatever the number of processes."""
        first, total = self.within or (0, len(self))
        return draw(total)[first : first + len(self)]


class LessonSource(Protocol):
    """Overfitted examples by index. `examples[i]`: the dataset index of the i-th of them.

    `reads_dataset`: whether batches that worker processes read in advance are of use. `reserved`:
    places of examples that are kept from training, None where training chooses them.
    """

    overfitter: Overfitter
    examples: Tensor
    reads_dataset: bool

    @property
    def reserved(self) -> Tensor | None: ...

    def rows(
        self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None
    ) -> LessonBatch:
        """These examples, without those that are not finite. `generator` augments them. `batch`: their
        inputs and targets, augmented already, where they were read in advance."""
        ...


@dataclass
class FreshLessons:
    """Each batch is overfitted when it is asked for."""

    overfitter: Overfitter
    reads_dataset = True
    reserved = None

    def __post_init__(self) -> None:
        self.examples = torch.arange(dataset_size(self.overfitter.problem.dataset))
        self._known = torch.zeros(len(self.examples), dtype=torch.bool)

    def rows(
        self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None
    ) -> LessonBatch:
        overfitter = self.overfitter
        inputs, targets = overfitter.fetch(indices, generator, batch)
        problem, frozen = overfitter.problem, overfitter.frozen
        again = problem.is_augmented or batch is not None
        capture = frozen.capture(inputs) if again else problem.capture(frozen, indices, inputs)
        delta = overfitter.overfit(inputs, targets, capture)
        features = problem.condition.features(frozen, inputs, capture)
        # What was finite once is so again, unless it is augmented: the device is not waited for.
        if not again and self._known[indices].all():
            return LessonBatch(features, inputs, targets, delta, capture)
        good = delta.isfinite() & capture.output.reshape(len(capture), -1).isfinite().all(dim=1)
        if good.all():
            self._known[indices] = True
            return LessonBatch(features, inputs, targets, delta, capture)
        kept = good.nonzero()[:, 0]
        overfitter.skipped.update(indices[~good.cpu()].tolist())
        check_skipped(sorted(overfitter.skipped), len(self.examples))
        return LessonBatch(
            {name: values[kept] for name, values in features.items()},
            take_rows(inputs, kept),
            take_rows(targets, kept),
            delta.take(kept),
        )


@dataclass
class StoredLessons:
    """Deltas and I(x) are read from a store; inputs too if they were augmented, else from the
    dataset."""

    reader: StoreReader
    overfitter: Overfitter
    reads_dataset = False
    reserved = None

    def __post_init__(self) -> None:
        self.examples = self.reader.examples
        self._keeps_inputs = any(name.startswith("inputs") for name in self.reader.names)

    def rows(
        self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None
    ) -> LessonBatch:
        problem, frozen = self.overfitter.problem, self.overfitter.frozen
        rows = self.reader.rows(indices)
        if self._keeps_inputs:
            inputs, targets = read_examples("inputs", rows), read_examples("targets", rows)
        else:
            inputs, targets = problem.fetch(rows["index"])
        rows = to_device(rows, frozen.device)
        features = problem.condition.only_wanted(read_features(rows))
        delta = read_delta(rows, frozen.weight_shape)
        inputs, targets = to_device(inputs, frozen.device), to_device(targets, frozen.device)
        if problem.is_augmented:
            return LessonBatch(features, inputs, targets, delta)
        index = rows["index"]

        def recall(few: slice) -> Capture:
            return problem.capture(frozen, index[few], take_rows(inputs, few))

        return LessonBatch(features, inputs, targets, delta, recall=recall)
