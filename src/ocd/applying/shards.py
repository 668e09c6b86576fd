"""New data -> answers in a folder, by any number of processes: `ocd apply ... --shard I/N`.

    apply_shard(load("runs/mine"), ApplyOptions(Path("new.csv"), Path("answers")), Shard(0, 4), advance)

A unit is as many rows of the source as a part has (ocd.applying.files), and its answers are one file:
parquet where they are a table, safetensors where they are views or voices. In the order of their
numbers, files hold the rows in the source's own order. How many units there are is found out by
reading: a process that finds no rows at a unit knows that it is beyond the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ocd.applying.answers import Answers
from ocd.applying.files import (
    ApplyOptions,
    Summary,
    answer_key,
    part_size,
    remarks_of,
    with_ids,
    write_part,
)
from ocd.applying.loaded import LoadedRun
from ocd.applying.media import MEDIA
from ocd.data import STRETCH, Shard, Units, on_one_thread, read_json, write_tensors
from ocd.errors import OCDError
from ocd.tasks import NewRows

SHOWN = 5
"""Remarks that a person is told of each process's rows."""


@dataclass
class _Said:
    """What a process has to tell of the rows that it answered."""

    rows: int = 0
    unlike: int = 0
    num_remarks: int = 0
    remarks: tuple[str, ...] = ()
    note: str = ""

    def add(self, answers: Answers) -> None:
        said = remarks_of(answers)
        self.rows += len(answers)
        self.unlike += int(answers.is_unlike.sum())
        self.num_remarks += len(said)
        self.remarks = (*self.remarks, *said)[:SHOWN]
        self.note = answers.note


def apply_shard(
    loaded: LoadedRun, options: ApplyOptions, shard: Shard, advance: Callable[[int], None]
) -> Summary:
    """Answer for the units of this process, and for those that others left. Returns what is to be told
    of the rows that it answered itself; they are the same bits whatever the number of processes and of
    their threads. Raises OCDError for what cannot be read, naming the row."""
    if options.out.suffix:
        raise OCDError(f"{options.out}: several processes write into a folder, one file a part")
    if options.draws_out is not None:
        raise OCDError("--draws-out is for one process: of several, ask `ocd.predict_to` for draws")
    loaded = with_ids(loaded, options.id_column)
    media = loaded.reader.answer.kind in MEDIA
    units = Units(
        options.out,
        answer_key(loaded, options, part_size(loaded, options)),
        ".safetensors" if media else ".parquet",
    )
    said = _Said()
    with on_one_thread():
        _answer(loaded, options, units, shard, said, advance)
    return Summary(said.rows, said.unlike, list(said.remarks), said.num_remarks, said.note)


def _answer(
    loaded: LoadedRun,
    options: ApplyOptions,
    units: Units,
    shard: Shard,
    said: _Said,
    advance: Callable[[int], None],
) -> None:
    """The units of this process, then those that others left."""
    for own in (True, False):
        for number, rows in _units(loaded, options, units, shard, own):
            with units.taken(number) as is_ours:
                if not is_ours:
                    continue
                answers = loaded.answer(rows, options.ask)
                _write(answers, units.path(number))
                units.finish(number, rows=len(answers), unlike=int(answers.is_unlike.sum()))
            said.add(answers)
            advance(len(answers))


def count_answered(out: Path) -> tuple[int, int]:
    """Rows that all processes have answered so far, and how many of them are unlike the training
    data."""
    found = [read_json(marker) for marker in sorted(out.glob("part-*.json"))]
    return sum(one["rows"] for one in found), sum(one["unlike"] for one in found)


def _units(
    loaded: LoadedRun, options: ApplyOptions, units: Units, shard: Shard, own: bool
) -> Iterator[tuple[int, NewRows]]:
    """Units that are not done and their rows, a stretch read in one go; `own`: the process's own, or
    those of all others."""
    size, stretch = part_size(loaded, options), 0
    while True:
        first = stretch * STRETCH
        stretch += 1
        if shard.owns(first) != own:
            if not _is_there(loaded, options, size, first):
                return
            continue
        numbers = range(first, first + STRETCH)
        start = next((n for n in numbers if not units.is_done(n)), None)
        if start is None:
            continue
        found = loaded.read(options.source, size, start * size)
        number = start
        for number, rows in zip(range(start, first + STRETCH), found, strict=False):
            if not units.is_done(number):
                yield number, rows
        if number + 1 < first + STRETCH:  # the source ended in this stretch
            return


def _is_there(loaded: LoadedRun, options: ApplyOptions, size: int, unit: int) -> bool:
    """Whether the source has rows at a unit."""
    return next(loaded.read(options.source, 1, unit * size), None) is not None


def _write(answers: Answers, path: Path) -> None:
    """The answers of one unit."""
    if path.suffix == ".parquet":
        write_part(answers.columns(), path)
        return
    tensors = {"base": answers.base, "ocd": answers.ocd, "distance": answers.distance}
    names = "\n".join(answers.ids).encode()
    tensors["ids"] = torch.frombuffer(bytearray(names), dtype=torch.uint8)
    if answers.std is not None:
        tensors["std"] = answers.std
    write_tensors(path, tensors)
