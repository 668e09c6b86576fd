"""Eq. 1: fine-tune one layer on each example alone, a batch of examples at a time.

In eval mode the rows of a batch do not meet, so the gradient of the summed loss with respect to a
stack of deltas holds every example's own gradient, and an optimiser that works element by element
does to the stack what it would do to each delta. One backward pass serves the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ocd.base import (
    Capture,
    Delta,
    DenseDelta,
    FrozenBase,
    Loss,
    RankOneDelta,
    example_losses,
    num_weights,
    run_without_delta,
)
from ocd.data import Excerpt, Inputs, in_chunks, num_rows, take_excerpt, take_rows
from ocd.errors import OCDError

OPTIMIZERS = ("sgd", "momentum", "adam", "polyak")
FORMS = ("auto", "dense", "rank_one")


@dataclass(frozen=True)
class OverfitConfig:
    """How each example is overfitted (Eq. 1)."""

    num_steps: int = 3
    """Gradient steps on the one example; the paper takes three."""
    lr: float | None = None
    """Learning rate; None chooses the smallest one that takes away most of the loss."""
    optimizer: str = "sgd"
    """sgd (the paper), momentum, adam (the released code), or polyak: sgd whose steps are as long as
    would bring each example's own loss to 0, were it linear (times lr); for losses whose least is 0."""
    momentum: float = 0.9
    """Momentum of `momentum`."""
    form: str = "auto"
    """auto, dense or rank_one. auto takes rank one where it is exact."""
    chunk_size: int | None = None
    """Examples overfitted at once; None starts from what memory should hold."""
    max_skipped: float = 0.05
    """Share of examples whose loss or delta may be not finite before the run stops."""
    excerpt: int = 0
    """Positions of an example that each step looks at, drawn anew (excerpts.py); 0: all of it."""

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise OCDError(f"overfit.optimizer is {self.optimizer!r}: use one of {OPTIMIZERS}")
        if self.form not in FORMS:
            raise OCDError(f"overfit.form is {self.form!r}: use one of {FORMS}")
        if self.chunk_size is not None and self.chunk_size < 1:
            raise OCDError(f"overfit.chunk_size is {self.chunk_size}: it must be at least 1")
        if self.excerpt < 0:
            raise OCDError(f"overfit.excerpt is {self.excerpt}: it must be at least 0")
        if self.num_steps < 1:
            raise OCDError(f"overfit.num_steps is {self.num_steps}: at least 1 step is needed")


@dataclass(frozen=True)
class Deltas:
    """The overfitted deltas of the examples whose loss and delta stayed finite.

    `delta`: one draw an example. `indices`: (N,) which examples of the inputs they belong to.
    `loss_before`, `loss_after`: (N,). `skipped`: the examples left out.
    """

    delta: Delta
    indices: Tensor
    loss_before: Tensor
    loss_after: Tensor
    skipped: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indices)

    def dense(self) -> Tensor:
        """(N, *weight.shape)."""
        return self.delta.dense()[:, 0]

    def norms(self) -> Tensor:
        """ρ_s = ‖delta‖, (N,)."""
        return self.delta.norms()[:, 0]


def rank_one_is_exact(capture: Capture, optimizer: str) -> str | None:
    """None where every delta is exactly u·aᵀ; otherwise the reason why it is not."""
    _, num_positions, groups, _ = capture.positions.shape
    if num_positions > 1:
        return f"the layer sees {num_positions} rows an example"
    if groups > 1:
        return f"the layer has {groups} groups"
    if optimizer == "adam":
        return "Adam divides each weight's gradient by its own size"
    return None


def resolve_form(capture: Capture, config: OverfitConfig) -> str:
    """dense or rank_one. Raises OCDError where rank_one is asked for and not exact."""
    reason = rank_one_is_exact(capture, config.optimizer)
    if config.form == "rank_one" and reason:
        raise OCDError(f"overfit.form is 'rank_one', but {reason}: use 'dense' or 'auto'")
    if config.form == "auto":
        return "dense" if reason else "rank_one"
    return config.form


def _polyak(gradient: Tensor, losses: Tensor, squared_norm: Tensor) -> Tensor:
    """Gradients (B, ...) of Polyak's length: each times loss / ‖∇‖², ‖∇‖² (B,) being the weight's."""
    length = torch.where(squared_norm > 0, losses.detach() / squared_norm, 0.0)
    return gradient * length.view(-1, *[1] * (gradient.dim() - 1))


@dataclass(frozen=True)
class _OutputShift:
    """A shift of the layer's output itself, (B, 1, R, O): what is differentiated along rows."""

    values: Tensor
    num_draws: int = 1

    def shift(self, rows: Tensor) -> Tensor:
        return self.values


