"""The figures of a report, each drawn from plain numbers alone.

Nothing here reads a run folder, and matplotlib is imported only when a figure is
drawn. The figures are made without pyplot, so that no global state is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Curve = Mapping[int, float]  # step -> loss

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
LOOKS: dict[str, dict[str, Any]] = {  # of each kind of loss among the worst examples
    "base_loss": {"marker": "_", "ms": 13, "mew": 2.5, "color": BLACK, "label": "base"},
    "draw_loss": {"marker": "o", "ms": 4, "mew": 0, "color": SKY, "zorder": 3, "label": "one draw"},
    "ensemble_loss": {"marker": "D", "ms": 6, "color": BLUE, "label": "ensemble"},
    "bound_loss": {"marker": "^", "ms": 6, "mfc": "white", "color": VERMILION,
                   "label": "bound (uses the label)"},
}  # fmt: skip
CAPTIONS = {  # of each figure, and why it may be missing
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
        "their ensemble and the bound make of them.",
        "the predictions lack the base's loss per example",
    ),
}


class LayerScore(NamedTuple):
    """The selection score of one layer (Eq. 3), averaged over the seeds that scored it."""

    name: str
    score: float
    standard_error: float
    num_chosen: int  # in how many seeds this layer won


def draw_all(
    folder: Path,
    *,
    layers: Sequence[LayerScore],
    training: Mapping[int, Curve],
    validation: Mapping[int, Curve],
    pooled: tuple[Array, Array] | None,
    first: Mapping[str, Array],
    loss_name: str,
) -> list[str]:
    """Draw what there is data for into `folder`; return the report's lines about it.

    `pooled` holds the losses (N,) of base and ensemble, averaged over the seeds, and
    `first` those of the first seed. A figure whose data is missing is not drawn, an older
    one of that name is removed, and its line says why.
    """
    base, ensemble = pooled or (np.empty(0), np.empty(0))
    both = np.isfinite(base) & np.isfinite(ensemble)
    pairs = f"{both.sum():,} of {len(both):,}"
    plans: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "layer_scores": (bool(layers), lambda: draw_layer_scores(layers)),
        "training": (bool(training or validation), lambda: draw_training(training, validation)),
        "base_vs_ocd": (
            bool(both.any()),
            lambda: draw_base_vs_ocd(base[both], ensemble[both], loss_name),
        ),
        "worst_examples": ("base_loss" in first, lambda: draw_worst_examples(first, loss_name)),
    }
    lines = []
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


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG beside `path`, then rename it, so that no half file is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    figure.savefig(aside, dpi=150, format="png")
    aside.replace(path)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def _title(axes: Axes, text: str, pad: float = 8) -> None:
    axes.set_title(text, loc="left", fontsize=11, pad=pad)


def _legend(axes: Axes, **where: Any) -> None:
    axes.legend(frameon=False, fontsize=9, **where)


def _wide_range(values: Array) -> bool:
    """Whether a logarithmic axis shows these values better: all positive, over a decade."""
    return bool(values.size and values.min() > 0 and values.max() > 15 * values.min())


def draw_layer_scores(layers: Sequence[LayerScore]) -> Figure:
    """Entropy of the loss by layer, as in the paper's appendix B, the chosen one coloured.

    An entropy has no natural zero. Where the scores lie close together or below zero,
    the bars therefore start a little below the lowest score, and the highest always wins.
    """
    scores = np.array([layer.score for layer in layers])
    errors = np.array([layer.standard_error for layer in layers])
    low, high = float((scores - errors).min()), float((scores + errors).max())
    margin = 0.12 * ((high - low) or 1.0)
    start = 0.0 if low > 0 and low < 0.75 * high else low - margin
    longest = max(len(layer.name) for layer in layers)
    figure, axes = _canvas(5.0 + 0.085 * longest, 1.1 + 0.3 * len(layers))
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
    _title(axes, "Layer selection (blue: chosen)")
    return figure


def _smooth(values: Array, window: int) -> Array:
    """Running median over an odd window, which one wild step does not smear."""
    padded = np.pad(values, window // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)
    return np.asarray(np.median(windows, axis=-1))


def draw_training(training: Mapping[int, Curve], validation: Mapping[int, Curve]) -> Figure:
    """Loss of the generator against the step, one colour a seed; validation is dashed."""
    figure, axes = _canvas(6.4, 4.0)
    shown: list[float] = []
    for index, seed in enumerate(sorted({*training, *validation})):
        colour = SEED_COLOURS[index % len(SEED_COLOURS)]
        for curve, name in ((training, "training"), (validation, "validation")):
            steps = np.array(sorted(curve.get(seed, {})))
            values = np.array([curve[seed][step] for step in steps], dtype=float)
            shown.extend(values[np.isfinite(values)])
            if steps.size:
                _draw_curve(axes, steps, values, colour, f"seed {seed}, {name}")
    if _wide_range(np.array(shown)):
        axes.set_yscale("log")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("denoising and scale loss")
    _title(axes, "Training")
    if len(axes.lines) <= 12:
        _legend(axes, ncols=1 if len(training) < 4 else 2)
    return figure


def _draw_curve(axes: Axes, steps: Array, values: Array, colour: str, label: str) -> None:
    if label.endswith("validation"):
        axes.plot(steps, values, "--o", color=colour, markersize=4, mfc="white", label=label)
        return
    if len(values) > 200:
        axes.plot(steps, values, color=colour, linewidth=0.5, alpha=0.2)
        values = _smooth(values, len(values) // 40 // 2 * 2 + 1)
    axes.plot(steps, values, color=colour, linewidth=1.6, label=label)


def draw_base_vs_ocd(base: Array, ensemble: Array, loss_name: str) -> Figure:
    """Each test example's loss with the base (x) and with the OCD ensemble (y).

    Logarithmic unless a loss is negative; losses below `LOSS_FLOOR` are drawn on it,
    but the shares that are stated compare the true values.
    """
    better, worse, same = ensemble < base, ensemble > base, ensemble == base
    logarithmic = bool(min(base.min(), ensemble.min()) >= 0)
    x, y = (np.maximum(v, LOSS_FLOOR) if logarithmic else v for v in (base, ensemble))
    figure, axes = _canvas(5.2, 5.2)
    low, high = _limits(np.concatenate([x, y]), logarithmic)
    axes.plot([low, high], [low, high], color=BLACK, linewidth=0.8, zorder=3)
    look = {"s": 60 / max(1.0, len(x) / 100) ** 0.5 + 2, "linewidths": 0}
    alpha = float(np.clip(30 / len(x) ** 0.6, 0.15, 0.8))
    sides = ((better, BLUE, "OCD lower"), (worse, VERMILION, "OCD higher"), (same, GREY, "equal"))
    for mask, colour, side in sides[: 3 if same.any() else 2]:
        label = f"{side}: {100 * mask.mean():.1f} % of examples"
        axes.scatter(x[mask], y[mask], color=colour, alpha=alpha, label=label, **look)
    axes.plot(
        base.mean(),
        ensemble.mean(),
        "P",
        color=BLACK,
        mec="white",
        ms=10,
        label="mean of all examples",
    )
    if logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(f"base: {loss_name} of the example")
    axes.set_ylabel(f"OCD ensemble: {loss_name} of the example")
    _title(axes, "Every test example, before and after")
    _opaque_legend(axes)
    return figure


def _limits(values: Array, logarithmic: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if logarithmic:
        return low / 1.6, high * 1.6
    margin = 0.05 * ((high - low) or 1.0)
    return low - margin, high + margin


def _opaque_legend(axes: Axes) -> None:
    """A legend whose dots can be seen, however faint those in the cloud are."""
    legend = axes.legend(loc="upper left", fontsize=9, frameon=True, edgecolor="none")
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_alpha(1.0)
            handle.set_sizes([28])


def draw_worst_examples(losses: Mapping[str, Array], loss_name: str, count: int = 20) -> Figure:
    """The test examples with the largest base loss: what each draw makes of them.

    `losses` holds base_loss (N,) and whichever there are of draw_loss (K, N),
    ensemble_loss (N,) and bound_loss (N,).
    """
    base = losses["base_loss"]
    chosen = np.argsort(-base, kind="stable")[:count]
    places = np.arange(len(chosen))
    figure, axes = _canvas(7.2, 4.2)
    axes.vlines(
        places, 0, 1, color="#EEEEEE", linewidth=6, zorder=0, transform=axes.get_xaxis_transform()
    )
    rows = {name: np.atleast_2d(losses[name])[:, chosen] for name in LOOKS if name in losses}
    shown = np.concatenate([values[np.isfinite(values)] for values in rows.values()])
    logarithmic = bool(shown.size and shown.min() >= 0)
    logarithmic = logarithmic and _wide_range(np.maximum(shown, LOSS_FLOOR))
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
    _title(axes, f"The {len(chosen)} hardest test examples of the base", pad=26)
    _legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    return figure
