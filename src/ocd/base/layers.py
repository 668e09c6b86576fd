"""Find what a delta can be added to: a parameter of the base.

It is named by the path of its module, such as `fc1` or `encoder.0.linear`, whose `weight` then moves,
or by its own full name, such as `lstm.weight_ih_l0`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

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


def list_layers(base: nn.Module) -> list[str]:
    """The names of all layers that a selection compares, in the order of the network."""
    return [name for name, module in base.named_modules() if isinstance(module, SUPPORTED)]


def find_layer(base: nn.Module, name: str) -> Layer:
    """The layer called `name`: a module with a weight, or a parameter.

    Raises OCDError for an unknown name (with the nearest names), and for a module without a weight
    (with the parameters that it has).
    """
    modules = dict(base.named_modules())
    if name in modules:
        module = modules[name]
        # To read a parametrised weight would compute it, which may change the module (spectral norm).
        parametrised = parametrize.is_parametrized(module, "weight")
        held = [held for held, _ in module.named_parameters(recurse=False)]
        if parametrised or "weight" in held:
            return Layer(name)
        if "weight_orig" in held:  # a pruned layer, whose hook makes its weight of it
            return Layer(name, "weight_orig")
        inside = [f"{name}.{own}" if name else own for own in held]
        hint = f"name one of its parameters: {', '.join(inside)}" if inside else "choose another layer"
        raise OCDError(f"layer {name!r} is a {type(module).__name__} without a weight: {hint}")
    parameters = {own for own, _ in base.named_parameters(remove_duplicate=False)}
    if name in parameters:
        path, _, own = name.rpartition(".")
        return Layer(path, own)
    known = list_layers(base)
    hint = nearest(name, [*known, *parameters]) or f"; the layers are {', '.join(known) or 'none'}"
    raise OCDError(f"the base has no layer {name!r}{hint}")
