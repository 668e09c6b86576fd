"""Where a person says what is asked: a panel for each kind of input, the same for any task.

    panel = make_panel(shown)
    with gr.Blocks():
        panel.build(shown)          # components of Gradio
    panel.listen(when)              # which events ask for an answer
    panel.show(shown.question(3))   # values with which the components show a test example

A panel turns what its components hold into rows as the run's own reader takes them, so that a value
means on the page what it means in `ocd apply`. To add one, write these methods and enter it in PANELS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ocd.demo.drawing import DrawingPanel
from ocd.demo.pictures import PicturePanel
from ocd.demo.poses import PosePanel
from ocd.demo.rows import RowPanel
from ocd.demo.shown import Question, ShownRun
from ocd.demo.sounds import SoundPanel
from ocd.demo.texts import TextPanel
from ocd.demo.windows import SeriesPanel
from ocd.errors import OCDError
from ocd.tasks import NewRows


class Listen(Protocol):
    """What a panel tells its events to."""

    def __call__(
        self,
        event: Callable[..., Any],
        inputs: Sequence[Any],
        read: Callable[..., NewRows],
        shows: bool = False,
    ) -> None:
        """At `event` of a component, the values of `inputs` are given to `read`, which makes one input
        of them or raises OCDError. `shows`: whether the panel's components then show what was read, as
        after an upload; not while a person is at them."""
        ...


class Panel(Protocol):
    """Components of Gradio for one kind of input."""

    def build(self, shown: ShownRun) -> None:
        """Make the components, within a page that is being made. Ranges and names are the run's own,
        from its reader and its test examples; nothing is predicted here."""
        ...

    @property
    def components(self) -> Sequence[Any]:
        """Those that show a test example when it is picked."""
        ...

    def listen(self, when: Listen) -> None:
        """Say which events of which components ask for an answer. Events of a person alone (`input`,
        `click`, `upload`): that a test example is shown must not ask again."""
        ...

    def show(self, question: Question) -> list[Any]:
        """What the components show of an input, in their order: values, or components of Gradio with
        what changes."""
        ...

    def thumbnail(self, question: Question) -> str:
        """A test example in a list, as HTML: a small image, or words. It begins with `<img` where it
        can stand on a button."""
        ...


PANELS: dict[str, Callable[[], Panel]] = {
    "images": DrawingPanel,
    "features": PicturePanel,
    "views": PosePanel,
    "table": RowPanel,
    "numbers": RowPanel,
    "texts": TextPanel,
    "series": SeriesPanel,
    "sounds": SoundPanel,
}
"""Name of a reader (ocd.tasks.Reader.kind) -> its panel."""


def make_panel(shown: ShownRun) -> Panel:
    """For the inputs of a run. Raises OCDError for a kind that has no panel."""
    run = shown.loaded.run
    reader = run.data.reader
    if reader is None:
        raise OCDError(f"{shown.root}: task {run.task.name} takes no new inputs, so there is no page")
    if reader.kind not in PANELS:
        raise OCDError(
            f"{shown.root}: inputs of kind {reader.kind!r} cannot be shown; {', '.join(PANELS)} can"
        )
    return PANELS[reader.kind]()
