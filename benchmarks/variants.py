"""What unseen lessons and the common move give, from runs with `variants=true`.

    python -m benchmarks.variants runs/digits runs/mnist runs/california [--out results/benchmarks]

Reads the losses of every method on each test example, and writes variants.json (rows of other tasks
stay): the mean loss, and its
difference from the base and from the layer that was fine-tuned once, with 95 % intervals of a paired
bootstrap over test examples, or the groups they are in, and seeds (positive: better).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ocd.data import read_json, read_tensors
from ocd.evaluation.bootstrap import TOGETHER, MethodMetric, add_differences, resample

METHODS = (
    "base", "fine_tuned_layer", "fine_tuned_base", "ocd_plain", "ocd_common", "ocd_unseen", "ocd_both"
)  # fmt: skip
"""Rows of the table, in its order. The run's own ensemble is `ocd_both` where its lessons are unseen,
else `ocd_common`; the other one is a variant beside it."""


def measure(root: Path) -> dict[str, Any]:
    """The table's numbers of one run."""
    config = read_json(root / "config.json")
    draws = config["run_options"]["num_draws"]
    paths = [root / "predictions" / f"seed-{s}.safetensors" for s in config["seeds"]]
    files = [read_tensors(path) for path in paths if path.exists()]  # a run may not have ended yet
    own = "ocd_both" if f"loss/ocd_common_{draws}" in files[0] else "ocd_common"
    keys = {name: f"{name}_{draws}" if name.startswith("ocd") else name for name in METHODS}
    keys[own] = f"ocd_ensemble_{draws}"
    losses = {
        name: np.stack([of[f"loss/{key}"].double().numpy() for of in files])
        for name, key in keys.items()
        if f"loss/{key}" in files[0]
    }
    paired: dict[MethodMetric, Any] = {}
    for name, values in losses.items():
        for against in ("base", "fine_tuned_layer"):
            if name != against:
                add_differences(paired, (name, against), -1, values, losses[against])
    together = files[0].get(TOGETHER)
    found = resample(paired, None if together is None else together.numpy())
    return {
        "task": config["task"],
        "seeds": len(files),
        "train": config["examples"]["train"],
        "default": own,
        "methods": {
            name: {"loss": float(values.mean()), "sd": float(values.mean(axis=1).std(ddof=1))}
            | {against: found[name, against] for against in ("base", "fine_tuned_layer")
               if (name, against) in found}
            for name, values in losses.items()
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    found = {row["task"]: row for row in map(measure, arguments.runs)}
    path = arguments.out / "variants.json"
    known = {row["task"]: row for row in read_json(path)} if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list((known | found).values()), indent=1) + "\n")


if __name__ == "__main__":
    main()
