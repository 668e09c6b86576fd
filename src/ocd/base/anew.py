"""Bases that keep the answers of a part, and a block in which they know none of them.

    with answers_anew():              # every input is new, as it is to whoever asks for the first time
        base(inputs)                  # the whole pass; to know its time

A part that keeps its answers is closed to moves (`closed_to_moves`), and uses `anew_store()` in place
of its own where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

from ocd.base.view import unwrapped

_STORE: ContextVar[dict[str, Any] | None] = ContextVar("anew_store", default=None)


@contextmanager
def answers_anew() -> Iterator[None]:
    """In the block, and in this thread, nothing that was kept before is looked up. An input that is
    asked for twice in it is still computed once; what is kept in it is forgotten at its end."""
    token = _STORE.set({})
    try:
        yield
    finally:
        _STORE.reset(token)


def anew_store() -> dict[str, Any] | None:
    """A place for what is kept in this block, empty at its beginning; None outside of such blocks."""
    return _STORE.get()


def keeps_answers(base: nn.Module) -> bool:
    """Whether a part of the base keeps what it answers, so that an input that was seen costs less."""
    return any(getattr(module, "closed_to_moves", False) for module in unwrapped(base).modules())
