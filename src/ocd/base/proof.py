"""The proof of a fast way: the same answers and gradients as the plain way, on real examples.

    proof = Proof(frozen, few, delta)           # what the plain way answers, and its gradient
    proof.holds(partial(frozen.run_full, few))  # whether the way that frozen has now agrees

A fast way is a claim about a module, and a module may be anything: a subclass that scales its weight, a
weight that another module uses too, a hook that looks at the weight. None of these can be told from its
type alone. So a way is tried on three real examples, with a delta of its own for each, and is taken
only where it cannot be told from the definition.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ocd.base.deltas import DenseDelta
from ocd.base.frozen_base import FrozenBase
from ocd.data import Inputs, is_out_of_memory
from ocd.errors import OCDError


class Proof:
    """What the plain way answers to a delta, and its gradient, which a faster way must equal.

    A base that changes a layer's input in place behind it has answers, but autograd cannot train that
    layer the plain way. The gradient is then measured along one direction.
    """

    def __init__(self, frozen: FrozenBase, few: Inputs, delta: DenseDelta) -> None:
        self.frozen, self.few = frozen, few
        self.delta, self.along = delta.weight[:, :1], delta.weight[:, 1:]
        self.gradient: Tensor | None = None
        self.reason = ""
        with torch.enable_grad():
            weight = self.delta.clone().requires_grad_()
            output = frozen.run_full(few, DenseDelta(weight))
            self.output = output.detach()
            self.factors = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
            self.factors = self.factors.to(output)
            if not output.requires_grad:
                raise OCDError(
                    f"the base's output does not depend on {frozen.layer.full_name!r}, or cannot be "
                    "differentiated (forward may run under no_grad): choose another layer"
                )
            try:
                (self.gradient,) = torch.autograd.grad((output * self.factors).sum(), weight)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self.reason = str(error).splitlines()[0]

    def holds(self, run: Callable[[DenseDelta], Tensor]) -> bool:
        """Whether `run` has the same answers and gradients."""
        with torch.enable_grad():
            weight = self.delta.clone().requires_grad_()
            output = run(DenseDelta(weight))
            if output.shape != self.output.shape or not agree(output.detach(), self.output, loose=True):
                return False
            (gradient,) = torch.autograd.grad((output * self.factors).sum(), weight)
        if self.gradient is None:
            return self._rises_as(gradient, run)
        return agree(gradient, self.gradient, loose=True)

    def _rises_as(self, gradient: Tensor, run: Callable[[DenseDelta], Tensor]) -> bool:
        """Whether the plain way's answers change along a direction as `gradient` says, example by
        example, and `run` answers alike on the way."""
        step = 1e-2 * self.along
        sums = []
        for sign in (1, -1):
            moved = DenseDelta(self.delta + sign * step)
            with torch.no_grad():
                plain, fast = self.frozen.run_plain(self.few, moved), run(moved)
            if not agree(fast, plain, loose=True):
                return False
            sums.append((plain * self.factors).flatten(1).sum(dim=1).double())
        rise = (sums[0] - sums[1]) / 2
        products = (gradient * step).flatten(1).double()
        known = rise.isfinite()
        off = (rise - products.sum(dim=1)).abs()[known]
        return bool((off <= 1e-2 * products.abs().sum(dim=1)[known]).all()) and bool(known.any())


def agree(one: Tensor, other: Tensor, loose: bool = False, rough: bool = False) -> bool:
    """Equal but for rounding; an example that is not finite must be so in both.

    `loose`: for kernels of another batch size, whose rounding is relative to the largest value.
    """
    precise = one.dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128)
    relative, absolute = (1e-4, 1e-5) if precise and not rough else (3e-2, 3e-2)
    if loose:
        finite = other[other.isfinite()]
        largest = float(finite.abs().max()) if finite.numel() else 0.0
        absolute = max(absolute * min(1.0, largest) if largest else absolute, relative * largest)
    return torch.allclose(one, other, rtol=relative, atol=absolute, equal_nan=True)


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two kernels may have made them: in half precision they differ by a hundredth, while what
    is made of wrong pixels is off by as much as it is large."""
    finite = other.isfinite()
    if one.shape != other.shape or not torch.equal(one.isfinite(), finite):
        return False
    one, other = one[finite].float(), other[finite].float()
    return bool((one - other).norm() <= 0.05 * other.norm())
