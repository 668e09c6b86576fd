"""New rows of a table: a file or a data frame, read as the training rows were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError, nearest
from ocd.tasks.reader import Answer, NewRows, State
from ocd.tasks.tables.features import Features
from ocd.tasks.tables.numbers import unreadable
from ocd.tasks.tables.reading import as_frame, stretches_of_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TableReader:
    """`features`: of the training rows. `answer`: the target. `id_column`: whose values are the rows'
    ids; their numbers from 1 on where it is None."""

    features: Features
    answer: Answer
    id_column: str | None = None

    kind: ClassVar[str] = "table"
    takes: ClassVar[str] = "a csv, tsv or parquet file, or a data frame, with the training columns"

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The rows of a csv or parquet file; more columns than are needed are not looked at."""
        for first, frame in stretches_of_table(source, size, start):
            yield self._rows(frame, str(source), first)

    def take(self, data: Any) -> NewRows:
        """Rows of a data frame, or a dict or list of dicts that makes one."""
        return self._rows(as_frame(data), "the frame", 0)

    def example(self, inputs: Inputs, folder: Path) -> bool:
        return False

    def state(self) -> State:
        facts, tensors = self.features.state()
        answer = {"kind": self.answer.kind, "names": list(self.answer.names)}
        return {"features": facts, "answer": answer}, tensors

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> TableReader:
        """As `state` gave it."""
        answer = Answer(facts["answer"]["kind"], tuple(facts["answer"]["names"]))
        return cls(Features.from_state(facts["features"], tensors), answer)

    # ----------------------------------------------------------- details

    def _rows(self, frame: pd.DataFrame, source: str, first: int) -> NewRows:
        """`first`: the number of rows before these."""
        self._check_columns(frame, source)
        self._check_values(frame, source, first)
        ids = self._ids(frame, source, first)
        remarks = [
            (place, f"{column} {value!r} is new")
            for place, column, value in self.features.unknown_categories(frame)
        ]
        remarks += self.features.odd_numbers(frame)
        return NewRows(ids, torch.from_numpy(self.features(frame)), remarks)

    def _check_columns(self, frame: pd.DataFrame, source: str) -> None:
        wanted, there = self.features.columns.names, [str(name) for name in frame.columns]
        frame.columns = there
        lacking = [name for name in wanted if name not in there]
        if lacking:
            hint = nearest(lacking[0], there)
            raise OCDError(f"{source} lacks the columns {', '.join(map(repr, lacking))}{hint}")

    def _check_values(self, frame: pd.DataFrame, source: str, first: int) -> None:
        """Raises OCDError for the first value that is not what its column holds."""
        columns = self.features.columns
        kinds = {name: ("a number", numbers.read) for name, numbers in columns.numbers.items()}
        kinds |= {name: ("a date", dates.read) for name, dates in columns.dates.items()}
        for name, (what, read) in kinds.items():
            odd = np.nonzero(unreadable(frame[name], read(frame[name])).to_numpy())[0]
            if len(odd):
                value = str(frame[name].iloc[odd[0]])
                where = f"{source}, row {first + int(odd[0]) + 1}, column {name!r}"
                raise OCDError(
                    f"{where}: {value!r} is not {what} as the training rows have it; leave it empty "
                    "where it is missing"
                )

    def _ids(self, frame: pd.DataFrame, source: str, first: int) -> list[str]:
        if self.id_column is None:
            return [str(number) for number in range(first + 1, first + len(frame) + 1)]
        if self.id_column not in frame.columns:
            raise OCDError(
                f"{source} has no column {self.id_column!r} (--id)"
                f"{nearest(self.id_column, list(frame.columns))}"
            )
        return ["" if value is None else str(value) for value in frame[self.id_column]]
