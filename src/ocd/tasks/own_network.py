"""A user's own network as the base: `--set module=mine.py:network` or `module=package.mine:network`.

The file is imported, which executes it, and its function is called; both are said on stderr before.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ocd.errors import OCDError

FORM = "FILE.py:function or package.module:function"


def make_own_network(module: str, few: Tensor, num_outputs: int, *arguments: int) -> nn.Module:
    """What `function(*arguments)` returns, tried on some inputs `few` (B, ...).

    Raises OCDError where it cannot be imported, is no torch module, cannot take the inputs, or does not
    answer with (B, num_outputs).
    """
    called = f"{module}({', '.join(map(str, arguments))})"
    function = _function(module)
    try:
        network = function(*arguments)
    except TypeError as error:
        raise OCDError(f"module {called} cannot be called so: {error}") from error
    if not isinstance(network, nn.Module):
        raise OCDError(f"module {module} gave a {type(network).__name__}, not a torch module")
    shape = tuple(few.shape[1:])
    what = f"{shape[0]} features" if len(shape) == 1 else f"inputs of shape {shape}"
    try:
        with torch.no_grad():
            answer = network.eval()(few)
    except Exception as error:  # whatever the user's own code does
        first = (str(error).splitlines() or [""])[0]
        raise OCDError(f"module {module} cannot take {what}: {first}") from error
    if not isinstance(answer, Tensor) or answer.shape != (len(few), num_outputs):
        found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise OCDError(
            f"module {module} answers {len(few)} inputs with {found}, not ({len(few)}, {num_outputs})"
        )
    return network


def _function(text: str) -> Callable[..., Any]:
    name, _, function = text.rpartition(":")
    if not name or not function:
        raise OCDError(f"module {text!r} cannot be imported: {FORM}")
    try:
        found = getattr(_imported(name), function)
    except AttributeError as error:
        raise OCDError(f"module {name} has no function {function!r}: {FORM}") from error
    if not callable(found):
        raise OCDError(f"module {text!r} is no function that makes a network: {FORM}")
    made: Callable[..., Any] = found
    return made


def _imported(name: str) -> Any:
    """A module by its dotted name, or of a file; a file is executed once a process."""
    path = Path(name)
    if path.suffix != ".py":
        try:
            return importlib.import_module(name)
        except (ImportError, ValueError) as error:
            raise OCDError(f"module {name!r} cannot be imported ({error}): {FORM}") from error
    if not path.is_file():
        raise OCDError(f"module {name}: no such file; it makes the base, so it has to be there")
    known = f"ocd_own_{path.resolve()}"
    if known in sys.modules:
        return sys.modules[known]
    print(f"executing {path} for the base", file=sys.stderr)
    spec = importlib.util.spec_from_file_location(known, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code does
        del sys.modules[known]
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(f"module {name} cannot be executed: {first}") from error
    return module