def _make_optimizer(parameter: Tensor, config: OverfitConfig, lr: float) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam([parameter], lr=lr)
    return torch.optim.SGD(
        [parameter], lr=lr, momentum=config.momentum if config.optimizer == "momentum" else 0.0
    )


def overfit_batch(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Tensor,
    config: OverfitConfig,
    excerpt: Excerpt | None = None,
    capture: Capture | None = None,
) -> Delta:
    """The deltas of a batch, one draw an example (Eq. 1): each step on the whole examples, or on new
    excerpts of them. `capture`: of the inputs, where it is at hand."""
    if excerpt is not None and config.excerpt:
        return _overfit_excerpts(frozen, loss, inputs, targets, config, excerpt)
    return overfit_capture(frozen, capture or frozen.capture(inputs), loss, targets, config)


def _overfit_excerpts(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Tensor,
    config: OverfitConfig,
    excerpt: Excerpt,
) -> DenseDelta:
    """Every step on another excerpt. The same ones for the same batch, so that Eq. 1 has one answer.

    On one excerpt for all steps the delta learns its noise: of TinyNeRF's views the loss falls by 47 %
    where new ones give 54 %, and the nearest view's delta carries over less (docs/experiments.md).
    """
    if config.lr is None:
        raise OCDError("overfit.lr is not chosen yet: call choose_lr first")
    weight = frozen.weight.new_zeros(len(targets), 1, *frozen.weight_shape, requires_grad=True)
    optimizer = _make_optimizer(weight, config, config.lr)
    generator = torch.Generator().manual_seed(0)
    for _ in range(config.num_steps):
        part, labels = excerpt(inputs, targets, config.excerpt, generator)
        with torch.enable_grad():
            output = frozen.run_full(part, DenseDelta(weight))[:, 0]
            losses = example_losses(loss, output, labels)
            (gradient,) = torch.autograd.grad(losses.sum(), weight)
        if config.optimizer == "polyak":
            gradient = _polyak(gradient, losses, gradient.flatten(1).square().sum(dim=1))
        weight.grad = gradient
        optimizer.step()
    return DenseDelta(weight.detach())


def overfit_capture(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Tensor, config: OverfitConfig
) -> Delta:
    """The deltas of a captured batch, one draw an example (Eq. 1). `config.lr` must be set.

    No finiteness check: a row that is not finite does not touch the others.
    """
    if config.lr is None:
        raise OCDError("overfit.lr is not chosen yet: call choose_lr first")
    if resolve_form(capture, config) == "rank_one":
        left = _overfit_along_rows(frozen, capture, loss, targets, config, config.lr)
        return RankOneDelta(left, capture.positions[:, 0, 0], frozen.weight_shape)
    if _along_rows_is_cheaper(frozen, capture, config):
        left = _overfit_along_rows(frozen, capture, loss, targets, config, config.lr)
        weight = left.transpose(1, 2) @ capture.positions[:, :, 0]
        return DenseDelta(weight.view(len(capture), 1, *frozen.weight_shape))
    weight = frozen.weight.new_zeros(len(capture), 1, *frozen.weight_shape, requires_grad=True)
    optimizer = _make_optimizer(weight, config, config.lr)
    for _ in range(config.num_steps):
        with torch.enable_grad():
            output = frozen.run(capture, DenseDelta(weight))[:, 0]
            losses = example_losses(loss, output, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), weight)
        if config.optimizer == "polyak":
            gradient = _polyak(gradient, losses, gradient.flatten(1).square().sum(dim=1))
        weight.grad = gradient
        optimizer.step()
    return DenseDelta(weight.detach())


def _along_rows_is_cheaper(frozen: FrozenBase, capture: Capture, config: OverfitConfig) -> bool:
    """Whether P rows of an example need fewer multiplications than the weights that they span."""
    _, positions, groups, fan_in = capture.positions.shape
    if groups > 1 or len(capture.leading) > 1 or config.optimizer == "adam":
        return False
    whole = positions * fan_in * frozen.weight_shape[0]
    of_steps = config.num_steps * positions**2 * frozen.weight_shape[0]
    return positions**2 * fan_in + of_steps + whole < 2 * config.num_steps * whole


