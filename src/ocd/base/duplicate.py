"""An independent copy of a base, to be trained or loaded with other weights.

    network = independent_copy(base)
    check_independent(network, base, inputs)   # a pass of the copy does not read the base

`copy.deepcopy` leaves functions as they are. A module whose forward is a function that closes over the
module (`module.forward = lambda x: module.fc(x)`) would then answer with the weights of the original.
"""

from __future__ import annotations

import copy
import types
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ocd.base.view import refer_to, unwrapped
from ocd.data import Inputs, call, copied
from ocd.errors import OCDError

FUNCTIONS = (types.FunctionType, partial, dict, list, tuple)
"""Types of attributes that may hold a function."""


def independent_copy(base: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A copy that shares nothing with the base, in the mode that the base is in; functions that close
    over modules of the base close over those of the copy. `memo`: of a larger `copy.deepcopy`."""
    memo = {} if memo is None else memo
    network: nn.Module = copy.deepcopy(base, memo)
    copies = dict(memo)
    copies |= {id(value): value for value in memo.values()}
    for module in network.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, FUNCTIONS):
                vars(module)[name] = refer_to(value, copies)
    return network


@torch.no_grad()
def check_independent(network: nn.Module, base: nn.Module, inputs: Inputs) -> None:
    """Raises OCDError where a pass of the copy `network` reads a parameter or buffer of the base."""
    with _Reads(unwrapped(base)) as reads:
        call(network, copied(inputs))
    if reads.found:
        raise OCDError(
            f"the base cannot be copied: a copy of it still computes with the original's "
            f"{reads.found!r}. A function or object that the module holds refers to it: let it reach "
            "its modules through self"
        )


class _Reads(TorchDispatchMode):
    """Which tensor of a module the operations read, the last one; empty where none."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.found = ""
        named = [*base.named_parameters(), *base.named_buffers()]
        self._names = {place: name for name, value in named if (place := _place(value))}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.found = self._names.get(_place(value), self.found)
        return func(*args, **(kwargs or {}))


def _place(tensor: Tensor) -> int:
    """Where the memory of a tensor begins; 0 where it has none of its own."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):
        return 0
