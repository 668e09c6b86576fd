"""rtdl_num_embeddings without scikit-learn, until that is used.

The package imports scikit-learn, and with it pandas, for bins that come from trees. OCD uses its
periodic features alone, and an interrupted run would wait a second for both each time it goes on.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from ocd.errors import OCDError, install

NAME = "rtdl_num_embeddings"
WHOLE, PART = "sklearn", "sklearn.tree"


class _Later(types.ModuleType):
    """Stands for a module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:  # it is not to be used yet
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def periodic_embeddings() -> Any:
    """The class PeriodicEmbeddings. Raises OCDError where the package is not installed."""
    try:
        return _imported().PeriodicEmbeddings
    except ImportError as error:
        raise OCDError(f"tables need {NAME}: {install('tabular')}") from error


def _imported() -> types.ModuleType:
    if NAME in sys.modules or WHOLE in sys.modules:
        return importlib.import_module(NAME)
    whole, part = types.ModuleType(WHOLE), _Later(PART)
    whole.__path__ = []  # a package
    whole.tree = part  # type: ignore[attr-defined]
    sys.modules[WHOLE], sys.modules[PART] = whole, part
    try:
        return importlib.import_module(NAME)
    finally:
        del sys.modules[WHOLE], sys.modules[PART]
