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
    """Of images that `FeatureReader` reads. Of test examples the features are kept alone."""

    def build(self, shown: ShownRun) -> None:
        import gradio as gr

        self.reader = shown.loaded.reader
        self.upload = gr.Image(label="Upload an image", type="filepath", sources=["upload"])

    @property
    def components(self) -> Sequence[Any]:
        return [self.upload]

    def listen(self, when: Listen) -> None:
        when(self.upload.upload, [self.upload], self.uploaded)

    def show(self, question: Question) -> list[Any]:
        return [None]

    def thumbnail(self, question: Question) -> str:
        return ""

    def uploaded(self, path: str) -> NewRows:
        """Raises OCDError for what is no image."""
        return next(iter(self.reader.read(Path(path), 1)))
