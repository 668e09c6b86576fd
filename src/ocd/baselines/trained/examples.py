"""Training examples with their labels, for the baselines that learn no delta.

They stand where OCD's overfitted examples stand in a `Trainer`:

    examples = LabelledExamples(overfitter, with_condition=True)
    batch = examples.rows(indices, generator)    # features, inputs, targets, capture; no delta
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import Capture
from ocd.data import Batch, Inputs, dataset_size, take_rows, tensors
from ocd.lessons import LessonBatch, Overfitter


@dataclass
class LabelledExamples:
    """Examples in the batches and augmentation that OCD is trained with, but not overfitted.

    A `LessonSource` whose batches have no delta. `with_condition`: whether the base is run, so that a
    batch has I(x) and f(x). Examples that are not finite are left out.
    """

    overfitter: Overfitter
    with_condition: bool
    reads_dataset = True
    reserved = None

    def __post_init__(self) -> None:
        self.examples = torch.arange(dataset_size(self.overfitter.problem.dataset))

    def rows(
        self, indices: Tensor, generator: torch.Generator, batch: Batch | None = None
    ) -> LessonBatch:
        """These examples, augmented by `generator`; `batch`: the same, read in advance."""
        inputs, targets = self.overfitter.fetch(indices, generator, batch)
        capture = self._capture(inputs)
        seen = tensors(inputs) if capture is None else [capture.output]
        good = torch.stack([values.flatten(1).isfinite().all(dim=1) for values in seen]).all(dim=0)
        if not good.all():
            kept = good.nonzero()[:, 0]
            inputs, targets = take_rows(inputs, kept), targets[kept]
            self.overfitter.skipped.update(indices[~good.cpu()].tolist())
            if not len(kept):
                return LessonBatch({}, inputs, targets, None)
            capture = self._capture(inputs)
        if capture is None:
            return LessonBatch({}, inputs, targets, None)
        condition = self.overfitter.problem.condition
        features = condition.features(self.overfitter.frozen, inputs, capture)
        return LessonBatch(features, inputs, targets, None, capture)

    def _capture(self, inputs: Inputs) -> Capture | None:
        return self.overfitter.frozen.capture(inputs) if self.with_condition else None
