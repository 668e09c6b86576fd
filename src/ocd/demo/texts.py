"""Texts: write one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ocd.demo.pieces import text
from ocd.demo.shown import Question, ShownRun
from ocd.errors import OCDError
from ocd.tasks import NewRows, text_of_row

if TYPE_CHECKING:
    from ocd.demo.panels import Listen

LONGEST = 120
"""Characters of a text in a list."""


class TextPanel:
    """Of texts that `TextReader` reads, by the run's own tokenizer. A sentence encoder takes longer
    than a key stroke, so it is asked by a button."""

    def build(self, shown: ShownRun) -> None:
        """A box for the text, and the button."""
        import gradio as gr

        self.shown, self.reader = shown, shown.loaded.reader
        self.box = gr.Textbox(
            label="Text", lines=5, elem_id="text", placeholder="Write or paste a text"
        )
        self.button = gr.Button("Answer", variant="primary")

    @property
    def components(self) -> Sequence[Any]:
        return [self.box]

    def listen(self, when: Listen) -> None:
        when(self.button.click, [self.box], self.written)

    def show(self, question: Question) -> list[Any]:
        """A test text as its file has it, not as its tokens would spell it."""
        assert isinstance(question.rows.inputs, Tensor)
        return [text_of_row(self.shown.loaded.run.data, question.rows.inputs)]

    def thumbnail(self, question: Question) -> str:
        """How the text begins."""
        whole = self.show(question)[0]
        return text(whole if len(whole) <= LONGEST else f"{whole[:LONGEST]} …")

    def written(self, words: str) -> NewRows:
        """Raises OCDError where nothing is written."""
        if not words.strip():
            raise OCDError("there is no text yet: write one")
        return self.reader.take([words])
