"""Images of the hub's parquet layout: columns image{bytes, path} and label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ocd.errors import OCDError
from ocd.tasks.hub_files import read_columns
from ocd.tasks.images.decoding import in_mode, opened


def read_images(
    path: Path, *, image: str, label: str, shape: tuple[int, int, int], limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Images and labels of a parquet file with columns image{bytes, path} and label.

    Returns images (N, C, H, W) in 0 to 1 and labels (N,) as integers, the first `limit` rows. `shape`:
    (C, H, W), C = 1 for grey. Raises OCDError for a missing extra, a missing column, or an image of
    another size.
    """
    if limit is not None and limit < 1:
        raise OCDError(f"{limit} images of {path.name} were asked for: at least one is needed")
    table = read_columns(path, [image, label], limit)
    cells = table.column(image).to_pylist()
    pixels = np.empty((len(cells), *shape), dtype=np.uint8)
    for row, cell in enumerate(cells):
        pixels[row] = _decode(cell, shape, f"{path}, row {row}")
    labels = torch.from_numpy(table.column(label).to_numpy().astype(np.int64))
    return torch.from_numpy(pixels).float().div_(255), labels


COLUMNS = ("image", "img")
"""What the hub's data sets call their images."""


def image_column(path: Path) -> str:
    """The column with images of a parquet file. Raises OCDError where there is none."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        names = parquet.read_schema(path).names
    except (OSError, pyarrow.ArrowException) as error:
        raise OCDError(f"{path} cannot be read as parquet ({error})") from error
    column = next((name for name in COLUMNS if name in names), None)
    if column is None:
        raise OCDError(f"{path}: no column 'image' or 'img'; there are: {', '.join(names)}")
    return column


def image_bytes(cell: Any, where: str) -> bytes:
    """The file in a cell image{bytes, path} of the hub's layout."""
    data = cell.get("bytes") if isinstance(cell, dict) else None
    if data is None:
        raise OCDError(f"{where}: the image column must hold image{{bytes, path}}")
    found: bytes = data
    return found


def _decode(cell: Any, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """Pixels (C, H, W) of whole numbers to 255. Raises OCDError for another size than `shape` has:
    the images of a data set are not resized in silence.
    """
    image = opened(image_bytes(cell, where), where)
    pixels = np.asarray(in_mode(image, "L" if shape[0] == 1 else "RGB", where))
    if pixels.shape[:2] != shape[1:]:
        found = f"{pixels.shape[1]}x{pixels.shape[0]}"
        raise OCDError(f"{where}: the image is {found} instead of {shape[2]}x{shape[1]}")
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)


def file_formats(path: Path, image: str, limit: int | None = None) -> dict[str, int]:
    """Of what kind the files in a column are (PNG, JPEG), with counts, by their first bytes."""
    counts: dict[str, int] = {}
    for row, cell in enumerate(read_columns(path, [image], limit).column(image).to_pylist()):
        start = image_bytes(cell, f"{path}, row {row}")[:8]
        kind = next((name for magic, name in MAGIC.items() if start.startswith(magic)), "other")
        counts[kind] = counts.get(kind, 0) + 1
    return counts


MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP"}
"""How image files begin."""
