"""Check on a few examples that a layer can be moved, and how."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ocd.base.capture import Capture
from ocd.base.deltas import DenseDelta
from ocd.base.frozen_base import FrozenBase
from ocd.base.layers import list_layers
from ocd.base.passes import eval_mode, run_without_delta
from ocd.data import Inputs, is_out_of_memory, num_rows, take_rows
from ocd.errors import OCDError


def probe(frozen: FrozenBase, inputs: Inputs) -> Capture:
    """Check on three examples that each delta moves its own example alone, and find out whether K draws
    can share one pass up to the layer (`frozen.widen`). Returns the capture of these examples.

    `inputs`: (B, ...) of any B. Raises OCDError where the layer's leading dimension is not the batch,
    where the base mixes its examples, and where it fails or answers differently with images channels
    last.
    """
    # Never a single example: by broadcasting it would go with any batch size.
    few = take_rows(inputs, torch.arange(3) % num_rows(inputs))
    if frozen.channels_last:
        _check_channels_last(frozen, few)
    capture = frozen.capture(few)
    generator = torch.Generator().manual_seed(0)
    size = 0.1 * frozen.weight.detach().float().std(unbiased=False)
    noise = torch.randn(len(capture), 2, *frozen.weight_shape, generator=generator)
    delta = DenseDelta(noise.to(frozen.weight) * size)
    with torch.no_grad():
        _check_independence(frozen, capture, delta)
        frozen.widen = _widening_is_valid(frozen, capture, delta)
    return capture


def _check_channels_last(frozen: FrozenBase, few: Inputs) -> None:
    plain = run_without_delta(frozen.base, few)
    remedy = "set channels_last to false, or let the base use reshape in place of view"
    try:
        output = run_without_delta(frozen.base, few, channels_last=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OCDError(
            f"channels_last is true, and the base fails on images in that memory layout ({reason}): "
            f"{remedy}"
        ) from error
    if isinstance(plain, Tensor) and not _alike(output, plain):
        raise OCDError(
            f"channels_last is true, and the base gives other outputs for images in that memory "
            f"layout: {remedy}"
        )


def _check_independence(frozen: FrozenBase, capture: Capture, delta: DenseDelta) -> None:
    weight = delta.weight[:, :1].clone()
    weight[1:] = 0
    output = frozen.run(capture, DenseDelta(weight))
    others = slice(1, None)
    if not _agree(output[others, 0], capture.output[others]):
        raise OCDError(
            f"a delta of one example at {frozen.name!r} moves the outputs of others: "
            "the layer's leading dimension is not the batch, or the base mixes its rows"
        )


def _widening_is_valid(frozen: FrozenBase, capture: Capture, delta: DenseDelta) -> bool:
    with eval_mode(frozen.base):
        repeated = frozen.run_repeated(capture, delta)
        try:
            widened = frozen.run_widened(capture, delta)
        except (RuntimeError, ValueError, IndexError):
            return False  # a tensor of the old batch size met one of the new batch size
    return widened.shape == repeated.shape and _agree(widened, repeated)


def _agree(one: Tensor, other: Tensor) -> bool:
    """Equal but for rounding; an example that is not finite must be so in both."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two kernels may have made them: in half precision they differ by a hundredth, while what
    is made of wrong pixels is off by as much as it is large."""
    finite = other.isfinite()
    if one.shape != other.shape or not torch.equal(one.isfinite(), finite):
        return False
    one, other = one[finite].float(), other[finite].float()
    return bool((one - other).norm() <= 0.05 * other.norm())


def usable_layers(base: nn.Module, inputs: Inputs) -> tuple[list[str], dict[str, str]]:
    """The layers that a delta can sit on, and for each of the others the reason why not."""
    usable: list[str] = []
    skipped: dict[str, str] = {}
    for name in list_layers(base):
        try:
            probe(FrozenBase(base, name), inputs)
            usable.append(name)
        except OCDError as error:
            skipped[name] = str(error)
    return usable, skipped
