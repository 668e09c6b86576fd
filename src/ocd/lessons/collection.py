"""Where the generator's training examples come from: overfitted on the fly, or kept in a store.

Where a delta costs about a forward pass (rank one) it is made for every training batch, of freshly
augmented examples, and nothing is stored. Where it is dear it is made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ocd.base import Capture, Delta, DenseDelta, OpenBase, RankOneDelta, run_without_delta
from ocd.data import (
    Excerpt,
    Inputs,
    dataset_size,
    fetch_rows,
    in_chunks,
    map_tensors,
    num_rows,
    take_excerpt,
    take_rows,
    to_device,
)
from ocd.errors import OCDError
from ocd.generator import Condition, Features
from ocd.lessons.overfitting import (
    Loss,
    OverfitConfig,
    check_skipped,
    default_chunk_size,
    overfit_batch,
    overfit_rows,
)
from ocd.lessons.store import DeltaStore, StoreReader
from ocd.training import Fetched

STORAGES = ("auto", "store", "on_the_fly")
Transform = Callable[[Inputs, torch.Generator], Inputs]


@dataclass(frozen=True)
class CollectionConfig:
    """How overfitted examples reach the training loop."""

    storage: str = "auto"
    """auto (by measured cost), store (on disk), or on_the_fly (made for every batch)."""
    on_the_fly_cost: float = 4.0
    """auto makes them on the fly where overfitting costs at most this many forward passes."""
    num_copies: int = 1
    """Of store: augmented copies of every example; needs a transform when above 1."""
    shard_rows: int = 4096
    """Of store: examples in a shard, and between two points where a run can go on."""
    num_calibration: int = 2048
    """Examples that feature statistics, scale statistics and PCA are fitted on."""
    num_workers: int = 0
    """Of on_the_fly: processes that read and augment batches ahead of their use; 0: none. For datasets
    that are slow to read; transforms then run on the CPU."""

    def __post_init__(self) -> None:
        if self.storage not in STORAGES:
            raise OCDError(f"collection.storage is {self.storage!r}: use one of {STORAGES}")
        if self.num_copies < 1 or self.shard_rows < 1 or self.num_calibration < 2:
            raise OCDError("collection needs num_copies >= 1, shard_rows >= 1 and num_calibration >= 2")
        if self.num_workers < 0:
            raise OCDError(f"collection.num_workers is {self.num_workers}: it must be at least 0")


def seeded(*numbers: int) -> torch.Generator:
    """A generator that depends on nothing but these numbers, so that any step can be repeated."""
    state = 0
    for number in numbers:
        state = (state * 1_000_003 + number + 1) % (2**63 - 25)
    return torch.Generator().manual_seed(state)


@dataclass(frozen=True)
class TrainingRows:
    """Examples for training: I(x) as features, the inputs, the deltas (None where a control needs
    none), and what made them."""

    features: Features
    inputs: Inputs
    targets: Tensor | None
    delta: Delta | None
    capture: Capture | None = None

    def __len__(self) -> int:
        return num_rows(self.inputs)


class Source(Protocol):
    """Overfitted examples by place; `examples[place]` is the dataset index it came from.

    `rows` leaves out examples that are not finite: it gives fewer rows than places, or none. `fetched`:
    the examples themselves, where they were read ahead, which only a source that `reads` is given.
    """

    examples: Tensor
    reads: bool

    def rows(
        self, places: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> TrainingRows: ...


def split_places(examples: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Places for training and for validation. Copies of an example are never on both sides."""
    names = examples.unique()
    count = min(2048, int(share * len(names)))
    shuffled = names[torch.randperm(len(names), generator=seeded(seed, 2))]
    held_out = torch.isin(examples, shuffled[:count])
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


@lru_cache(maxsize=4)
def _shuffled(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=seeded(seed, 3, epoch))


def places_of_batch(number: int, batch_size: int, size: int, seed: int) -> Tensor:
    """The `number`-th batch of an endless stream of shuffled epochs over `size` places."""
    wanted = torch.arange(number * batch_size, (number + 1) * batch_size)
    epochs, within = wanted // size, wanted % size
    parts = [_shuffled(size, seed, int(epoch))[within[epochs == epoch]] for epoch in epochs.unique()]
    return torch.cat(parts)


