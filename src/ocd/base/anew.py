"""Bases that keep the answers of a part, and a block in which they know none of them.

    with answers_anew() as anew:      # every input is new, as it is to whoever asks for the first time
        base(inputs)
    anew.passes                       # what the part had to compute, and how long it took

A part that keeps its answers is closed to moves (`closed_to_moves`), uses `anew_block().store` in place
of its own where there is such a block, and says there what it computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ocd.base.view import unwrapped


@dataclass
class Passes:
    """Of a part: the examples that it computed, and the seconds that it took."""

    examples: int = 0
    seconds: float = 0.0


@dataclass
class Anew:
    """A block. `store`: what is kept in it, empty at its beginning. `passes`: by the number of the
    part's parameters, so that the parts of a base and of its like are one entry."""

    store: dict[str, Any] = field(default_factory=dict)
    passes: dict[int, Passes] = field(default_factory=dict)

    def computed(self, part: nn.Module, examples: int, seconds: float) -> None:
        """A part says that it computed so many examples."""
        size = sum(parameter.numel() for parameter in part.parameters())
        found = self.passes.setdefault(size, Passes())
        found.examples += examples
        found.seconds += seconds


_BLOCK: ContextVar[Anew | None] = ContextVar("answers_anew", default=None)


@contextmanager
def answers_anew() -> Iterator[Anew]:
    """In the block, and in this thread, nothing that was kept before is looked up. An input that is
    asked for twice in it is still computed once; what is kept in it is forgotten at its end."""
    block = Anew()
    token = _BLOCK.set(block)
    try:
        yield block
    finally:
        _BLOCK.reset(token)


def anew_block() -> Anew | None:
    """The block of `answers_anew` that is open here, if one is."""
    return _BLOCK.get()


def keeps_answers(base: nn.Module) -> bool:
    """Whether a part of the base keeps what it answers, so that an input that was seen costs less."""
    return any(getattr(module, "closed_to_moves", False) for module in unwrapped(base).modules())
