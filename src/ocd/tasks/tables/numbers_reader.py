"""New rows of a table of plain numbers: California housing's columns, or a file of rankings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.tasks.reader import Answer, NewRows, State
from ocd.tasks.tables.numbers import NumberFormat, unreadable
from ocd.tasks.tables.quantiles import Quantiles
from ocd.tasks.tables.reading import as_frame, stretches_of_table
from ocd.tasks.tables.svmlight import read_svmlight


@dataclass(frozen=True)
class NumbersReader:
    """Features by their `names` in a table, all there in each row; of an svmlight file by their number,
    from 1 on. `quantiles`: of the training rows."""

    names: tuple[str, ...]
    quantiles: Quantiles
    answer: Answer

    kind: ClassVar[str] = "numbers"
    takes: ClassVar[str] = "a csv or parquet file with a column for each feature, or svmlight (.txt)"

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The rows of a csv or parquet file, or of an svmlight file."""
        if source.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq", ".gz", ".bz2", ".xz"):
            for first, frame in stretches_of_table(source, size, start):
                yield self._rows(frame, str(source), first)
            return
        features = read_svmlight(source, len(self.names)).features
        for first in range(start, len(features), size):
            yield self._made(features[first : first + size], first)

    def take(self, data: Any) -> NewRows:
        """A data frame with these columns, or numbers (B, D) in their order."""
        import pandas as pd

        if isinstance(data, np.ndarray | Tensor):
            numbers = np.asarray(data)
            if numbers.ndim != 2 or numbers.shape[1] != len(self.names):
                raise OCDError(f"features have shape {numbers.shape}, not (B, {len(self.names)})")
            data = pd.DataFrame(numbers, columns=list(self.names))
        return self._rows(as_frame(data), "the frame", 0)

    def example(self, inputs: Inputs, folder: Path) -> bool:
        return False

    def state(self) -> State:
        facts = {"names": list(self.names), "target": self.answer.names[0]}
        return facts, self.quantiles.state()

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> NumbersReader:
        """As `state` gave it."""
        answer = Answer("number", (facts["target"],))
        return cls(tuple(facts["names"]), Quantiles.from_state(tensors), answer)

    def _rows(self, frame: Any, source: str, first: int) -> NewRows:
        if frame.empty:
            raise OCDError(f"{source}: there are no rows to predict")
        frame.columns = [str(name) for name in frame.columns]
        lacking = [name for name in self.names if name not in frame.columns]
        if lacking:
            raise OCDError(f"{source} lacks the columns {', '.join(map(repr, lacking))}")
        made = np.empty((len(frame), len(self.names)), np.float32)
        for place, name in enumerate(self.names):
            numbers = NumberFormat().read(frame[name])
            odd = np.nonzero((unreadable(frame[name], numbers) | ~np.isfinite(numbers)).to_numpy())[0]
            if len(odd):
                where = f"{source}, row {first + int(odd[0]) + 1}, column {name!r}"
                raise OCDError(f"{where}: {str(frame[name].iloc[odd[0]])!r} is not a finite number")
            made[:, place] = numbers
        return self._made(made, first)

    def _made(self, features: NDArray[np.float32], first: int) -> NewRows:
        ids = [str(number) for number in range(first + 1, first + len(features) + 1)]
        return NewRows(ids, torch.from_numpy(self.quantiles(features)))
