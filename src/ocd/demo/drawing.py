"""Images of few pixels: draw one by pointer or keyboard, or upload one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ocd.demo.pieces import image
from ocd.demo.shown import Question, ShownRun, as_numbers
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
SCRIPT = """
const canvas = element.querySelector('canvas'), ink = canvas.getContext('2d');
const cursor = element.querySelector('.cursor');
const [channels, height, width] = props.shape, size = height * width;
const radius = 0.35 + 0.03 * Math.max(height, width);
let pixels = [], last = null, timer = null, at = [width >> 1, height >> 1];
const empty = () => Array(channels * size).fill(0);
function draw() {
  const shown = ink.createImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++)
      shown.data[4 * i + c] = Math.round(255 * (pixels[Math.min(c, channels - 1) * size + i] || 0));
    shown.data[4 * i + 3] = 255;
  }
  ink.putImageData(shown, 0, 0);
}
function dab(x, y, value) {
  for (let r = 0; r < height; r++) for (let k = 0; k < width; k++) {
    const far = Math.hypot(k + 0.5 - x, r + 0.5 - y);
    const cover = Math.min(1, Math.max(0, radius + 0.5 - far)), i = r * width + k;
    for (let c = 0; c < channels; c++)
      pixels[c * size + i] = value ? Math.max(pixels[c * size + i], cover)
                                   : Math.min(pixels[c * size + i], 1 - cover);
  }
}
function ask(wait) {
  clearTimeout(timer);
  timer = setTimeout(() => { props.value = pixels.map(v => Math.round(v * 1000) / 1000);
                             trigger('input'); }, wait);
}
const place = event => {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
};
canvas.addEventListener('pointerdown', event => {
  event.preventDefault(); canvas.focus({preventScroll: true}); canvas.setPointerCapture(event.pointerId);
  last = place(event); dab(...last, event.button !== 2); draw(); cursor.hidden = true; });
canvas.addEventListener('contextmenu', event => event.preventDefault());
canvas.addEventListener('pointermove', event => {
  if (!last) return;
  const next = place(event), steps = Math.ceil(4 * Math.hypot(next[0] - last[0], next[1] - last[1]));
  for (let s = 1; s <= steps; s++)
    dab(last[0] + (next[0] - last[0]) * s / steps, last[1] + (next[1] - last[1]) * s / steps,
        !(event.buttons & 2));
  last = next; draw(); ask(250); });
const stop = () => { if (last) { last = null; ask(0); } };
canvas.addEventListener('pointerup', stop); canvas.addEventListener('pointercancel', stop);
const show = () => {
  cursor.hidden = false;
  cursor.style.left = 100 * at[0] / width + '%'; cursor.style.top = 100 * at[1] / height + '%';
  cursor.style.width = 100 / width + '%'; cursor.style.height = 100 / height + '%'; };
canvas.addEventListener('focus', () => { if (canvas.matches(':focus-visible')) show(); });
canvas.addEventListener('blur', () => { cursor.hidden = true; });
canvas.addEventListener('keydown', event => {
  const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  if (event.key in moves) {
    at = [Math.min(width - 1, Math.max(0, at[0] + moves[event.key][0])),
          Math.min(height - 1, Math.max(0, at[1] + moves[event.key][1]))];
  } else if (event.key === ' ') { dab(at[0] + 0.5, at[1] + 0.5, true); ask(400);
  } else if (event.key === 'Backspace') { dab(at[0] + 0.5, at[1] + 0.5, false); ask(400);
  } else if (event.key === 'Delete') { pixels = empty(); ask(0);
  } else return;
  event.preventDefault(); show(); draw(); });
element.querySelector('.clear').addEventListener('click', () => { pixels = empty(); draw(); ask(0); });
const take = () => { pixels = props.value ? [...props.value] : empty(); draw(); };
watch('value', take); take();
"""


class DrawingPanel:
    """Of images (C, H, W) that `ImageReader` reads."""

    def build(self, shown: ShownRun) -> None:
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
        when(self.upload.upload, [self.upload, self.inverted], self.uploaded)

    def show(self, question: Question) -> list[Any]:
        assert isinstance(question.rows.inputs, Tensor)
        return [as_numbers(question.rows.inputs[0].flatten().clamp(0, 1))]

    def thumbnail(self, question: Question) -> str:
        assert isinstance(question.rows.inputs, Tensor)
        return f'<img class="sharp" src="{image(question.rows.inputs[0])}" alt="">'

    def drawn(self, pixels: list[float]) -> NewRows:
        """What is on the canvas."""
        return self.reader.take(torch.tensor(pixels, dtype=torch.float32).reshape(1, *self.shape))

    def uploaded(self, path: str, inverted: bool) -> NewRows:
        """A file of any size, scaled to the network's, its sides stretched alike where it is square.

        Raises OCDError for what is no image."""
        return self.reader.take([scaled(path, self.shape, inverted)])


def scaled(path: str, shape: tuple[int, int, int], inverted: bool) -> Any:
    """An image file, as Pillow has it, of the width and height of `shape`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    from ocd.errors import OCDError

    try:
        with Image.open(path) as file:
            turned = ImageOps.exif_transpose(file).convert("L" if shape[0] == 1 else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise OCDError(f"the upload is not a readable image ({error})") from error
    small = turned.resize((shape[2], shape[1]), Image.Resampling.BOX)
    return ImageOps.invert(small) if inverted else small
