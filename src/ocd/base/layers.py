"""Find the layers of a base that a delta can be added to.

A layer is named by its path in the base, such as `fc1` or `encoder.0.linear`; its `weight` is what
moves.
"""

from __future__ import annotations

from torch import nn

from ocd.errors import OCDError, nearest

SUPPORTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def list_layers(base: nn.Module) -> list[str]:
    """The names of all layers that OCD can move, in the order of the network."""
    return [name for name, module in base.named_modules() if isinstance(module, SUPPORTED)]


def find_layer(base: nn.Module, name: str) -> nn.Module:
    """The layer called `name`.

    Raises OCDError for an unknown name (with the nearest names), a module that is not a Linear,
    Conv1d or Conv2d, and a weight that another module shares.
    """
    modules = dict(base.named_modules())
    if name not in modules:
        known = list_layers(base)
        hint = nearest(name, known) or f"; the layers are {', '.join(known) or 'none'}"
        raise OCDError(f"the base has no layer {name!r}{hint}")
    module = modules[name]
    if not isinstance(module, SUPPORTED):
        raise OCDError(
            f"layer {name!r} is a {type(module).__name__}: OCD moves Linear, Conv1d and Conv2d layers"
        )
    for other_name, other in base.named_modules():
        for parameter_name, parameter in other.named_parameters(recurse=False):
            if other is not module and parameter is module.weight:
                raise OCDError(
                    f"layer {name!r} shares its weight with {other_name}.{parameter_name}: "
                    "a delta on a tied weight would move both: choose another layer"
                )
    return module
