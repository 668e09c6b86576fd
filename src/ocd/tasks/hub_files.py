"""Image data sets in the hub's parquet layout, from a folder or from the Hugging Face hub."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ocd.errors import MissingData, OCDError


def hub_file(repo: str, filename: str, data_dir: Path | None) -> Path:
    """`<data_dir>/<repo>/<filename>` where it exists, else the file downloaded from the hub.

    Raises MissingData, naming the place in data_dir, where neither works.
    """
    if data_dir is not None and (local := data_dir / repo / filename).is_file():
        return local
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo_id=repo, filename=filename, repo_type="dataset"))
    # The hub's client lets errors of several libraries through (HTTP, offline mode, disk), and
    # to the user they are one: the file is not here.
    except Exception as error:
        place = f"{data_dir or '<folder>'}/{repo}/{filename}"
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        text = f"no file {place} (--data-dir) and the hub did not give it: {reason}"
        raise MissingData(text) from error


def read_images(
    path: Path, *, image: str, label: str, shape: tuple[int, int], limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Grey images and labels of a parquet file with columns image{bytes, path} and label.

    Returns images (N, 1, H, W) in 0 to 1 and labels (N,) as integers, the first `limit` rows.
    Raises OCDError for a missing extra, a missing column, or an image of another shape.
    """
    parquet = _parquet()
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise OCDError(f"{path}: not a readable parquet file ({error})") from error
    with file:
        names = file.schema_arrow.names
        for name in (image, label):
            if name not in names:
                raise OCDError(f"{path}: no column {name!r}; there are: {', '.join(names)}")
        table = file.read(columns=[image, label]).slice(0, limit)
    cells = table.column(image).to_pylist()
    pixels = np.empty((len(cells), *shape), dtype=np.uint8)
    for row, cell in enumerate(cells):
        pixels[row] = _decode(cell, shape, f"{path}, row {row}")
    labels = torch.from_numpy(table.column(label).to_numpy().astype(np.int64))
    return torch.from_numpy(pixels).unsqueeze(1).float().div_(255), labels


def _parquet() -> Any:
    try:
        import PIL.Image  # noqa: F401
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise OCDError(
            f"reading images needs the package {error.name}: pip install 'ocd-torch[mnist]'"
        ) from error
    return parquet


def _decode(cell: Any, shape: tuple[int, int], where: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    data = cell.get("bytes") if isinstance(cell, dict) else None
    if data is None:
        raise OCDError(f"{where}: the image column must hold image{{bytes, path}}")
    try:
        pixels = np.asarray(Image.open(BytesIO(data)))
    except (UnidentifiedImageError, OSError) as error:
        raise OCDError(f"{where}: not a readable image") from error
    if pixels.shape != shape:
        raise OCDError(f"{where}: the image is {pixels.shape} instead of {shape}")
    return pixels
