"""Make the plan of a fit: learning rate, form, code and storage, each with a line that says why."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from ocd.base import Capture, FrozenBase, run_without_delta
from ocd.data import dataset_size, seeded, take_rows
from ocd.generator import choose_code
from ocd.lessons.config import LessonConfig
from ocd.lessons.learning_rate import decide, default_chunk_size, num_trial_examples
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.overfitting import rank_one_is_exact
from ocd.lessons.plan import Plan
from ocd.lessons.problem import Problem
from ocd.lessons.unseen import new_if_augmented

ON_THE_FLY_COST = 4.0
"""Forward passes that overfitting may cost for deltas to be made anew for every batch."""


def make_plan(problem: Problem, layer: str, config: LessonConfig) -> tuple[Plan, list[str]]:
    """The plan of a fit at `layer`, and a note for each decision.

    Raises OCDError where the layer cannot be moved or no learning rate makes the loss fall.
    """
    frozen = problem.frozen_at(layer, config.channels_last)
    count = num_trial_examples(frozen.weight_shape, dataset_size(problem.dataset))
    inputs, targets = problem.fetch(torch.arange(count))

    def captured_first(n: int) -> Capture:
        return problem.capture(frozen, torch.arange(n), take_rows(inputs, slice(0, n)))

    decided = decide(
        frozen, problem.packed_loss, inputs, targets, config.overfit, problem.excerpt,
        None if problem.is_augmented else captured_first,
    )  # fmt: skip
    assert decided.config.lr is not None and frozen.way is not None
    reason = rank_one_is_exact(decided.capture, config.overfit.optimizer)
    code, code_note = choose_code(config.codec.kind, reason)
    notes = [way_note(frozen), *frozen.notes, decided.note, code_note]
    plan = Plan(
        layer=layer,
        way=frozen.way,
        lr=decided.config.lr,
        form=decided.config.form,
        code=code,
        storage=config.collection.storage,
        unit=decided.config.unit,
    )
    if plan.unit != 1:
        notes.append(
            f"the loss is counted in units of {plan.unit:.3g}, a power of two near the base's mean "
            "loss, so that its size does not count"
        )
    if plan.storage == "auto":
        plan, note = _with_storage(problem, plan, config)
        notes.append(note)
    # Measured once: a transform may augment otherwise each time, and no judge may be trained on.
    return replace(plan, new=new_if_augmented(Overfitter.of_plan(problem, plan, config))), notes


def way_note(frozen: FrozenBase) -> str:
    """A line on how the layer moves, and why not faster."""
    assert frozen.way is not None
    if frozen.way.kind == "shift":
        draws = "draws are widened at the layer" if frozen.widen else "inputs are repeated for draws"
        return f"layer {frozen.name} moves by a shift of its output, proven on three examples; {draws}"
    kind = type(frozen.module).__name__
    how = "examples are vectorised" if frozen.way.kind == "vectorized" else "one example at a time"
    return (
        f"layer {frozen.name} ({kind}) moves the plain way, by replacing {frozen.layer.full_name}; "
        f"{how}, since a shift of its output would not be the same"
    )


def _with_storage(problem: Problem, plan: Plan, config: LessonConfig) -> tuple[Plan, str]:
    """The plan with its storage chosen, and a note: once for all, where examples are not augmented;
    else by the measured cost of overfitting."""
    if problem.transform is None:
        return replace(plan, storage="store"), (
            "deltas kept in a store: examples are not augmented, so they are made once"
        )
    overfitter = Overfitter.of_plan(problem, plan, config)
    cost = measure_cost(overfitter)
    cheap = cost <= ON_THE_FLY_COST
    storage = "on_the_fly" if cheap else "store"
    return replace(plan, storage=storage), (
        f"deltas {'made on the fly' if cheap else 'kept in a store'}: overfitting costs "
        f"{cost:.1f} forward passes, and the limit is {ON_THE_FLY_COST:g}"
    )


def measure_cost(overfitter: Overfitter, num_examples: int = 1024, repeats: int = 3) -> float:
    """Seconds of overfitting divided by seconds of a forward pass, on the same examples; medians."""
    frozen, config = overfitter.frozen, overfitter.config
    index = torch.arange(min(num_examples, dataset_size(overfitter.problem.dataset)))
    inputs, targets = overfitter.fetch(index, seeded(0))
    limit = config.chunk_size or default_chunk_size(frozen.weight_shape, "dense")
    inputs, targets = take_rows(inputs, slice(0, limit)), take_rows(targets, slice(0, limit))
    forward, whole = [], []
    for _ in range(repeats):
        start = _now(frozen.device)
        run_without_delta(frozen.base, inputs, frozen.channels_last)
        middle = _now(frozen.device)
        overfitter.overfit(inputs, targets)
        forward.append(middle - start)
        whole.append(_now(frozen.device) - middle)
    return sorted(whole)[repeats // 2] / max(1e-9, sorted(forward)[repeats // 2])


def _now(device: torch.device) -> float:
    """Seconds, after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
