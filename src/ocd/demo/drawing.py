"""Images of few pixels: draw one by pointer or keyboard, or upload one.

The canvas (drawing.js) has the network's own pixels and no others, so that what is seen is what is
asked: nothing is centred, thinned or smoothed afterwards. Its brush covers a pixel by how near it is,
with a radius that grows with the image, as pens do on scanned digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ocd.demo.pieces import image
from ocd.demo.shown import Question, ShownRun, as_numbers
from ocd.errors import OCDError
from ocd.tasks import NewRows

if TYPE_CHECKING:
    from ocd.demo.panels import Listen

TEMPLATE = """
<div class="drawing" style="--ratio: ${width} / ${height}">
  <div class="board"><canvas width="${width}" height="${height}" tabindex="0" role="application"
    aria-label="${label}"></canvas><i class="cursor" hidden></i></div>
  <p class="note">${hint}</p>
  <button type="button" class="clear">Clear</button>
</div>
"""
SCRIPT = (Path(__file__).parent / "drawing.js").read_text(encoding="utf-8")


class DrawingPanel:
    """Of images (C, H, W) that `ImageReader` reads, grey (C = 1) or coloured (C = 3, in which a brush
    paints white). The canvas' value is the C * H * W pixels, from 0 to 1, channel by channel."""

    def build(self, shown: ShownRun) -> None:
        """Canvas, a button for uploads, and whether these are dark on light."""
        import gradio as gr

        self.reader = shown.loaded.reader
        facts, _ = self.reader.state()
        self.shape: tuple[int, int, int] = tuple(facts["shape"])
        channels, height, width = self.shape
        self.canvas = gr.HTML(
            value=[0.0] * (channels * height * width),
            html_template=TEMPLATE,
            js_on_load=SCRIPT,
            shape=list(self.shape),
            height=height,
            width=width,
            label=f"Drawing of {width} by {height} pixels. Arrow keys move, space paints, backspace "
            "erases, delete clears.",
            hint=f"Draw here: {width} by {height} pixels, as the network sees them. By keyboard: arrow "
            "keys, space, backspace, delete.",
            elem_id="canvas",
        )
        self.upload = gr.UploadButton(
            "Upload an image", file_types=["image"], type="filepath", elem_id="upload", size="sm"
        )
        self.inverted = gr.Checkbox(label="An upload is dark on light: turn it round", value=False)

    @property
    def components(self) -> Sequence[Any]:
        return [self.canvas]

    def listen(self, when: Listen) -> None:
        when(self.canvas.input, [self.canvas], self.drawn)
        when(self.upload.upload, [self.upload, self.inverted], self.uploaded, shows=True)

    def show(self, question: Question) -> list[Any]:
        """The pixels, on the canvas."""
        assert isinstance(question.rows.inputs, Tensor)
        return [as_numbers(question.rows.inputs[0].flatten().clamp(0, 1))]

    def thumbnail(self, question: Question) -> str:
        """The image; its number stands below, so it needs no words."""
        assert isinstance(question.rows.inputs, Tensor)
        return f'<img class="sharp" src="{image(question.rows.inputs[0])}" alt="">'

    def drawn(self, pixels: list[float]) -> NewRows:
        """What is on the canvas: C * H * W pixels."""
        return self.reader.take(torch.tensor(pixels, dtype=torch.float32).reshape(1, *self.shape))

    def uploaded(self, path: str, inverted: bool) -> NewRows:
        """A file of any size, scaled to the network's; where its sides have another ratio it is
        stretched. `inverted`: whether dark and light are exchanged first.

        Raises OCDError for what is no image.
        """
        return self.reader.take([scaled(path, self.shape, inverted)])


def scaled(path: str, shape: tuple[int, int, int], inverted: bool) -> Any:
    """An image file, as Pillow has it, of the channels, height and width of `shape`.

    It is turned upright as its camera says, and scaled by the mean of what a pixel covers. Raises
    OCDError for what Pillow cannot read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            turned = ImageOps.exif_transpose(file).convert("L" if shape[0] == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise OCDError(f"the upload is not a readable image ({error})") from error
    small = turned.resize((shape[2], shape[1]), Image.Resampling.BOX)
    return ImageOps.invert(small) if inverted else small
