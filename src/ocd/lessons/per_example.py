"""Eq. 1 for many examples: in chunks, and without the examples that are not finite."""

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
    Output,
    Outputs,
    RankOneDelta,
    example_losses,
)
from ocd.data import (
    Excerpt,
    Inputs,
    Targets,
    as_inputs,
    as_targets,
    in_chunks,
    num_rows,
    take_excerpt,
    take_rows,
)
from ocd.errors import OCDError
from ocd.lessons.learning_rate import decide, default_chunk_size
from ocd.lessons.overfitting import overfit_batch
from ocd.lessons.steps import MAX_SKIPPED, OverfitConfig, check_skipped


@dataclass(frozen=True)
class Deltas:
    """The overfitted deltas of the N examples whose loss and delta stayed finite.

    `delta`: one draw an example. `indices`: (N,), the example that each belongs to. `loss_before`,
    `loss_after`: (N,). `skipped`: indices of the examples that were left out.
    """

    delta: Delta
    indices: Tensor
    loss_before: Tensor
    loss_after: Tensor
    skipped: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.indices)

    def dense(self) -> Tensor:
        """Every weight written out: (N, *weight.shape)."""
        return self.delta.dense()[:, 0]

    def counted_from(self, first: int) -> Deltas:
        """The same, of examples whose indices begin with `first`."""
        skipped = [first + index for index in self.skipped]
        return replace(self, indices=first + self.indices, skipped=skipped)

    def norms(self) -> Tensor:
        """ρ_s = ‖delta‖ of Eq. 8, (N,)."""
        return self.delta.norms()[:, 0]


@dataclass(frozen=True)
class OverfittedChunk:
    """`deltas` of one chunk, its `capture` (None where excerpts were overfitted), and `kept`: the rows
    of the chunk that the deltas belong to."""

    deltas: Deltas
    capture: Capture | None
    kept: Tensor


def overfit(
    base: nn.Module,
    layer: str,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    *,
    steps: int = 3,
    lr: float | None = None,
    optimizer: str = "sgd",
    form: str = "auto",
    chunk_size: int | None = None,
    max_skipped: float = MAX_SKIPPED,
    excerpt: Excerpt | None = None,
    excerpt_size: int = 0,
    channels_last: bool = False,
    output: Output | None = None,
) -> Deltas:
    """Eq. 1 for every example: how `layer`'s weight moves when the base is tuned on it alone.

    `inputs` (B, ...) and `targets` (B, ...); `loss(outputs, targets)` gives (B,). The base is not
    changed. `lr=None` chooses one. `form`: "auto" writes deltas as u·aᵀ where that is exact, "dense"
    never does. With `excerpt` each step sees a random part of each example, `excerpt_size` positions
    large. With `channels_last` the base runs on images in that memory layout, which is often faster.

    Examples whose loss or delta is not finite are left out and listed in `skipped`. Raises OCDError if
    these are more than the share `max_skipped`, if the loss does not give (B,), and for a layer that is
    unknown, tied or not reached.
    """
    inputs, targets = as_inputs(inputs), as_targets(targets)
    if num_rows(inputs) == 0:
        raise OCDError("there are no inputs to overfit: at least one example is needed")
    if num_rows(targets) != num_rows(inputs):
        raise OCDError(
            f"{num_rows(inputs)} inputs but {num_rows(targets)} targets: "
            "one target an example is needed"
        )
    config = OverfitConfig(steps, lr, optimizer, chunk_size, excerpt_size, form)
    outputs = Outputs(output)
    frozen = FrozenBase(base, layer, channels_last=channels_last, outputs=outputs)
    loss = outputs.loss(loss)
    with torch.inference_mode(False), torch.enable_grad():
        config = decide(frozen, loss, inputs, targets, config, excerpt).config
        return overfit_in_chunks(frozen, loss, inputs, targets, config, excerpt, max_skipped)


def overfit_in_chunks(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    config: OverfitConfig,
    excerpt: Excerpt | None = None,
    max_skipped: float = MAX_SKIPPED,
) -> Deltas:
    """`overfit` with learning rate and form decided; halves its chunks when memory runs out."""
    total = num_rows(inputs)

    def work(chunk: slice) -> Deltas:
        rows = take_rows(inputs, chunk)
        done = overfit_chunk(frozen, loss, rows, take_rows(targets, chunk), config, excerpt).deltas
        return done.counted_from(chunk.start)

    parts = [deltas for _, deltas in in_chunks(total, chunk_size_of(frozen, config), work)]
    result = _join(parts)
    check_skipped(result.skipped, total, max_skipped)
    return result


def chunk_size_of(frozen: FrozenBase, config: OverfitConfig) -> int:
    """Examples that are overfitted at once."""
    return config.chunk_size or default_chunk_size(frozen.weight_shape, config.form)


def chunk_of(frozen: FrozenBase, config: OverfitConfig) -> int:
    """Examples that a prediction overfits at once: at most 256."""
    return min(256, chunk_size_of(frozen, config))


def overfit_chunk(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    config: OverfitConfig,
    excerpt: Excerpt | None = None,
    capture: Capture | None = None,
) -> OverfittedChunk:
    """One chunk of examples, with indices from 0 on. `capture`: of them, if it was made.

    Where excerpts are overfitted, the losses before and after are those of one more excerpt.
    """
    if excerpt is not None and config.excerpt:
        capture = None
    elif capture is None:
        capture = frozen.capture(inputs)
    delta = overfit_batch(frozen, loss, inputs, targets, config, excerpt, capture)
    with torch.no_grad():
        if capture is None:
            generator = torch.Generator().manual_seed(1)
            inputs, targets = take_excerpt(excerpt, inputs, targets, config.excerpt, generator)
            output = frozen.answer(inputs)
            moved = frozen.run_full(inputs, delta)[:, 0]
        else:
            output, moved = capture.output, frozen.run(capture, delta)[:, 0]
        before = example_losses(loss, output, targets)
        after = example_losses(loss, moved, targets)
    good = before.isfinite() & after.isfinite() & delta.isfinite()
    kept = good.nonzero()[:, 0]
    left_out = set(range(len(before))) - set(kept.tolist())
    deltas = Deltas(
        delta if good.all() else delta.take(kept),  # a copy of dense deltas takes as long as a pass
        kept.cpu(),
        before[kept],
        after[kept],
        sorted(left_out),
    )
    return OverfittedChunk(deltas, capture, kept)


def _join(parts: list[Deltas]) -> Deltas:
    """The chunks' deltas as one."""
    if len(parts) == 1:
        return parts[0]
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
