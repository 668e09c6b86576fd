"""What OCD costs: against the released way, one example at a time, and against the limit.

    make bench        (or: python -m benchmarks.speed [--quick])

For layers of several sizes, in one run and in turns, medians: (a) the released way, (c) ours, `fast`,
(d) the limit, which is for overfitting one forward pass of the base and three passes back and forth of
the part behind the layer, and for prediction one forward pass and the denoiser's arithmetic at the
machine's own rate of multiplying matrices. Weights do not matter to time, so generators are trained for
one step only. Writes results/benchmarks/speed.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import CASES, Case, opened
from benchmarks.released import Generator, overfit_one_by_one
from ocd import OCD, Examples, OCDConfig, overfit
from ocd.layers import OpenBase, run_without_delta
from ocd.objectives import DiffusionObjective
from ocd.tasks.classification import cross_entropy_per_example

Work = Callable[[], object]
OUT = Path("results/benchmarks")
DRAWS = 5


def in_turns(works: dict[str, Work], repeats: int) -> dict[str, float]:
    """Median seconds of each, all of them once a turn, so that a slow minute strikes them alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:  # the first imports and warms up
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def matrix_rate() -> float:
    """Floating point operations a second of a product of two 1024 x 1024 matrices."""
    one, other = torch.randn(2, 1024, 1024)
    seconds = in_turns({"product": lambda: one @ other}, 20)["product"]
    return 2 * 1024**3 / seconds


# ---- one case -----------------------------------------------------------------------------


def measure(case: Case, repeats: int, rate: float, released: Generator | None) -> dict[str, Any]:
    base, examples = case.base(), case.examples(case.num_examples)
    micro = _overfitting(case, base, examples, repeats)
    ocd = fitted(case, base, "fast")
    micro |= _training(case, ocd, repeats) | _prediction(case, ocd, base, repeats, rate)
    if released is not None:
        own = in_turns(
            {
                "train_released": released.train_step,
                "predict_released": lambda: released.predict(base, case.examples(1).inputs),
            },
            1,
        )
        micro |= {name: 1e6 * seconds for name, seconds in own.items()}
    return {"size": case.size, "microseconds": micro, "ratios": _ratios(micro)}


def fitted(case: Case, base: nn.Module, preset: str) -> OCD:
    """Trained for one step, on few examples."""
    changes = {"training.num_steps": 1, "overfit.lr": 1e-3, "training.validation_share": 0.0}
    changes |= {"collection.storage": "on_the_fly", "training.batch_size": case.batch}
    changes |= {"sampling.spread": 0.5, "sampling.scale_factor": 1.0} | case.settings
    config = OCDConfig.preset(preset).replace({"layer": case.layer} | changes)
    encoder = case.encoder() if case.encoder is not None else None
    ocd = OCD(base, loss=cross_entropy_per_example, config=config, encoder=encoder)
    ocd.fit(case.examples(2 * case.batch), progress=False)
    return ocd


