"""The figures of a report, drawn from plain numbers alone.

    lines = draw_all(folder, FigureData(...))

A figure is drawn if there are numbers for it; otherwise the report says why not. matplotlib is
imported only when something is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.evaluation import Array, Json
from ocd.reporting.comparison_figure import MethodPoint, draw_comparison
from ocd.reporting.distribution import draw_coverage
from ocd.reporting.joint_figures import joint_figures
from ocd.reporting.plotting import LOSS_FLOOR, save
from ocd.reporting.prediction_figures import draw_base_vs_ocd, draw_risk_coverage, draw_worst_examples
from ocd.reporting.training_figures import Curve, LayerScore, draw_layer_scores, draw_training
from ocd.reporting.view_figures import Pixels, draw_views, write_film

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {  # of each figure, and why it may be missing
    "comparison": (
        "Every method that does not use the test label and was timed, the best on top: its mean loss "
        "on the test examples, and what a prediction costs; the dotted lines are the base's. What it "
        "costs to get the method is in the table.",
        "no method has both a finite loss and a known cost",
    ),
    "risk_coverage": (
        "How often the base errs on its most certain answers, by whose certainty they were chosen "
        "(mean over seeds): the lower the curve, the better the score knows where the base errs. "
        "At 100 % all curves meet at the base's share of errors (of answers that are not classes a "
        "tenth: the examples with the largest base loss).",
        "the predictions lack finite scores of uncertainty, or the base's errors",
    ),
    "layer_scores": (
        "Entropy of the loss when one layer's weights are perturbed, with standard errors; only "
        "differences matter, and the layer with the highest score is chosen.",
        "no selection was run, the layer was named",
    ),
    "training": (
        "Loss of the generator while it was trained; long curves are running medians, with the "
        "raw values faint behind them.",
        "the log holds no training steps",
    ),
    "base_vs_ocd": (
        "Each dot is a test example ({pairs} with finite losses, mean over seeds): below the "
        "diagonal the OCD ensemble has the lower loss; on logarithmic axes, losses under "
        f"{LOSS_FLOOR:g} are drawn there.",
        "the predictions lack finite losses of base and ensemble",
    ),
    "worst_examples": (
        "The test examples with the largest base loss of the first seed: what the single draws, "
        "their ensemble and the oracle make of them.",
        "the predictions lack the base's loss per example",
    ),
}
COVERAGE_CAPTION = (
    "How many test targets lie within the central intervals of each predictive distribution (mean over "
    "seeds): on the diagonal they cover what they claim, below it they are too narrow."
)
VIEWS_CAPTION = (
    "Test views of the first seed, and where the squared error of each image lies (one scale for all)."
)
FILM_CAPTION = "Around the scene, from poses that are in no set: the base beside OCD's mean."


@dataclass(frozen=True)
class FigureData:
    """The numbers that a run's figures are drawn from; what a run lacks is empty.

    `points`: loss and cost of each method. `curves`: coverage and risk (N,) by score of uncertainty,
    for N test examples. `layers`: the scores of Eq. 3. `training`, `validation`: losses by step, by
    seed. `pooled`: losses (N,) of base and ensemble, averaged over the seeds. `first`: losses of the
    first seed, (N,), or (K, N) of its draws. `loss_name`: in words. `views`: images of a task that
    has such. `distribution`: scores of continuous targets. `joint`: of whole answers. `shown`: draws of
    these.
    """

    points: Sequence[MethodPoint]
    curves: Mapping[str, tuple[Array, Array]]
    layers: Sequence[LayerScore]
    training: Mapping[int, Curve]
    validation: Mapping[int, Curve]
    pooled: tuple[Array, Array] | None
    first: Mapping[str, Array]
    loss_name: str
    views: Mapping[str, Pixels]
    distribution: Json
    joint: Json = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict)


def draw_all(folder: Path, data: FigureData) -> list[str]:
    """Draw the figures that there is data for into `folder`, and return the report's lines about them.

    A figure whose data is missing is not drawn, an older one of that name is removed, and its line says
    why. Figures of views and of distributions are for tasks that have these.
    """
    base, ensemble = data.pooled or (np.empty(0), np.empty(0))
    both = np.isfinite(base) & np.isfinite(ensemble)
    pairs, name_of_loss = f"{both.sum():,} of {len(both):,}", data.loss_name
    has_curves = bool(data.training or data.validation)
    plans: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "comparison": (bool(data.points), lambda: draw_comparison(data.points, name_of_loss)),
        "base_vs_ocd": (
            bool(both.any()),
            lambda: draw_base_vs_ocd(base[both], ensemble[both], name_of_loss),
        ),
        "worst_examples": (
            "base" in data.first,
            lambda: draw_worst_examples(data.first, name_of_loss),
        ),
        "risk_coverage": (bool(data.curves), lambda: draw_risk_coverage(data.curves)),
        "layer_scores": (bool(data.layers), lambda: draw_layer_scores(data.layers)),
        "training": (has_curves, lambda: draw_training(data.training, data.validation)),
    }
    lines = _draw_views(folder, data.views)
    if data.distribution:
        save(draw_coverage(data.distribution), folder / "coverage.png")
        lines.append(f"![coverage](figures/coverage.png)\n\n{COVERAGE_CAPTION}")
    lines += joint_figures(folder, data.joint, data.shown)
    for name, (possible, draw) in plans.items():
        path = folder / f"{name}.png"
        caption, reason = CAPTIONS[name]
        if possible:
            save(draw(), path)
            alt = name.replace("_", " ")
            lines.append(f"![{alt}](figures/{path.name})\n\n{caption.format(pairs=pairs)}")
        else:
            path.unlink(missing_ok=True)
            lines.append(f"`{path.name}` is not drawn: {reason}.")
    return lines


def _draw_views(folder: Path, views: Mapping[str, Pixels]) -> list[str]:
    lines = []
    if "truth" in views:
        save(draw_views(views), folder / "views.png")
        lines.append(f"![views](figures/views.png)\n\n{VIEWS_CAPTION}")
    if "film/base" in views:
        write_film(views, folder / "film.gif")
        lines.append(f"![film](figures/film.gif)\n\n{FILM_CAPTION}")
    return lines
