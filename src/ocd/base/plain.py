"""The plain way: the base with one parameter replaced, one example at a time.

    plain_outputs(view, "fc1.weight", weights, inputs, outputs)   # f(x_n; θ_n), (N, ...)

This is the definition that every fast way is proven against (ocd.base.probe), and what moves a
parameter that no fast way exists for. `torch.func.functional_call` replaces the parameter wherever
the base uses it, tied weights included. With `vectorized` the examples are run together by
`torch.func.vmap`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ocd.base.outputs import Outputs
from ocd.data import Inputs, call, map_tensors, num_rows, take_rows

MAX_ELEMENTS = 2**26
"""Weights of all examples of one vectorised call."""


def plain_outputs(
    view: nn.Module,
    name: str,
    weights: Tensor,
    inputs: Inputs,
    outputs: Outputs,
    vectorized: bool = False,
) -> Tensor:
    """f(x_n; θ with `name` replaced by weights[n]) for N examples, packed: (N, ...). Differentiable."""
    count = num_rows(inputs)

    def answer(weight: Tensor, row: Inputs) -> Tensor:
        packed: Tensor = outputs.pack(replaced_answer(view, name, weight, row), rows=1)
        return packed

    if not vectorized:
        rows = [take_rows(inputs, slice(i, i + 1)) for i in range(count)]
        return torch.cat([answer(weights[i], row) for i, row in enumerate(rows)])

    def vectorized_answer(weight: Tensor, row: Inputs) -> Tensor:
        return answer(weight, map_tensors(lambda x: x[None], row))[0]

    size = max(1, min(count, MAX_ELEMENTS // max(1, weights[0].numel())))
    parts = []
    for start in range(0, count, size):
        where = slice(start, start + size)
        several = vmap(vectorized_answer, randomness="error")
        parts.append(several(weights[where], take_rows(inputs, where)))
    return torch.cat(parts)


def replaced_answer(view: nn.Module, name: str, weight: Tensor, inputs: Inputs) -> Any:
    """f(x; θ with `name` replaced) for one or more examples, as the base answers."""
    own = map_tensors(Tensor.clone, inputs)  # the base may change its inputs in place
    # functional_call takes positional and named arguments apart.
    args, named = ((), own) if isinstance(own, dict) else (own, None)
    if isinstance(view, torch.jit.ScriptModule):  # it works on scripted modules inside others alone
        view, name = _Around(view), f"inner.{name}"
    return functional_call(view, {name: weight}, args, named)


class _Around(nn.Module):
    """A module that calls another one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **named: Any) -> Any:
        return self.inner(*args, **named)


def kept_answer(view: nn.Module, name: str, weight: Tensor, inputs: Inputs) -> Any:
    """f(x; θ with `name` replaced), on a view that keeps the replacement: a base that computes parts
    of its forward pass again in the backward pass (activation checkpointing) must find it there."""
    replaced = view.get_parameter(name)
    for module in view.modules():
        for own, parameter in list(module._parameters.items()):
            if parameter is replaced:
                del module._parameters[own]
                object.__setattr__(module, own, weight)
    return call(view, map_tensors(Tensor.clone, inputs))
