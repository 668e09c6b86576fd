"""Views of a scene: move the camera around it and up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ocd.demo.pieces import image
from ocd.demo.shown import Question, ShownRun
from ocd.tasks import NewRows, pose_around

if TYPE_CHECKING:
    from ocd.demo.panels import Listen

RADIUS = 4.0
"""How far from the middle a camera is where no test view says it, in the scene's unit."""


class PosePanel:
    """Of poses (4, 4), camera to world, that `ViewReader` reads.

    Three numbers say where the camera is, and it looks at the middle of the scene with z upwards. A
    test view's own camera may look past the middle or be tilted: it is answered as it is, and the
    sliders stand where they come nearest.
    """

    def build(self, shown: ShownRun) -> None:
        """A slider each for azimuth, height and distance; the last as far as the test views are."""
        import gradio as gr

        self.reader = shown.loaded.reader
        poses = shown.test.inputs
        assert isinstance(poses, Tensor)
        radius = float(poses[:, :3, 3].norm(dim=1).mean()) if len(poses) else RADIUS
        self.azimuth = gr.Slider(
            -180, 180, value=45, step=5, label="Azimuth, degrees", info="around the scene",
            elem_id="azimuth",
        )  # fmt: skip
        self.height = gr.Slider(
            -10, 85, value=30, step=5, label="Height, degrees", info="0 is level, 90 is above"
        )
        self.radius = gr.Slider(
            round(0.6 * radius, 1), round(1.6 * radius, 1), value=round(radius, 1), step=0.1,
            label="Distance", info="from the middle, in the scene's unit",
        )  # fmt: skip

    @property
    def components(self) -> Sequence[Any]:
        return [self.azimuth, self.height, self.radius]

    def listen(self, when: Listen) -> None:
        for slider in self.components:
            when(slider.input, self.components, self.moved)

    def show(self, question: Question) -> list[Any]:
        """The sliders that come nearest to a camera: degrees, degrees, and the scene's unit."""
        assert isinstance(question.rows.inputs, Tensor)
        x, y, z = question.rows.inputs[0, :3, 3].tolist()
        radius = math.sqrt(x * x + y * y + z * z)
        azimuth, height = math.atan2(y, x), math.asin(max(-1.0, min(1.0, z / max(radius, 1e-9))))
        return [round(math.degrees(azimuth)), round(math.degrees(height)), round(radius, 1)]

    def thumbnail(self, question: Question) -> str:
        """The right view, and where it is taken from."""
        azimuth, height, _ = self.show(question)
        seen = "" if question.truth is None else f'<img src="{image(question.truth)}" alt="">'
        return f'{seen}<span class="words"> azimuth {azimuth}°, height {height}°</span>'

    def moved(self, azimuth: float, height: float, radius: float) -> NewRows:
        """The camera there, one pose."""
        return self.reader.take(pose_around(math.radians(azimuth), math.radians(height), radius)[None])
