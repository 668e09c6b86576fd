"""What a base answers to three fixed inputs, by which another base with the same weights is told apart.

    fingerprint = Fingerprint.of(frozen, inputs)   # keeps the form of inputs (B, ...), not their values
    fingerprint.fits(frozen)

The weights alone do not say what a base answers: an activation, a constant or the order of layers may
be another one. Such a base is told apart by its answers to made-up inputs of the same form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.base.frozen_base import FrozenBase
from ocd.data import Inputs


@dataclass(frozen=True)
class Fingerprint:
    """`form`: of one example's inputs (shape, type and largest value of each tensor, by key).
    `answers`: the first numbers of the base's answers to three inputs of that form; None where it
    takes no such inputs."""

    form: Any
    answers: list[float] | None

    @classmethod
    def of(cls, frozen: FrozenBase, inputs: Inputs) -> Fingerprint:
        form = _form(inputs)
        return cls(form, _answers(frozen, form))

    def fits(self, frozen: FrozenBase) -> bool:
        """Whether a base answers alike, but for the rounding of another device."""
        found = _answers(frozen, self.form)
        if self.answers is None or found is None:
            return self.answers is None
        one, other = torch.tensor(self.answers), torch.tensor(found)
        same = one.shape == other.shape
        return same and torch.allclose(one, other, rtol=1e-2, atol=1e-3, equal_nan=True)


def _form(inputs: Any) -> Any:
    if isinstance(inputs, Tensor):
        largest = 0 if inputs.is_floating_point() or not inputs.numel() else int(inputs.max())
        return {"shape": list(inputs.shape[1:]), "type": str(inputs.dtype), "largest": largest}
    if isinstance(inputs, dict):
        return {"named": {key: _form(value) for key, value in inputs.items()}}
    if isinstance(inputs, tuple):
        return {"several": [_form(value) for value in inputs]}
    return None


def _inputs(form: Any, generator: torch.Generator) -> Any:
    if form is None:
        raise ValueError("inputs that are no tensors are not made up")
    if "named" in form:
        # In the order of their names: a file does not keep another one.
        return {key: _inputs(value, generator) for key, value in sorted(form["named"].items())}
    if "several" in form:
        return tuple(_inputs(value, generator) for value in form["several"])
    kind = getattr(torch, form["type"].removeprefix("torch."))
    shape = (3, *form["shape"])
    if kind.is_floating_point:
        return torch.randn(shape, generator=generator).to(kind)
    if kind == torch.bool:  # masks: nothing is left out
        return torch.full(shape, bool(form["largest"]))
    return torch.randint(form["largest"] + 1, shape, generator=generator).to(kind)


def _answers(frozen: FrozenBase, form: Any) -> list[float] | None:
    from ocd.data import to_device

    generator = torch.Generator().manual_seed(0)
    try:
        output = frozen.answer(to_device(_inputs(form, generator), frozen.device))
    except Exception:  # made-up inputs need not be inputs of this base
        return None
    if not isinstance(output, Tensor):
        return None
    flat = output.detach().float().cpu().reshape(-1)
    return [float(value) for value in flat[:: max(1, len(flat) // 64)][:64]]
