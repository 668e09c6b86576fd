"""Draw the pictures of docs/explanation/: `python tools/drawings.py [FOLDER]`.

Nothing in them is sketched: the moves are overfitted by the library, the draws follow the sampler's own
schedule, and the intervals are bootstrapped. Each is a PNG of less than 200 kB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from ocd import overfit

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "explanation"
BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666"
STYLE = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def method() -> Figure:
    """What is frozen, what moves, and what the generator sees."""
    figure = Figure(figsize=(8.4, 4.3), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(-2, 100), ylim=(-1, 50))
    axes.axis("off")
    _box(axes, (2, 36), (10, 12), "x", GREY)
    _box(axes, (20, 36), (18, 12), "front\n(frozen)", GREY)
    _box(axes, (46, 36), (18, 12), "layer\nθ + delta", VERMILION)
    _box(axes, (72, 36), (18, 12), "rest\n(frozen)", GREY)
    for start, end in ((12, 20), (38, 46), (64, 72), (90, 98)):
        _arrow(axes, (start, 42), (end, 42), GREY)
    axes.text(98, 45, "answer", ha="right", color=GREY)
    _box(axes, (38, 8), (60, 12), "condition I(x): input and output of the layer, and f(x)", BLUE)
    _box(axes, (12, 8), (16, 12), "generator", BLUE)
    axes.text(2, 14, "noise", color=GREY, ha="center", va="center")
    _arrow(axes, (6, 14), (12, 14), GREY)
    for place in (42, 68, 94):
        _arrow(axes, (place, 42), (place, 20), BLUE)
    _arrow(axes, (38, 14), (28, 14), BLUE)
    axes.plot([20, 20, 55], [20, 29, 29], color=VERMILION, linewidth=1)
    _arrow(axes, (55, 29), (55, 36), VERMILION)
    axes.text(22, 31, "delta", color=VERMILION)
    axes.text(
        2, 1, "Asked once for each input, without a label. Several noises: several deltas, an ensemble."
    )
    return figure


def lessons() -> Figure:
    """Eq. 1 in a layer of two weights: each example pulls them along its own input of the layer."""
    inputs = torch.tensor([[1.0, 0.25], [0.3, 1.0], [-0.9, 0.6]])
    targets = torch.tensor([[1.3], [-0.2], [0.9]])
    base = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        base[0].weight.copy_(torch.tensor([[0.4, 0.5]]))

    def loss(outputs: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return (outputs - wanted).square().mean(dim=1)

    start = base[0].weight.detach().numpy()[0]
    figure = Figure(figsize=(8.4, 3.1), layout="constrained")
    w1, w2 = np.meshgrid(np.linspace(-0.6, 1.6, 120), np.linspace(-0.7, 1.5, 120))
    for place, (axes, colour) in enumerate(
        zip(figure.subplots(1, 3, sharey=True), (BLUE, GREEN, PURPLE), strict=True)
    ):
        x, y = inputs[place], targets[place]
        surface = (w1 * float(x[0]) + w2 * float(x[1]) - float(y)) ** 2
        axes.contour(w1, w2, surface, levels=[0.01, 0.1, 0.3, 0.7, 1.3, 2.2], colors="#BBBBBB")
        path = [start]
        for steps in (1, 2, 3):
            deltas = overfit(base, "0", loss, inputs, targets, steps=steps, lr=0.25)
            path.append(start + deltas.dense()[place, 0].numpy())
        axes.plot(*np.array(path).T, "o-", color=colour, markersize=4)
        axes.plot(*start, "o", color="black")
        axes.annotate("θ", start, textcoords="offset points", xytext=(-12, -4))
        axes.set_title(f"example {place + 1}", loc="left", fontsize=10)
        axes.set(xlabel="weight 1", aspect="equal")
    figure.axes[0].set_ylabel("weight 2")
    return figure


def drawing() -> Figure:
    """Noise becomes deltas in ten DDIM steps, for an input whose lessons say one of two things."""
    lessons_at = np.array([[1.6, 1.1], [-1.5, -0.5]])
    chances = np.array([0.7, 0.3])
    betas = np.linspace(1e-6, 1e-2, 1000)  # the schedule of the presets `fast` and `released`
    kept = np.cumprod(1 - betas)
    noise = np.random.default_rng(0)
    codes = noise.normal(size=(400, 2))
    times = np.arange(1000, 0, -100) - 100
    shown = {0: codes}
    for count, time in enumerate(times, start=1):
        signal, left = np.sqrt(kept[time]), 1 - kept[time]
        distance = ((codes[:, None] - signal * lessons_at) ** 2).sum(axis=2)
        weight = chances * np.exp(-(distance - distance.min(axis=1, keepdims=True)) / (2 * left))
        clean = (weight / weight.sum(axis=1, keepdims=True)) @ lessons_at  # the best denoiser there is
        epsilon = (codes - signal * clean) / np.sqrt(left)
        before = kept[times[count]] if count < len(times) else 1.0
        codes = np.sqrt(before) * clean + np.sqrt(1 - before) * epsilon
        shown[count] = codes
    figure = Figure(figsize=(8.4, 2.6), layout="constrained")
    for axes, step in zip(figure.subplots(1, 4, sharex=True, sharey=True), (0, 5, 8, 10), strict=True):
        axes.scatter(*shown[step].T, s=4, color=BLUE, alpha=0.5, linewidths=0)
        axes.scatter(*lessons_at.T, s=60, facecolors="none", edgecolors=VERMILION)
        axes.plot(*(chances @ lessons_at), "x", color="black")
        name = "noise" if step == 0 else f"after step {step}"
        axes.set_title(name, loc="left", fontsize=10)
        axes.set(xticks=[], yticks=[], xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    return figure


def verdicts() -> Figure:
    """What 95 % intervals of a difference are called."""
    noise = np.random.default_rng(1)
    rows = [("gain", 0.30, 400, GREEN), ("no gain", 0.06, 60, GREY), ("worse", -0.25, 400, VERMILION)]
    figure = Figure(figsize=(7.4, 2.3), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=1)
    for place, (name, shift, count, colour) in enumerate(rows):
        differences = noise.normal(shift, 1, count)
        means = noise.choice(differences, (2000, count)).mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        axes.plot([low, high], [-place, -place], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(differences.mean(), -place, "o", color=colour)
        axes.text(0.62, -place, f"{name} ({count} test examples)", va="center", color=colour)
    axes.set(yticks=[], xlim=(-0.6, 1.15), ylim=(-2.6, 0.6))
    axes.set_xlabel("loss of the base minus loss of OCD, per test example (right of 0: OCD is better)")
    axes.spines["left"].set_visible(False)
    return figure


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], text: str, colour: str
) -> None:
    patch = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=1.5", fill=False)
    patch.set(edgecolor=colour, linewidth=1.8)
    axes.add_patch(patch)
    middle = (corner[0] + size[0] / 2, corner[1] + size[1] / 2)
    axes.text(*middle, text, ha="center", va="center", color=colour, fontsize=9.5)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=12, color=colour, shrinkA=0, shrinkB=0
    )
    axes.add_patch(arrow)


DRAWINGS = {"method": method, "lessons": lessons, "drawing": drawing, "verdicts": verdicts}


def draw(folder: Path = FOLDER) -> list[Path]:
    """Write all pictures; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, make in DRAWINGS.items():
            paths.append(folder / f"{name}.png")
            make().savefig(paths[-1], dpi=130, format="png", metadata={"Software": None})
    return paths


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:2]))
