"""Figures of the test examples: before and after, the hardest ones, and which answers to trust.

Losses are (N,) for N test examples, averaged over the seeds, or (K, N) for the draws of the first
seed. Axes are logarithmic where values span more than a decade; losses below LOSS_FLOOR are drawn at
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.evaluation import Array
from ocd.reporting.plotting import (
    BLACK,
    BLUE,
    GREY,
    LOSS_FLOOR,
    SEED_COLOURS,
    SKY,
    VERMILION,
    canvas,
    is_wide,
    legend,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS: dict[str, dict[str, Any]] = {  # of each kind of loss among the worst examples
    "base": {"marker": "_", "ms": 13, "mew": 2.5, "color": BLACK, "label": "base"},
    "draws": {"marker": "o", "ms": 4, "mew": 0, "color": SKY, "zorder": 3, "label": "one draw"},
    "ensemble": {"marker": "D", "ms": 6, "color": BLUE, "label": "ensemble"},
    "oracle": {"marker": "^", "ms": 6, "mfc": "white", "color": VERMILION,
                   "label": "oracle (uses the label)"},
}  # fmt: skip


def draw_base_vs_ocd(base: Array, ensemble: Array, loss_name: str) -> Figure:
    """Each test example's loss with the base (x) and with the OCD ensemble (y).

    Logarithmic unless a loss is negative; losses below `LOSS_FLOOR` are drawn on it,
    but the shares that are stated compare the true values.
    """
    better, worse, same = ensemble < base, ensemble > base, ensemble == base
    logarithmic = bool(min(base.min(), ensemble.min()) >= 0)
    x, y = (np.maximum(v, LOSS_FLOOR) if logarithmic else v for v in (base, ensemble))
    figure, axes = canvas(5.2, 5.2)
    low, high = _limits(np.concatenate([x, y]), logarithmic)
    axes.plot([low, high], [low, high], color=BLACK, linewidth=0.8, zorder=3)
    look = {"s": 60 / max(1.0, len(x) / 100) ** 0.5 + 2, "linewidths": 0}
    alpha = float(np.clip(30 / len(x) ** 0.6, 0.15, 0.8))
    sides = ((better, BLUE, "OCD lower"), (worse, VERMILION, "OCD higher"), (same, GREY, "equal"))
    for mask, colour, side in sides[: 3 if same.any() else 2]:
        label = f"{side}: {100 * mask.mean():.1f} % of them"
        axes.scatter(x[mask], y[mask], color=colour, alpha=alpha, label=label, **look)
    axes.plot(
        base.mean(),
        ensemble.mean(),
        "P",
        color=BLACK,
        mec="white",
        ms=10,
        label="mean of all",
    )
    if logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(f"base: {loss_name} of the example")
    axes.set_ylabel(f"OCD ensemble: {loss_name} of the example")
    title(axes, "Every test example, before and after", pad=40)
    _opaque_legend(axes)
    return figure


def _limits(values: Array, logarithmic: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return low / 1.6, high * 1.6
    margin = 0.05 * ((high - low) or 1.0)
    return low - margin, high + margin


def _opaque_legend(axes: Axes) -> None:
    """A legend above the cloud, whose dots can be seen however faint those in the cloud are."""
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    made = axes.legend(ncols=2, fontsize=9, frameon=False, **above)
    for handle in made.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_alpha(1.0)
            handle.set_sizes([28])


def draw_worst_examples(losses: Mapping[str, Array], loss_name: str, count: int = 20) -> Figure:
    """The test examples with the largest base loss: what each draw makes of them.

    `losses` holds base (N,) and whichever there are of draws (K, N), ensemble (N,) and oracle (N,).
    """
    base = losses["base"]
    chosen = np.argsort(-base, kind="stable")[:count]
    places = np.arange(len(chosen))
    figure, axes = canvas(7.2, 4.2)
    axes.vlines(
        places, 0, 1, color="#EEEEEE", linewidth=6, zorder=0, transform=axes.get_xaxis_transform()
    )
    rows = {name: np.atleast_2d(losses[name])[:, chosen] for name in LOOKS if name in losses}
    shown = np.concatenate([values[np.isfinite(values)] for values in rows.values()])
    logarithmic = bool(shown.size and shown.min() >= 0)
    logarithmic = logarithmic and is_wide(np.maximum(shown, LOSS_FLOOR))
    for name, values in rows.items():
        for index, row in enumerate(np.maximum(values, LOSS_FLOOR) if logarithmic else values):
            label = LOOKS[name]["label"] if index == 0 else None
            axes.plot(places, row, linestyle="none", **{**LOOKS[name], "label": label})
    if logarithmic:
        axes.set_yscale("log")
    axes.set_xticks(places, [str(index) for index in chosen], rotation=90, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("test example (its index), largest base loss first")
    axes.set_ylabel(f"{loss_name} of the example")
    title(axes, f"The {len(chosen)} hardest test examples of the base", pad=26)
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    return figure


def draw_risk_coverage(curves: Mapping[str, tuple[Array, Array]]) -> Figure:
    """The base's share of errors among its most certain answers, by each score of certainty.

    `curves`: title -> coverage (N,) and share of errors (N,), both 0 to 1.
    """
    figure, axes = canvas(6.4, 4.4)
    colours = [BLACK, *(colour for colour in SEED_COLOURS if colour != BLACK)]
    highest = 0.0
    for index, (name, (coverage, risk)) in enumerate(curves.items()):
        # The share of a handful of examples is all or nothing: the curves begin where it settles.
        kept = slice(min(max(10, len(risk) // 50), len(risk) // 4), None)
        look: dict[str, Any] = {"linewidth": 1.8, "linestyle": ("-", "--", "-.", ":")[index % 4]}
        axes.plot(100 * coverage[kept], 100 * risk[kept], color=colours[index % 7], label=name, **look)
        highest = max(highest, 100 * float(risk[kept].max()))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 1.08 * highest or 1.0)
    axes.set_xlabel("test examples that are answered, most certain first [%]")
    axes.set_ylabel("errors of the base among them [%]")
    title(axes, "Errors of the base among its most certain answers", pad=12 + 13 * -(-len(curves) // 2))
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=3)
    return figure
