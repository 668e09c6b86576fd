"""What OCD costs: against the released way, one example at a time, and against the limit.

    make bench        (or: python -m benchmarks.speed [--quick] [--cases lenet5,head])

For layers of several sizes, each in a process of its own, in turns, medians:

(a) `one by one`: the released way, one example at a time;
(b) `released`: our preset of that name, in batches;
(c) `fast`: ours, as it comes;
(d) `limit`: of overfitting, one pass of the base and three back and forth of the part behind the layer;
    of a prediction, one pass of the base and the denoiser's arithmetic at the machine's own rate of
    multiplying matrices.

(a) and (b) have a denoiser only where its padding to 128 x 128 holds the weight. Time does not depend
on weights, so generators are trained for one step only. Writes results/benchmarks/speed.json.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import CASES, Case, cross_entropy, frozen
from benchmarks.measuring import Work, each_alone, in_turns, matrix_rate
from benchmarks.released import Generator, fits, overfit_one_by_one
from ocd import OCD, OCDConfig, overfit
from ocd.base import FrozenBase, OutputShift, run_without_delta
from ocd.lessons import Overfitter, Problem
from ocd.lessons.learning_rate import default_chunk_size
from ocd.lessons.sources import FreshLessons
from ocd.training.objectives import DiffusionObjective

OUT = Path("results/benchmarks")
DRAWS = 5
UNET_BATCH = 4
"""Examples that the U-Net is given at once."""


# ---- what is measured -------------------------------------------------------------------


def fitted(case: Case, base: nn.Module, settings: dict[str, object] | None = None) -> OCD:
    """Our generator, trained for one step on few examples."""
    changes = {"training.num_steps": 1, "overfit.lr": 1e-3, "training.validation_share": 0.0}
    changes |= {"sampling.spread": 1.0, "sampling.scale_factor": 1.0} | case.settings
    changes |= {"collection.storage": "on_the_fly", "training.batch_size": case.batch}
    changes |= {"training.num_steps": 1, "layer": case.layer} | (settings or {})
    encoder = case.encoder() if case.encoder is not None else None
    ocd = OCD(base, loss=cross_entropy, config=OCDConfig().replace(changes), encoder=encoder)
    ocd.fit(case.examples(2 * case.batch), progress=False)
    return ocd


def overfitting(case: Case, base: nn.Module) -> dict[str, Work]:
    examples = case.examples(case.num_examples)
    inputs, targets = examples.inputs, examples.targets
    assert isinstance(inputs, Tensor)
    here = frozen(case, base)
    size = (
        min(len(inputs), default_chunk_size(here.weight_shape, "rank_one"))
        if case.batch >= 256
        else case.batch
    )
    few = max(2, min(50, case.num_examples // 4))

    def ours(optimizer: str, lr: float, count: int) -> None:
        overfit(
            base, case.layer, cross_entropy, inputs[:count], targets[:count], lr=lr,
            optimizer=optimizer, channels_last=case.channels_last,
        )  # fmt: skip

    return {
        "forward": Work(lambda: in_parts(base, inputs, size), len(inputs)),
        "one by one": Work(lambda: overfit_one_by_one(case, examples, few), few),
        "released": Work(lambda: ours("adam", 5e-4, case.batch), case.batch),
        "fast": Work(lambda: ours("sgd", 1e-3, len(inputs)), len(inputs)),
        "limit": Work(lambda: limit_of_overfitting(here, inputs, targets, size), len(inputs)),
    }


def in_parts(base: nn.Module, inputs: Tensor, size: int) -> None:
    for part in inputs.split(size):
        run_without_delta(base, part)


def limit_of_overfitting(here: FrozenBase, inputs: Tensor, targets: Tensor, size: int) -> None:
    """One pass of the base, and three back and forth of what is behind the layer, from a shift of its
    output: nothing that any way of overfitting could leave out."""
    for rows, labels in zip(inputs.split(size), targets.split(size), strict=True):
        capture = here.capture(rows)
        shape = (len(rows), 1, capture.positions.shape[1], here.weight_shape[0])
        for _ in range(3):
            shift = torch.zeros(shape, requires_grad=True)
            with torch.enable_grad():
                output = here.run(capture, OutputShift(shift))[:, 0]
                torch.autograd.grad(cross_entropy(output, labels).sum(), shift)


def training(case: Case, ocd: OCD, unet: Generator | None) -> dict[str, Work]:
    """A step of the generator on a batch that is overfitted for it; of the released denoiser on deltas
    that are there already."""
    network, here = ocd.fitted()
    training = ocd.config.training
    config = OCDConfig().replace({"overfit.lr": 1e-3}).overfit
    problem = Problem(here.base, cross_entropy, case.examples(case.batch), ocd.condition)
    overfitter = Overfitter(problem, here, config)
    objective = DiffusionObjective(overfitter, training.num_noise_levels, training.task_loss_weight)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    source, indices = FreshLessons(overfitter), torch.arange(case.batch)

    def step() -> None:
        network.train()
        rows = source.rows(indices, torch.Generator().manual_seed(0))
        objective.losses(network, rows, torch.Generator().manual_seed(0))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    works = {"fast": Work(step, case.batch)}
    if unet is not None:
        works["one by one"] = Work(unet.train_step, 1)
        works["released"] = Work(lambda: unet.train_step(UNET_BATCH), UNET_BATCH)
    return works


def prediction(case: Case, ocd: OCD, base: nn.Module) -> dict[str, Work]:
    inputs = case.examples(case.batch).inputs
    rough, dpm = (
        _with(ocd, settings)
        for settings in (
            {"sampling.mixed_precision": True},
            {"diffusion.solver": "dpm", "diffusion.num_sampling_steps": 5},
        )
    )
    works = {
        "forward": lambda: run_without_delta(base, inputs),
        "fast": lambda: ocd.predict(inputs, draws=DRAWS),
        "fast, mean": lambda: ocd.predict(inputs, mode="mean"),
        "fast, bfloat16": lambda: rough.predict(inputs, draws=DRAWS),
        "fast, mean, bfloat16": lambda: rough.predict(inputs, mode="mean"),
        "fast, 5 steps of DPM-Solver++": lambda: dpm.predict(inputs, draws=DRAWS),
    }
    return {name: Work(do, case.batch) for name, do in works.items()}


def _with(ocd: OCD, settings: dict[str, object]) -> OCD:
    """The same generator with other settings of its sampling."""
    from copy import copy

    from ocd.generator.diffusion import Diffusion

    other = OCD(ocd.base, loss=ocd.loss, config=ocd.config.replace(settings), encoder=ocd.encoder)
    network, other.frozen = ocd.fitted()
    other.hypernetwork = copy(network)
    other.hypernetwork.diffusion = Diffusion(other.config.diffusion)
    return other


def arithmetic(ocd: OCD) -> int:
    """Floating point operations of the denoiser for one example's draws."""
    network, _ = ocd.fitted()
    sizes = {n: p.numel() for n, p in network.denoiser.named_parameters() if p.dim() == 2}
    # Of each draw and step: all but what is the same for an example's draws, or for all examples.
    of_draw = sum(n for name, n in sizes.items() if not name.startswith("time") and "modul" not in name)
    of_example = sum(n for name, n in sizes.items() if "modul" in name)
    steps = ocd.config.diffusion.num_sampling_steps
    return 2 * steps * (DRAWS * of_draw + of_example)


