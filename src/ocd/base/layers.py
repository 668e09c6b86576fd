"""Find what a delta can be added to: a parameter of the base.

    find_layer(base, "encoder.0.linear")      # a module: its weight moves
    find_layer(base, "lstm.weight_ih_l0")     # a parameter, by its full name

A pruned layer's weight is what its mask is applied to, and an adapter's (peft) the weight that it
shows as its own. A parametrised weight is not read, since that would compute it and may change the
module.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ocd.base.view import unwrapped
from ocd.errors import OCDError, nearest

SUPPORTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""The modules among which a layer is selected (Eq. 3), with their subclasses."""


@dataclass(frozen=True)
class Layer:
    """What moves: the parameter `parameter` of the module at the path `module`."""

    module: str
    parameter: str = "weight"

    @property
    def full_name(self) -> str:
        """The parameter's path in the base."""
        return f"{self.module}.{self.parameter}" if self.module else self.parameter


def get_module(base: nn.Module, layer: Layer) -> nn.Module:
    """The layer's module; also in scripted modules, which have no `get_submodule`."""
    path = layer.module.split(".") if layer.module else []
    module: nn.Module = functools.reduce(getattr, path, base)
    return module


def get_parameter(module: nn.Module, layer: Layer) -> nn.Parameter:
    """What moves, of the layer's module; also in scripted modules, which have no `get_parameter`."""
    if isinstance(module, torch.jit.ScriptModule):
        return dict(module.named_parameters(recurse=False))[layer.parameter]
    return module.get_parameter(layer.parameter)


def list_layers(base: nn.Module) -> list[str]:
    """The names of all layers that a selection compares, in the order of the network: none inside a
    module that is closed to moves (`closed_to_moves`), whose answers are kept for each input."""
    return [name for name, module in open_modules(base) if isinstance(module, SUPPORTED)]


def open_modules(base: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a base by name, without those inside a module that is closed to moves."""
    closed = _closed(base)
    for name, module in unwrapped(base).named_modules():
        if not name.startswith(closed):
            yield name, module


def _closed(base: nn.Module) -> tuple[str, ...]:
    """The beginnings of the names inside modules that are closed to moves."""
    named = unwrapped(base).named_modules()
    return tuple(f"{name}." for name, module in named if getattr(module, "closed_to_moves", False))


def _weight_of(module: nn.Module) -> str | None:
    """The name of the parameter that is the module's weight, from the module on: its own, or that of a
    module inside it which it shows as its own (adapters of peft)."""
    # To read a parametrised weight would compute it, which may change the module (spectral norm).
    own = dict(module.named_parameters(recurse=False))
    if parametrize.is_parametrized(module, "weight") or "weight" in own:
        return "weight"
    if "weight_orig" in own:  # a pruned layer, whose hook makes its weight of it
        return "weight_orig"
    weight = getattr(module, "weight", None)
    named = module.named_parameters(remove_duplicate=False)
    return next((name for name, parameter in named if parameter is weight), None)


def find_layer(base: nn.Module, name: str) -> Layer:
    """The layer called `name`: a module with a weight, or a parameter.

    Raises OCDError for an unknown name (with the nearest names), and for a module without a weight
    (with the parameters that it has).
    """
    base = unwrapped(base)
    modules = dict(base.named_modules())
    if name.startswith(_closed(base)):
        behind = ", ".join(list_layers(base)) or "none"
        raise OCDError(f"layer {name!r} is in a part that is computed once for each input and does not "
                       f"move; the layers behind it are {behind}")  # fmt: skip
    if name in modules:
        module = modules[name]
        own = _weight_of(module)
        if own is not None:
            path, _, parameter = f"{name}.{own}".lstrip(".").rpartition(".")
            return Layer(path, parameter)
        held = [held for held, _ in module.named_parameters(recurse=False)]
        inside = [f"{name}.{own}" if name else own for own in held]
        hint = f"name one of its parameters: {', '.join(inside)}" if inside else "choose another layer"
        computed = isinstance(getattr(module, "weight", None), Tensor)
        without = "whose weight is not a parameter" if computed else "without a weight"
        raise OCDError(f"layer {name!r} is a {type(module).__name__} {without}: {hint}")
    parameters = {own for own, _ in base.named_parameters(remove_duplicate=False)}
    if name in parameters:
        path, _, own = name.rpartition(".")
        return Layer(path, own)
    known = list_layers(base)
    can_move = [own for own in parameters if not own.startswith(_closed(base))]
    hint = nearest(name, [*known, *can_move]) or f"; the layers are {', '.join(known) or 'none'}"
    raise OCDError(f"the base has no layer {name!r}{hint}")
