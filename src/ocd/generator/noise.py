"""Starting noise that belongs to an example, not to its place in a batch.

    noise = example_noise(example_keys(inputs), seed=0, num_draws=5, shape=(84,))  # (B, 5, 84)

A draw must not depend on the rest of the batch, nor on how the batch is cut into chunks. So the noise
is not taken from the stream of a random generator but computed: element d of draw k of an example is
a normal number that is a function of (seed, k, d, the bytes of the example's input). The integers
come from SplitMix64 (Steele et al. 2014), the normal numbers from them by Box and Muller (1958).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ocd.data import Inputs, num_rows, tensors

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser: each bit of the result depends on each bit of x (int64, wraps)."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: int64 has only the arithmetic one, so the copied sign bits are masked off."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def example_keys(inputs: Inputs) -> Tensor:
    """One 64-bit key an example, from the bits of its input alone: (B,) int64."""
    keys = torch.zeros(num_rows(inputs), dtype=torch.int64, device=tensors(inputs)[0].device)
    for tensor in tensors(inputs):
        bits = _as_integers(tensor.detach().flatten(1) if tensor.dim() > 1 else tensor[:, None])
        places = torch.arange(bits.shape[1], device=bits.device)
        # An odd weight for each element: a change of any value, or a swap of two, changes the sum.
        weights = _mix((places + 1) * _GOLDEN) | 1
        keys = _mix(keys + (bits * weights).sum(dim=1) + _GOLDEN)
    return keys


def _as_integers(values: Tensor) -> Tensor:
    """The bits of numbers, of which equal ones have the same: -0.0 is 0.0."""
    if values.dtype == torch.float64:
        return (values + 0.0).contiguous().view(torch.int64)
    if values.is_floating_point():
        return (values.float() + 0.0).contiguous().view(torch.int32).long()
    return values.long()


def example_noise(keys: Tensor, seed: int, num_draws: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, (B, K, *shape) float32; row b depends on keys[b] and the seed only.

    Draw k is the same whatever K is.
    """
    size = math.prod(shape)
    pairs = (size + 1) // 2
    draws = torch.arange(num_draws, device=keys.device)
    places = torch.arange(pairs, device=keys.device)
    start = torch.tensor(seed, device=keys.device) * _GOLDEN  # wraps; a Python integer would not
    stream = _mix(_mix(keys + start)[:, None] + (draws + 1) * _GOLDEN)  # (B, K)
    bits = _mix(stream[..., None] + (places + 1) * _GOLDEN)  # (B, K, pairs)
    # Two 32-bit halves of each integer are two uniform numbers; the first may not be 0.
    first = (_shift_right(bits, 32).float() + 0.5) * 2.0**-32
    angle = (bits & 0xFFFFFFFF).float() * (2.0 * math.pi * 2.0**-32)
    radius = (-2.0 * first.log()).clamp_min(0.0).sqrt()
    normal = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return normal.flatten(2)[..., :size].reshape(len(keys), num_draws, *shape)
