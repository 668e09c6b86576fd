"""New images: a folder of files, an idx file, a parquet file of the hub's layout, or arrays."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.tasks.images.decoding import ENDINGS, decoded, pillow_pixels
from ocd.tasks.images.files import image_paths
from ocd.tasks.images.hub_images import image_bytes, image_column
from ocd.tasks.reader import Answer, NewRows, State

IDX = re.compile(r"[.-]idx3?(?:-ubyte)?(?:\.gz)?$")


DIGITS = Answer("classes", tuple("0123456789"))


@dataclass(frozen=True)
class ImageReader:
    """Images of `shape` (C, H, W), grey (C = 1) or coloured (C = 3), with pixels from 0 to 1. `answer`:
    the classes. `largest`: what stands for white in arrays of whole numbers."""

    shape: tuple[int, int, int]
    answer: Answer
    largest: int = 255

    kind: ClassVar[str] = "images"
    takes: ClassVar[str] = "a folder of images, an idx file, a parquet file with images, or arrays"

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """A folder's images in the order of their names, or those of one file."""
        if source.is_dir():
            yield from self._folder(source, size, start)
        elif IDX.search(source.name):
            yield from self._idx(source, size, start)
        elif source.suffix in (".parquet", ".pq"):
            yield from self._parquet(source, size, start)
        elif source.suffix.lower() in ENDINGS and source.is_file():
            if start == 0:
                yield self._files([source], source.parent)
        else:
            missing = "no such file or folder" if not source.exists() else f"give {self.takes}"
            raise OCDError(f"{source}: {missing}")

    def take(self, data: Any) -> NewRows:
        """Images as a tensor or array (B, H, W), (B, C, H, W) or (B, H, W, C), floating from 0 to 1 or
        whole numbers up to `largest`; or a list of Pillow images and such arrays."""
        if isinstance(data, Tensor | np.ndarray):
            images = self._batch(_as_tensor(data, "images"))
        else:
            if not isinstance(data, list | tuple):
                raise OCDError(f"a {type(data).__name__} is no image: give {self.takes}")
            listed = list(data)
            if not listed:
                raise OCDError("there are no images to predict")
            images = torch.stack([self._one(item, f"image {n + 1}") for n, item in enumerate(listed)])
        return NewRows([str(number + 1) for number in range(len(images))], images)

    def example(self, inputs: Inputs, folder: Path) -> bool:
        """A PNG for each image."""
        from PIL import Image

        assert isinstance(inputs, Tensor)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (inputs.clamp(0, 1) * 255).round().byte().cpu().numpy()
        for number, image in enumerate(pixels, 1):
            colours = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(colours).save(folder / f"{number}.png")
        return True

    def state(self) -> State:
        """The form of the images and the names of the classes; there is nothing learnt in it."""
        names = list(self.answer.names)
        return {"shape": list(self.shape), "classes": names, "largest": self.largest}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> ImageReader:
        """As `state` gave it."""
        first, second, third = facts["shape"]
        answer = Answer("classes", tuple(facts["classes"]))
        return cls((first, second, third), answer, facts["largest"])

    # ----------------------------------------------------------- sources

    def _folder(self, source: Path, size: int, start: int) -> Iterator[NewRows]:
        """Rows of a folder's images from `start` on, in the order of their names."""
        paths = image_paths(source)
        if not paths:
            raise OCDError(f"{source}: there are no images ({', '.join(ENDINGS)})")
        for first in range(start, len(paths), size):
            yield self._files(paths[first : first + size], source)

    def _files(self, paths: list[Path], root: Path) -> NewRows:
        """Rows of some image files; a row is known by its path below `root`."""
        images = [self._decoded(path.read_bytes(), str(path)) for path in paths]
        return NewRows([str(path.relative_to(root)) for path in paths], torch.stack(images))

    def _idx(self, source: Path, size: int, start: int) -> Iterator[NewRows]:
        """The format of MNIST's own files: a head of 16 bytes, then a byte a pixel."""
        opened = gzip.open if source.suffix == ".gz" else open
        channels, height, width = self.shape
        try:
            with opened(source, "rb") as file:
                head = file.read(16)
                magic, count, rows, columns = (
                    struct.unpack(">4i", head) if len(head) == 16 else (0,) * 4
                )
                if magic != 2051 or channels != 1:
                    raise OCDError(f"{source}: not an idx file of grey images")
                if (rows, columns) != (height, width):
                    raise OCDError(f"{source}: images are {columns}x{rows} instead of {width}x{height}")
                file.seek(16 + start * rows * columns)
                for first in range(start, count, size):
                    wanted = min(size, count - first)
                    data = file.read(wanted * rows * columns)
                    if len(data) < wanted * rows * columns:
                        raise OCDError(f"{source}: the file ends before its {count} images do")
                    pixels = np.frombuffer(data, np.uint8).reshape(wanted, 1, rows, columns)
                    ids = [str(number + 1) for number in range(first, first + wanted)]
                    yield NewRows(ids, torch.from_numpy(pixels.copy()).float().div_(255))
        except (OSError, EOFError) as error:
            raise OCDError(f"{source} cannot be read ({error})") from error

    def _parquet(self, source: Path, size: int, start: int) -> Iterator[NewRows]:
        """Rows of a parquet file of the hub's layout from `start` on, numbered from 1.

        The file is read a stretch at a time, so that a large one is never in memory.
        """
        import pyarrow
        import pyarrow.parquet as parquet

        try:
            with parquet.ParquetFile(source) as file:
                column = image_column(source)
                first = 0
                for batch in file.iter_batches(size, columns=[column]):
                    cells = batch.column(0).to_pylist()
                    place, first = first, first + len(cells)
                    skip = max(0, start - place)
                    if skip >= len(cells):
                        continue
                    yield self._cells(cells[skip:], place + skip, source)
        except (OSError, pyarrow.ArrowException) as error:
            raise OCDError(f"{source} cannot be read as parquet ({error})") from error

    def _cells(self, cells: list[Any], first: int, source: Path) -> NewRows:
        """Rows of some cells image{bytes, path}; `first`: how many rows are in front of them."""
        ids, images = [], []
        for number, cell in enumerate(cells, first + 1):
            where = f"{source}, row {number}"
            ids.append(str(number))
            images.append(self._decoded(image_bytes(cell, where), where))
        return NewRows(ids, torch.stack(images))

    # ------------------------------------------------------------ images

    def _decoded(self, data: bytes, where: str) -> Tensor:
        """An image file's pixels, of the base's shape."""
        return self._shaped(decoded(data, self.shape[0], where), where)

    def _shaped(self, image: Tensor, where: str) -> Tensor:
        """Of the base's shape."""
        _, height, width = self.shape
        if image.shape[1:] != (height, width):
            found = f"{image.shape[2]}x{image.shape[1]}"
            raise OCDError(f"{where}: the image is {found} instead of {width}x{height}")
        return image

    def _one(self, item: Any, where: str) -> Tensor:
        """One image that a program has at hand: of Pillow, or an array of its pixels."""
        if hasattr(item, "mode") and hasattr(item, "info"):
            return self._shaped(pillow_pixels(item, self.shape[0], where), where)
        return self._batch(_as_tensor(item, where)[None])[0]

    def _batch(self, images: Tensor) -> Tensor:
        """(B, C, H, W) with pixels from 0 to 1."""
        if images.is_complex():
            raise OCDError("images are complex numbers: give real ones")
        whole = not images.is_floating_point() and images.dtype != torch.bool
        images = images.float() / self.largest if whole else images.float()
        channels, height, width = self.shape
        if images.dim() == 3:
            images = images[:, None]
        elif images.dim() == 4 and images.shape[1:] == (height, width, channels):
            images = images.permute(0, 3, 1, 2)
        if images.dim() != 4 or images.shape[1:] != self.shape:
            raise OCDError(f"images have shape {tuple(images.shape)}, where (B, {channels}, {height}, "
                           f"{width}) is needed")  # fmt: skip
        if not len(images):
            raise OCDError("there are no images to predict")
        outside = float(images.min()) < 0 or float(images.max()) > 1
        if outside or not images.isfinite().all():
            raise OCDError(
                f"pixels are from {float(images.min()):g} to {float(images.max()):g}: floating ones lie"
                f" between 0 and 1, whole ones between 0 and {self.largest}"
            )
        return images


def _as_tensor(value: Any, where: str) -> Tensor:
    """An array of any layout as a tensor. Raises OCDError for what holds no numbers."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise OCDError(f"{where}: a {type(value).__name__} holds no numbers")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
