"""The learning rate of Eq. 1, chosen on a few examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ocd.base import (
    Capture,
    FrozenBase,
    Loss,
    check_loss_rows,
    example_losses,
    loss_unit,
    num_weights,
    probe,
)
from ocd.data import Excerpt, Inputs, Targets, num_rows, seeded, take_excerpt, take_rows
from ocd.errors import OCDError
from ocd.lessons.overfitting import overfit_capture, resolve_form
from ocd.lessons.rate_search import HIGHEST, LOWEST, mean_fall, search_rate
from ocd.lessons.steps import OverfitConfig, check_skipped, in_units

MEASURED = 64
"""Examples whose losses say how large the loss is, where no learning rate is to be chosen on them."""
CaptureFirst = Callable[[int], Capture]


@dataclass(frozen=True)
class Decided:
    """`config` with its learning rate, form and unit, the capture of three examples that the layer was
    probed with, and a line about the learning rate."""

    config: OverfitConfig
    capture: Capture
    note: str


def default_chunk_size(weight_shape: tuple[int, ...], form: str) -> int:
    """Examples at once: dense deltas take five times their weights (delta, gradient, Adam's two)."""
    if form == "rank_one":
        return 512  # measured on LeNet5: activations of more leave the cache (docs/performance.md)
    return max(1, min(1024, 2**28 // (5 * num_weights(weight_shape))))


def num_trial_examples(weight_shape: tuple[int, ...], available: int, num_positions: int = 1) -> int:
    """How many examples learning rates are tried on: few where a delta or its products are large.

    A base that fits well has its loss in few examples, and of 256 the choice moved by a factor of five
    from sample to sample (docs/experiments.md).
    """
    products = max(1, num_positions) * num_weights(weight_shape)
    most = max(4, min(2**20 // max(1, num_positions), 2**33 // products))
    return min(1024, default_chunk_size(weight_shape, "dense"), available, most)


def decide(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    config: OverfitConfig,
    excerpt: Excerpt | None = None,
    capture_first: CaptureFirst | None = None,
) -> Decided:
    """Probe the layer and decide learning rate and form on these examples (B, ...), or as many of them
    as are needed. `capture_first(n)`: the capture of the first n of them, if the base need not be asked
    anew."""
    few = slice(0, num_trial_examples(frozen.weight_shape, num_rows(inputs)))
    inputs, targets = take_rows(inputs, few), take_rows(targets, few)
    inputs, targets = take_excerpt(excerpt, inputs, targets, config.excerpt, seeded(0))
    probed = probe(frozen, inputs)
    check_loss_rows(
        loss, frozen.answer(take_rows(inputs, slice(0, 3))), take_rows(targets, slice(0, 3))
    )
    note = f"overfit lr {config.lr or 0:g}: as configured"
    num_positions = probed.positions.shape[1]
    most = num_trial_examples(frozen.weight_shape, num_rows(targets), num_positions)
    few = slice(0, most if config.lr is None else min(most, config.chunk_size or MEASURED, MEASURED))
    inputs, targets = take_rows(inputs, few), take_rows(targets, few)
    capture = None if capture_first is None else capture_first(few.stop)
    if config.lr is None and capture is None:
        capture = frozen.capture(inputs)
    with torch.no_grad():
        output = frozen.answer(inputs) if capture is None else capture.output
        config = replace(config, unit=loss_unit(example_losses(loss, output, targets)))
    if config.lr is None:
        assert capture is not None
        lr, note = choose_lr(frozen, capture, loss, targets, config)
        config = replace(config, lr=lr)
    return Decided(replace(config, form=resolve_form(probed, config)), probed, note)


def choose_lr(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Targets, config: OverfitConfig
) -> tuple[float, str]:
    """The learning rate of `search_rate` on the captured examples, and a line that says so.

    Examples whose loss is not finite after the shortest steps do not count. Raises OCDError where no
    rate makes the loss fall. Rates are tried on the loss counted in `config.unit`, and the answer is
    that of the loss as it is.
    """
    unit = config.unit
    loss, config = in_units(loss, config)
    precise = capture.output.dtype in (torch.float32, torch.float64)

    def after(lr: float) -> Tensor:
        delta = overfit_capture(frozen, capture, loss, targets, replace(config, lr=lr))
        with torch.no_grad():
            return example_losses(loss, frozen.run(capture, delta)[:, 0], targets)

    # By the way of the others: against the base's own answers rounding would be a rise.
    before = after(0.0)
    # What is not finite after the shortest steps never is.
    usable = before.isfinite() & after(LOWEST).isfinite()
    check_skipped((~usable).nonzero()[:, 0].tolist(), len(usable), max_skipped=0.5)
    found = search_rate(lambda lr: mean_fall(before[usable], after(lr)[usable], precise))
    if found is None:
        raise OCDError(
            f"no learning rate from {LOWEST:g} to {HIGHEST:g} makes the loss fall at layer "
            f"{frozen.name!r}: set overfit.lr, or choose another layer"
        )
    lr, fall = found[0] / (unit if config.optimizer == "sgd" else 1.0), found[1] * unit
    start = float(before[usable].mean()) * unit
    return lr, (
        f"overfit lr {lr:g}: {config.num_steps} {config.optimizer} steps take the mean loss of "
        f"{int(usable.sum())} examples from {start:.4g} to {start - fall:.4g}"
    )
