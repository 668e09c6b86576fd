"""A user's own network as the base of a table: `--set module=package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ocd.errors import OCDError


def make_own_network(module: str, features: Tensor, num_outputs: int) -> nn.Module:
    """What `function(num_features, num_outputs)` returns, tried on two rows of the features (N, D).

    Raises OCDError where it cannot be imported, is no torch module, cannot take the features, or does
    not answer with (2, num_outputs).
    """
    network = _function(module)(features.shape[1], num_outputs)
    if not isinstance(network, nn.Module):
        raise OCDError(f"module {module} gave a {type(network).__name__}, not a torch module")
    try:
        with torch.no_grad():
            answer = network.eval()(features[:2])
    except Exception as error:  # whatever the user's own code does
        first = (str(error).splitlines() or [""])[0]
        raise OCDError(f"module {module} cannot take {features.shape[1]} features: {first}") from error
    if not isinstance(answer, Tensor) or answer.shape != (min(2, len(features)), num_outputs):
        found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise OCDError(f"module {module} answers two rows with {found}, not (2, {num_outputs})")
    return network


def _function(text: str) -> Callable[[int, int], Any]:
    name, _, function = text.partition(":")
    try:
        found = getattr(importlib.import_module(name), function)
    except (ImportError, ValueError) as error:
        raise OCDError(
            f"module {text!r} cannot be imported ({error}): package.module:function"
        ) from error
    except AttributeError as error:
        raise OCDError(
            f"module {name} has no function {function!r}: package.module:function"
        ) from error
    if not callable(found):
        raise OCDError(f"module {text!r} is no function(num_features, num_outputs)")
    return found
