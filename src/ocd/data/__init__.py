"""Batches of examples, the devices they are on, and the files that outlive a process."""

from ocd.data.chunks import in_chunks, is_out_of_memory
from ocd.data.excerpts import Excerpt, take_excerpt
from ocd.data.files import locked, read_json, write_json, write_text
from ocd.data.inputs import (
    Examples,
    Inputs,
    call,
    copied,
    dataset_size,
    fetch_rows,
    join_rows,
    map_tensors,
    num_rows,
    take_rows,
    tensors,
    to_device,
)
from ocd.data.progress import Log, progress_bar

__all__ = [
    "Examples",
    "Excerpt",
    "Inputs",
    "Log",
    "call",
    "copied",
    "dataset_size",
    "fetch_rows",
    "in_chunks",
    "is_out_of_memory",
    "join_rows",
    "locked",
    "map_tensors",
    "num_rows",
    "progress_bar",
    "read_json",
    "take_excerpt",
    "take_rows",
    "tensors",
    "to_device",
    "write_json",
    "write_text",
]
