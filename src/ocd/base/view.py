"""A private view of the user's base: its modules copied shallowly, its tensors shared.

Passes of OCD set modes, replace forwards and add hooks. They do so on a view, so that nothing of it
ever reaches the user's own object, also while another thread uses it:

    view = private_view(base)   # in eval mode, as base.eval() would be
    view(x)                     # equals base.eval()(x), and base is as it was

Parameters of the view share memory with the base's and ask for no gradients; buffers that a forward
pass could change (statistics, counters) are copies. Attributes that refer to
modules or parameters of the base (lists of blocks, bound methods, partial functions, closures, flat
lists of an LSTM's weights) refer to those of the view. Scripted modules cannot be copied shallowly
and are copied whole.
"""

from __future__ import annotations

import copy
import functools
import types
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ocd.errors import OCDError

UNCHANGED = {bool, int, float, str, type(None), Tensor, torch.dtype, torch.device}
"""Types of attributes that refer to nothing of the base."""
REFERRING = (nn.Module, types.MethodType, functools.partial)
"""Types of what a function closes over that may refer to the base."""
LARGEST_BUFFER = 2**20
"""Numbers of a buffer that is still copied: statistics are, tables of positions and masks need not
be."""
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrapped(base: nn.Module) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel or torch.compile."""
    while True:
        inner = base.module if isinstance(base, WRAPPERS) else getattr(base, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return base
        base = inner


def private_view(base: nn.Module, fast_path: bool = False) -> nn.Module:
    """A view of the base in eval mode. The base is not touched. `fast_path`: whether PyTorch's
    transformer layers may take their fused path, which bypasses the modules inside them."""
    view = _Copier().copy(unwrapped(base))
    assert isinstance(view, nn.Module)
    view.eval()
    for module in view.modules():
        if not fast_path:
            _leave_fast_path(module)
    return view


def _leave_fast_path(module: nn.Module) -> None:
    """A delta may sit on a module that the fused path bypasses: views take the ordinary path."""
    if isinstance(module, nn.TransformerEncoder):
        module.use_nested_tensor = False
    if isinstance(module, nn.TransformerEncoderLayer):
        module.register_forward_hook(_nothing)  # a layer with hooks takes the ordinary path
    if type(module) is nn.MultiheadAttention:
        # Its fused kernel has no derivative, and is not taken in training, where only dropout differs.
        module.training, module.dropout = True, 0.0


def _nothing(module: nn.Module, args: Any, output: Any) -> None:
    return None


def open_weights(module: nn.Module) -> None:
    """Make the parametrised parameters of a view's module (weight norm, spectral norm) plain ones,
    with the values that they have: what moves is the weight that the layer really uses.

    By hand: `remove_parametrizations` would change the class, which the user's module has too.
    """
    if not parametrize.is_parametrized(module):
        return
    names = list(module.parametrizations)  # type: ignore[arg-type]
    with torch.no_grad():
        values = {name: getattr(module, name).detach().clone() for name in names}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def refer_to(value: Any, copies: dict[int, Any]) -> Any:
    """`value`, or a copy of it that refers to the copies of modules, by the ids of the originals."""
    copier = _Copier()
    copier.known.update(copies)
    return copier.copy(value)


class _Copier:
    """Copies modules, and what refers to them; each object once."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}
        self.alive: list[Any] = []  # ids stay unique while their objects live

    def copy(self, value: Any) -> Any:
        """`value` itself, unless it is a module or parameter of the base, or refers to one."""
        if type(value) in UNCHANGED:
            return value
        if id(value) in self.known:
            return self.known[id(value)]
        if isinstance(value, torch.jit.ScriptModule):
            return self._scripted(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, nn.Parameter):
            return self._keep(value, self._parameter(value))
        if type(value) in (list, tuple, set, dict) or isinstance(value, dict):
            return self._container(value)
        if isinstance(value, types.MethodType):
            owner = self.copy(value.__self__)
            return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
        if type(value) is functools.partial:
            return self._partial(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        return value

    def _keep(self, value: Any, copied: Any) -> Any:
        self.known[id(value)] = copied
        self.alive.append(value)
        return copied

    def _scripted(self, module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
        """A whole copy. With gradients its parameters would be connected with the user's."""
        with torch.no_grad():
            copied = copy.deepcopy(module)
        for parameter in copied.parameters():
            parameter.requires_grad_(False)
        self._keep(module, copied)
        return copied

    def _parameter(self, parameter: nn.Parameter) -> Tensor:
        """The same memory, without a gradient of its own."""
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise OCDError("the base has lazy layers that were not made yet: call it once before")
        return nn.Parameter(parameter.detach(), requires_grad=False)

    def _buffer(self, buffer: Tensor | None) -> Tensor | None:
        """A buffer of its own: a base may count calls or move statistics, also in eval mode."""
        if buffer is None or buffer.numel() > LARGEST_BUFFER:
            return buffer
        known: Tensor | None = self.known.get(id(buffer))
        return self._keep(buffer, buffer.clone()) if known is None else known

    def _module(self, module: nn.Module) -> nn.Module:
        view = self._keep(module, object.__new__(type(module)))
        attributes = view.__dict__
        for name, value in vars(module).items():
            kind = type(value)
            if name == "_buffers":
                attributes[name] = {key: self._buffer(buffer) for key, buffer in value.items()}
            elif kind in UNCHANGED:
                attributes[name] = value
            elif kind in (dict, OrderedDict) and not value:  # most of them: a module's hooks
                attributes[name] = kind()
            else:
                attributes[name] = self.copy(value)
        return view

    def _container(self, value: Any) -> Any:
        if isinstance(value, dict):
            copied = copy.copy(value)
            self._keep(value, copied)
            for key, entry in list(value.items()):
                copied[key] = self.copy(entry)
            return copied
        entries = [self.copy(entry) for entry in value]
        same = all(one is other for one, other in zip(entries, value, strict=True))
        if same and isinstance(value, tuple):
            return value
        return type(value)(entries)

    def _partial(self, value: functools.partial[Any]) -> Any:
        args = tuple(self.copy(arg) for arg in value.args)
        named = {key: self.copy(arg) for key, arg in value.keywords.items()}
        return functools.partial(self.copy(value.func), *args, **named)

    def _function(self, value: types.FunctionType) -> types.FunctionType:
        """A function that closes over modules of the base (`lambda x: self.fc(x)`), or has them as
        defaults: over the view's."""
        cells = tuple(self._cell(cell) for cell in value.__closure__ or ())
        defaults = tuple(self._referred(default) for default in value.__defaults__ or ())
        named = {key: self._referred(default) for key, default in (value.__kwdefaults__ or {}).items()}
        before = [*(value.__closure__ or ()), *(value.__defaults__ or ())]
        before += (value.__kwdefaults__ or {}).values()
        after = [*cells, *defaults, *named.values()]
        if all(one is other for one, other in zip(before, after, strict=True)):
            return value
        copied = types.FunctionType(
            value.__code__, value.__globals__, value.__name__, defaults or None, cells or None
        )
        copied.__kwdefaults__ = named or None
        copied.__dict__.update(value.__dict__)
        return copied

    def _referred(self, value: Any) -> Any:
        return self.copy(value) if isinstance(value, REFERRING) else value

    def _cell(self, cell: types.CellType) -> types.CellType:
        refers = not _is_empty(cell) and isinstance(cell.cell_contents, REFERRING)
        return types.CellType(self.copy(cell.cell_contents)) if refers else cell


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False
