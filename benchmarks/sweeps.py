"""How cost grows with the batch, the draws and the layer: straight lines, or explained.

    python -m benchmarks.sweeps [--quick] [--out results/benchmarks]

Batch size and draws: LeNet5's fc1 with mnist's encoder of x. Layer size: a square linear layer between
two others. Writes sweeps.json and sweeps.png.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case, cross_entropy, square
from benchmarks.measuring import Cost, Work, in_turns
from benchmarks.speed import DRAWS, OUT, fitted, training
from ocd import OCD, overfit
from ocd.base import run_without_delta

BATCHES = (1, 4, 16, 64, 256, 1024)
NUM_DRAWS = (1, 2, 5, 10, 20, 50)
SIDES = (32, 64, 128, 256, 512, 1024)
LENET5 = CASES[0]


def phases(case: Case, ocd: OCD, batch: int, repeats: int) -> dict[str, Cost]:
    """A forward pass, overfitting, a step of training and a prediction of one batch."""
    case = replace(case, batch=batch)
    examples = case.examples(batch)
    inputs, targets = examples.inputs, examples.targets
    works = {
        "forward": lambda: run_without_delta(ocd.base, inputs),
        "overfit": lambda: overfit(ocd.base, case.layer, cross_entropy, inputs, targets, lr=1e-3),
        f"predict, {DRAWS} draws": lambda: ocd.predict(inputs, draws=DRAWS),
        "predict, mean": lambda: ocd.predict(inputs, mode="mean"),
    }
    costs = in_turns({name: Work(do, batch) for name, do in works.items()}, repeats)
    return costs | {"train step": in_turns(training(case, ocd, None), repeats)["fast"]}


def of_draws(ocd: OCD, repeats: int) -> dict[int, dict[str, Cost]]:
    inputs = LENET5.examples(256).inputs
    works = {
        str(draws): Work(lambda draws=draws: ocd.predict(inputs, draws=draws), 256)
        for draws in NUM_DRAWS
    }
    costs = in_turns(works, repeats)
    return {draws: {"predict": costs[str(draws)]} for draws in NUM_DRAWS}


def measure(repeats: int) -> dict[str, dict[int, dict[str, Cost]]]:
    ocd = fitted(LENET5, LENET5.base())
    found = {
        "batch": {batch: phases(LENET5, ocd, batch, repeats) for batch in BATCHES},
        "draws": of_draws(ocd, repeats),
        "side": {},
    }
    for side in SIDES:
        case = square(side)
        found["side"][side] = phases(case, fitted(case, case.base()), 256, repeats)
        print(f"side {side} is measured", flush=True)
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    words = {
        "batch": "examples in a batch (LeNet5)",
        "draws": "draws (LeNet5, batches of 256)",
        "side": "side of a square linear layer (batches of 256)",
    }
    for axes, (what, label) in zip(figure.subplots(1, 3), words.items(), strict=True):
        sizes = list(found[what])
        for name in next(iter(found[what].values())):
            costs = [found[what][size][name]["microseconds"] for size in sizes]
            axes.plot([int(size) for size in sizes], costs, marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="µs an example")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    found = {
        what: {
            str(size): {name: asdict(cost) for name, cost in of.items()} for size, of in sizes.items()
        }
        for what, sizes in measure(2 if arguments.quick else 7).items()
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "sweeps.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, arguments.out / "sweeps.png")


if __name__ == "__main__":
    main()
