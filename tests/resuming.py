"""Work that is interrupted again and again, in the middle of its loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from ocd.data import resumable

Result = TypeVar("Result")
EVERY = 3
"""Steps from one save to the next."""


class Stop(Exception):
    """What a kill is to a process."""


def stop_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Save every `EVERY` steps of a loop, and stop after `steps` of all loops."""
    count = [0]

    def is_due(timer: object) -> bool:
        count[0] += 1
        if count[0] == steps:
            raise Stop
        return count[0] % EVERY == 0

    patch.setattr("ocd.data.resuming.SaveTimer.is_due", property(is_due))
    patch.setattr("ocd.data.resuming.WORTH", -1.0)


def until_done(
    work: Callable[[], Result], folder: Path, patch: pytest.MonkeyPatch, steps: int = 7
) -> tuple[Result, int]:
    """What `work` returns in the end, and how often it was stopped, each time after `steps` steps."""
    for number in range(1000):
        with patch.context() as here:
            stop_after(steps, here)
            try:
                with resumable(folder):
                    return work(), number
            except Stop:
                continue
    raise AssertionError("it never ended")
