"""Sounds: pick a mixture of the test set, or upload one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ocd.demo.pieces import line
from ocd.demo.shown import Question, ShownRun
from ocd.demo.voice_answers import RATE, heard
from ocd.errors import OCDError
from ocd.tasks import NewRows, read_sound

if TYPE_CHECKING:
    from ocd.demo.panels import Listen


class SoundPanel:
    """Of mixtures (T,) of one length, at 8,000 samples a second. A run of them has no reader, so its
    test mixtures say how long an upload has to be."""

    def build(self, shown: ShownRun) -> None:
        """A button for uploads."""
        import gradio as gr

        inputs = shown.test.inputs
        assert isinstance(inputs, Tensor)
        self.length = inputs.shape[1]
        gr.HTML(line("Pick a test mixture, or upload one."), elem_classes="ocd")
        self.upload = gr.UploadButton(
            f"Upload a mixture (WAV, mono, {RATE:,} samples a second)", type="filepath", size="sm",
            file_types=[".wav", ".flac", ".ogg"],
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
        """The first seconds of a file, as many as the run's mixtures have. Raises OCDError for a file
        that cannot be read, has another rate, or is shorter."""
        wave = read_sound(Path(path))
        if len(wave) < self.length:
            found, needed = len(wave) / RATE, self.length / RATE
            raise OCDError(f"the upload has {found:.2f} s of sound, where {needed:.2f} s are needed")
        return NewRows(["upload"], wave[None, : self.length])