# ---- one case -----------------------------------------------------------------------------


def measure(case: Case, repeats: int) -> dict[str, Any]:
    base, rate = case.base(), matrix_rate()
    ocd = fitted(case, base)
    unet = Generator(case) if fits(tuple(ocd.fitted()[1].weight_shape)) else None
    costs = {"overfit": in_turns(overfitting(case, base), repeats)}
    ours = training(case, ocd, unet)
    costs["train"] = in_turns({"fast": ours.pop("fast")}, repeats)
    ocd.fitted()  # back in eval mode
    costs["predict"] = in_turns(prediction(case, ocd, base), 3 * repeats)
    if unet is not None:  # seconds each: once is enough
        costs["train"] |= in_turns(ours, 1)
        works = {
            "one by one": Work(unet.predict, 1),
            "released": Work(lambda: unet.predict(UNET_BATCH), UNET_BATCH),
        }
        costs["predict"] |= in_turns(works, 1)
    found: dict[str, Any] = {
        phase: {n: asdict(c) for n, c in of.items()} for phase, of in costs.items()
    }
    forward = found["predict"]["forward"]["microseconds"]
    found["predict"]["limit"] = {"microseconds": forward + 1e6 * arithmetic(ocd) / rate}
    return {
        "size": case.size,
        "batch": case.batch,
        "matrix_gflops": rate / 1e9,
        **found,
        "ratios": ratios(found),
    }


def ratios(found: dict[str, Any]) -> dict[str, float]:
    def ratio(phase: str, one: str, other: str) -> float | None:
        if one not in found[phase] or other not in found[phase]:
            return None
        return float(found[phase][one]["microseconds"] / found[phase][other]["microseconds"])

    wanted = {
        "overfit: one by one / fast": ratio("overfit", "one by one", "fast"),
        "overfit: released / fast": ratio("overfit", "released", "fast"),
        "overfit: fast / limit": ratio("overfit", "fast", "limit"),
        "overfit: fast / forward": ratio("overfit", "fast", "forward"),
        "train step: one by one / fast": ratio("train", "one by one", "fast"),
        "train step: released / fast": ratio("train", "released", "fast"),
        f"predict: one by one / {DRAWS} draws": ratio("predict", "one by one", "fast"),
        f"predict: released / {DRAWS} draws": ratio("predict", "released", "fast"),
        f"predict {DRAWS} draws / limit": ratio("predict", "fast", "limit"),
    }
    for name in found["predict"]:
        if name.startswith("fast"):
            what = f"predict {DRAWS} draws" if "mean" not in name else "predict"
            label = f"{what}{name.removeprefix('fast')} / forward"
            wanted[label] = ratio("predict", name, "forward")
    return {name: value for name, value in wanted.items() if value is not None}


# ---- all of them ----------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--cases", default=",".join(case.name for case in CASES))
    parser.add_argument("--one", help="measure one case, in this process, and print it")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    repeats = 2 if arguments.quick else 5
    if arguments.one:
        case = next(case for case in CASES if case.name == arguments.one)
        print(json.dumps(measure(case, repeats)))
        return
    results: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cases": {},
    }
    flags = (*["--quick"] * arguments.quick, "--one")
    for name, found in each_alone("benchmarks.speed", arguments.cases.split(","), *flags):
        results["cases"][name] = found
        _print(name, found)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "speed.json").write_text(json.dumps(results, indent=1) + "\n")


def _print(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['size']}")
    for phase in ("overfit", "train", "predict"):
        for way, cost in found[phase].items():
            peak = cost.get("peak_mb")
            memory = f"{peak:10,.0f} MB" if peak is not None else ""
            print(f"  {phase:8} {way:32} {cost['microseconds']:14,.1f} µs an example {memory}")
    for ratio, value in found["ratios"].items():
        print(f"  {ratio:50} {value:10,.2f}", flush=True)


if __name__ == "__main__":
    main()