def _overfit_along_rows(
    frozen: FrozenBase,
    capture: Capture,
    loss: Loss,
    targets: Tensor,
    config: OverfitConfig,
    lr: float,
) -> Tensor:
    """U (B, P, O) of deltas Uᵀ·A, where the layer sees the P rows A (P, I) of an example.

    The weight's gradient is Gᵀ·A with G that of the layer's output, and A does not change: U takes the
    optimiser's steps (any that is linear in gradients) with G alone. The output moves by A·Aᵀ·U. With
    one row this is u·aᵀ; with several the weight itself is made once, at the end.
    """
    rows = capture.positions[:, :, 0]
    gram = rows @ rows.transpose(1, 2)  # (B, P, P)
    along = torch.mul if rows.shape[1] == 1 else torch.matmul  # one row needs no matrix product
    left = frozen.weight.new_zeros(len(capture), rows.shape[1], frozen.weight_shape[0])
    optimizer = _make_optimizer(left, config, lr)
    for _ in range(config.num_steps):
        values = along(gram, left)[:, None].requires_grad_()
        with torch.enable_grad():
            output = frozen.run(capture, _OutputShift(values))[:, 0]  # type: ignore[arg-type]
            losses = example_losses(loss, output, targets)
            (gradient,) = torch.autograd.grad(losses.sum(), values)
        gradient = gradient[:, 0]
        if config.optimizer == "polyak":
            squared_norm = (gradient * along(gram, gradient)).flatten(1).sum(dim=1)
            gradient = _polyak(gradient, losses, squared_norm)
        left.grad = gradient
        optimizer.step()
    return left.detach()


