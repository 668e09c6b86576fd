"""What fewer steps of a draw cost in quality: DDIM, DPM-Solver++ and a student of one step.

    python -m benchmarks.steps [--seeds 0,1,2] [--out results/benchmarks]

On the digits of scikit-learn, with the task's own settings. Of each way: the loss of an ensemble of
five on the test digits, also without the correction, where the draws alone count; how far its codes are
from those of 200 steps of DDIM from the same noise (root mean square, over the codes' own); and the
time of a prediction. Spread and scale factor are the ones chosen for the student, so that the
steps alone differ. Writes steps.json and steps.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import Work, in_turns
from benchmarks.speed import DRAWS, OUT
from ocd import OCD
from ocd.diffusion import Diffusion
from ocd.noise import example_keys, example_noise
from ocd.tasks import get_task
from ocd.tasks.base import TaskData
from ocd.tasks.settings import read_settings

WAYS = [(solver, steps) for solver in ("ddim", "dpm") for steps in (1, 2, 3, 5, 10, 20, 50)]
STUDENT_STEPS = 1200
EXACT = ("ddim", 200)


def fit(seed: int) -> tuple[OCD, TaskData]:
    """OCD on digits as `ocd run digits` has it, with a student beside its denoiser."""
    task, options, _, config = read_settings(get_task("digits"), "fast", {})
    data = task.load(options, None)
    base = task.make_base(options, data)
    task.train_base(base, data, options, seed, lambda line: None)
    config = config.replace({"seed": seed, "distillation.num_steps": STUDENT_STEPS})
    torch.manual_seed(seed)
    ocd = OCD(
        base, loss=task.loss, config=config, encoder=task.make_encoder(options, data),
        transform=task.make_transform(options), join=task.join_draws,
    )  # fmt: skip
    return ocd.fit(data.train, progress=False), data


def judge(ocd: OCD, data: TaskData) -> dict[str, dict[str, float]]:
    """Name of a way -> loss, loss without the correction, distance, microseconds."""
    network, _ = ocd.fitted()
    student, network.student = network.student, None
    inputs = data.test.inputs
    exact = _codes(ocd, inputs, EXACT)
    found: dict[str, dict[str, float]] = {}
    works: dict[str, Work] = {}
    for way in [*WAYS, None]:
        name = "student 1" if way is None else f"{way[0]} {way[1]}"
        network.student = student if way is None else None
        _set(ocd, way or ("ddim", 10))
        codes = _codes(ocd, inputs, way)
        found[name] = {
            "loss": _loss(ocd, data),
            "distance": float((codes - exact).square().mean().sqrt() / exact.square().mean().sqrt()),
        }
        with network.only("diffusion"):
            found[name]["loss_without_correction"] = _loss(ocd, data)

        def predict(way: tuple[str, int] | None = way) -> None:
            network.student = student if way is None else None
            _set(ocd, way or ("ddim", 10))
            ocd.predict(inputs, draws=DRAWS)

        works[name] = Work(predict, len(data.test))
    for name, cost in in_turns(works, 5).items():
        found[name]["microseconds"] = cost.microseconds
    return found


def _set(ocd: OCD, way: tuple[str, int]) -> None:
    network, _ = ocd.fitted()
    settings = {"diffusion.solver": way[0], "diffusion.num_sampling_steps": way[1]}
    network.diffusion = Diffusion(ocd.config.replace(settings).diffusion)


@torch.no_grad()
def _codes(ocd: OCD, inputs: Tensor, way: tuple[str, int] | None) -> Tensor:
    """Ω_0 of five draws of every example, before scale and correction."""
    network, _ = ocd.fitted()
    _, embedding = ocd.look(inputs)
    start = example_noise(example_keys(inputs), 0, DRAWS, network.diffused_shape)
    if way is None:
        assert network.student is not None
        level = network.level(network.diffusion.last_step)
        answer: Tensor = network.student(start, level, embedding.denoiser)
        return answer
    _set(ocd, way)
    return network.steps_of_draw(embedding, start)


def _loss(ocd: OCD, data: TaskData) -> float:
    outputs = ocd.predict(data.test.inputs, draws=DRAWS).outputs
    assert ocd.loss is not None
    return float(ocd.loss(ocd.join(outputs), data.test.targets).mean())


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8), layout="constrained")
    kinds = {"ddim": "DDIM", "dpm": "DPM-Solver++", "student": "student"}
    what = {
        "distance": "distance to 200 steps",
        "loss_without_correction": "loss of 5 draws, without the correction",
        "loss": "loss of 5 draws",
    }
    for axes, (value, label) in zip(figure.subplots(1, 3), what.items(), strict=True):
        for kind, word in kinds.items():
            ways = [name for name in found if name.startswith(kind)]
            x = [found[name]["microseconds"]["mean"] for name in ways]
            y = [found[name][value]["mean"] for name in ways]
            error = [found[name][value]["sd"] for name in ways]
            axes.errorbar(x, y, error, marker="*" if kind == "student" else "o", label=word, capsize=2)
            for name, left, up in zip(ways, x, y, strict=True):
                axes.annotate(
                    name.split()[1], (left, up), (3, 4), textcoords="offset points", fontsize=7
                )
        axes.set(xscale="log", xlabel="µs an example", ylabel=label)
        axes.legend(frameon=False)
    figure.axes[0].set_yscale("log")
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
