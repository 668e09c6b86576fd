"""Deltas and I(x) on disk: safetensors files ("shards") and a manifest with their hashes.

    store = DeltaStore.open(folder, key)        # new, or as an earlier run left it
    store.append(rows, next_example, skipped)   # one shard
    store.finish()
    rows = store.reader().rows(indices)

A shard is written under another name and renamed, and then the manifest likewise. A run that is
killed at any point leaves whole shards and a manifest that names them; `next_example` is where it
resumes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.data import file_digest, read_json, read_tensors, write_json, write_tensors
from ocd.errors import OCDError

FORMAT_VERSION = 1


@dataclass
class DeltaStore:
    """One folder of shards. `key` names what the deltas were made with and for.

    Every shard holds tensors with one row an example, `index` among them.
    """

    folder: Path
    key: dict[str, Any]
    shards: list[dict[str, Any]] = field(default_factory=list)
    next_example: int = 0
    skipped: list[int] = field(default_factory=list)
    complete: bool = False

    @property
    def manifest_path(self) -> Path:
        """manifest.json: shards, their hashes, and where to resume."""
        return self.folder / "manifest.json"

    @classmethod
    def open(cls, folder: Path, key: dict[str, Any]) -> DeltaStore:
        """The store in `folder`, new or as it was left.

        Raises OCDError where it was made with another key; nothing is overwritten.
        """
        store = cls(folder, key)
        if not store.manifest_path.exists():
            return store
        manifest = read_json(store.manifest_path)
        if manifest.get("format_version") != FORMAT_VERSION:
            raise OCDError(
                f"{store.manifest_path} has format {manifest.get('format_version')}, this version "
                f"reads {FORMAT_VERSION}: use another folder"
            )
        for name, value in key.items():
            if manifest["key"].get(name) != value:
                raise OCDError(
                    f"{folder} holds deltas of another run ({name} is {manifest['key'].get(name)!r}, "
                    f"not {value!r}): use another folder, or delete this one"
                )
        store.shards = manifest["shards"]
        store.next_example = manifest["next_example"]
        store.skipped = manifest["skipped"]
        store.complete = manifest["complete"]
        return store

    def append(self, tensors: dict[str, Tensor], next_example: int, skipped: list[int]) -> None:
        """Add a shard; examples below `next_example` are now dealt with."""
        if len(tensors["index"]):
            path = self.folder / f"shard-{len(self.shards):05d}.safetensors"
            write_tensors(path, tensors)
            shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
            entry = {"file": path.name, "rows": len(tensors["index"]), "shapes": shapes}
            self.shards.append(entry | {"sha256": file_digest(path)})
        self.next_example = next_example
        self.skipped.extend(skipped)
        self._write_manifest()

    def finish(self) -> None:
        """Mark the store as complete: every example is dealt with."""
        self.complete = True
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_json(
            self.manifest_path,
            {
                "format_version": FORMAT_VERSION,
                "key": self.key,
                "shards": self.shards,
                "next_example": self.next_example,
                "skipped": self.skipped,
                "complete": self.complete,
            },
        )

    def verify(self) -> None:
        """Raises OCDError for the first shard that is missing, cut short or changed."""
        for entry in self.shards:
            path = self.folder / entry["file"]
            if not path.exists() or file_digest(path) != entry["sha256"]:
                what = "missing" if not path.exists() else "cut short or changed (wrong sha256)"
                raise OCDError(f"{path} is {what}: delete the folder {self.folder} and overfit again")

    def __len__(self) -> int:
        return sum(entry["rows"] for entry in self.shards)

    def reader(self) -> StoreReader:
        """Read access to all shards, after a check of their hashes."""
        self.verify()
        return StoreReader([read_tensors(self.folder / entry["file"]) for entry in self.shards])


@dataclass
class StoreReader:
    """Random rows of all shards; their tensors stay memory-mapped."""

    shards: list[dict[str, Tensor]]

    def __post_init__(self) -> None:
        sizes = torch.tensor([len(shard["index"]) for shard in self.shards])
        self._ends = sizes.cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @cached_property
    def examples(self) -> Tensor:
        """The dataset index of each row, (rows,), in rising order."""
        shards = [shard["index"] for shard in self.shards]
        return torch.cat(shards) if shards else torch.empty(0)

    def find(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The positions of the examples with these dataset indices (B,), and whether each is there:
        examples that are not finite were left out."""
        at = torch.searchsorted(self.examples, indices).clamp_max(len(self) - 1)
        return at, self.examples[at] == indices

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Rows at `indices` (positions in the store, in any order), by tensor name."""
        shard_of = torch.searchsorted(self._ends, indices, right=True)
        order: list[Tensor] = []
        parts: dict[str, list[Tensor]] = {name: [] for name in self.shards[0]}
        for shard in shard_of.unique().tolist():
            chosen = (shard_of == shard).nonzero()[:, 0]
            start = int(self._ends[shard - 1]) if shard else 0
            order.append(chosen)
            for name, tensor in self.shards[shard].items():
                parts[name].append(tensor[indices[chosen] - start])
        back = torch.cat(order).argsort()
        return {name: torch.cat(tensors)[back] for name, tensors in parts.items()}
