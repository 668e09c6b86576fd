"""Series: write or paste what came last, or upload a table."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ocd.demo.pieces import short, text
from ocd.demo.shown import Question, ShownRun, as_numbers
from ocd.errors import OCDError
from ocd.tasks import NewRows, SeriesReader

if TYPE_CHECKING:
    from ocd.demo.panels import Listen

IN_DEVIATIONS = "deviations from the training mean"
"""The unit of test examples, which do not say of which series they are."""


class SeriesPanel:
    """Windows of series that `SeriesReader` reads: a list of units, a box of numbers, and a file."""

    def build(self, shown: ShownRun) -> None:
        """The units of the run's series, and a box for so many values as the network is given."""
        import gradio as gr

        reader = shown.loaded.reader
        assert isinstance(reader, SeriesReader)
        self.reader = reader
        self.unit = gr.Dropdown(
            [IN_DEVIATIONS, *reader.names], value=reader.names[0], label="Series", elem_id="series"
        )
        self.box = gr.Textbox(
            label=f"The last {reader.lookback} values, the latest last", lines=5, elem_id="window",
            placeholder="Write or paste numbers",
        )  # fmt: skip
        self.button = gr.Button("Answer", variant="primary")
        self.file = gr.File(
            label="Or a table: its last rows", file_count="single", type="filepath",
            file_types=[".csv", ".tsv", ".parquet"],
        )  # fmt: skip

    @property
    def components(self) -> Sequence[Any]:
        return [self.unit, self.box]

    def listen(self, when: Listen) -> None:
        when(self.button.click, [self.unit, self.box], self.written)
        when(self.file.upload, [self.unit, self.file], self.uploaded, True)

    def show(self, question: Question) -> list[Any]:
        """A window in its own unit, with the digits that give it again."""
        window = in_units(question.rows)
        unit = IN_DEVIATIONS if question.rows.units is None else self._name(question.rows)
        return [unit, " ".join(_digits(value, question.rows.units) for value in as_numbers(window))]

    def thumbnail(self, question: Question) -> str:
        """Where the window starts, and where it ends."""
        window = as_numbers(in_units(question.rows))
        return text(f"from {short(window[0])} to {short(window[-1])}")

    def written(self, unit: str, words: str) -> NewRows:
        """Raises OCDError for what is no number, and for too few of them."""
        values = numbers_of(words)
        return self.reader.window(values, None if unit == IN_DEVIATIONS else unit)

    def uploaded(self, unit: str, path: str) -> NewRows:
        """The last window of the chosen series in a table. Raises OCDError where none is chosen."""
        if unit == IN_DEVIATIONS:
            raise OCDError("choose a series first: a table has the values of each in its own unit")
        rows = list(self.reader.read(Path(path), 2**31))[-1]
        place = len(rows) - len(self.reader.names) + self.reader.names.index(unit)
        one = slice(place, place + 1)
        assert isinstance(rows.inputs, Tensor) and rows.units is not None
        of_file = [(0, remark) for _, remark in rows.remarks]
        return NewRows(rows.ids[one], rows.inputs[one], of_file, rows.units[one])

    def _name(self, rows: NewRows) -> str:
        return next(name for name in self.reader.names if rows.ids[0].startswith(f"{name} after "))


def numbers_of(words: str) -> list[float]:
    """Numbers with spaces, semicolons, line ends or commas between. A comma between two digits is one
    before decimals where values have something else between them. Raises OCDError for what is no
    number, and where a comma may be either."""
    parts = [part for part in re.split(r"[\s;]+", words.strip()) if part.strip(",")]
    inner = [part.strip(",") for part in parts]
    if len(parts) < 2 or not any(re.search(r"\d,\d", part) for part in inner):
        values = [part for part in re.split(r"[\s,;]+", words.strip()) if part]
        return [_number(part, place) for place, part in enumerate(values, 1)]
    for place, (part, value) in enumerate(zip(parts, inner, strict=True), 1):
        if part != value or value.count(",") > 1 or "." in value:
            raise OCDError(
                f"at value {place}, {part!r}, a comma may stand before decimals or between two values: "
                "write a point before decimals, and spaces alone between values"
            )
    return [_number(value.replace(",", "."), place) for place, value in enumerate(inner, 1)]


def _number(part: str, place: int) -> float:
    try:
        return float(part)
    except ValueError:
        raise OCDError(
            f"value {place} is {part!r}, no number: write them with a point before decimals, and "
            "spaces between"
        ) from None


def _digits(value: float, units: Tensor | None) -> str:
    """A value with the digits that tell: eight behind its series' deviation, however large its mean."""
    if units is None:
        return f"{value:.9g}"
    return repr(round(value, 8 - math.floor(math.log10(float(units[0, 1])))))


def in_units(rows: NewRows) -> Tensor:
    """The first window (L,) as the user has it, in double precision."""
    assert isinstance(rows.inputs, Tensor)
    window = rows.inputs[0].cpu().double()
    return window if rows.units is None else rows.units[0, 0] + rows.units[0, 1] * window
