"""A delta for every example and draw, and what it adds to the layer's output.

delta_s = θ_s − θ of Eq. 1, for one layer's weight. A layer multiplies a vector at each of its positions
by its weight matrix (ocd.base.positions), and a delta moves its output by delta · vector.

    delta = DenseDelta(weight)        # every weight written out, (B, K, *weight.shape)
    delta = RankOneDelta(u, a, shape) # u·aᵀ, exact where each example has one position
    delta = ComponentDelta(code, V, shape)  # Σ_c code_c · V_c, written out only where it is needed
    delta.shift(positions)            # (B, P, G, I) -> (B, K, P, O)

B examples, K draws, P positions, G groups, I inputs of a group, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ocd.base.component_delta import ComponentDelta
from ocd.base.positions import shift_by_weights


@dataclass(frozen=True)
class DenseDelta:
    """Deltas with every weight written out.

    `weight`: (B, K, *weight.shape) for K draws; B may be 1: the same deltas for all examples.
    """

    weight: Tensor

    @property
    def num_draws(self) -> int:
        """K."""
        return self.weight.shape[1]

    def dense(self) -> Tensor:
        """(B, K, *weight.shape)."""
        return self.weight

    def norms(self) -> Tensor:
        """ρ_s = ‖delta‖ (Eq. 8), shape (B, K)."""
        return self.weight.flatten(2).norm(dim=2)

    def shift(self, positions: Tensor) -> Tensor:
        """What the delta adds to the layer's output: positions (B, P, G, I) -> (B, K, P, O)."""
        return shift_by_weights(self.weight, positions)

    def mean_draw(self) -> Self:
        """The mean network of the K draws: their averaged delta, as one draw."""
        return type(self)(self.weight.mean(dim=1, keepdim=True))

    def as_examples(self, batch: int) -> Self:
        """The K draws of B examples as one draw each of B·K examples."""
        every = self.weight.expand(batch, *self.weight.shape[1:])
        return type(self)(every.flatten(0, 1)[:, None])

    def take(self, index: Tensor | slice) -> Self:
        """The deltas of some examples."""
        return type(self)(self.weight[index])

    def scaled(self, factor: Tensor) -> Self:
        """Each delta times its factor, (B, K)."""
        return type(self)(self.weight * factor.view(*factor.shape, *[1] * (self.weight.dim() - 2)))

    def isfinite(self) -> Tensor:
        """(B,): whether every weight of an example's deltas is finite."""
        good = self.weight.flatten(1).sum(dim=1).isfinite()  # one pass; a sum may be too large
        if not good.all():
            good[~good] = self.weight[~good].flatten(1).isfinite().all(dim=1)
        return good


@dataclass(frozen=True)
class RankOneDelta:
    """Deltas u·aᵀ, exact where each example's layer sees one vector a and the optimiser is SGD.

    Every gradient of such a layer is (∂L/∂z)·aᵀ, with the same a at every step because the base is
    frozen up to the layer; so is every sum of gradients.
    `left`: u, (B, K, O). `right`: a, (B, I). `weight_shape`: the layer's own weight shape.
    """

    left: Tensor
    right: Tensor
    weight_shape: tuple[int, ...]

    @property
    def num_draws(self) -> int:
        """K."""
        return self.left.shape[1]

    def dense(self) -> Tensor:
        """(B, K, *weight.shape)."""
        outer = self.left[..., None] * self.right.to(self.left.dtype)[:, None, None, :]
        return outer.reshape(*self.left.shape[:2], *self.weight_shape)

    def norms(self) -> Tensor:
        """ρ_s = ‖u‖·‖a‖ (Eq. 8), shape (B, K)."""
        return self.left.norm(dim=2) * self.right.to(self.left.dtype).norm(dim=1, keepdim=True)

    def shift(self, positions: Tensor) -> Tensor:
        """positions (B, P, 1, I) -> (B, K, P, O): (vector · a) u."""
        # In the delta's precision: half precision would lose what a small delta does.
        right = self.right.to(self.left.dtype)
        along = (positions[:, :, 0].to(right.dtype) * right[:, None, :]).sum(dim=2)  # (B, P)
        return along[:, None, :, None] * self.left[:, :, None, :]

    def mean_draw(self) -> Self:
        """The averaged delta of the K draws, as one draw; exact, since all share a."""
        return type(self)(self.left.mean(dim=1, keepdim=True), self.right, self.weight_shape)

    def as_examples(self, batch: int) -> Self:
        """The K draws of B examples as one draw each of B·K examples."""
        right = self.right.repeat_interleave(self.num_draws, dim=0)
        return type(self)(self.left.flatten(0, 1)[:, None], right, self.weight_shape)

    def take(self, index: Tensor | slice) -> Self:
        """The deltas of some examples."""
        return type(self)(self.left[index], self.right[index], self.weight_shape)

    def scaled(self, factor: Tensor) -> Self:
        """Each delta times its factor, (B, K)."""
        return type(self)(self.left * factor[..., None], self.right, self.weight_shape)

    def isfinite(self) -> Tensor:
        """(B,): whether u and a of an example are finite."""
        return self.left.flatten(1).isfinite().all(dim=1) & self.right.isfinite().all(dim=1)


@dataclass(frozen=True)
class OutputShift:
    """What a delta adds to the layer's output, (B, K, P, O), where it was worked out before."""

    values: Tensor

    @property
    def num_draws(self) -> int:
        """K."""
        return self.values.shape[1]

    def shift(self, positions: Tensor) -> Tensor:
        """The shift itself."""
        return self.values


Delta = DenseDelta | RankOneDelta | ComponentDelta


def num_weights(weight_shape: tuple[int, ...]) -> int:
    """The number of weights of a layer."""
    return math.prod(weight_shape)
