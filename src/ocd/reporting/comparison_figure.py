"""The figure of all methods: how good they are, and how expensive to predict with.

A row is a method, the best on top; the left half has its mean loss over seeds and test examples, the
right half the time of one prediction. A row of its own keeps names apart where two dozen methods have
nearly the same loss at nearly the same cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ocd.evaluation import Array
from ocd.reporting.methods import BASE, BASELINES, OWN
from ocd.reporting.plotting import BLACK, BLUE, GREY, VERMILION, pair_of_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

LOOKS = {BASE: (BLACK, "s"), OWN: (BLUE, "o"), BASELINES: (VERMILION, "^")}
ROW, REST = 0.26, 1.35  # inches of a row, and of title, legend and axis
LONGEST = 44  # letters of a name; longer ones leave the dots no room
LOGARITHMIC = 4  # from this ratio of the largest to the smallest loss on


class MethodPoint(NamedTuple):
    """A method of the table, with its means over the seeds."""

    title: str
    group: str
    microseconds: float
    loss: float


def draw_comparison(points: Sequence[MethodPoint], loss_name: str) -> Figure:
    """Loss and cost of a prediction, a row for each method, the lowest loss on top."""
    rows = sorted(points, key=lambda point: point.loss)
    figure, (left, right) = pair_of_panels(8.4, REST + ROW * len(rows), (4, 3))
    losses = np.array([row.loss for row in rows])
    costs = np.array([row.microseconds for row in rows])
    in_unit, unit = (
        (1e6, "s") if costs.max() >= 1e7 else (1e3, "ms") if costs.max() >= 2e4 else (1, "µs")
    )
    _dots(left, losses, rows, losses.min() > 0 and losses.max() > LOGARITHMIC * losses.min())
    _dots(right, costs / in_unit, rows, True)
    left.set_yticks(range(len(rows)), [_shortened(row.title) for row in rows], fontsize=9)
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        label.set_color(LOOKS[row.group][0])
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.set_xlabel(fill(f"{_shortened(loss_name)}, lower is better", 36))
    right.set_xlabel(f"prediction [{unit} per example]")
    handles, labels = left.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "outside upper left", "ncols": len(LOOKS), "frameon": False}
    figure.legend(handles, labels, fontsize=9, **where)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1].rstrip()}…"


def _dots(axes: Axes, values: Array, rows: Sequence[MethodPoint], logarithmic: bool) -> None:
    """A dot in each row, and a line through the base's: what lies left of it is better, or cheaper."""
    groups = np.array([row.group for row in rows])
    for name, (colour, marker) in LOOKS.items():
        places = np.flatnonzero(groups == name)
        if len(places):
            look: dict[str, Any] = {"color": colour, "marker": marker, "label": name}
            axes.scatter(values[places], places, s=34, zorder=3, **look)
    for base in values[groups == BASE]:
        axes.axvline(base, color=BLACK, linewidth=0.8, linestyle=":")
    axes.grid(axis="y", color=GREY, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    if logarithmic:
        axes.set_xscale("log")
        axes.margins(x=0.1)
        _plain_numbers(axes.xaxis)


def _plain_numbers(axis: Axis) -> None:
    """Numbers as one writes them on a logarithmic axis, also between the powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    steps = (1, 1.5, 2, 3, 5, 7) if high < 4 * low else (1, 2, 5) if high < 40 * low else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=6))
    axis.set_major_formatter(lambda value, _: f"{value:,.10g}" if value < 1e6 else f"{value:.3g}")
    axis.set_minor_locator(NullLocator())
