"""Random generators and orders that depend on numbers alone: any step of a run can be repeated."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 6
"""Of the Feistel network; four make a pseudorandom permutation (Luby and Rackoff 1988)."""
_MASK = (1 << 63) - 1


def seeded(*numbers: int) -> torch.Generator:
    """A generator that depends on nothing but these numbers, so that any step can be repeated."""
    state = 0
    for number in numbers:
        state = (state * 1_000_003 + number + 1) % (2**63 - 25)
    return torch.Generator().manual_seed(state)


def shuffled_places(places: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Where a random order of `size` things has those at `places`: a part of a permutation of all of
    them, made without the rest.

    A Feistel network of keys from `generator` permutes the numbers below a power of four; what falls
    outside `size` is sent through it again ("cycle walking", Black and Rogaway 2002), so that the
    whole stays a permutation. Costs nothing that grows with `size`.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    keys = torch.randint(_MASK, (ROUNDS,), generator=generator).tolist()
    found = _feistel(places.long(), half, keys)
    while bool((outside := found >= size).any()):
        found[outside] = _feistel(found[outside], half, keys)
    return found


def _feistel(values: Tensor, half: int, keys: list[int]) -> Tensor:
    """One pass: values of 2 * half bits to such values, one to one."""
    low = (1 << half) - 1
    left, right = values >> half, values & low
    for key in keys:
        mixed = (right + key) * 0x2545F4914F6CDD1D  # wraps around, as everywhere in int64
        mixed = (mixed ^ ((mixed >> 29) & (_MASK >> 28))) * 0x369DEA0F31A53F85
        left, right = right, left ^ ((mixed >> 31) & low)
    return (left << half) | right
