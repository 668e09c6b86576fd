"""Views side by side: truth, base, OCD, oracle, and maps of their errors; a film around the scene.

Images are (N, 3, H, W) of whole numbers from 0 to 255, as `ocd.evaluation` kept them for the first
seed. All error maps of a figure have one scale, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ocd.reporting.plotting import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]
COLUMNS = {
    "truth": "truth",
    "base": "base",
    "ocd": "OCD, one draw",
    "overfit_test": "overfitted on it\n(uses its pixels)",
}
NUM_VIEWS = 3
SMALLEST_FRAME = 200
"""Pixels a side of a film's frames: smaller ones are enlarged."""
SECONDS_PER_FRAME = 0.1


def read_views(path: Path) -> dict[str, Pixels]:
    """What a run kept of a seed's views, {} where it kept none: name -> (N, 3, H, W)."""
    if not path.exists():
        return {}
    from safetensors.numpy import load_file

    return dict(load_file(path))


def draw_views(views: Mapping[str, Pixels]) -> Figure:
    """Some test views, a row each: the images, and where their squared errors lie.

    `views` holds truth (N, 3, H, W), from 0 to 255, and whichever there are of the other columns.
    """
    import matplotlib
    from matplotlib.figure import Figure

    names = [name for name in COLUMNS if name in views]
    others = names[1:]
    truth = views["truth"].astype(float) / 255
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(NUM_VIEWS, len(truth))).round().astype(int))
    errors = {name: ((views[name] / 255 - truth) ** 2).mean(axis=1) for name in others}
    # One scale for all maps; its end leaves a hundredth of the base's pixels beyond it.
    brightest = float(np.quantile(errors["base"][chosen], 0.99)) or 1.0
    with matplotlib.rc_context(STYLE):
        columns = len(names) + len(others)
        figure = Figure(figsize=(1.75 * columns, 1.8 * len(chosen) + 0.5), layout="constrained")
        grid = figure.subplots(len(chosen), columns, squeeze=False)
    titles = [COLUMNS[name] for name in names] + [f"error: {COLUMNS[name]}" for name in others]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    for row, index in zip(grid, chosen, strict=True):
        for axes, name in zip(row, names, strict=False):
            axes.imshow(views[name][index].transpose(1, 2, 0))
            if name != "truth":
                axes.set_xlabel(f"MSE {errors[name][index].mean():.4f}", fontsize=8)
        for axes, name in zip(row[len(names) :], others, strict=True):
            drawn = axes.imshow(errors[name][index], cmap="magma", vmin=0, vmax=brightest)
        row[0].set_ylabel(f"test view {index}", fontsize=9)
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn, ax=grid[:, -1], fraction=0.08)
    bar.set_label("squared error of a pixel", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def write_film(views: Mapping[str, Pixels], path: Path) -> None:
    """Base and OCD side by side around the scene, as an animated GIF."""
    from PIL import Image, ImageDraw

    base, ocd = views["film/base"], views["film/ocd"]
    gap = np.full((*base.shape[:3], 2), 128, np.uint8)
    both = np.concatenate([base, gap, ocd], axis=3).transpose(0, 2, 3, 1)
    factor = -(-SMALLEST_FRAME // base.shape[2])
    frames = []
    for pixels in both:
        frame = Image.fromarray(np.ascontiguousarray(pixels))
        frame = frame.resize((frame.width * factor, frame.height * factor), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(frame)
        for place, name in ((4, "base"), (frame.width // 2 + 5, "OCD")):
            pen.rectangle((place - 2, 2, place + 32, 15), fill=(0, 0, 0))
            pen.text((place, 3), name, fill=(255, 255, 255))
        frames.append(frame.quantize(64))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    frames[0].save(
        aside,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=int(1000 * SECONDS_PER_FRAME),
        loop=0,
    )
    aside.replace(path)
