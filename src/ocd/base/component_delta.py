"""Deltas that are sums of a few fixed ones, written out a block of rows at a time.

A generated delta of a layer with many positions is Σ_c code_c · V_c (the code `pca`). Written out, the
deltas of a batch are larger than anything else that a prediction touches, and memory is what they cost.
Here a block of the weight's rows is made for some examples, as many as fit into the cache, and
multiplied at once with what the layer sees; the backward pass makes the same block again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from ocd.base.positions import shift_by_weights

BLOCK = 2**19
"""Weights that are written out at once: 2 MB, which stay in the cache of a core."""


@dataclass(frozen=True)
class ComponentDelta:
    """Deltas Σ_c code_c · V_c.

    `code`: (B, K, C). `components`: V, (weights, C), the same for all. `weight_shape`: the layer's own.
    """

    code: Tensor
    components: Tensor
    weight_shape: tuple[int, ...]

    @property
    def num_draws(self) -> int:
        """K."""
        return self.code.shape[1]

    def dense(self) -> Tensor:
        """(B, K, *weight.shape)."""
        return (self.code @ self.components.T).reshape(*self.code.shape[:2], *self.weight_shape)

    def norms(self) -> Tensor:
        """ρ_s = ‖delta‖ (Eq. 8), shape (B, K)."""
        gram = self.components.T @ self.components
        return ((self.code @ gram) * self.code).sum(dim=2).clamp_min(0).sqrt()

    def shift(self, positions: Tensor) -> Tensor:
        """What the delta adds to the layer's output: positions (B, P, G, I) -> (B, K, P, O)."""
        if positions.shape[2] > 1 or len(self.code) == 1:
            return shift_by_weights(self.dense(), positions)
        vectors = positions[:, :, 0].to(self.code.dtype)
        with torch.autocast(self.code.device.type, enabled=False):
            shift: Tensor = _BlockwiseShift.apply(self.code, self.components, vectors)
        return shift

    def mean_draw(self) -> Self:
        """The mean network of the K draws: their averaged delta, as one draw."""
        return self._with(self.code.mean(dim=1, keepdim=True))

    def as_examples(self, batch: int) -> Self:
        """The K draws of B examples as one draw each of B·K examples."""
        return self._with(self.code.expand(batch, *self.code.shape[1:]).flatten(0, 1)[:, None])

    def take(self, index: Tensor | slice) -> Self:
        """The deltas of some examples."""
        return self._with(self.code[index])

    def scaled(self, factor: Tensor) -> Self:
        """Each delta times its factor, (B, K)."""
        return self._with(self.code * factor[..., None])

    def isfinite(self) -> Tensor:
        """(B,): whether every number of an example's codes is finite."""
        return self.code.flatten(1).isfinite().all(dim=1)

    def _with(self, code: Tensor) -> Self:
        return type(self)(code, self.components, self.weight_shape)


class _BlockwiseShift(torch.autograd.Function):
    """(code, components, vectors (B, P, I)) -> (B, K, P, O); gradients reach the code alone."""

    @staticmethod
    def forward(ctx: Any, code: Tensor, components: Tensor, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(code, components, vectors)
        (batch, draws), (num_positions, fan_in) = code.shape[:2], vectors.shape[1:]
        fan_out = len(components) // fan_in
        if vectors.stride(1) == 1 and num_positions > 1:  # as the patches of a convolution lie
            out = code.new_empty(batch, draws, fan_out, num_positions).transpose(2, 3)
        else:
            out = code.new_empty(batch, draws, num_positions, fan_out)
        for some, rows, part in _blocks(code, components, vectors):
            matrices = (code[some] @ part.T).view(-1, draws * len(part) // fan_in, fan_in)
            moved = matrices @ vectors[some].transpose(1, 2)  # faster than the other way round
            out[some, :, :, rows] = moved.unflatten(1, (draws, -1)).mT
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        code, components, vectors = ctx.saved_tensors
        found = torch.zeros_like(code)
        for some, rows, part in _blocks(code, components, vectors):
            of_rows = gradients[0][some, :, :, rows].transpose(2, 3).flatten(1, 2)  # (b, K·o, P)
            of_weights = of_rows @ vectors[some]  # (b, K·o, I)
            found[some] += of_weights.view(len(of_rows), code.shape[1], -1) @ part
        return found, None, None


def _blocks(code: Tensor, components: Tensor, vectors: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks of some examples and some of the weight's rows, and the components (rows · I, C) of these.

    Components are read again for every block of examples, and vectors for every block of rows: the
    sides are those for which both together are least.
    """
    batch, draws, num_components = code.shape
    _, num_positions, fan_in = vectors.shape
    fan_out = len(components) // fan_in
    area = max(1, BLOCK // (draws * fan_in))
    num_rows = min(fan_out, max(1, int((area * num_positions / num_components) ** 0.5)))
    num_examples = min(batch, max(1, area // num_rows))
    num_rows = min(fan_out, max(1, area // num_examples))
    for first in range(0, batch, num_examples):
        for start in range(0, fan_out, num_rows):
            rows = slice(start, min(start + num_rows, fan_out))
            part = components[rows.start * fan_in : rows.stop * fan_in]
            yield slice(first, first + num_examples), rows, part
