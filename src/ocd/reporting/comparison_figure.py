"""The figure of all methods: how good they are, and how expensive to predict with.

A point is a method with its mean loss over seeds and test examples, and the time of one prediction.
Names are placed by trying: every name has some positions around its point, and the set with the
fewest overlaps and crossings is drawn, so that a table of two dozen methods stays readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ocd.evaluation import Array
from ocd.reporting.methods import BASE, BASELINES, OWN
from ocd.reporting.plotting import BLACK, BLUE, VERMILION, canvas, legend, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {BASELINES: (VERMILION, "^"), OWN: (BLUE, "o"), BASE: (BLACK, "s")}  # the last lies on top
FONT_SIZE = 8.5
NUM_ORDERS = 100
CROSSING = 2000.0  # what a line through another name weighs, in squared places
STEPS = np.array([  # from a point to the places of its name, right and left first, ring by ring [pt]
    (round(ring * math.cos(math.radians(angle)), 3), round(ring * math.sin(math.radians(angle)), 3))
    for ring in (9, 13, 18, 25, 34, 45, 58, 73, 90, 110, 132, 156)
    for angle in (0, 180, 30, 330, 150, 210, 60, 300, 120, 240, 90, 270)
])  # fmt: skip


class MethodPoint(NamedTuple):
    """A method of the table, with its means over the seeds."""

    title: str
    group: str
    microseconds: float
    loss: float


def draw_comparison(points: Sequence[MethodPoint], loss_name: str) -> Figure:
    """Loss against the cost of a prediction, each point with its name beside it."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = canvas(8.4, 5.6)
    costs = np.array([point.microseconds for point in points])
    losses = np.array([point.loss for point in points])
    for name, (colour, marker) in LOOKS.items():
        mask = np.array([point.group == name for point in points])
        if mask.any():
            look: dict[str, Any] = {"color": colour, "marker": marker, "label": name}
            axes.scatter(costs[mask], losses[mask], s=34, zorder=3, **look)
    axes.set_xscale("log")
    axes.set_xlim(costs.min() / 2, costs.max() * 2)
    if losses.min() > 0 and losses.max() > 4 * losses.min():
        axes.set_yscale("log")
    axes.margins(y=0.1)
    for axis, logarithmic in ((axes.xaxis, True), (axes.yaxis, axes.get_yscale() == "log")):
        if logarithmic:  # plain numbers, also between the powers of ten
            low, high = axis.get_view_interval()
            steps = (1, 2, 5) if high > 15 * low else (1, 1.5, 2, 3, 5, 7)
            axis.set_major_locator(LogLocator(subs=steps))
            axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
            axis.set_minor_locator(NullLocator())
    axes.set_xlabel("cost of a prediction [µs per example]")
    axes.set_ylabel(loss_name)
    title(axes, "All methods: lower is better, left is cheaper", pad=24)
    handles, labels = axes.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
    legend(axes, handles=handles[::-1], labels=labels[::-1], ncols=3, **where)
    _write_names(figure, axes, points)
    return figure


def _write_names(figure: Figure, axes: Axes, points: Sequence[MethodPoint]) -> None:
    """Each name close to its point, where it covers no other name and no point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # now the axes have their place; they keep it
    figure.set_layout_engine("none")
    names = [axes.text(0, 0, point.title, fontsize=FONT_SIZE) for point in points]
    sizes = np.array([name.get_window_extent(renderer).size for name in names])  # all in pixels
    for name in names:
        name.remove()
    pixels = figure.dpi / 72  # of a typographic point
    marks = axes.transData.transform([(point.microseconds, point.loss) for point in points])
    centres = marks[:, None] + pixels * STEPS + np.sign(STEPS) * [0.5, 0] * sizes[:, None]
    half = 0.5 * sizes[:, None] + [6, 0]  # two names in a row are seen to be two
    boxes = np.concatenate([centres - half, centres + half], axis=2)
    chosen = _arrange(boxes, marks, np.array(axes.get_window_extent(renderer).extents))
    for index, (point, place) in enumerate(zip(points, chosen, strict=True)):
        right, up = np.sign(STEPS[place]).astype(int)
        arrow = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.7, "shrinkB": 4, "shrinkA": 1}
        axes.annotate(
            point.title,
            (point.microseconds, point.loss),
            tuple((centres[index, place] - marks[index]) / pixels),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            color=LOOKS[point.group][0],
            verticalalignment="center",
            horizontalalignment="center",
            # From the point to the nearest edge of a name that does not stand just beside it.
            arrowprops={**arrow, "relpos": (0.5 - 0.5 * right, 0.5 if right else 0.5 - 0.5 * up)}
            if place > 1
            else None,
        )


def _arrange(boxes: Array, marks: Array, area: Array) -> list[int]:
    """Of the places (P, R, 4) of each name one, so that all are free and stand close together.

    Boxes are left, low, right, high. Names are placed one by one, each at its first free place; of
    some orders of doing so, the one in which they get nearest to their points.
    """
    taken = np.concatenate([marks - 6, marks + 6], axis=1)
    inside = ((boxes[..., :2] >= area[:2]) & (boxes[..., 2:] <= area[2:])).all(axis=-1)
    inside = np.asarray(inside & ~_overlap(boxes[:, :, None], taken).any(axis=-1))
    generator = np.random.default_rng(0)
    best, least = [0] * len(boxes), np.inf
    for _ in range(NUM_ORDERS):
        found = [0] * len(boxes)  # beside the point, where there is no room at all
        free = inside.copy()
        effort = 0.0
        for name in generator.permutation(len(boxes)):
            found[name] = int(free[name].argmax())
            effort += float(found[name]) ** 2 if free[name].any() else 1e9
            free &= ~_overlap(boxes, boxes[name, found[name]])
        effort += CROSSING * _count_crossings(boxes[np.arange(len(boxes)), found], marks)
        if effort < least:
            best, least = found, effort
    return best


def _count_crossings(boxes: Array, marks: Array) -> int:
    """How often the straight line from a point to its name (P, 4) runs through another name."""
    shares = np.linspace(0, 1, 40)[:, None, None]
    nearest = np.clip(marks, boxes[:, :2], boxes[:, 2:])
    steps = marks + shares * (nearest - marks)  # (40, P, 2)
    inside = _overlap(np.concatenate([steps, steps], axis=-1)[:, :, None], boxes)  # (40, P, P)
    inside[:, np.arange(len(boxes)), np.arange(len(boxes))] = False
    return int(inside.any(axis=0).sum())


def _overlap(boxes: Array, others: Array) -> NDArray[np.bool_]:
    """Whether boxes (..., 4) and others (..., 4) share some area."""
    shared = (boxes[..., 2:] > others[..., :2]) & (boxes[..., :2] < others[..., 2:])
    return np.asarray(shared.all(axis=-1))
