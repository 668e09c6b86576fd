"""The command starts without torch's compiler, which it does not use.

torch imports the compiler, which takes as long as torch itself, when the first optimiser is made: only
to tell it to leave the optimiser alone. A run that is interrupted and goes on would wait for it each
time. The library itself does not do this: in other people's programs, torch is theirs.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

NAME = "torch._dynamo"


class _Placeholder(types.ModuleType):
    """Stands for the compiler until something else of it is asked for than to be left alone."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.__file__ = None  # modules are searched for a file (inspect.getmodule)
        # Gradients of torch.func step out of the compiler's own autograd, which is not there.
        self.compiled_autograd = types.SimpleNamespace(_disable=contextlib.nullcontext)

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """Means nothing where nothing is compiled."""

    @staticmethod
    def disable(fn: Callable[..., Any], *_: Any, **__: Any) -> Callable[..., Any]:
        """What is not compiled need not be kept from it."""
        return fn

    def __getattr__(self, name: str) -> Any:
        """The compiler itself takes its place, as where a base calls torch.compile."""
        return getattr(_compiler(), name)


def _compiler() -> types.ModuleType:
    if isinstance(sys.modules.get(NAME), _Placeholder):
        del sys.modules[NAME]
    return importlib.import_module(NAME)


def defer_compiler() -> None:
    """Let torch import its compiler only where that is used. torch itself need not be imported yet."""
    sys.modules.setdefault(NAME, _Placeholder())
