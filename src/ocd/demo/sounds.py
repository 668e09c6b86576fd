"""Sounds: pick a mixture of the test set, or upload one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ocd.demo.pieces import line
from ocd.demo.shown import Question, ShownRun
from ocd.demo.voice_answers import heard
from ocd.tasks import SOUND_RATE, NewRows

if TYPE_CHECKING:
    from ocd.demo.panels import Listen


class SoundPanel:
    """Of mixtures (T,) at 8,000 samples a second."""

    def build(self, shown: ShownRun) -> None:
        """A button for uploads."""
        import gradio as gr

        self.reader = shown.loaded.reader
        gr.HTML(line("Pick a test mixture, or upload one."), elem_classes="ocd")
        self.upload = gr.UploadButton(
            f"Upload a mixture (WAV, mono, {SOUND_RATE:,} samples a second)", type="filepath",
            size="sm", file_types=[".wav", ".flac", ".ogg"],
        )  # fmt: skip

    @property
    def components(self) -> Sequence[Any]:
        return []

    def listen(self, when: Listen) -> None:
        when(self.upload.upload, [self.upload], self.uploaded)

    def show(self, question: Question) -> list[Any]:
        """Nothing: the mixture is heard beside its voices."""
        return []

    def thumbnail(self, question: Question) -> str:
        """A player."""
        assert isinstance(question.rows.inputs, Tensor)
        return heard(question.rows.inputs[0], f"mixture {question.place}", seen=False)

    def uploaded(self, path: str) -> NewRows:
        """A file as a whole. Raises OCDError for one that cannot be read, has another rate, or is too
        short or too long."""
        rows = next(self.reader.read(Path(path), 1))
        return NewRows(["upload"], rows.inputs, rows.remarks)
