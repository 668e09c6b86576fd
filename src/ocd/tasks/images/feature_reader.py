"""New images for a base that works on features: read, resized and sent through the same frozen body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.tasks.hub_files import read_columns
from ocd.tasks.images.body import Body, load_body
from ocd.tasks.images.decoding import ENDINGS, as_rgb
from ocd.tasks.images.features import PRECISIONS
from ocd.tasks.images.files import image_paths
from ocd.tasks.images.hub_images import image_bytes, image_column
from ocd.tasks.reader import Answer, NewRows, State

BATCH = 32


@dataclass(frozen=True)
class FeatureReader:
    """Images of any size -> features (B, D) or (B, heads, D) of the body called `model`, whose weights
    have the hash `digest`. `heads`, `width`, `compute`: as those of the body. `precision`: of
    the features. `classes`: their names."""

    model: str
    digest: str
    heads: tuple[str, ...]
    width: int
    classes: tuple[str, ...]
    compute: str = "float32"
    precision: str = "float32"
    _body: list[Body] = field(default_factory=list, compare=False, repr=False)

    kind: ClassVar[str] = "features"
    takes: ClassVar[str] = "a folder of images, a parquet file with images, or Pillow images and arrays"

    @property
    def answer(self) -> Answer:
        """Classes, by the names of the training folders."""
        return Answer("classes", self.classes)

    def body(self) -> Body:
        """The frozen body, loaded when it is needed. Raises OCDError where its weights are others."""
        if not self._body:
            body = load_body(self.model, self.compute)
            if body.digest != self.digest:
                raise OCDError(
                    f"model {self.model} has other weights ({body.digest}) than those that this run "
                    f"was made with ({self.digest})"
                )
            self._body.append(body)
        return self._body[0]

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """A folder's images in the order of their names, or those of one file."""
        if source.is_dir():
            paths = image_paths(source)
            if not paths:
                raise OCDError(f"{source}: there are no images ({', '.join(ENDINGS)})")
            yield from self._files(paths, source, size, start)
        elif source.suffix in (".parquet", ".pq") and source.is_file():
            yield from self._parquet(source, size, start)
        elif source.suffix.lower() in ENDINGS and source.is_file():
            yield from self._files([source], source.parent, size, start)
        else:
            missing = "no such file or folder" if not source.exists() else f"give {self.takes}"
            raise OCDError(f"{source}: {missing}")

    def take(self, data: Any) -> NewRows:
        """A list of Pillow images and arrays (H, W, 3), or an array of them (B, H, W, 3), of whole
        numbers to 255 or floating from 0 to 1."""
        if hasattr(data, "mode") and hasattr(data, "info"):
            data = [data]
        if not isinstance(data, list | tuple | np.ndarray | Tensor):
            raise OCDError(f"a {type(data).__name__} is no image: give {self.takes}")
        if isinstance(data, np.ndarray | Tensor) and data.ndim != 4:
            raise OCDError(f"an array of images is (B, H, W, 3), this one {tuple(data.shape)}")
        images = [_as_pillow(item, f"image {number}") for number, item in enumerate(data, 1)]
        if not images:
            raise OCDError("there are no images to predict")
        return NewRows([str(number) for number in range(1, len(images) + 1)], self._features(images))

    def example(self, inputs: Inputs, folder: Path) -> bool:
        """Features cannot be turned into images again."""
        return False

    def state(self) -> State:
        """Facts alone: the body itself stays where it is, and is known again by its hash."""
        names = [entry.name for entry in fields(self) if not entry.name.startswith("_")]
        facts = {name: getattr(self, name) for name in names}
        return facts | {"heads": list(self.heads), "classes": list(self.classes)}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> FeatureReader:
        """As `state` gave it."""
        heads, classes = tuple(facts["heads"]), tuple(facts["classes"])
        return cls(**facts | {"heads": heads, "classes": classes})

    # ----------------------------------------------------------- details

    def _files(self, paths: Sequence[Path], root: Path, size: int, start: int) -> Iterator[NewRows]:
        """Rows of image files from `start` on; a row is known by its path below `root`."""
        for first in range(start, len(paths), size):
            some = paths[first : first + size]
            images = [as_rgb(path.read_bytes(), str(path)) for path in some]
            yield NewRows([str(path.relative_to(root)) for path in some], self._features(images))

    def _parquet(self, source: Path, size: int, start: int) -> Iterator[NewRows]:
        """Rows of a parquet file of the hub's layout from `start` on, numbered from 1."""
        column = image_column(source)
        cells = read_columns(source, [column]).column(column)
        for first in range(start, len(cells), size):
            images = []
            for number, cell in enumerate(cells.slice(first, size).to_pylist(), first + 1):
                place = f"{source}, row {number}"
                images.append(as_rgb(image_bytes(cell, place), place))
            ids = [str(number) for number in range(first + 1, first + 1 + len(images))]
            yield NewRows(ids, self._features(images))

    def _features(self, images: Sequence[Any]) -> Tensor:
        """Features of Pillow images, some at a time, in the precision of the run's own."""
        body = self.body()
        parts = [
            body.features(body.pixels(images[first : first + BATCH])).clone()
            for first in range(0, len(images), BATCH)
        ]
        return torch.cat(parts).to(PRECISIONS[self.precision])


def _as_pillow(item: Any, where: str) -> Any:
    """A Pillow image RGB of 8 bits. Raises OCDError for what is no image of one or three channels."""
    from PIL import Image

    from ocd.tasks.images.decoding import pillow_pixels

    if hasattr(item, "mode") and hasattr(item, "info"):
        pixels = pillow_pixels(item, 3, where).permute(1, 2, 0)
    else:
        array = np.asarray(item.detach().cpu() if isinstance(item, Tensor) else item)
        if array.ndim == 2:
            array = np.repeat(array[..., None], 3, axis=2)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind not in "uif" or not array.size:
            raise OCDError(
                f"{where}: an array {array.shape} of {array.dtype}, where (H, W, 3) is needed"
            )
        pixels = torch.from_numpy(np.asarray(array, np.float32))
        if array.dtype.kind in "ui":
            pixels = pixels / 255
    if not pixels.isfinite().all() or pixels.min() < 0 or pixels.max() > 1:
        raise OCDError(f"{where}: pixels lie between 0 and 1, or are whole numbers to 255")
    return Image.fromarray((pixels * 255).round().byte().contiguous().numpy())
