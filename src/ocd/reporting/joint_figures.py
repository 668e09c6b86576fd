"""Draws of whole answers as pictures: images a row each, or scenarios of series; and CRPS by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ocd.evaluation import Array, Json
from ocd.reporting.joint import OURS, joint_title
from ocd.reporting.plotting import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    canvas,
    legend,
    save,
    title,
)
from ocd.reporting.wording import known_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, BLACK, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
IMAGES_CAPTION = (
    "Some test images of the first seed, whose upper half was given: the truth, the base's answer, and "
    "draws. All of them share the upper half."
)
SERIES_CAPTION = (
    "Some test windows of the first seed: what was given (grey), what followed (black), the base's "
    "forecast (dashed), and scenarios that OCD drew (blue)."
)
STEPS_CAPTION = "CRPS of each step of the answer by itself, mean over the seeds: lower is better."
NUM_SERIES = 6


def joint_figures(folder: Path, found: Json, shown: Mapping[str, Array]) -> list[str]:
    """Draw what there is into `folder`; returns the report's lines about it."""
    lines = []
    if "truth" in shown and OURS in shown:
        images = shown["truth"].ndim == 4
        save(draw_images(shown) if images else draw_scenarios(shown), folder / "draws.png")
        lines.append(f"![draws](figures/draws.png)\n\n{IMAGES_CAPTION if images else SERIES_CAPTION}")
        if not images and found:
            save(draw_crps(found), folder / "crps_by_step.png")
            lines.append(f"![CRPS by step](figures/crps_by_step.png)\n\n{STEPS_CAPTION}")
    return lines


def draw_images(shown: Mapping[str, Array]) -> Figure:
    """A row a test image: truth, base, and the draws of each method."""
    import matplotlib
    from matplotlib.figure import Figure

    methods = [name for name in shown if name not in ("truth", "base")]
    methods.sort(key=lambda name: name != OURS)
    blocks = [("truth", shown["truth"][None]), ("base", shown["base"][None])]
    blocks += [(joint_title(name), shown[name]) for name in methods]
    rows = len(shown["truth"])
    widths = [width for _, block in blocks for width in (*[1.0] * len(block), 0.25)][:-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.62 * sum(widths), 0.62 * rows + 0.35))
        grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
        # By hand: a layout that is found would make room for titles that are wider than an image.
        top = 1 - 0.35 / (0.62 * rows + 0.35)
        figure.subplots_adjust(0.005, 0.01, 0.995, top, wspace=0.06, hspace=0.06)
    for row, line in enumerate(grid):
        places = iter(line)
        for number, (name, block) in enumerate(blocks):
            if number:
                next(places).set_axis_off()  # the gap between two blocks
            for place, images in enumerate(block):
                axes = next(places)
                _show(axes, images[row])
                if not row and not place:
                    axes.set_title(name, fontsize=9, loc="left")
    return figure


def _show(axes: Axes, image: Array) -> None:
    """An image (C, H, W) from 0 to 1, dark on white where it is grey."""
    pixels = np.clip(image, 0, 1).transpose(1, 2, 0)
    axes.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GREY)


def draw_scenarios(shown: Mapping[str, Array]) -> Figure:
    """Some windows: what was given, what followed, the base's forecast and OCD's scenarios."""
    import matplotlib
    from matplotlib.figure import Figure

    count = min(NUM_SERIES, len(shown["truth"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.9 * -(-count // 3) + 0.5), layout="constrained")
        grid = figure.subplots(-(-count // 3), 3, squeeze=False).ravel()
    total = shown["truth"].shape[1]
    given = total // 2
    steps = np.arange(total) - given
    for row, axes in enumerate(grid):
        if row >= count:
            axes.set_visible(False)
            continue
        for draw in shown[OURS]:
            axes.plot(steps[given - 1 :], draw[row][given - 1 :], color=BLUE, alpha=0.5, linewidth=0.9)
        truth = shown["truth"][row]
        axes.plot(steps[:given], truth[:given], color=GREY)
        axes.plot(steps[given - 1 :], truth[given - 1 :], color=BLACK)
        base = shown["base"][row]
        axes.plot(steps[given - 1 :], base[given - 1 :], color=VERMILION, linestyle="--", linewidth=1)
    return figure


def draw_crps(found: Json) -> Figure:
    """CRPS of every step, by method."""
    figure, axes = canvas(6.4, 4.2)
    names = sorted((name for name in found if name != "base"), key=lambda name: name != OURS)
    for name, colour in zip(names, COLOURS, strict=False):
        steps = zip(*found[name]["crps_by_step"], strict=True)
        curve = [np.nan if (value := known_mean(of)) is None else value for of in steps]
        width = 2.4 if name == OURS else 1.2
        axes.plot(
            range(1, len(curve) + 1), curve, label=joint_title(name), color=colour, linewidth=width
        )
    axes.set(xlabel="step", ylabel="CRPS")
    title(axes, "How good is each step by itself?")
    legend(axes)
    return figure
