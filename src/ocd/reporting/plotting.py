"""What all figures share: palette, style, canvas.

The colours can be told apart by colour-blind readers (Okabe and Ito 2008). Figures are made without
pyplot, so that no global state is touched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocd.evaluation import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart with every common colour blindness.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#222222", "#B8B8B8"
SEED_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
LOSS_FLOOR = 1e-6  # where smaller losses are drawn on a logarithmic axis
STYLE: Any = {  # matplotlib types its keys one by one
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
}


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of width x height inches in the style of all figures."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def pair_of_panels(
    width: float, height: float, shares: tuple[float, float]
) -> tuple[Figure, tuple[Axes, Axes]]:
    """An empty figure of two axes side by side that share their rows; `shares`: of the width."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=shares)
        return figure, (left, right)


def title(axes: Axes, text: str, pad: float = 8) -> None:
    """A title at the left of the axes."""
    axes.set_title(text, loc="left", fontsize=11, pad=pad)


def legend(axes: Axes, **where: Any) -> None:
    """A legend without a frame."""
    axes.legend(frameon=False, fontsize=9, **where)


def is_wide(values: Array) -> bool:
    """Whether a logarithmic axis shows these values better: all positive, over a decade."""
    return bool(values.size and values.min() > 0 and values.max() > 15 * values.min())


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write the figure as PNG beside `path`, then rename it, so that no half file is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several may report at once
    figure.savefig(aside, dpi=dpi, format="png")
    aside.replace(path)
