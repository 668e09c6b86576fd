"""Where training batches of overfitted examples come from: made anew for each batch, or read from a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ocd.base import Capture, Delta, DenseDelta, RankOneDelta
from ocd.data import Inputs, dataset_size, fetch_rows, num_rows, take_rows, to_device
from ocd.generator import Features
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.overfitting import check_skipped, overfit_batch
from ocd.lessons.store import StoreReader
from ocd.training import Fetched


@dataclass(frozen=True)
class LessonBatch:
    """Examples for training: I(x) as features, the inputs, the deltas (None where a baseline needs
    none), and what made them."""

    features: Features
    inputs: Inputs
    targets: Tensor | None
    delta: Delta | None
    capture: Capture | None = None

    def __len__(self) -> int:
        return num_rows(self.inputs)


class LessonSource(Protocol):
    """Overfitted examples by place; `examples[place]` is the dataset index it came from.

    `rows` leaves out examples that are not finite: it gives fewer rows than indices, or none. `fetched`:
    the examples themselves, where they were read ahead, which only a source that `reads` is given.
    """

    examples: Tensor
    reads: bool

    def rows(
        self, indices: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> LessonBatch: ...


@dataclass
class FreshLessons:
    """Every batch overfitted when it is asked for."""

    overfitter: Overfitter
    reads = True

    def __post_init__(self) -> None:
        self.examples = torch.arange(dataset_size(self.overfitter.dataset))

    def rows(
        self, indices: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> LessonBatch:
        overfitter = self.overfitter
        inputs, targets = overfitter.fetch(indices, generator, fetched)
        capture = overfitter.frozen.capture(inputs)
        delta = overfit_batch(
            overfitter.frozen,
            overfitter.loss,
            inputs,
            targets,
            overfitter.overfit,
            overfitter.excerpt,
            capture,
        )
        features = overfitter.condition.features(overfitter.frozen, inputs, capture)
        good = delta.isfinite() & capture.output.flatten(1).isfinite().all(dim=1)
        if good.all():
            return LessonBatch(features, inputs, targets, delta, capture)
        kept = good.nonzero()[:, 0]
        overfitter.skipped.update(indices[~good.cpu()].tolist())
        check_skipped(sorted(overfitter.skipped), len(self.examples), overfitter.overfit.max_skipped)
        return LessonBatch(
            {name: values[kept] for name, values in features.items()},
            take_rows(inputs, kept),
            targets[kept],
            delta.take(kept),
        )


def _unnamed_inputs(tensors: dict[str, Tensor]) -> Inputs:
    if "inputs" in tensors:
        return tensors["inputs"]
    named = {key.split(".", 2)[1:][0]: True for key in tensors if key.startswith("inputs.")}
    values = {key.split(".", 2)[2]: tensors[key] for key in tensors if key.startswith("inputs.")}
    return values if "dict" in named else tuple(values[key] for key in sorted(values, key=int))


@dataclass
class StoredLessons:
    """Deltas read back from a store; inputs from the store, or from the dataset where it has none."""

    reader: StoreReader
    overfitter: Overfitter
    reads = False

    def __post_init__(self) -> None:
        shards = self.reader.shards
        self.examples = torch.cat([shard["index"] for shard in shards]) if shards else torch.empty(0)
        self._keeps_inputs = any(name.startswith("inputs") for name in (shards or [{}])[0])

    def rows(
        self, indices: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> LessonBatch:
        device = self.overfitter.frozen.device
        tensors = {name: value.to(device) for name, value in self.reader.rows(indices).items()}
        delta: Delta
        if "delta.left" in tensors:
            shape = self.overfitter.frozen.weight_shape
            delta = RankOneDelta(tensors["delta.left"][:, None], tensors["delta.right"], shape)
        else:
            delta = DenseDelta(tensors["delta.weight"][:, None])
        features = {
            name.removeprefix("feature."): values
            for name, values in tensors.items()
            if name.startswith("feature.")
        }
        features = self.overfitter.condition.only_wanted(features)
        if self._keeps_inputs:
            return LessonBatch(features, _unnamed_inputs(tensors), tensors["targets"], delta)
        inputs, targets = fetch_rows(self.overfitter.dataset, tensors["index"].cpu())
        if self.overfitter.transform is not None:  # these inputs are not the ones that were overfitted
            return LessonBatch(features, to_device(inputs, device), None, delta)
        return LessonBatch(features, to_device(inputs, device), targets.to(device), delta)