def _overfitting(case: Case, base: nn.Module, examples: Examples, repeats: int) -> dict[str, float]:
    inputs, targets = examples.inputs, examples.targets
    assert isinstance(inputs, Tensor)
    few = max(2, min(50, case.num_examples // 4))
    size = min(1024, case.num_examples) if case.batch >= 256 else case.batch
    here = opened(case, base)

    def ours() -> None:
        overfit(base, case.layer, cross_entropy_per_example, inputs, targets, steps=3, lr=1e-3)

    seconds = in_turns(
        {
            "forward": lambda: in_parts(base, inputs, size),
            "overfit": ours,
            "overfit_released": lambda: overfit_one_by_one(base, case.layer, examples, few),
            "overfit_limit": lambda: limit_of_overfitting(here, inputs, targets, size),
        },
        repeats,
    )
    counts = {"overfit_released": few}
    return {name: 1e6 * s / counts.get(name, case.num_examples) for name, s in seconds.items()}


def in_parts(base: nn.Module, inputs: Tensor, size: int) -> None:
    for part in inputs.split(size):
        run_without_delta(base, part)


def limit_of_overfitting(here: OpenBase, inputs: Tensor, targets: Tensor, size: int) -> None:
    """One pass of the base, and three back and forth of what is behind the layer, from a shift of its
    output: nothing that any way of overfitting could leave out."""
    for rows, labels in zip(inputs.split(size), targets.split(size), strict=True):
        capture = here.capture(rows)
        size = (len(rows), 1, capture.rows.shape[1], here.weight_shape[0])
        for _ in range(3):
            shift = torch.zeros(size, requires_grad=True)
            moved = _Shift(shift)
            with torch.enable_grad():
                output = here.run(capture, moved)[:, 0]  # type: ignore[arg-type]
                torch.autograd.grad(cross_entropy_per_example(output, labels).sum(), shift)


class _Shift:
    num_draws = 1

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def shift(self, rows: Tensor) -> Tensor:
        return self.values


def _training(case: Case, ocd: OCD, repeats: int) -> dict[str, float]:
    """One step of the generator on a batch that is overfitted for it."""
    network, here = ocd.fitted()
    examples = case.examples(case.batch)
    from ocd.collection import Maker, OnTheFly

    overfit_config = OCDConfig().replace({"overfit.lr": 1e-3}).overfit
    maker = Maker(here, examples, cross_entropy_per_example, overfit_config, ocd.condition)
    source = OnTheFly(maker)
    training = ocd.config.training
    objective = DiffusionObjective(maker, training.num_noise_levels, training.task_loss_weight)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    places = torch.arange(case.batch)

    def step() -> None:
        network.train()
        rows = source.rows(places, torch.Generator().manual_seed(0))
        objective.losses(network, rows, torch.Generator().manual_seed(0))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = in_turns({"train": step}, repeats)
    network.eval()
    return {name: 1e6 * s / case.batch for name, s in seconds.items()}


def _prediction(case: Case, ocd: OCD, base: nn.Module, repeats: int, rate: float) -> dict[str, float]:
    inputs = case.examples(case.batch).inputs
    rough = OCD(
        base,
        loss=ocd.loss,
        config=ocd.config.replace({"sampling.mixed_precision": True}),
        encoder=ocd.encoder,
    )
    rough.hypernetwork, rough.opened = ocd.hypernetwork, ocd.opened
    seconds = in_turns(
        {
            "predict_forward": lambda: run_without_delta(base, inputs),
            f"predict_{DRAWS}": lambda: ocd.predict(inputs, draws=DRAWS),
            "predict_mean": lambda: ocd.predict(inputs, mode="mean"),
            f"predict_{DRAWS}_bfloat16": lambda: rough.predict(inputs, draws=DRAWS),
            "predict_mean_bfloat16": lambda: rough.predict(inputs, mode="mean"),
        },
        3 * repeats,
    )
    micro = {name: 1e6 * s / case.batch for name, s in seconds.items()}
    network, _ = ocd.fitted()
    sizes = {n: p.numel() for n, p in network.denoiser.named_parameters() if p.dim() == 2}
    # Of each draw and step: all but what is the same for an example's draws, or for all examples.
    of_draw = sum(n for name, n in sizes.items() if not name.startswith("time") and "modul" not in name)
    of_example = sum(n for name, n in sizes.items() if "modul" in name)
    steps = ocd.config.diffusion.num_sampling_steps
    operations = 2 * steps * (DRAWS * of_draw + of_example)
    micro["predict_limit"] = micro["predict_forward"] + 1e6 * operations / rate
    return micro


def _ratios(micro: dict[str, float]) -> dict[str, float]:
    forward = micro["predict_forward"]
    ratios = {
        "overfit: released / ours": micro["overfit_released"] / micro["overfit"],
        "overfit: ours / limit": micro["overfit"] / micro["overfit_limit"],
        "overfit: ours / forward": micro["overfit"] / micro["forward"],
        f"predict {DRAWS} draws / forward": micro[f"predict_{DRAWS}"] / forward,
        f"predict {DRAWS} draws / limit": micro[f"predict_{DRAWS}"] / micro["predict_limit"],
        "predict mean / forward": micro["predict_mean"] / forward,
        f"bfloat16: {DRAWS} draws / forward": micro[f"predict_{DRAWS}_bfloat16"] / forward,
        "bfloat16: mean / forward": micro["predict_mean_bfloat16"] / forward,
    }
    if "train_released" in micro:
        ratios["train step: released / ours"] = micro["train_released"] / micro["train"]
        ratios["predict: released / 5 draws"] = micro["predict_released"] / micro[f"predict_{DRAWS}"]
    return ratios


# ---- all of them ----------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--cases", default=",".join(case.name for case in CASES))
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    repeats = 2 if arguments.quick else 5
    rate = matrix_rate()
    results: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matrix_gflops": rate / 1e9,
        "cases": {},
    }
    for case in CASES:
        if case.name not in arguments.cases.split(","):
            continue
        released = Generator((84, 120)) if case.name == "lenet5" else None
        results["cases"][case.name] = measure(case, repeats, rate, released)
        _print(case, results["cases"][case.name])
    results["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "speed.json").write_text(json.dumps(results, indent=1) + "\n")


def _print(case: Case, found: dict[str, Any]) -> None:
    print(f"\n{case.name}: {case.size}")
    for name, value in found["microseconds"].items():
        print(f"  {name:20} {value:14,.1f} µs an example")
    for name, value in found["ratios"].items():
        print(f"  {name:32} {value:10,.2f}")


if __name__ == "__main__":
    main()
