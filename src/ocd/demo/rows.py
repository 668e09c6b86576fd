"""Rows of a table: a slider for a number, a drop-down for a category, a text for a date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ocd.demo.pieces import short, text
from ocd.demo.shown import Question, ShownRun
from ocd.tasks import Field, NewRows, fields_of, values_of

if TYPE_CHECKING:
    from ocd.demo.panels import Listen

FIRST = 14
"""Columns that are seen at once; more of them are folded away."""
LISTED = 4
"""Columns of a test example in a list."""


class RowPanel:
    """Of rows that `TableReader` or `NumbersReader` reads, in the units of the user's table.

    A test row is known by its features alone; its values are found from these (ocd.tasks.values_of).
    It is answered as it is. From the first change on, the row is what the components say: a number
    that was missing is then where its slider stands, and a rare category is the one that is shown.
    """

    def build(self, shown: ShownRun) -> None:
        """A component for each column, in the table's order."""
        import gradio as gr

        self.reader = shown.loaded.reader
        self.fields = fields_of(self.reader)
        self._components = [_component(field) for field in self.fields[:FIRST]]
        if len(self.fields) > FIRST:
            with gr.Accordion(f"{len(self.fields) - FIRST} more columns", open=False):
                self._components += [_component(field) for field in self.fields[FIRST:]]

    @property
    def components(self) -> Sequence[Any]:
        return self._components

    def listen(self, when: Listen) -> None:
        for component in self.components:
            when(component.input, self.components, self.row)

    def show(self, question: Question) -> list[Any]:
        """The row's values; a slider's ends move where a value lies beyond them."""
        values = values_of(self.reader, question.rows.inputs)
        return [_set(field, values[field.name]) for field in self.fields]

    def thumbnail(self, question: Question) -> str:
        """The first columns in words."""
        values = values_of(self.reader, question.rows.inputs)
        parts = [f"{field.name} {_said(values[field.name])}" for field in self.fields[:LISTED]]
        return text(", ".join(parts) + (", …" if len(self.fields) > LISTED else ""))

    def row(self, *values: Any) -> NewRows:
        """One row of what the components hold, in their order. Raises OCDError, naming the column, for
        a value that is none of its column's, such as a date that is not written as one."""
        named = zip(self.fields, values, strict=True)
        return self.reader.take([{field.name: _given(field, value) for field, value in named}])


def _given(field: Field, value: Any) -> Any:
    """As the reader takes it: what is left empty is missing; a date is one as ISO 8601 has it, else it
    is written as in the training rows."""
    if value == "":
        return None
    if field.kind == "date":
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return value
    return value


def _said(value: Any) -> str:
    """In words."""
    if isinstance(value, datetime):
        has_time = value.hour or value.minute
        return value.isoformat(" ", "minutes") if has_time else value.date().isoformat()
    return "missing" if value is None else short(value) if isinstance(value, float) else str(value)


def _component(field: Field) -> Any:
    """For a column: at its median, the first category, or empty."""
    import gradio as gr

    if field.kind == "number":
        info = f"training rows: {short(field.low)} to {short(field.high)}"
        low, high = field.usual
        return gr.Slider(low, high, value=field.middle, step=field.step, label=field.name, info=info)
    if field.kind == "category":
        return gr.Dropdown(
            list(field.choices), value=field.choices[0], label=field.name, filterable=True
        )
    return gr.Textbox(label=field.name, info="a date, as 2024-05-31; empty: missing")


def _set(field: Field, value: Any) -> Any:
    """A component with a test row's value, within reach of its slider."""
    import gradio as gr

    if field.kind == "number":
        known = float(f"{field.middle if value is None else value:.6g}")
        low, high = (
            end if inside else float(f"{around(known / field.step) * field.step:.6g}")
            for end, inside, around in (
                (field.usual[0], known >= field.usual[0], math.floor),
                (field.usual[1], known <= field.usual[1], math.ceil),
            )
        )
        return gr.Slider(minimum=low, maximum=high, value=known)
    if field.kind == "category":
        return gr.Dropdown(list(field.choices), value=value)
    return gr.Textbox(value="" if value is None else _said(value))
