"""The figures of a report, drawn from plain numbers alone; matplotlib is imported only then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ocd.evaluation import Array, Json
from ocd.reporting.comparison_figure import MethodPoint, draw_comparison
from ocd.reporting.distribution import draw_coverage
from ocd.reporting.plotting import LOSS_FLOOR, save
from ocd.reporting.prediction_figures import draw_base_vs_ocd, draw_risk_coverage, draw_worst_examples
from ocd.reporting.training_figures import Curve, LayerScore, draw_layer_scores, draw_training
from ocd.reporting.view_figures import Pixels, draw_views, write_film

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTIONS = {  # of each figure, and why it may be missing
    "comparison": (
        "Every method that does not use the test label and was timed: its mean loss on the test "
        "examples, and what a prediction costs. What it costs to get the method is in the table.",
        "no method has both a finite loss and a known cost",
    ),
    "risk_coverage": (
        "How often the base errs on its most certain answers, by whose certainty they were chosen "
        "(mean over seeds): the lower the curve, the better the score knows where the base errs. "
        "At 100 % all curves meet at the base's share of errors.",
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


def draw_all(
    folder: Path,
    *,
    points: Sequence[MethodPoint],
    curves: Mapping[str, tuple[Array, Array]],
    layers: Sequence[LayerScore],
    training: Mapping[int, Curve],
    validation: Mapping[int, Curve],
    pooled: tuple[Array, Array] | None,
    first: Mapping[str, Array],
    loss_name: str,
    views: Mapping[str, Pixels],
    distribution: Json,
) -> list[str]:
    """Draw what there is data for into `folder`; return the report's lines about it.

    `curves` holds coverage and risk (N,) by score, `pooled` the losses (N,) of base and ensemble,
    averaged over the seeds, and `first` those of the first seed; `views` the images of a task that has
    such, `distribution` what was judged of continuous targets: for these alone there are figures of
    them. A figure whose data is missing is not drawn, an older one of that name is removed, and its
    line says why.
    """
    base, ensemble = pooled or (np.empty(0), np.empty(0))
    both = np.isfinite(base) & np.isfinite(ensemble)
    pairs = f"{both.sum():,} of {len(both):,}"
    plans: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "comparison": (bool(points), lambda: draw_comparison(points, loss_name)),
        "base_vs_ocd": (
            bool(both.any()),
            lambda: draw_base_vs_ocd(base[both], ensemble[both], loss_name),
        ),
        "worst_examples": ("base" in first, lambda: draw_worst_examples(first, loss_name)),
        "risk_coverage": (bool(curves), lambda: draw_risk_coverage(curves)),
        "layer_scores": (bool(layers), lambda: draw_layer_scores(layers)),
        "training": (bool(training or validation), lambda: draw_training(training, validation)),
    }
    lines = _draw_views(folder, views)
    if distribution:
        save(draw_coverage(distribution), folder / "coverage.png")
        lines.append(f"![coverage](figures/coverage.png)\n\n{COVERAGE_CAPTION}")
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
