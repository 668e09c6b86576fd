"""Deltas and I(x) on disk, in units of some examples each (ocd.data.units).

    store = DeltaStore.open(folder, key, total, 4096)   # new, or as earlier processes left it
    for unit in store.to_do(Shard(2, 8)):
        store.write(unit, rows, skipped)                # part-000001.safetensors and its marker
    store.finish()                                      # complete.json, where every unit is done
    rows = store.reader().rows(indices)

`units.json` says what the deltas were made with and for, and is written once; nothing grows with the
number of units but their files. A process that is killed at any point leaves whole units.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.data import Shard, Units, file_digest, read_json, read_tensors, write_json, write_tensors
from ocd.errors import OCDError

FORMAT_VERSION = 2
COMPLETE = "complete.json"
"""The file that says that every unit is done."""
MOST_OPEN = 4096
"""Files that a reader keeps mapped at a time."""
CHECKED_AT_ONCE = 256
"""Files up to which all are checked before the first row is read; of more, each when it is opened."""


@dataclass
class DeltaStore:
    """One folder of units. `key` names what the deltas were made with and for. Of `total` examples each
    unit has `unit_rows`, the last one what is left.

    A unit's file holds tensors with one row an example, `index` among them; examples whose delta is not
    finite are left out, and named in the marker.
    """

    folder: Path
    key: dict[str, Any]
    total: int
    unit_rows: int

    @classmethod
    def open(cls, folder: Path, key: dict[str, Any], total: int, unit_rows: int) -> DeltaStore:
        """The store in `folder`, new or as it was left; nothing is written.

        Raises OCDError where it was made with another key.
        """
        store = cls(folder, key, total, unit_rows)
        _check(folder, store.whole_key)
        return store

    @classmethod
    def is_complete(cls, folder: Path, key: dict[str, Any]) -> bool:
        """Whether a folder holds every delta of `key`. Raises OCDError as `open` does."""
        _check(folder, key)
        return (folder / COMPLETE).exists()

    @property
    def whole_key(self) -> dict[str, Any]:
        """All that the units depend on."""
        sizes = {"format_version": FORMAT_VERSION, "total": self.total, "unit_rows": self.unit_rows}
        return self.key | sizes

    @cached_property
    def units(self) -> Units:
        """The files of the units."""
        return Units(self.folder, self.whole_key)

    @property
    def num_units(self) -> int:
        """Units in all, done or not."""
        return -(-self.total // self.unit_rows)

    @property
    def complete(self) -> bool:
        """Whether every example is dealt with."""
        return (self.folder / COMPLETE).exists()

    def range_of(self, unit: int) -> range:
        """The examples of a unit."""
        start = unit * self.unit_rows
        return range(start, min(self.total, start + self.unit_rows))

    def num_done(self) -> int:
        """Examples in units that are done."""
        done = (unit for unit in range(self.num_units) if self.units.is_done(unit))
        return sum(len(self.range_of(unit)) for unit in done)

    def to_do(self, shard: Shard) -> Iterator[int]:
        """The units that a process takes, until all are done (ocd.data.units)."""
        yield from self.units.until_done(shard, self.num_units)

    def write(self, unit: int, tensors: dict[str, Tensor], skipped: list[int]) -> None:
        """Write a unit. `skipped`: the examples that were left out."""
        rows = len(tensors["index"])
        digest = None
        if rows:
            path = self.units.path(unit)
            write_tensors(path, tensors)
            digest = file_digest(path)
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        self.units.finish(unit, rows=rows, skipped=skipped, shapes=shapes, sha256=digest)

    def check(self, unit: int) -> None:
        """Raises OCDError where a unit's data are missing, cut short or changed."""
        path, wanted = self.units.path(unit), self.units.facts(unit)["sha256"]
        if wanted is None or (path.exists() and file_digest(path) == wanted):
            return
        what = "cut short or changed (wrong sha256)" if path.exists() else "missing"
        raise OCDError(
            f"{path} is {what}: delete {self.units.marker(unit)} and {self.folder / COMPLETE}, and "
            "overfit again"
        )

    def finish(self, check: Callable[[list[int], int], None] = lambda skipped, total: None) -> None:
        """Write what all units hold, where every one is done: the rows of each, in their order, and the
        examples that were left out. `check(skipped, total)` may refuse these before that."""
        facts = [self.units.facts(unit) for unit in range(self.num_units)]
        skipped = [example for of in facts for example in of["skipped"]]
        check(skipped, self.total)
        write_json(self.folder / COMPLETE, {"rows": [of["rows"] for of in facts], "skipped": skipped})
        shutil.rmtree(self.folder / "claims", ignore_errors=True)  # of processes that were killed

    def reader(self) -> StoreReader:
        """Read access to all rows of a complete store, whose files are checked by their hashes."""
        whole = read_json(self.folder / COMPLETE)
        reader = StoreReader(self, torch.tensor(whole["rows"]), torch.tensor(whole["skipped"]).long())
        if len(reader.filled) <= CHECKED_AT_ONCE:
            for unit in reader.filled:
                self.check(unit)
        return reader


