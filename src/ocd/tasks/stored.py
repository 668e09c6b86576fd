"""A task's reader and the form of its data in a run folder, so that a base can be made again without
the data that it was trained on.

    store_data(run / "preprocessing", data)
    data = stored_data(run / "preprocessing")   # no example of it is real, but its reader is
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from torch import Tensor

from ocd.data import Examples, read_json, read_tensors, take_rows, write_json, write_tensors
from ocd.errors import OCDError
from ocd.tasks.reader import Reader
from ocd.tasks.task import TaskData

READERS = {
    "table": "tables.reader:TableReader",
    "numbers": "tables.numbers_reader:NumbersReader",
    "images": "images.reader:ImageReader",
    "features": "images.feature_reader:FeatureReader",
    "views": "views.reader:ViewReader",
    "texts": "text.reader:TextReader",
    "series": "series.reader:SeriesReader",
    "sounds": "speech.reader:SoundReader",
}
"""Name of a reader -> its module below `ocd.tasks`, and its class."""
DATA = {"table": "tables.options:TableData", "numbers": "tables.options:TableData",
        "views": "views.options:SceneData", "images": "task:TaskData",
        "features": "task:TaskData", "texts": "text.options:TextData",
        "series": "task:TaskData", "sounds": "speech.options:SpeechData"}  # fmt: skip
"""Name of a reader -> the class of its task's data."""
OWN = (
    "train",
    "test",
    "reader",
    "notes",
    "warnings",
    "groups",
    "test_groups",
    "test_together",
    "num_early",
    "stand_in",
)


def store_data(folder: Path, data: TaskData) -> list[Path]:
    """Write reader.json, reader.safetensors and form.safetensors; returns their paths. [] where the
    task has no reader."""
    reader = data.reader
    if reader is None:
        return []
    facts, tensors = reader.state()
    more = {
        f.name: getattr(data, f.name)
        for f in dataclasses.fields(data)
        if f.name not in OWN and f.metadata.get("stored", True)
    }
    few = slice(0, 2)
    form = {f"input/{name}": part for name, part in _named(take_rows(data.train.inputs, few)).items()}
    form |= {
        f"target/{name}": part for name, part in _named(take_rows(data.train.targets, few)).items()
    }
    paths = [folder / name for name in ("reader.safetensors", "form.safetensors", "reader.json")]
    # Zeros: how many numbers an example has is needed, the examples themselves are not.
    write_tensors(paths[0], {"none": next(iter(form.values())).new_zeros(1)} | tensors)
    write_tensors(paths[1], {name: part.new_zeros(part.shape) for name, part in form.items()})
    write_json(paths[2], {"kind": reader.kind, "facts": facts, "data": more})
    return paths


def stored_data(folder: Path) -> TaskData:
    """Data of the form that a run's had, with its reader. Raises OCDError where nothing is stored."""
    if not (folder / "reader.json").exists():
        raise OCDError(
            f"{folder.parent} does not say how its data were read: its task reads no new inputs (its "
            "data have no `reader`), or it is of an earlier version, and `ocd run` has to make it again"
        )
    saved = read_json(folder / "reader.json")
    reader: Reader = _found(READERS[saved["kind"]]).from_state(
        saved["facts"], read_tensors(folder / "reader.safetensors")
    )
    form = read_tensors(folder / "form.safetensors")
    few = Examples(_joined(form, "input/"), _joined(form, "target/"))
    nothing = Examples(*few.rows(slice(0, 0)))
    made: TaskData = _found(DATA[saved["kind"]])(few, nothing, reader=reader, **saved["data"])
    return made


def check_network(folder: Path, data: TaskData) -> None:
    """Raises OCDError where the network that inputs go through before the base, a frozen or a sentence
    encoder, has other weights than when the folder was written: the seeds of a run have one.

    Only of readers that keep the network's `digest`."""
    now = getattr(data.reader, "digest", None)
    if now is None or not (folder / "reader.json").exists():
        return
    saved = read_json(folder / "reader.json")
    reader = _found(READERS[saved["kind"]]).from_state(saved["facts"], {})
    if reader.digest not in (None, now):
        raise OCDError(
            f"{folder.parent} was made with another network in front of the base: its weights are "
            f"{now} now and were {reader.digest}; put that one back, or give another --out"
        )


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"ocd.tasks.{module}"), name)


def _named(value: Any) -> dict[str, Tensor]:
    """The tensors of inputs or targets by a name each, which `_joined` puts together again."""
    if isinstance(value, Tensor):
        return {"": value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    mark = "key" if isinstance(value, dict) else "place"
    return {f"{mark}/{name}": part for name, part in pairs}


def _joined(form: dict[str, Tensor], prefix: str) -> Any:
    parts = {name.removeprefix(prefix): part for name, part in form.items() if name.startswith(prefix)}
    if "" in parts:
        return parts[""]
    if all(name.startswith("key/") for name in parts):
        return {name.removeprefix("key/"): part for name, part in parts.items()}
    return tuple(parts[f"place/{number}"] for number in range(len(parts)))