def default_chunk_size(weight_shape: tuple[int, ...], form: str) -> int:
    """Examples at once: dense deltas take their weights five times (delta, gradient, Adam's two)."""
    if form == "rank_one":
        return 512  # measured on LeNet5: activations of more leave the cache (docs/performance.md)
    return max(1, min(1024, 2**28 // (5 * num_weights(weight_shape))))


def chunk_of(frozen: FrozenBase, config: OverfitConfig) -> int:
    """Examples that a prediction overfits at once: at most 256, and what memory should hold."""
    return min(256, config.chunk_size or default_chunk_size(frozen.weight_shape, config.form))


def num_tried(weight_shape: tuple[int, ...], available: int, num_rows: int = 1) -> int:
    """Examples that learning rates are tried on: few where a delta, or an example (`num_rows`
    positions), is large."""
    most = max(4, 2**20 // max(1, num_rows))
    return min(256, default_chunk_size(weight_shape, "dense"), available, most)


LR_GRID = tuple(base * 10.0**power for power in range(-6, 3) for base in (1.0, 2.0, 5.0))


def choose_lr(
    frozen: FrozenBase, capture: Capture, loss: Loss, targets: Tensor, config: OverfitConfig
) -> tuple[float, str]:
    """The smallest learning rate that takes away nine tenths of what the best one takes away,
    while the loss rises for at most one example in a hundred; and a line that says so.

    Tried on the captured examples, over a grid of 1, 2, 5 × 10^k (sgd, momentum, adam alike).
    """
    with torch.no_grad():
        before = example_losses(loss, capture.output, targets)
    usable = before.isfinite()
    falls: list[tuple[float, float]] = []
    for lr in LR_GRID:
        delta = overfit_capture(frozen, capture, loss, targets, replace(config, lr=lr))
        with torch.no_grad():
            after = example_losses(loss, frozen.run(capture, delta)[:, 0], targets)
        after, at_start = after[usable], before[usable]
        slack = 1e-6 + 1e-4 * at_start.abs()
        if not after.isfinite().all() or (after > at_start + slack).float().mean() > 0.01:
            break  # steps too long: longer ones are no better
        falls.append((lr, float((at_start - after).mean())))
    if not falls or max(fall for _, fall in falls) <= 0:
        raise OCDError(
            f"no learning rate from {LR_GRID[0]:g} to {LR_GRID[-1]:g} makes the loss fall at layer "
            f"{frozen.name!r}: set overfit.lr, or choose another layer"
        )
    best = max(fall for _, fall in falls)
    lr, fall = next((lr, fall) for lr, fall in falls if fall >= 0.9 * best)
    start = float(before[usable].mean())
    return lr, (
        f"overfit lr {lr:g}: {config.num_steps} {config.optimizer} steps take the mean loss of "
        f"{int(usable.sum())} examples from {start:.4g} to {start - fall:.4g}"
    )


def overfit(
    base: nn.Module,
    layer: str,
    loss: Loss,
    inputs: Inputs,
    targets: Tensor,
    *,
    steps: int = 3,
    lr: float | None = None,
    optimizer: str = "sgd",
    momentum: float = 0.9,
    form: str = "auto",
    chunk_size: int | None = None,
    max_skipped: float = 0.05,
    excerpt: Excerpt | None = None,
    excerpt_size: int = 0,
    channels_last: bool = False,
) -> Deltas:
    """Eq. 1 for every example: how `layer`'s weight moves when the base is tuned on it alone.

    `inputs` (B, ...) and `targets` (B, ...); `loss(outputs, targets)` gives (B,). The base is not
    changed. `lr=None` chooses one (`choose_lr`). With `excerpt` each step looks at a random part of an
    example, `excerpt_size` positions large (ocd.excerpts). With `channels_last` images lie so in memory
    while the base is run, which is often faster. Examples whose loss or delta is not finite
    are left out and listed in `skipped`; more than the share `max_skipped` of them raises OCDError, as
    do a loss that reduces, and a layer that is unknown, tied or not reached.
    """
    if num_rows(inputs) == 0:
        raise OCDError("there are no inputs to overfit: at least one example is needed")
    config = OverfitConfig(steps, lr, optimizer, momentum, form, chunk_size, max_skipped, excerpt_size)
    frozen = FrozenBase(base, layer, channels_last=channels_last)
    generator = torch.Generator().manual_seed(0)
    few = slice(0, num_tried(frozen.weight_shape, num_rows(inputs)))
    tried, labels = take_excerpt(
        excerpt, take_rows(inputs, few), targets[few], config.excerpt, generator
    )
    probe = frozen.probe(tried)
    if config.lr is None:
        fewer = slice(0, num_tried(frozen.weight_shape, len(labels), probe.positions.shape[1]))
        capture = frozen.capture(take_rows(tried, fewer))
        chosen, _ = choose_lr(frozen, capture, loss, labels[fewer], config)
        config = replace(config, lr=chosen)
    form = resolve_form(probe, config)
    return overfit_chunks(frozen, loss, inputs, targets, config, form, excerpt)


def overfit_chunks(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Tensor,
    config: OverfitConfig,
    form: str,
    excerpt: Excerpt | None = None,
) -> Deltas:
    """`overfit` with everything chosen; halves its chunks when memory runs out."""
    total = num_rows(inputs)
    size = config.chunk_size or default_chunk_size(frozen.weight_shape, form)

    def work(chunk: slice) -> Deltas:
        rows = take_rows(inputs, chunk)
        return overfit_rows(frozen, loss, rows, targets[chunk], config, excerpt, chunk.start)[0]

    parts = [deltas for _, deltas in in_chunks(total, size, work)]
    result = join(parts)
    check_skipped(result.skipped, total, config.max_skipped)
    return result


def overfit_rows(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Tensor,
    config: OverfitConfig,
    excerpt: Excerpt | None = None,
    first_index: int = 0,
) -> tuple[Deltas, Capture | None, Tensor]:
    """One chunk: its deltas, its capture, and which of its rows (kept) the deltas belong to.

    Overfitted on excerpts, there is no capture, and the losses are those of one more excerpt.
    """
    capture: Capture | None = None
    if excerpt is None or not config.excerpt:
        capture = frozen.capture(inputs)
    delta = overfit_batch(frozen, loss, inputs, targets, config, excerpt, capture)
    with torch.no_grad():
        if capture is None:
            generator = torch.Generator().manual_seed(1)
            inputs, targets = take_excerpt(excerpt, inputs, targets, config.excerpt, generator)
            output = run_without_delta(frozen.base, inputs, frozen.channels_last)
            moved = frozen.run_full(inputs, delta)[:, 0]
        else:
            output, moved = capture.output, frozen.run(capture, delta)[:, 0]
        before = example_losses(loss, output, targets)
        after = example_losses(loss, moved, targets)
    kept = (before.isfinite() & after.isfinite() & delta.isfinite()).nonzero()[:, 0]
    left_out = set(range(len(before))) - set(kept.tolist())
    deltas = Deltas(
        delta.take(kept),
        first_index + kept.cpu(),
        before[kept],
        after[kept],
        sorted(first_index + row for row in left_out),
    )
    return deltas, capture, kept


def join(parts: list[Deltas]) -> Deltas:
    """The chunks' deltas as one."""
    first = parts[0].delta
    delta: Delta
    if isinstance(first, RankOneDelta):
        ranked = [part.delta for part in parts if isinstance(part.delta, RankOneDelta)]
        delta = RankOneDelta(
            torch.cat([one.left for one in ranked]),
            torch.cat([one.right for one in ranked]),
            first.weight_shape,
        )
    else:
        delta = DenseDelta(torch.cat([part.delta.dense() for part in parts]))
    return Deltas(
        delta,
        torch.cat([part.indices for part in parts]),
        torch.cat([part.loss_before for part in parts]),
        torch.cat([part.loss_after for part in parts]),
        [index for part in parts for index in part.skipped],
    )


def check_skipped(skipped: list[int], total: int, max_skipped: float) -> None:
    """Raises OCDError where more than the share `max_skipped` of the examples was left out."""
    if len(skipped) > max_skipped * total:
        shown = ", ".join(map(str, skipped[:5])) + (", ..." if len(skipped) > 5 else "")
        raise OCDError(
            f"{len(skipped)} of {total} examples have a loss or delta that is not finite (examples "
            f"{shown}), more than overfit.max_skipped = {max_skipped:g}: look at them, lower the "
            "learning rate, or raise that share"
        )
