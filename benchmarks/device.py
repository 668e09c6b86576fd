"""The benchmark's networks on one device: a pass, overfitting, and draws, in float32 and bfloat16.

    python -m benchmarks.device --device cuda [--cases lenet5,head] [--repeats 5]

Prints one line of JSON: microseconds an example, by case. Used by tools/device_check.sh.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import CASES, Case, cross_entropy
from benchmarks.speed import DRAWS, _with, fitted
from ocd import overfit
from ocd.base import run_without_delta


def microseconds(
    work: Callable[[], object], examples: int, device: torch.device, repeats: int
) -> float:
    """The median of some turns, after two that are not counted."""
    found = []
    for turn in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn > 1:
            found.append(time.perf_counter() - start)
    return round(1e6 * median(found) / examples, 2)


def measure(case: Case, device: torch.device, repeats: int) -> dict[str, float]:
    """One network; `fitted` trains its generator for a step."""
    base: nn.Module = case.base().to(device)
    ocd = fitted(case, base)
    rough = _with(ocd, {"sampling.mixed_precision": True})
    few, many = case.examples(case.batch), case.examples(case.num_examples)
    inputs, targets = (part.to(device) for part in (many.inputs, many.targets))  # type: ignore[union-attr]
    asked: Tensor = few.inputs.to(device)  # type: ignore[union-attr]
    works: dict[str, tuple[Callable[[], object], int]] = {
        "forward": (lambda: run_without_delta(base, asked), case.batch),
        "overfit": (
            lambda: overfit(
                base, case.layer, cross_entropy, inputs, targets, lr=1e-3,
                channels_last=case.channels_last,
            ),
            case.num_examples,
        ),
        f"{DRAWS} draws": (lambda: ocd.predict(asked, draws=DRAWS), case.batch),
        f"{DRAWS} draws, bfloat16": (lambda: rough.predict(asked, draws=DRAWS), case.batch),
        "mean": (lambda: ocd.predict(asked, mode="mean"), case.batch),
    }  # fmt: skip
    return {name: microseconds(work, count, device, repeats) for name, (work, count) in works.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cases", default=",".join(case.name for case in CASES))
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    device, wanted = torch.device(asked.device), asked.cases.split(",")
    found: dict[str, Any] = {
        case.name: measure(case, device, asked.repeats) for case in CASES if case.name in wanted
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
