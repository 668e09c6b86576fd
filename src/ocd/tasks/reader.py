"""What a task's data look like to a user: new rows in, answers in the user's own terms.

    reader.read(Path("new.csv"), size=1024, start=0)   # batches of a file or folder, in its order
    reader.take(frame)                                 # one batch of what a program has at hand

A reader is made with a task's data, is stored in the run folder as JSON and tensors (never pickled),
and reads new inputs in another process exactly as the run's own were read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ocd.data import Inputs

State = tuple[dict[str, Any], dict[str, Tensor]]
"""Of a reader: what JSON holds, and tensors by name."""


@dataclass(frozen=True)
class NewRows:
    """`ids`: how the user knows each row again. `inputs`: (B, ...), as the base takes them. `remarks`:
    (place, text) of rows of which something is to be known, such as a category that is new. `units`
    (B, 2): of answers, which are the first number plus the second times what the base says; None where
    that is in the user's unit."""

    ids: list[str]
    inputs: Inputs
    remarks: list[tuple[int, str]] = field(default_factory=list)
    units: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Answer:
    """What a base's outputs are. `kind`: number, steps (of a series), classes or view. `names`: the
    target's name, or those of the steps or classes in their order."""

    kind: str
    names: tuple[str, ...]


class Reader(Protocol):
    """Reads new inputs as those of a run were read."""

    @property
    def kind(self) -> str:
        """Its name in the run folder."""
        ...

    @property
    def answer(self) -> Answer:
        """What the base's outputs are."""
        ...

    @property
    def takes(self) -> str:
        """What is read, in words, for messages."""
        ...

    def read(self, source: Path, size: int, start: int = 0) -> Iterator[NewRows]:
        """The rows of a file or folder from `start` on, `size` at a time. Raises OCDError naming the
        row and what is wrong with it; what is too much is left out, with a remark."""
        ...

    def take(self, data: Any) -> NewRows:
        """Of what a program has at hand: a frame, images, poses."""
        ...

    def example(self, inputs: Inputs, folder: Path) -> bool:
        """Write some inputs as a user would bring them; False where a user knows from the training
        data."""
        ...

    def state(self) -> State:
        """All that is needed to make it again."""
        ...
