"""Batches of examples, the devices they are on, and the files that outlive a process."""

from ocd.data.chunks import in_chunks, is_out_of_memory
from ocd.data.columns import Columns
from ocd.data.datasets import (
    Batch,
    Chosen,
    Collate,
    Examples,
    Unseen,
    as_dataset,
    dataset_size,
    fetch_rows,
)
from ocd.data.excerpts import Excerpt, take_excerpt
from ocd.data.files import locked, read_json, write_json, write_text
from ocd.data.groups import as_groups, every_second, in_parts, some_of
from ocd.data.inputs import (
    Inputs,
    Targets,
    as_inputs,
    as_targets,
    call,
    copied,
    example_shapes,
    join_rows,
    map_tensors,
    num_rows,
    repeat_rows,
    take_rows,
    tensors,
    to_device,
)
from ocd.data.log import Log
from ocd.data.progress import progress_bar
from ocd.data.seeds import seeded
from ocd.data.tensor_files import (
    file_digest,
    is_written_here,
    load_strictly,
    only_tensors,
    put_in_place,
    read_tensors,
    write_tensors,
)

__all__ = [
    "Batch",
    "Chosen",
    "Collate",
    "Columns",
    "Examples",
    "Excerpt",
    "Inputs",
    "Log",
    "Targets",
    "Unseen",
    "as_dataset",
    "as_groups",
    "as_inputs",
    "as_targets",
    "call",
    "copied",
    "dataset_size",
    "every_second",
    "example_shapes",
    "fetch_rows",
    "file_digest",
    "in_chunks",
    "in_parts",
    "is_out_of_memory",
    "is_written_here",
    "join_rows",
    "load_strictly",
    "locked",
    "map_tensors",
    "num_rows",
    "only_tensors",
    "progress_bar",
    "put_in_place",
    "read_json",
    "read_tensors",
    "repeat_rows",
    "seeded",
    "some_of",
    "take_excerpt",
    "take_rows",
    "tensors",
    "to_device",
    "write_json",
    "write_tensors",
    "write_text",
]
