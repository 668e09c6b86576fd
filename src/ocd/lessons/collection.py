"""Where the generator's training examples come from: overfitted on the fly, or kept in a store.

Where a delta costs about a forward pass (rank one) it is made for every training batch, of freshly
augmented examples, and nothing is stored. Where it is dear it is made once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import Delta, RankOneDelta, run_without_delta
from ocd.data import Inputs, dataset_size, in_chunks, map_tensors, seeded, take_rows
from ocd.errors import OCDError
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.overfitting import check_skipped, default_chunk_size, overfit_batch, overfit_rows
from ocd.lessons.store import DeltaStore

STORAGES = ("auto", "store", "on_the_fly")


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


def collect(
    overfitter: Overfitter,
    store: DeltaStore,
    config: CollectionConfig,
    form: str,
    seed: int,
    keep_inputs: bool,
    advance: Callable[[int], None] = lambda rows: None,
) -> None:
    """Overfit the whole dataset into the store, from where it was left."""
    size = dataset_size(overfitter.dataset)
    total = size * config.num_copies
    chunk_size = overfitter.overfit.chunk_size or default_chunk_size(
        overfitter.frozen.weight_shape, form
    )
    everything = overfitter.condition.of_all_parts()
    advance(store.next_example)
    while store.next_example < total:
        start, stop = store.next_example, min(total, store.next_example + config.shard_rows)
        parts: list[dict[str, Tensor]] = []
        skipped: list[int] = []

        def work(chunk: slice) -> tuple[dict[str, Tensor], list[int]]:
            index = torch.arange(chunk.start, chunk.stop) % size
            # One seed an example, whatever the chunks, would need a Python loop; one a chunk start.
            inputs, targets = overfitter.fetch(index, seeded(seed, 1, chunk.start))
            deltas, capture, kept = overfit_rows(
                overfitter.frozen,
                overfitter.loss,
                inputs,
                targets,
                overfitter.overfit,
                overfitter.excerpt,
            )
            tensors = _as_tensors(deltas.delta)
            for name, values in everything.features(overfitter.frozen, inputs, capture).items():
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
        check_skipped(store.skipped + skipped, total, overfitter.overfit.max_skipped)
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


def measure_cost(overfitter: Overfitter, num_examples: int = 1024, repeats: int = 3) -> float:
    """Seconds of overfitting over seconds of a forward pass, for the same examples; medians."""
    index = torch.arange(min(num_examples, dataset_size(overfitter.dataset)))
    inputs, targets = overfitter.fetch(index, seeded(0))
    limit = overfitter.overfit.chunk_size or default_chunk_size(overfitter.frozen.weight_shape, "dense")
    inputs, targets = map_tensors(lambda x: x[:limit], inputs), targets[:limit]
    forward, whole = [], []
    for _ in range(repeats):
        start = _now(overfitter.frozen.device)
        run_without_delta(overfitter.frozen.base, inputs, overfitter.frozen.channels_last)
        middle = _now(overfitter.frozen.device)
        overfit_batch(
            overfitter.frozen, overfitter.loss, inputs, targets, overfitter.overfit, overfitter.excerpt
        )
        forward.append(middle - start)
        whole.append(_now(overfitter.frozen.device) - middle)
    return sorted(whole)[repeats // 2] / max(1e-9, sorted(forward)[repeats // 2])


def _now(device: torch.device) -> float:
    """Seconds, once the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
