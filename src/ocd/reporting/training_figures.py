"""Figures of a fit: the scores of all layers (Eq. 3), and the loss of the generator while it trained.

The numbers come from selection/*.json and from the lines `train` and `validate` of metrics.jsonl. The
task loss, which is beyond the paper, is left out, so that training and held-out losses can be
compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ocd.evaluation import Array
from ocd.reporting.plotting import BLACK, BLUE, GREY, SEED_COLOURS, canvas, is_wide, legend, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Mapping[int, float]  # step -> loss


class LayerScore(NamedTuple):
    """The selection score of one layer (Eq. 3), averaged over the seeds that scored it."""

    name: str
    score: float
    standard_error: float
    num_chosen: int  # in how many seeds this layer won


def draw_layer_scores(layers: Sequence[LayerScore]) -> Figure:
    """Entropy of the loss by layer, as in the paper's appendix B, the chosen one coloured.

    An entropy has no natural zero. Where the scores lie close together or below zero,
    the bars therefore start a little below the lowest score, and the highest always wins.
    """
    scores = np.array([layer.score for layer in layers])
    errors = np.array([layer.standard_error for layer in layers])
    errors = np.where(np.isfinite(errors), errors, 0.0)  # one example has none
    low, high = float((scores - errors).min()), float((scores + errors).max())
    margin = 0.12 * ((high - low) or 1.0)
    start = 0.0 if low > 0 and low < 0.75 * high else low - margin
    longest = max(len(layer.name) for layer in layers)
    figure, axes = canvas(5.0 + 0.085 * longest, 1.1 + 0.3 * len(layers))
    rows = np.arange(len(layers))
    colours = [BLUE if layer.num_chosen else GREY for layer in layers]
    axes.barh(rows, scores - start, left=start, color=colours, height=0.7)
    axes.errorbar(scores, rows, xerr=errors, fmt="none", ecolor=BLACK, elinewidth=1, capsize=2.5)
    axes.set_yticks(rows, [layer.name for layer in layers])
    axes.tick_params(axis="y", length=0)
    for label, layer in zip(axes.get_yticklabels(), layers, strict=True):
        label.set_fontweight("bold" if layer.num_chosen else "normal")
    axes.set_ylim(len(layers) - 0.4, -0.6)  # the network's first layer on top
    axes.set_xlim(start, high + margin)
    axes.set_xlabel("entropy of the loss under perturbed weights [nat]")
    title(axes, "Layer selection (blue: chosen)")
    return figure


def _smooth(values: Array, window: int) -> Array:
    """Running median over an odd window, which one wild step does not smear."""
    padded = np.pad(values, window // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    return np.asarray(np.median(windows, axis=-1))


def draw_training(training: Mapping[int, Curve], validation: Mapping[int, Curve]) -> Figure:
    """Loss of the generator against the step, one colour a seed; validation is dashed."""
    figure, axes = canvas(6.4, 4.0)
    shown: list[float] = []
    for index, seed in enumerate(sorted({*training, *validation})):
        colour = SEED_COLOURS[index % len(SEED_COLOURS)]
        for curve, name in ((training, "training"), (validation, "validation")):
            steps = np.array(sorted(curve.get(seed, {})))
            values = np.array([curve[seed][step] for step in steps], dtype=float)
            shown.extend(values[np.isfinite(values)])
            if steps.size:
                _draw_curve(axes, steps, values, colour, f"seed {seed}, {name}")
    if is_wide(np.array(shown)):
        axes.set_yscale("log")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("denoising and scale loss")
    title(axes, "Training of the generator")
    if len(axes.lines) <= 12:
        legend(axes, ncols=1 if len(training) < 4 else 2)
    return figure


def _draw_curve(axes: Axes, steps: Array, values: Array, colour: str, label: str) -> None:
    if label.endswith("validation"):
        axes.plot(steps, values, "--o", color=colour, markersize=4, mfc="white", label=label)
        return
    if len(values) > 200:
        axes.plot(steps, values, color=colour, linewidth=0.5, alpha=0.2)
        values = _smooth(values, len(values) // 40 // 2 * 2 + 1)
    axes.plot(steps, values, color=colour, linewidth=1.6, label=label)
