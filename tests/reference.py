"""The slow, obvious versions: one example at a time, on a copy of the base, with nothing shared.

What `ocd` does for a batch at once is compared with these. They import nothing from it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def one_example(inputs: Any, index: int) -> Any:
    """The example as a batch of one, in memory of its own."""
    if isinstance(inputs, Tensor):
        return inputs[index : index + 1].clone()
    if isinstance(inputs, dict):
        return {key: one_example(value, index) for key, value in inputs.items()}
    return tuple(one_example(value, index) for value in inputs)


def call(base: nn.Module, inputs: Any) -> Tensor:
    if isinstance(inputs, Tensor):
        return base(inputs)
    if isinstance(inputs, dict):
        return base(**inputs)
    return base(*inputs)


def run_one(base: nn.Module, layer: str, example: Any, delta: Tensor) -> Tensor:
    """f(x; θ + delta), by changing the weight of a copy."""
    moved = copy.deepcopy(base).eval()
    with torch.no_grad():
        moved.get_submodule(layer).weight += delta
        return call(moved, example)[0]


def run(base: nn.Module, layer: str, inputs: Any, deltas: Tensor) -> Tensor:
    """deltas (B, K, *weight) -> outputs (B, K, ...), one example and draw at a time."""
    outputs = [
        [run_one(base, layer, one_example(inputs, b), delta) for delta in draws]
        for b, draws in enumerate(deltas)
    ]
    return torch.stack([torch.stack(row) for row in outputs])


def overfit_one(
    base: nn.Module,
    layer: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    example: Any,
    target: Tensor,
    make_optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    steps: int,
) -> Tensor:
    """θ_s − θ of Eq. 1: a copy of the base, in eval mode, whose one weight an optimiser moves."""
    tuned = copy.deepcopy(base).eval()
    for parameter in tuned.parameters():
        parameter.requires_grad_(False)
    weight = tuned.get_submodule(layer).weight
    start = weight.clone()
    weight.requires_grad_(True)
    optimizer = make_optimizer([weight])
    for _ in range(steps):
        optimizer.zero_grad()
        loss(call(tuned, copy.deepcopy(example)), target).sum().backward()
        optimizer.step()
    return weight.detach() - start


def overfit(
    base: nn.Module,
    layer: str,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Any,
    targets: Tensor,
    make_optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    steps: int,
) -> Tensor:
    """(B, *weight), one example after the other."""
    deltas = [
        overfit_one(
            base, layer, loss, one_example(inputs, b), targets[b : b + 1], make_optimizer, steps
        )
        for b in range(len(targets))
    ]
    return torch.stack(deltas)


def noise(key: int, seed: int, draw: int, place: int) -> float:
    """Element `place` of draw `draw`: SplitMix64 and Box-Muller with Python's unbounded integers."""
    golden = 0x9E3779B97F4A7C15

    def mix(x: int) -> int:
        x %= 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    stream = mix(mix(key + seed * golden) + (draw + 1) * golden)
    bits = mix(stream + (place // 2 + 1) * golden)
    radius = math.sqrt(-2 * math.log(((bits >> 32) + 0.5) / 2**32))
    angle = 2 * math.pi * (bits % 2**32) / 2**32
    return radius * (math.sin(angle) if place % 2 else math.cos(angle))
