"""Errors under a shift: clean images, and four corruptions in five severities.

    python -m benchmarks.corruptions runs/mnist --augmented runs/mnist-mixed [--seed 0] [--size 2000]

Two finished runs of the same base: one whose OCD learnt from clean images, one whose OCD learnt from
images corrupted by chance (`--set train_corruption=mixed`). Each method answers the first test images
of the run, corrupted here: the base, Tent, temperature scaling, batch norm statistics taken anew, the
deep ensemble where the run has one, the layer and the base fine-tuned on the mixed images, and OCD.
Writes corruptions-TASK.json and .png.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from ocd.baselines import Tent
from ocd.evaluation.baseline_methods import list_methods
from ocd.evaluation.classifier_metrics import accuracy, cross_entropy
from ocd.evaluation.method import Method
from ocd.reporting.plotting import SEED_COLOURS, canvas, legend, save, title
from ocd.runs import Run
from ocd.runs.comparing import make_comparison
from ocd.tasks.images.corruption import CIFAR10_C, DIGITS_C, KINDS, Corruption

STRENGTHS = {"mnist": DIGITS_C, "cifar10": CIFAR10_C}
CLEAN = ("base", "tent_10", "temperature", "renewed_statistics", "deep_ensemble", "ocd_ensemble")
MIXED = ("fine_tuned_layer", "fine_tuned_base", "ocd_ensemble")
TITLES = {
    "base": "base",
    "tent_10": "Tent, 10 iterations",
    "temperature": "temperature scaling",
    "renewed_statistics": "batch norm anew (clean)",
    "deep_ensemble": "deep ensemble",
    "ocd_ensemble": "OCD, learnt from clean images",
    "mixed/fine_tuned_layer": "layer fine-tuned on mixed",
    "mixed/fine_tuned_base": "all layers fine-tuned on mixed",
    "mixed/ocd_ensemble": "OCD, learnt from mixed images",
}


def methods(root: Path, seed: int, wanted: tuple[str, ...], prefix: str) -> dict[str, Any]:
    """Predictors of a finished run by name, with their draws and how these are joined."""
    run = Run.open(root)
    comparison = make_comparison(run, seed)
    table = list_methods(comparison)
    found: dict[str, Any] = {}
    for name in wanted:
        if name == "tent_10":  # it needs no training, and quick runs leave it out
            base, frozen = comparison.fits.main.base, comparison.fits.main.fitted()[1]
            found[prefix + name] = (Method(Tent(base, frozen.name)), comparison.criteria.join_draws)
            continue
        key = next((one for one in table.names if one == name or one.startswith(f"{name}_")), None)
        method = table.method(key) if key is not None else None
        if method is not None:
            found[prefix + name] = (method, comparison.criteria.join_draws)
    return found


def answers(found: dict[str, Any], images: Tensor, targets: Tensor) -> dict[str, dict[str, float]]:
    """Error [%] and cross-entropy of each method."""
    rows = {}
    for name, (method, join) in found.items():
        outputs = method.combine(method.predictor.predict(images, method.draws), join).cpu()
        rows[name] = {
            "error": 100 - accuracy(outputs, targets),
            "cross_entropy": cross_entropy(outputs, targets),
        }
    return rows


def measure(clean: Path, augmented: Path, seed: int, size: int | None) -> dict[str, Any]:
    """Error by corruption, severity (0: as they are) and method."""
    run, other = Run.open(clean), Run.open(augmented)
    if run.task.name not in STRENGTHS or other.task.name != run.task.name:
        raise SystemExit(f"two runs of one task are needed: {' or '.join(STRENGTHS)}")
    if run.options.corruption != "none":
        raise SystemExit(f"{clean} has corrupted test images already")
    images, targets = run.data.test.rows(slice(0, size))
    assert isinstance(images, Tensor) and isinstance(targets, Tensor)
    # What the clean run was not compared with is taken from the other one: the base is the same.
    found = methods(augmented, seed, CLEAN[:-1], "") | methods(clean, seed, CLEAN, "")
    found |= methods(augmented, seed, MIXED, "mixed/")
    rows: dict[str, Any] = {}
    untouched = answers(found, images, targets)
    for kind in KINDS:
        rows[kind] = [untouched]
        for severity in range(1, 6):
            worse = Corruption(kind, severity).apply(images, STRENGTHS[run.task.name], seed=99)
            rows[kind].append(answers(found, worse, targets))
            print(kind, severity, {n: round(r["error"], 2) for n, r in rows[kind][-1].items()})
    return {"task": run.task.name, "seed": seed, "test": len(targets), "rows": rows}


def draw(result: dict[str, Any], path: Path) -> None:
    """Error against severity, a panel a corruption."""
    figure, first = canvas(11.5, 6.4)
    figure.delaxes(first)
    panels = figure.subplots(2, 2, sharex=True).flatten()
    for axes, kind in zip(panels, KINDS, strict=True):
        rows = result["rows"][kind]
        for number, name in enumerate(TITLES):
            if name not in rows[0]:
                continue
            is_ocd = name.endswith("ocd_ensemble")
            axes.plot(
                range(6),
                [row[name]["error"] for row in rows],
                color=SEED_COLOURS[number % len(SEED_COLOURS)],
                linewidth=2.4 if is_ocd else 1.2,
                linestyle="-" if not name.startswith("mixed/") or is_ocd else "--",
                marker="o" if is_ocd else None,
                markersize=4,
                label=TITLES[name],
            )
        title(axes, kind)
        axes.set_ylabel("errors [%]")
        axes.set_ylim(bottom=0)
    for axes in panels[2:]:
        axes.set_xlabel("severity (0: as they are)")
    legend(panels[2], loc="upper left")
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clean", type=Path)
    parser.add_argument("--augmented", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, help="test images to use; all if not given")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    result = measure(arguments.clean, arguments.augmented, arguments.seed, arguments.size)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = f"corruptions-{result['task']}"
    (arguments.out / f"{name}.json").write_text(json.dumps(result, indent=1) + os.linesep)
    draw(result, arguments.out / f"{name}.png")


if __name__ == "__main__":
    main()
