"""A tiny MNIST in the hub's layout."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

NUM_IMAGES = {"train": 12, "test": 7}


def png(pixels: np.ndarray) -> bytes:
    image = pytest.importorskip("PIL.Image")
    buffer = BytesIO()
    image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def write_mnist(folder: Path, *, image: str = "image", size: int = 28) -> dict[str, np.ndarray]:
    """A tiny MNIST in the hub's layout below `folder`; gives the pixels of each split."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    random, written = np.random.default_rng(0), {}
    place = folder / "ylecun" / "mnist" / "mnist"
    place.mkdir(parents=True)
    for split, count in NUM_IMAGES.items():
        pixels = random.integers(0, 256, (count, size, size), dtype=np.uint8)
        cells = [{"bytes": png(picture), "path": None} for picture in pixels]
        table = pyarrow.table({image: cells, "label": [i % 10 for i in range(count)]})
        parquet.write_table(table, place / f"{split}-00000-of-00001.parquet")
        written[split] = pixels
    return written
