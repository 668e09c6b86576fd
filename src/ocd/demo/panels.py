"""Where a person says what is asked: a panel for each kind of input, the same for any task."""

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
from ocd.errors import OCDError
from ocd.tasks import NewRows

Listen = Callable[[Callable[..., Any], Sequence[Any], Callable[..., NewRows]], None]
"""(event of a component, components whose values are taken, what makes an input of these values)."""


class Panel(Protocol):
    """Components of Gradio for one kind of input."""

    def build(self, shown: ShownRun) -> None:
        """Make the components, within a page that is being made."""
        ...

    @property
    def components(self) -> Sequence[Any]:
        """Those that show a test example when it is picked."""
        ...

    def listen(self, when: Listen) -> None:
        """Say which events of which components ask for an answer."""
        ...

    def show(self, question: Question) -> list[Any]:
        """What the components then show, in their order."""
        ...

    def thumbnail(self, question: Question) -> str:
        """A test example in a list, as HTML."""
        ...


PANELS: dict[str, Callable[[], Panel]] = {
    "images": DrawingPanel,
    "features": PicturePanel,
    "views": PosePanel,
    "table": RowPanel,
    "numbers": RowPanel,
    "texts": TextPanel,
    "sounds": SoundPanel,
}
"""Name of a reader (ocd.tasks.Reader.kind), or sounds where there is none -> its panel."""


def make_panel(shown: ShownRun) -> Panel:
    """For the inputs of a run. Raises OCDError for a kind that has no panel."""
    reader = shown.loaded.run.data.reader
    kind = "sounds" if reader is None else reader.kind
    if kind not in PANELS:
        raise OCDError(
            f"{shown.root}: inputs of kind {kind!r} cannot be shown; {', '.join(PANELS)} can"
        )
    return PANELS[kind]()
