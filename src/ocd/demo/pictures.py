"""Photographs of any size, which go through the run's own frozen network: upload one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocd.demo.shown import Question, ShownRun
from ocd.tasks import NewRows

if TYPE_CHECKING:
    from ocd.demo.panels import Listen


class PicturePanel:
    """Of images that `FeatureReader` reads: it resizes them and sends them through the frozen body.

    Of test examples a run keeps the features alone, from which no image can be made again: they are
    answered, but not seen.
    """

    def build(self, shown: ShownRun) -> None:
        """A place for one image, by pointer or by a dialogue."""
        import gradio as gr

        self.reader = shown.loaded.reader
        self.upload = gr.Image(label="Upload an image", type="filepath", sources=["upload"])

    @property
    def components(self) -> Sequence[Any]:
        return [self.upload]

    def listen(self, when: Listen) -> None:
        when(self.upload.upload, [self.upload], self.uploaded)

    def show(self, question: Question) -> list[Any]:
        """No image."""
        return [None]

    def thumbnail(self, question: Question) -> str:
        """Nothing: its number says which it is."""
        return ""

    def uploaded(self, path: str) -> NewRows:
        """Features of an image file of any size. Raises OCDError for what is no image, and where the
        body's weights are not those of the run."""
        return next(iter(self.reader.read(Path(path), 1)))
