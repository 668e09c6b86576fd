"""Features of a frozen body, computed once for each image and kept as safetensors.

    examples = kept_features(body, files, Path("runs/mine/features/train.safetensors"), "float32")

Worker processes read and resize the images while the body computes. A killed process loses one part of
`PART` images at most; the file is mapped into memory, not read, by who uses it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ocd.data import (
    Examples,
    locked,
    progress_bar,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from ocd.errors import OCDError
from ocd.tasks.images.body import Body
from ocd.tasks.images.decoding import as_rgb
from ocd.tasks.images.files import ImageFiles

PART = 1024
"""Images whose features are written together."""
BATCH = 32
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}


def kept_features(body: Body, files: ImageFiles, path: Path | None, precision: str) -> Examples:
    """Features (N, D) or (N, heads, D) and classes (N,) of all images, read where they are kept.

    `path`: where they are kept; None keeps nothing. Raises OCDError where it holds those of another
    body or of other images, and for an image that cannot be read, naming it.
    """
    if path is None:
        return Examples(torch.cat([*_computed(body, files, 0, precision)]), files.labels)
    facts = {"body": body.name, "weights": body.digest, "compute": body.compute}
    facts |= {"images": files.digest, "precision": precision}
    said = path.with_suffix(".json")
    with locked(said):  # another process may add seeds to the same run
        found = read_json(said) if said.exists() else facts
        if found != facts and not path.exists():  # of a try that was not finished
            for part in path.parent.glob(f"{path.stem}-*.part.safetensors"):
                part.unlink()
        elif found != facts:
            wrong = [f"{k} {found.get(k)} -> {v}" for k, v in facts.items() if found.get(k) != v]
            raise OCDError(
                f"{path} has features of something else ({', '.join(wrong)}): images, network or "
                f"settings have changed; delete {path.parent} to compute them anew, or give "
                "another --out"
            )
        write_json(said, facts)
        if not path.exists():
            _write(body, files, path, precision)
    kept = read_tensors(path)
    return Examples(kept["features"], kept["labels"])


def _write(body: Body, files: ImageFiles, path: Path, precision: str) -> None:
    """Compute what is missing, a part at a time, and join the parts.

    A part that is there is complete, since it was renamed into its place; the first one that is missing
    is where a killed process stopped.
    """
    parts = [path.with_name(f"{path.stem}-{first:08d}.part.safetensors")
             for first in range(0, len(files), PART)]  # fmt: skip
    done = next((n for n, part in enumerate(parts) if not part.exists()), len(parts))
    found: list[Tensor] = []
    for batch in _computed(body, files, done * PART, precision):
        found.append(batch)
        count = sum(map(len, found))
        if count == PART or done * PART + count == len(files):
            write_tensors(parts[done], {"features": torch.cat(found)})
            done, found = done + 1, []
    features = torch.cat([read_tensors(part)["features"] for part in parts])
    write_tensors(path, {"features": features, "labels": files.labels})
    for part in parts:
        part.unlink()


def _computed(body: Body, files: ImageFiles, start: int, precision: str) -> Iterator[Tensor]:
    """Features of the images from `start` on, a batch at a time; parts of `PART` end with a batch."""
    workers = min(4, os.cpu_count() or 1) if len(files) - start >= 8 * BATCH else 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    body.network.to(device)
    loader: Any = DataLoader(
        _Pixels(body, files, start), batch_size=BATCH, num_workers=workers, collate_fn=_joined
    )
    with progress_bar(f"features by {body.name}", len(files) - start) as advance:
        for pixels in loader:
            if isinstance(pixels, str):
                raise OCDError(pixels)
            found = body.features(pixels.to(device)).cpu().to(PRECISIONS[precision])
            if not found.isfinite().all():
                raise OCDError(
                    f"features by {body.name} are not finite in {precision}: --set precision=float32 "
                    "and --set compute=float32 have the widest range"
                )
            yield found
            advance(len(pixels))


class _Pixels(Dataset[Any]):
    """Pixels of an image as the body takes them, or the line that says why there are none: a worker's
    exception would come with its traceback."""

    def __init__(self, body: Body, files: ImageFiles, start: int) -> None:
        self.body, self.files, self.start = body, files, start

    def __len__(self) -> int:
        return len(self.files) - self.start

    def __getitem__(self, number: int) -> Tensor | str:
        place = self.start + number
        try:
            image = as_rgb(self.files.read(place), self.files.places[place])
            return self.body.pixels([image])[0]
        except OCDError as error:
            return str(error)


def _joined(items: list[Any]) -> Tensor | str:
    """A batch of pixels, or the first line that says why there is none."""
    wrong = next((item for item in items if isinstance(item, str)), None)
    return torch.stack(items) if wrong is None else wrong
