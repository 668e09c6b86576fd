"""What cheaper draws cost in quality: fewer steps of DDIM or DPM-Solver++, the mean in one pass,
bfloat16.

    python -m benchmarks.steps [--seeds 0,1,2] [--out results/benchmarks]

On the digits of scikit-learn, with the task's own settings. Of each way: the loss of an ensemble of
five on the test digits, also without the correction, where the draws alone count; how far its codes are
from those of 200 steps of DDIM from the same noise (root mean square, over the codes' own); and the
time of a prediction. Spread and scale factor are those chosen for ten steps of DDIM, so that the steps
alone differ. Writes steps.json and steps.png.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Work, in_turns
from benchmarks.speed import DRAWS, OUT
from ocd import OCD
from ocd.generator import example_keys, example_noise
from ocd.generator.diffusion import Diffusion
from ocd.runs.settings import read_settings
from ocd.tasks import TaskData, get_task


@dataclass(frozen=True)
class Way:
    """How codes are made. `kind`: ddim, dpm or mean; `rough`: in bfloat16."""

    kind: str
    steps: int = 1
    rough: bool = False

    def __str__(self) -> str:
        return f"{self.kind} {self.steps}{' bfloat16' * self.rough}"


EXACT = Way("ddim", 200)
WAYS = [
    *(Way(solver, steps) for solver in ("ddim", "dpm") for steps in (1, 2, 3, 5, 10, 20, 50)),
    Way("mean"), Way("ddim", 10, rough=True), Way("mean", rough=True),
]  # fmt: skip


def fit(seed: int) -> tuple[OCD, TaskData]:
    """OCD on digits as `ocd run digits` has it."""
    task, options, _, config = read_settings(get_task("digits"), "fast", {})
    data = task.load(options, None)
    base = task.make_base(options, data)
    task.train_base(base, data, options, seed, lambda line: None)
    config = config.replace({"seed": seed})
    torch.manual_seed(seed)
    ocd = OCD(
        base, loss=task.loss, config=config, encoder=task.make_encoder(options, data),
        transform=task.make_transform(options), join=task.join_draws,
    )  # fmt: skip
    return ocd.fit(data.train, progress=False), data


def judge(ocd: OCD, data: TaskData) -> dict[str, dict[str, float]]:
    """Name of a way -> loss, loss without the correction, distance, microseconds."""
    network, _ = ocd.fitted()
    inputs = data.test.inputs
    _set(ocd, EXACT)
    exact = _codes(ocd, inputs, EXACT)
    found: dict[str, dict[str, float]] = {}
    works: dict[str, Work] = {}
    for way in WAYS:
        _set(ocd, way)
        codes = _codes(ocd, inputs, way)
        of = found[str(way)] = {
            "loss": _loss(ocd, data, way),
            "distance": float((codes - exact).square().mean().sqrt() / exact.square().mean().sqrt()),
        }
        with network.only("diffusion"):
            of["loss_without_correction"] = _loss(ocd, data, way)

        def predict(way: Way = way) -> None:
            _set(ocd, way)
            _predict(ocd, inputs, way)

        works[str(way)] = Work(predict, len(data.test))
    for name, cost in in_turns(works, 5).items():
        found[name]["microseconds"] = cost.microseconds
    return found


def _set(ocd: OCD, way: Way) -> None:
    network, _ = ocd.fitted()
    solver = way.kind if way.kind == "dpm" else "ddim"
    settings = {"diffusion.solver": solver, "diffusion.num_sampling_steps": way.steps}
    network.diffusion = Diffusion(ocd.config.replace(settings).diffusion)
    ocd.config = ocd.config.replace({"sampling.mixed_precision": way.rough})


@torch.no_grad()
def _codes(ocd: OCD, inputs: Tensor, way: Way) -> Tensor:
    """Ω_0 of five draws of every example (of the mean: one), before scale and correction."""
    network, _ = ocd.fitted()
    _, embedding = ocd.embed(inputs)
    start = example_noise(example_keys(inputs), 0, DRAWS, network.diffused_shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=way.rough):
        mean = way.kind == "mean"
        codes = network.clean_mean(embedding) if mean else network.clean_draws(embedding, start)
    return codes.float()


def _predict(ocd: OCD, inputs: Tensor, way: Way) -> Tensor:
    mode = "mean" if way.kind == "mean" else "draws"
    return ocd.predict(inputs, draws=DRAWS, mode=mode).outputs


def _loss(ocd: OCD, data: TaskData, way: Way) -> float:
    outputs = _predict(ocd, data.test.inputs, way)
    assert ocd.loss is not None
    return float(ocd.loss(ocd.join(outputs), data.test.targets).mean())


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    kinds = {"ddim": "DDIM", "dpm": "DPM-Solver++", "mean": "mean in one pass"}
    what = {
        "distance": "distance to 200 steps",
        "loss_without_correction": "loss of 5 draws, without the correction",
        "loss": "loss of 5 draws",
    }
    for axes, (value, label) in zip(figure.subplots(1, 3), what.items(), strict=True):
        for kind, word in kinds.items():
            ways = [name for name in found if name.startswith(kind) and not name.endswith("bfloat16")]
            x = [found[name]["microseconds"]["mean"] for name in ways]
            y = [found[name][value]["mean"] for name in ways]
            error = [found[name][value]["sd"] for name in ways]
            marker = "s" if kind == "mean" else "o"
            axes.errorbar(x, y, error, marker=marker, label=word, capsize=2)
            for name, left, up in zip(ways, x, y, strict=True):
                axes.annotate(
                    name.split()[1], (left, up), (3, 4), textcoords="offset points", fontsize=7
                )
        axes.set(xscale="log", xlabel="µs an example", ylabel=label)
    figure.axes[0].set_yscale("log")
    figure.axes[0].legend(frameon=False)  # the same in all three
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    runs = []
    for seed in map(int, arguments.seeds.split(",")):
        runs.append(judge(*fit(seed)))
        print(f"seed {seed}: {json.dumps(runs[-1])}", flush=True)
    found = {
        way: {value: _summary([run[way][value] for run in runs]) for value in runs[0][way]}
        for way in runs[0]
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "steps.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, arguments.out / "steps.png")


def _summary(values: list[float]) -> dict[str, Any]:
    spread = stdev(values) if len(values) > 1 else 0.0
    return {"values": values, "mean": mean(values), "sd": spread}


if __name__ == "__main__":
    main()
