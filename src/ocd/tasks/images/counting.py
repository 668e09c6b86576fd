"""How many images a folder or file has, without decoding one."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

from ocd.errors import OCDError
from ocd.tasks.images.decoding import ENDINGS
from ocd.tasks.images.files import image_paths

IDX = re.compile(r"[.-]idx3?(?:-ubyte)?(?:\.gz)?$")
"""The names of files in the format of MNIST."""


def count_images(source: Path, takes: str) -> int:
    """`takes`: what can be read, in words. Raises OCDError for anything else."""
    if source.is_dir():
        return len(image_paths(source))
    try:
        if source.suffix in (".parquet", ".pq"):
            import pyarrow.parquet as parquet

            return int(parquet.read_metadata(source).num_rows)
        if IDX.search(source.name):
            opened = gzip.open if source.suffix == ".gz" else open
            with opened(source, "rb") as file:
                return int(struct.unpack(">2i", file.read(8))[1])
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise OCDError(f"{source} cannot be read ({error})") from error
    if source.suffix.lower() in ENDINGS and source.is_file():
        return 1
    raise OCDError(f"{source}: give {takes}")