@dataclass
class Maker:
    """Overfits examples of a dataset, augmented where there is a transform."""

    opened: OpenBase
    dataset: Dataset[Any]
    loss: Loss
    overfit: OverfitConfig
    condition: Condition
    transform: Transform | None = None
    excerpt: Excerpt | None = None
    skipped: set[int] = field(default_factory=set)
    num_workers: int = 0

    def fetch(
        self, index: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> Fetched:
        """Examples by index, augmented, on the base's device; `fetched`: the same, read ahead."""
        if fetched is not None:
            return to_device(fetched[0], self.opened.device), fetched[1].to(self.opened.device)
        inputs, targets = fetch_rows(self.dataset, index)
        inputs, targets = to_device(inputs, self.opened.device), targets.to(self.opened.device)
        if self.transform is not None:
            inputs = self.transform(inputs, generator)
        return inputs, targets

    def part(
        self, inputs: Inputs, targets: Tensor, size: int, generator: torch.Generator
    ) -> tuple[Inputs, Tensor]:
        """An excerpt of these examples, or all of them (ocd.excerpts)."""
        return take_excerpt(self.excerpt, inputs, targets, size, generator)


@dataclass
class OnTheFly:
    """Every batch overfitted when it is asked for."""

    maker: Maker
    reads = True

    def __post_init__(self) -> None:
        self.examples = torch.arange(dataset_size(self.maker.dataset))

    def rows(
        self, places: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> TrainingRows:
        maker = self.maker
        inputs, targets = maker.fetch(places, generator, fetched)
        capture = maker.opened.capture(inputs)
        delta = overfit_batch(
            maker.opened, maker.loss, inputs, targets, maker.overfit, maker.excerpt, capture
        )
        features = maker.condition.features(maker.opened, inputs, capture)
        good = delta.isfinite() & capture.output.flatten(1).isfinite().all(dim=1)
        if good.all():
            return TrainingRows(features, inputs, targets, delta, capture)
        kept = good.nonzero()[:, 0]
        maker.skipped.update(places[~good.cpu()].tolist())
        check_skipped(sorted(maker.skipped), len(self.examples), maker.overfit.max_skipped)
        return TrainingRows(
            {name: values[kept] for name, values in features.items()},
            take_rows(inputs, kept),
            targets[kept],
            delta.take(kept),
        )


def collect(
    maker: Maker,
    store: DeltaStore,
    config: CollectionConfig,
    form: str,
    seed: int,
    keep_inputs: bool,
    advance: Callable[[int], None] = lambda rows: None,
) -> None:
    """Overfit the whole dataset into the store, from where it was left."""
    size = dataset_size(maker.dataset)
    total = size * config.num_copies
    chunk_size = maker.overfit.chunk_size or default_chunk_size(maker.opened.weight_shape, form)
    everything = maker.condition.of_all_parts()
    advance(store.next_example)
    while store.next_example < total:
        start, stop = store.next_example, min(total, store.next_example + config.shard_rows)
        parts: list[dict[str, Tensor]] = []
        skipped: list[int] = []

        def work(chunk: slice) -> tuple[dict[str, Tensor], list[int]]:
            index = torch.arange(chunk.start, chunk.stop) % size
            # One seed an example, whatever the chunks, would need a Python loop; one a chunk start.
            inputs, targets = maker.fetch(index, seeded(seed, 1, chunk.start))
            deltas, capture, kept = overfit_rows(
                maker.opened, maker.loss, inputs, targets, maker.overfit, maker.excerpt
            )
            tensors = _as_tensors(deltas.delta)
            for name, values in everything.features(maker.opened, inputs, capture).items():
                tensors[f"feature.{name}"] = values[kept]
            if keep_inputs:
                tensors |= _named_inputs(take_rows(inputs, kept)) | {"targets": targets[kept]}
            tensors["index"] = index[deltas.indices]
            return tensors, index[deltas.skipped].tolist() if deltas.skipped else []

        for chunk, (tensors, left_out) in in_chunks(stop, chunk_size, work, start):
            parts.append(tensors)
            skipped += left_out
            advance(chunk.stop - chunk.start)
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        check_skipped(store.skipped + skipped, total, maker.overfit.max_skipped)
        store.append(joined, stop, skipped)
    store.finish()


def _as_tensors(delta: Delta) -> dict[str, Tensor]:
    if isinstance(delta, RankOneDelta):
        return {"delta.left": delta.left[:, 0], "delta.right": delta.right}
    return {"delta.weight": delta.weight[:, 0]}


def _named_inputs(inputs: Inputs) -> dict[str, Tensor]:
    if isinstance(inputs, Tensor):
        return {"inputs": inputs}
    items = inputs.items() if isinstance(inputs, dict) else enumerate(inputs)
    kind = "dict" if isinstance(inputs, dict) else "tuple"
    return {f"inputs.{kind}.{key}": value for key, value in items}


def _unnamed_inputs(tensors: dict[str, Tensor]) -> Inputs:
    if "inputs" in tensors:
        return tensors["inputs"]
    named = {key.split(".", 2)[1:][0]: True for key in tensors if key.startswith("inputs.")}
    values = {key.split(".", 2)[2]: tensors[key] for key in tensors if key.startswith("inputs.")}
    return values if "dict" in named else tuple(values[key] for key in sorted(values, key=int))


@dataclass
class Stored:
    """Deltas read back from a store; inputs from the store, or from the dataset where it has none."""

    reader: StoreReader
    maker: Maker
    reads = False

    def __post_init__(self) -> None:
        shards = self.reader.shards
        self.examples = torch.cat([shard["index"] for shard in shards]) if shards else torch.empty(0)
        self._keeps_inputs = any(name.startswith("inputs") for name in (shards or [{}])[0])

    def rows(
        self, places: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> TrainingRows:
        device = self.maker.opened.device
        tensors = {name: value.to(device) for name, value in self.reader.rows(places).items()}
        delta: Delta
        if "delta.left" in tensors:
            shape = self.maker.opened.weight_shape
            delta = RankOneDelta(tensors["delta.left"][:, None], tensors["delta.right"], shape)
        else:
            delta = DenseDelta(tensors["delta.weight"][:, None])
        features = {
            name.removeprefix("feature."): values
            for name, values in tensors.items()
            if name.startswith("feature.")
        }
        features = self.maker.condition.only_wanted(features)
        if self._keeps_inputs:
            return TrainingRows(features, _unnamed_inputs(tensors), tensors["targets"], delta)
        inputs, targets = fetch_rows(self.maker.dataset, tensors["index"].cpu())
        if self.maker.transform is not None:  # these inputs are not the ones that were overfitted
            return TrainingRows(features, to_device(inputs, device), None, delta)
        return TrainingRows(features, to_device(inputs, device), targets.to(device), delta)


def measure_cost(maker: Maker, num_examples: int = 1024, repeats: int = 3) -> float:
    """Seconds of overfitting over seconds of a forward pass, for the same examples; medians."""
    index = torch.arange(min(num_examples, dataset_size(maker.dataset)))
    inputs, targets = maker.fetch(index, seeded(0))
    limit = maker.overfit.chunk_size or default_chunk_size(maker.opened.weight_shape, "dense")
    inputs, targets = map_tensors(lambda x: x[:limit], inputs), targets[:limit]
    forward, whole = [], []
    for _ in range(repeats):
        start = _now(maker.opened.device)
        run_without_delta(maker.opened.base, inputs, maker.opened.channels_last)
        middle = _now(maker.opened.device)
        overfit_batch(maker.opened, maker.loss, inputs, targets, maker.overfit, maker.excerpt)
        forward.append(middle - start)
        whole.append(_now(maker.opened.device) - middle)
    return sorted(whole)[repeats // 2] / max(1e-9, sorted(forward)[repeats // 2])


def _now(device: torch.device) -> float:
    """Seconds, once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
