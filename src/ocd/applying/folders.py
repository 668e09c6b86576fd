"""New data of any size -> a folder of answers, by any number of processes (ocd.data.units).

    apply_in_units(load("runs/mine"), options, Share(2, 8), advance)

The first process counts the rows of each file (`plan.json`); the others wait for that. A unit is some
neighbouring rows of one file: `part-00012.parquet` for tables and texts, `part-00012.safetensors` for
the rest, then its marker `part-00012.json`. Parts in the order of their names are the rows in the order
of the input. No more than one unit is in memory. `complete.json` is written when all are done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ocd.applying.answers import Answers
from ocd.applying.files import (
    PART,
    ApplyOptions,
    Summary,
    key_of,
    with_ids,
    write_columns,
    write_pictures,
)  # fmt: skip
from ocd.applying.loaded import LoadedRun
from ocd.data import Share, Units, read_json, take_rows, wait_for, write_json, write_tensors
from ocd.errors import OCDError
from ocd.tasks import NewRows

AS_TABLE = ("table", "numbers", "texts")
"""Readers whose answers are written as parquet."""
SHOWN = 5
"""Remarks that a person is told at the end."""


def apply_in_units(
    loaded: LoadedRun, options: ApplyOptions, share: Share, advance: Callable[[int], None]
) -> Summary:
    """Answer for all rows of a file, or of the files of a folder, into a folder. All processes end when
    the last unit is there. Raises OCDError for what cannot be read, naming the row, and for a folder of
    other answers."""
    work = _Work.open(with_ids(loaded, options.id_column), options, share)
    for number in work.units.to_do(len(work.ranges), share):
        work.answer(number)
        advance(work.ranges[number].rows)
    return work.finish()


def goes_to_a_folder(loaded: LoadedRun, options: ApplyOptions, share: Share) -> bool:
    """Whether answers are written in units: `--out` has no ending, or several processes make views."""
    if loaded.reader.answer.kind == "view":
        return not share.is_alone
    if options.out.suffix and not share.is_alone:
        raise OCDError(f"{options.out} is one file: several processes answer into a folder")
    if options.out.suffix:
        return False
    if options.draws_out is not None and options.draws_out.suffix:
        raise OCDError(f"{options.draws_out}: draws go into a folder, as the answers do")
    return True


@dataclass(frozen=True)
class _Range:
    """Some rows of a file: `first`, counted from 0, and how many."""

    source: Path
    first: int
    rows: int


@dataclass
class _Work:
    """Answers for one source. `ranges`: the rows of each unit, `size` but for the last of a file."""

    loaded: LoadedRun
    options: ApplyOptions
    ranges: list[_Range]
    size: int
    _stream: Iterator[NewRows] = field(default_factory=lambda: iter(()))
    _at: tuple[Path, int] | None = None

    @classmethod
    def open(cls, loaded: LoadedRun, options: ApplyOptions, share: Share) -> _Work:
        """Counts the rows, or reads how many there are."""
        size = options.part or PART[loaded.reader.answer.kind]
        key, path = key_of(loaded, options, size), options.out / "plan.json"
        if not path.exists() and share.leads:
            files = _files(loaded, options.source)
            counted = [(str(file), loaded.reader.count(file)) for file in files]
            if not sum(count for _, count in counted):
                raise OCDError(f"{options.source}: there are no rows to answer for")
            write_json(path, {"key": key, "files": counted})
        said = f"the number of rows by shard 1/{share.of}, which counts them once"
        wait_for(path.exists, said, lambda line: print(f"shard {share}: {line}", file=sys.stderr))
        plan = read_json(path)
        if plan["key"] != key:
            raise OCDError(
                f"{options.out} holds other answers (of another run, number of draws or input, or of "
                "one that changed since): delete it, or give another --out"
            )
        return cls(loaded, options, _ranges(plan["files"], size), size)

    @property
    def units(self) -> Units:
        """The units of the answers."""
        return Units(self.options.out, "part", ".parquet" if self._as_table else ".safetensors")

    @property
    def _as_table(self) -> bool:
        return self.loaded.reader.kind in AS_TABLE

    def answer(self, number: int) -> None:
        """Answer for a unit's rows, and write them."""
        wanted, parts = self.ranges[number], []
        for rows in self._rows(wanted):
            parts.append(self.loaded.answer(rows, self.options.ask))
        facts: dict[str, Any] = {
            "file": str(wanted.source),
            "first": wanted.first,
            "rows": sum(map(len, parts)),
            "unlike": sum(int(part.is_unlike.sum()) for part in parts),
            "note": parts[0].note,
        }
        if facts["rows"] != wanted.rows:
            raise OCDError(f"{wanted.source} has other rows than when counted: give another --out")
        said = [
            f"row {row}: {text}"
            for part in parts
            for row, text in zip(part.ids, part.remarks, strict=True)
            if text
        ]
        facts |= {"num_remarks": len(said), "remarks": said[:SHOWN]}
        if not self._as_table:
            facts["ids"] = [name for part in parts for name in part.ids]
        self._write(number, parts)
        self.units.mark(number, facts)

    def _rows(self, wanted: _Range) -> Iterator[NewRows]:
        """The rows of a unit, as the reader gives them. Reading goes on where the last unit ended, if
        that is where this one begins: of a csv file all rows in front would be read again."""
        if self._at != (wanted.source, wanted.first):
            self._stream = self.loaded.read(wanted.source, self.size, wanted.first)
        self._at, left = None, wanted.rows
        for rows in self._stream:
            if len(rows) > left:
                few = slice(0, left)
                remarks = [(place, text) for place, text in rows.remarks if place < left]
                yield NewRows(rows.ids[few], take_rows(rows.inputs, few), remarks)
                return
            left -= len(rows)
            if not left:
                self._at = (wanted.source, wanted.first + wanted.rows)
            yield rows
            if not left:
                return

    def _write(self, number: int, parts: list[Answers]) -> None:
        path, draws_out = self.units.data(number), self.options.draws_out
        if self._as_table:
            write_columns(_joined([part.columns() for part in parts]), path, True)
            if draws_out is not None:
                draws = _joined([part.draw_columns() for part in parts])
                write_columns(draws, draws_out / path.name, True)
            return
        tensors = _joined([_tensors(part) for part in parts])
        write_tensors(path, tensors)
        if draws_out is not None:
            write_tensors(draws_out / path.name, {"draws": _cat([part.draws for part in parts], 1)})
        for part in parts:
            if part.answer.kind == "view":
                write_pictures(part, self.options.out, False)

    def finish(self) -> Summary:
        """Write and return what all units say together."""
        facts = [self.units.facts(number) for number in range(len(self.ranges))]
        remarks = [text for of in facts for text in of["remarks"]][:SHOWN]
        whole = {name: sum(of[name] for of in facts) for name in ("rows", "unlike", "num_remarks")}
        write_json(self.options.out / "complete.json", whole | {"parts": len(facts)})
        return Summary(whole["rows"], whole["unlike"], remarks, whole["num_remarks"], facts[0]["note"])


def _files(loaded: LoadedRun, source: Path) -> list[Path]:
    """The files of a source in the order of their names; of images a folder is one."""
    if not source.is_dir() or loaded.reader.kind not in AS_TABLE:
        return [source]
    found = [path for path in sorted(source.iterdir()) if path.is_file() and path.name[0] not in "._"]
    if not found:
        raise OCDError(f"{source}: there are no files")
    return found


def _ranges(files: list[list[Any]], size: int) -> list[_Range]:
    return [
        _Range(Path(file), first, min(size, count - first))
        for file, count in files
        for first in range(0, count, size)
    ]


def _tensors(answers: Answers) -> dict[str, Tensor]:
    """Answers that are no table: each by its name, a row an input."""
    made = {"base": answers.base, "ocd": answers.ocd, "distance": answers.distance}
    made["nearer"] = answers.nearer
    return made if answers.std is None else made | {"std": answers.std}


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Columns or tensors of several parts, one behind the other."""
    return {name: _cat([part[name] for part in parts]) for name in parts[0]}


def _cat(values: list[Any], dim: int = 0) -> Any:
    import numpy as np
    import torch

    if isinstance(values[0], Tensor):
        return torch.cat(values, dim=dim)
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values)
    return [value for part in values for value in part]
