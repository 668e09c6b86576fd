"""The one error that a user is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OCDError(ValueError):
    """One line for the user: what is wrong, where, and what would be right. A ValueError.

    The command prints it without a traceback and ends with exit code 2.
    """


class MissingData(OCDError):
    """The data of a task are neither here nor to be had."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The names nearest to `name`, as the end of a sentence; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    if not close:
        return ""
    return "; did you mean " + " or ".join(repr(match) for match in close) + "?"


def install(extra: str) -> str:
    """How the packages of an extra are installed, as the end of a sentence."""
    return f"pip install 'ocd-torch[{extra}]' (in a clone: pip install -c constraints.txt '.[{extra}]')"
