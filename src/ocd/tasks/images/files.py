"""Lists of image files with their classes: a folder a class, or a parquet file of the hub's layout.

Classes are the names of the folders of the training images, sorted; a test folder may lack some, but
have no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ocd.errors import OCDError, nearest
from ocd.tasks.hub_files import read_columns
from ocd.tasks.images.decoding import ENDINGS
from ocd.tasks.images.hub_images import image_bytes
from ocd.tasks.task import check_count


@dataclass(frozen=True)
class ImageFiles:
    """Images that are read one by one. `places`: what each is called in messages. `contents`: a file's
    path, or its bytes. `labels` (N,): classes. `notes`: what a person may not expect."""

    places: Sequence[str]
    contents: Sequence[Path | bytes]
    labels: Tensor
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.places)

    def read(self, number: int) -> bytes:
        """The bytes of a file. Raises OCDError where they cannot be read."""
        content = self.contents[number]
        if isinstance(content, bytes):
            return content
        try:
            return content.read_bytes()
        except OSError as error:
            raise OCDError(f"{content} cannot be read ({error.strerror})") from error

    @cached_property
    def digest(self) -> str:
        """A hash by which the same list is known again: names, sizes and classes of all, and the bytes
        of what is in memory."""
        found = hashlib.sha256(self.labels.numpy().tobytes())
        for place, content in zip(self.places, self.contents, strict=True):
            if isinstance(content, bytes):
                found.update(content)
            else:
                status = content.stat()
                found.update(f"{place}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        return found.hexdigest()[:16]


def image_paths(folder: Path) -> list[Path]:
    """All images below a folder, in the order of their names; what is hidden, or lies in a hidden
    folder (thumbnails, checkpoints), is none."""
    return [path for path in _visible(folder) if path.suffix.lower() in ENDINGS]


def _visible(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their names, but for what is hidden.

    A hidden folder is no part of the images, wherever it lies: thumbnails and checkpoints of notebooks
    are copies, often of another class.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted: the classes. Raises OCDError where there are fewer
    than two."""
    if not folder.is_dir():
        raise OCDError(f"{folder}: no such folder; a folder is needed that has one for each class")
    names = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if len(names) < 2:
        raise OCDError(f"{folder} has {len(names)} folders: one with images for each class is needed")
    return names


def folder_files(folder: Path, classes: Sequence[str], limit: int | None = None) -> ImageFiles:
    """The images in a folder of folders. `classes`: the names that may occur. `limit`: at most so many,
    in equal steps over all of them. Raises OCDError for a folder that is no class, or an empty class in
    a folder that has all."""
    paths: list[Path] = []
    labels: list[int] = []
    others: list[Path] = []
    for name in class_folders(folder):
        if name not in classes:
            raise OCDError(
                f"{folder / name}: no class {name!r} in the training images{nearest(name, classes)}"
            )
        found = image_paths(folder / name)
        if not found:
            raise OCDError(f"{folder / name}: there are no images ({', '.join(ENDINGS)})")
        paths += found
        others += [p for p in _visible(folder / name) if p.suffix.lower() not in ENDINGS]
        labels += [classes.index(name)] * len(found)
    check_count(limit, len(paths), f"the number of images of {folder}")
    chosen = range(len(paths))
    if limit is not None and limit < len(paths):
        chosen = [number * len(paths) // limit for number in range(limit)]  # type: ignore[assignment]
    return ImageFiles(
        [str(paths[n]) for n in chosen],
        [paths[n] for n in chosen],
        torch.tensor([labels[n] for n in chosen], dtype=torch.long),
        _left_out(others, folder),
    )


def _left_out(others: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """A note on files that are no images by their names, with the first of them; () where there are
    none.
    """
    if not others:
        return ()
    names = ", ".join(str(path.relative_to(folder)) for path in others[:3])
    return (f"{len(others)} files below {folder} are no images by their names, and left out: {names}",)


def parquet_files(path: Path, image: str, label: str, limit: int | None = None) -> ImageFiles:
    """The images of a parquet file with columns image{bytes, path} and label."""
    table = read_columns(path, [image, label])
    check_count(limit, len(table), f"the number of images of {path.name}")
    table = table.slice(0, limit)
    cells = table.column(image).to_pylist()
    places = [f"{path}, row {number}" for number in range(len(cells))]
    contents = [image_bytes(cell, place) for cell, place in zip(cells, places, strict=True)]
    labels = torch.tensor(table.column(label).to_pylist(), dtype=torch.long)
    return ImageFiles(places, contents, labels)