def _check(folder: Path, key: dict[str, Any]) -> None:
    """Raises OCDError for a folder of another key, or of an earlier format."""
    path = folder / "units.json"
    if not path.exists():
        if (folder / "manifest.json").exists():
            raise OCDError(
                f"{folder} was written by an earlier version: use another folder, or delete this one"
            )
        return
    found = read_json(path)["key"]
    for name, value in key.items():
        if found.get(name) != value:
            raise OCDError(
                f"{folder} holds deltas of another run ({name} is {found.get(name)!r}, not {value!r}): "
                "use another folder, or delete this one"
            )


@dataclass
class StoreReader:
    """Random rows of all units. Some files at a time are mapped into memory. `num_rows`: of each
    unit. `skipped`: the examples that were left out, in rising order."""

    store: DeltaStore
    num_rows: Tensor
    skipped: Tensor
    _open: OrderedDict[int, dict[str, Tensor]] = field(default_factory=OrderedDict, repr=False)
    _checked: set[int] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._ends = self.num_rows.cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @cached_property
    def filled(self) -> list[int]:
        """The units that have rows."""
        found: list[int] = self.num_rows.nonzero()[:, 0].tolist()
        return found

    @property
    def names(self) -> list[str]:
        """The names of the tensors; none where no example has a row."""
        return list(self._unit(self.filled[0])) if self.filled else []

    @cached_property
    def examples(self) -> Tensor:
        """The dataset index of each row, (rows,), in rising order."""
        is_there = torch.ones(self.store.total, dtype=torch.bool)
        is_there[self.skipped] = False
        return is_there.nonzero()[:, 0]

    def find(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The positions of the examples with these dataset indices (B,), and whether each is there:
        examples that are not finite were left out."""
        at = torch.searchsorted(self.examples, indices).clamp_max(len(self) - 1)
        return at, self.examples[at] == indices

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Rows at `indices` (positions in the store, in any order), by tensor name."""
        unit_of = torch.searchsorted(self._ends, indices, right=True)
        order: list[Tensor] = []
        parts: dict[str, list[Tensor]] = {name: [] for name in self.names}
        for unit in unit_of.unique().tolist():
            chosen = (unit_of == unit).nonzero()[:, 0]
            start = int(self._ends[unit - 1]) if unit else 0
            order.append(chosen)
            for name, tensor in self._unit(unit).items():
                parts[name].append(tensor[indices[chosen] - start])
        back = torch.cat(order).argsort()
        return {name: torch.cat(tensors)[back] for name, tensors in parts.items()}

    def _unit(self, unit: int) -> dict[str, Tensor]:
        """A unit's tensors, mapped; the one that was not asked for longest makes room."""
        if unit not in self._open:
            if len(self.filled) > CHECKED_AT_ONCE and unit not in self._checked:
                self.store.check(unit)
                self._checked.add(unit)
            self._open[unit] = read_tensors(self.store.units.path(unit))
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(unit)
        return self._open[unit]
