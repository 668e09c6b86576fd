"""Data sets in the hub's layout, from a folder or from the Hugging Face hub."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ocd.errors import MissingData, OCDError, install


def hub_file(repo: str, filename: str, data_dir: Path | None) -> Path:
    """`<data_dir>/<repo>/<filename>` where it exists, else the file downloaded from the hub.

    Raises MissingData, naming the place in data_dir, where neither works.
    """
    if data_dir is not None and (local := data_dir / repo / filename).is_file():
        return local
    from huggingface_hub import hf_hub_download

    # Each try is a line of the client's log; to a user what became of them is one.
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return Path(hf_hub_download(repo_id=repo, filename=filename, repo_type="dataset"))
    # The hub's client lets errors of several libraries through (HTTP, offline mode, disk), and
    # to the user they are one: the file is not here.
    except Exception as error:
        place = f"{data_dir or '<folder>'}/{repo}/{filename}"
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        text = f"no file {place} (--data-dir) and the hub did not give it: {reason}"
        raise MissingData(text) from error
    finally:
        log.setLevel(level)


def read_columns(path: Path, columns: list[str], limit: int | None = None) -> Any:
    """Columns of a parquet file as a pyarrow table, its first `limit` rows. Raises OCDError for a
    missing extra, an unreadable file or a missing column."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise OCDError(f"reading parquet needs pyarrow: {install('images')}") from error
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise OCDError(f"{path}: not a readable parquet file ({error})") from error
    with file:
        names = file.schema_arrow.names
        for name in columns:
            if name not in names:
                raise OCDError(f"{path}: no column {name!r}; there are: {', '.join(names)}")
        return file.read(columns=columns).slice(0, limit)
