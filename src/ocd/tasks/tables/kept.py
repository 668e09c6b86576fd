"""A user's table as it was read, kept in the run folder.

A process that goes on with the run needs neither the readers of tables nor the search for leaks, which
take longer than a small table's prediction.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ocd._version import __version__
from ocd.data import file_digest, read_json, read_tensors, write_json, write_tensors
from ocd.tasks.stored import store_data, stored_data
from ocd.tasks.tables.loading import load
from ocd.tasks.tables.options import TableData, TableOptions
from ocd.tasks.tables.reading import find_table

MOST_BYTES = 2**28
"""A larger table is read again: its file takes more time than what is saved here."""


def load_kept(options: TableOptions, data_dir: Path | None, folder: Path | None) -> TableData:
    """As `load`. What it gives is in `folder` from the second time on, for as long as the options, the
    files' bytes and this library's version are the same."""
    if folder is None or options.path is None:
        return load(options, data_dir)
    key = _key(options, data_dir)
    said = folder / "table.json"
    known = read_json(said) if said.exists() else None
    if known is not None and known["key"] == key:
        return _kept(folder, known)
    data = load(options, data_dir)
    if known is None:
        _keep(folder, data, key)
    return data


def _key(options: TableOptions, data_dir: Path | None) -> dict[str, Any]:
    """What the kept table depends on: the options, the bytes of its files, and this library's
    version, since another one may read a column otherwise.
    """
    paths = [path for path in (options.path, options.test_path) if path is not None]
    return {
        "options": dataclasses.asdict(options),
        "files": [file_digest(find_table(path, data_dir)) for path in paths],
        "version": __version__,
        "holds": "groups of training and test rows",  # a table that was kept before has not both
    }


def _keep(folder: Path, data: TableData, key: dict[str, Any]) -> None:
    """Write the table as it was read.

    A large one is left out: reading it again takes little beside all else that is done with it.
    """
    tensors = {"train/inputs": data.train.inputs, "train/targets": data.train.targets}
    tensors |= {"test/inputs": data.test.inputs, "test/targets": data.test.targets}
    for name in ("groups", "test_together"):
        if (groups := getattr(data, name)) is not None:
            tensors[name] = groups
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) > MOST_BYTES:
        return
    write_tensors(folder / "table.safetensors", tensors)
    store_data(folder, data)
    said = {"key": key, "notes": list(data.notes), "warnings": list(data.warnings)}
    write_json(folder / "table.json", said)  # last: what it speaks of is there


def _kept(folder: Path, known: dict[str, Any]) -> TableData:
    """The table that was written, with its reader, as `load` had given it."""
    tensors = read_tensors(folder / "table.safetensors")
    form = stored_data(folder)
    assert isinstance(form, TableData)
    return dataclasses.replace(
        form,
        train=type(form.train)(tensors["train/inputs"], tensors["train/targets"]),
        test=type(form.test)(tensors["test/inputs"], tensors["test/targets"]),
        groups=tensors.get("groups"),
        test_together=tensors.get("test_together"),
        notes=tuple(known["notes"]),
        warnings=tuple(known["warnings"]),
    )
