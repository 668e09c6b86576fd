"""Predictions of many examples in files, in bounded memory, by any number of processes.

predict_to("predictions", ocd, dataset)                   # all of it, or on from where it stopped
predict_to("predictions", ocd, dataset, shard="3/16")     # one of sixteen processes
for part in read_predictions("predictions"):              # in the dataset's order
    part.index, part.mean, part.std, part.base
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.base import digest_of
from ocd.data import (
    Collate,
    Shard,
    Units,
    Unseen,
    file_digest,
    on_one_thread,
    progress_bar,
    read_json,
    read_tensors,
    write_tensors,
)
from ocd.errors import OCDError
from ocd.model import OCD
from ocd.prediction import Prediction, check_count

ROWS = 4096
"""Examples in a file."""
SAMPLED = 16
"""Examples by which another dataset is told apart before anything is written."""


@dataclass(frozen=True)
class PredictedPart:
    """Predictions of some examples: `index` (B,) in the dataset; `mean` and `std` (B, ...) over the
    draws; `base` (B, ...); `draws` (K, B, ...) where they were kept."""

    index: Tensor
    mean: Tensor
    std: Tensor
    base: Tensor
    draws: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)


def predict_to(
    folder: str | Path,
    ocd: OCD,
    dataset: Any,
    draws: int = 5,
    *,
    mode: str = "draws",
    seed: int = 0,
    shard: str | Shard = "0/1",
    keep_draws: bool = False,
    rows: int = ROWS,
    collate: Collate | None = None,
    progress: bool = True,
) -> int:
    """Write what `ocd.predict` gives for a dataset, `rows` examples a file; returns how many examples
    are still missing, which others may be at.

    `shard`: "I/N", one of N processes; each does its own files, then those that others left. The files
    are the same bits whatever N is, but for N = 1, which computes on all threads and not on one (with
    torch.set_num_threads(1) they are the same, too). A call that was stopped goes on. No more than one
    file's examples are in memory. `dataset`, `draws`, `mode`, `seed`, `collate`: as `predict` takes
    them.

    Nothing old is taken for an answer: each call compares base, generator and sixteen examples spread
    over the dataset with those of the folder, then the digest of the inputs of each of its own files
    that are there. So of ten million examples each is read and hashed once more, by one of the N
    processes, for far less than a prediction costs; a dataset has to give the same values each time.
    Its own files that are missing, cut short or changed are made again. Raises OCDError where the
    folder holds predictions of another base, generator, number of draws, size or other inputs.
    """
    check_count("rows", rows)
    unseen = Unseen(dataset, collate)
    ours = Shard.parse(shard) if isinstance(shard, str) else shard
    total = -(-len(unseen) // rows)
    key = {"draws": draws, "mode": mode, "seed": seed, "keep_draws": keep_draws, "rows": rows}
    units = Units(Path(folder), _key(ocd, unseen) | key)
    _check_kept(units, unseen, rows, [number for number in range(total) if ours.owns(number)])
    threads = on_one_thread() if ours.of > 1 else nullcontext()
    with threads, progress_bar(f"predict to {folder}", total, progress) as advance:
        advance(units.num_done(total))
        for number in units.to_do(ours, total):
            with units.taken(number) as is_ours:
                if is_ours:
                    of = digest_of(inputs := unseen.rows(_rows_of(number, unseen, rows)))
                    found = ocd.predict(inputs, draws, mode, seed)
                    _finish(units, number, _tensors(found, number * rows, keep_draws), of)
                    advance(1)
    missing = [_rows_of(number, unseen, rows) for number in range(total) if not units.is_done(number)]
    return sum(where.stop - where.start for where in missing)


def _rows_of(number: int, unseen: Unseen, rows: int) -> slice:
    """The examples of a unit."""
    return slice(number * rows, min(len(unseen), (number + 1) * rows))


def _tensors(found: Prediction, start: int, keep_draws: bool) -> dict[str, Tensor]:
    """What a file holds of a prediction for the examples from `start` on."""
    assert found.base is not None
    tensors = {"index": torch.arange(start, start + len(found.mean)), "mean": found.mean}
    tensors |= {"std": found.std, "base": found.base}
    return tensors | ({"draws": found.outputs} if keep_draws else {})


def _finish(units: Units, number: int, tensors: dict[str, Tensor], inputs: str) -> None:
    """Write a file and its marker. `inputs`: the digest of its examples' inputs."""
    path = units.path(number)
    write_tensors(path, tensors)
    units.finish(number, rows=len(tensors["index"]), sha256=file_digest(path), inputs=inputs)


def read_predictions(folder: str | Path) -> Iterator[PredictedPart]:
    """The files of `predict_to`, in the dataset's order, one in memory at a time. Raises OCDError where
    one is missing, cut short or changed."""
    path = Path(folder)
    key = read_json(path / "units.json")["key"]
    units = Units(path, key)
    total = -(-key["examples"] // key["rows"])
    for number in range(total):
        if not units.is_done(number):
            raise OCDError(
                f"{folder} is not complete: {units.num_done(total)} of {total} files are there"
            )
        if file_digest(units.path(number)) != units.facts(number)["sha256"]:
            raise OCDError(
                f"{units.path(number)} is cut short or changed (wrong sha256): delete it and "
                f"{units.marker(number).name}, and predict again"
            )
        yield PredictedPart(**read_tensors(units.path(number)))


def _key(ocd: OCD, unseen: Unseen) -> dict[str, Any]:
    """What the files depend on, but for how draws are asked for: of the examples some values here, and
    all of them in the markers."""
    network, frozen = ocd.fitted()
    some = torch.linspace(0, len(unseen) - 1, min(SAMPLED, len(unseen))).long().tolist()
    return {
        "generator": digest_of(dict(network.state_dict())),
        "layer": frozen.name,
        "base": digest_of(frozen.base, frozen.start, ocd.outputs.output, ocd.describe),
        "examples": len(unseen),
        "inputs": digest_of([unseen.rows(slice(number, number + 1)) for number in some]),
    }


def _check_kept(units: Units, unseen: Unseen, rows: int, numbers: list[int]) -> None:
    """Of these units, those that are damaged are forgotten. Raises OCDError for one of other inputs."""
    for number in numbers:
        units.drop_damaged(number)
        if not units.is_done(number):
            continue
        inputs = unseen.rows(_rows_of(number, unseen, rows))
        if units.facts(number)["inputs"] != digest_of(inputs):
            raise OCDError(
                f"{units.path(number)} holds predictions of other inputs than the dataset has now: "
                f"delete {units.folder}, or use another folder"
            )
