"""New windows of the series of a run: the last rows of a file, and earlier ones to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.tasks.reader import Answer, NewRows, State
from ocd.tasks.series.reading import Series, listed_names, read_series, series_of_frame
from ocd.tasks.series.times import Step
from ocd.tasks.series.units import in_units


@dataclass(frozen=True)
class SeriesReader:
    """Windows of `lookback` steps of the series `names`, each in units of its training rows: less
    `mean` (C,), over `deviation` (C,), both in double precision: levels may be large.
    `step`: the usual time from a row to the next, None where nothing says so. `time`: the columns that
    say when a row is, in new tables that have them too; (): rows are in the order of time; None: they
    are to be found.

    What follows the last row is forecast, and what followed the rows `horizon` before it, twice that
    before it, and so on: each row behind the first `lookback` is forecast once.
    """

    names: tuple[str, ...]
    lookback: int
    horizon: int
    mean: Tensor
    deviation: Tensor
    step: Step | None = None
    time: tuple[str, ...] | None = None

    kind: ClassVar[str] = "series"
    takes: ClassVar[str] = "a csv or parquet file with a column for each series, a row a time step"

    @property
    def answer(self) -> Answer:
        """Numbers of so many steps."""
        return Answer("steps", tuple(str(step) for step in range(1, self.horizon + 1)))

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The windows of a file, `size` at a time, the earliest first."""
        every = self._windows(
            read_series(str(source), None, self.names, self.time, known=True), str(source)
        )
        for first in range(start, len(every), size):
            yield self._part(every, slice(first, first + size))

    def take(self, data: Any) -> NewRows:
        """All windows of a data frame."""
        every = self._windows(series_of_frame(data, self.names, self.time, known=True), "the frame")
        return self._part(every, slice(0, len(every)))

    def window(self, values: Sequence[float], name: str | None) -> NewRows:
        """The last of some values of a series in its own unit, or (None) in units of deviation. Raises
        OCDError for too few, and for one that is not finite."""
        if len(values) < self.lookback:
            raise OCDError(f"{len(values)} values are given: {self.lookback} are needed")
        given = torch.tensor(values[-self.lookback :], dtype=torch.float64)[None]
        if not given.isfinite().all():
            place = int((~given[0].isfinite()).nonzero()[0]) + len(values) - self.lookback + 1
            raise OCDError(f"value {place} is not a finite number")
        if name is None:
            return NewRows(["the window"], given.float())
        column = self.names.index(name)
        units = torch.stack([self.mean[column], self.deviation[column]])[None]
        given = ((given - units[:, :1]) / units[:, 1:]).float()
        return NewRows([f"{name} after the last value"], given, [], units)

    def example(self, inputs: Inputs, folder: Path) -> bool:
        return False

    def state(self) -> State:
        facts: dict[str, Any] = {
            "names": list(self.names),
            "lookback": self.lookback,
            "horizon": self.horizon,
        }
        if self.step is not None:
            facts["step"] = [self.step.size, self.step.unit]
        if self.time is not None:
            facts["time"] = list(self.time)
        return facts, {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_state(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> SeriesReader:
        """As `state` gave it."""
        sizes = facts["lookback"], facts["horizon"]
        units = tensors["mean"].double(), tensors["deviation"].double()
        step = Step(*facts["step"]) if "step" in facts else None
        time = tuple(facts["time"]) if "time" in facts else None
        return cls(tuple(facts["names"]), *sizes, *units, step, time)

    def _windows(self, series: Series, where: str) -> NewRows:
        """Raises OCDError for fewer rows than a window has, and for rows of another step."""
        if self.step and series.step and self.step.differs(series.step):
            by = listed_names(series.when.columns)
            raise OCDError(
                f"{where}: rows are {series.step} apart, by column {by}, where the network learnt from "
                f"rows that are {self.step} apart: give one row each {self.step}"
            )
        total = len(series.values)
        if total < self.lookback:
            raise OCDError(
                f"{where} has {total} rows: {self.lookback} are needed, which the forecast is made from"
            )
        ends = range(
            total - (total - self.lookback) // self.horizon * self.horizon, total + 1, self.horizon
        )
        scaled = in_units(series, self.mean, self.deviation, where)
        given = torch.stack([scaled[end - self.lookback : end].T for end in ends])  # (N, C, L)
        names = [f"{name} after {series.when.called[end - 1]}" for end in ends for name in series.names]
        units = torch.stack([self.mean, self.deviation], dim=1).repeat(len(ends), 1)
        remarks = [(0, note) for note in series.notes]
        for number, end in enumerate(ends):  # a gap is said of the windows that it lies in
            if gaps := series.when.missing(end - self.lookback, end):
                of_window = range(number * len(series.names), (number + 1) * len(series.names))
                remarks += [(place, gaps) for place in of_window]
        return NewRows(names, given.flatten(0, 1).contiguous(), remarks, units)

    def _part(self, every: NewRows, where: slice) -> NewRows:
        assert isinstance(every.inputs, Tensor) and every.units is not None
        places = range(len(every))[where]
        remarks = [(at - places.start, text) for at, text in every.remarks if at in places]
        return NewRows(every.ids[where], every.inputs[where], remarks, every.units[where])
