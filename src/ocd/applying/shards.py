"""New data -> answers in a folder, by any number of processes: `ocd apply ... --shard I/N`.

    apply_shard(load("runs/mine"), ApplyOptions(Path("new.csv"), Path("answers")), Shard(0, 4), advance)

A unit is as many rows of the source as a part has (ocd.applying.files), and its answers are one file:
parquet where they are a table, safetensors where they are views or voices. In the order of their
numbers, files hold the rows in the source's own order. How many units there are is found out by
reading: a process that finds no rows at a unit knows that it is beyond the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
from ocd.data import (
    STRETCH,
    Shard,
    Units,
    file_digest,
    on_one_thread,
    read_json,
    wait_for,
    write_tensors,
)
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


def check_shards(loaded: LoadedRun, options: ApplyOptions) -> None:
    """Raises OCDError, before any process is started, for what each of them would refuse at once:
    options, a folder of other answers, a source that cannot be read or has no rows."""
    _open(loaded, options)


def apply_shard(
    loaded: LoadedRun, options: ApplyOptions, shard: Shard, advance: Callable[[int], None]
) -> Summary:
    """Answer for the units of this process, and for those that others left; those that others are at
    are waited for, and done where these die. A file of answers that is missing, cut short or changed is
    made again. Returns what is to be told of the rows that it answered itself; they are the same bits
    whatever the number of processes and of their threads. Raises OCDError for what cannot be read,
    naming the row."""
    loaded, units = _open(loaded, options)
    work = _Work(loaded, options, units, shard, advance)
    with on_one_thread():
        work.do()
    said = work.said
    return Summary(said.rows, said.unlike, list(said.remarks), said.num_remarks, said.note)


def _open(loaded: LoadedRun, options: ApplyOptions) -> tuple[LoadedRun, Units]:
    """The run with its reader's names of rows, and the units in the folder of answers."""
    if options.out.suffix:
        raise OCDError(f"{options.out}: several processes write into a folder, one file a part")
    if options.draws_out is not None:
        raise OCDError("--draws-out is for one process: of several, ask `ocd.predict_to` for draws")
    loaded = with_ids(loaded, options.id_column)
    ending = ".safetensors" if loaded.reader.answer.kind in MEDIA else ".parquet"
    size = part_size(loaded, options)
    key = answer_key(loaded, options, size)
    if not _is_there(loaded, options, size, 0):  # before the folder is bound to these options
        raise OCDError(f"{options.source}: there are no rows to answer for")
    return loaded, Units(options.out, key, ending)


@dataclass
class _Work:
    """What one process does of the units."""

    loaded: LoadedRun
    options: ApplyOptions
    units: Units
    shard: Shard
    advance: Callable[[int], None]
    said: _Said = field(default_factory=_Said)
    left: list[int] = field(default_factory=list)
    """Units that other processes were at."""

    def do(self) -> None:
        """The units of this process, then those that others left; then all are awaited."""
        for own in (True, False):
            for number, rows in _units(self.loaded, self.options, self.units, self.shard, own):
                if not self._answer(number, rows):
                    self.left.append(number)
        if self._are_others_at():
            what = f"parts that other processes are at: {len(self.left)} left"
            wait_for(lambda: not self._are_others_at(), what, self._say)

    def _answer(self, number: int, rows: NewRows | None = None) -> bool:
        """Answer for the rows of a unit, which are read where they are not given; False where another
        process is at it."""
        with self.units.taken(number) as is_ours:
            if not is_ours:
                return self.units.is_done(number)
            found = self._rows(number) if rows is None else rows
            answers = self.loaded.answer(found, self.options.ask)
            path = self.units.path(number)
            _write(answers, path)
            facts = {"rows": len(answers), "unlike": int(answers.is_unlike.sum())}
            self.units.finish(number, **facts, sha256=file_digest(path))
        self.said.add(answers)
        self.advance(len(answers))
        return True

    def _are_others_at(self) -> bool:
        """Whether other processes are at units still; those of processes that are gone are done."""
        self.left = [
            number
            for number in self.left
            if not self.units.is_done(number) and not self._answer(number)
        ]
        return bool(self.left)

    def _rows(self, number: int) -> NewRows:
        size = part_size(self.loaded, self.options)
        return next(self.loaded.read(self.options.source, size, number * size))

    def _say(self, line: str) -> None:
        print(f"process {self.shard}: {line}", file=sys.stderr, flush=True)


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
        for number in numbers:
            units.drop_damaged(number)
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
