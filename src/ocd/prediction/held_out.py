"""The examples on which is chosen how draws are taken, each on a base that is right for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ocd.base import Capture, FrozenBase
from ocd.data import Inputs, Targets, join_rows, num_rows, seeded, take_rows, to_device
from ocd.lessons import FoldedLessons, LessonSource, Overfitter
from ocd.prediction.drawing import FittedGenerator

ENOUGH = 512
"""Examples, augmented copies counted, on which is chosen."""


@dataclass(frozen=True)
class HeldOut:
    """Examples to choose on. `capture(chunk)`: what the base says of them, where it was asked
    before. `example` (B,): which example a row is a copy of; each its own where it is None. `plain`
    (B,): which rows are as they are, where others are augmented. `words`: what they are, for notes.
    `grouped`: whether `example` names groups of examples that belong together, not copies.
    `frozen`: the base that they are run on, the fitted one where it is None. `others`: more examples,
    on other bases."""

    inputs: Inputs
    targets: Targets
    capture: Callable[[slice], Capture] | None = None
    example: Tensor | None = None
    plain: Tensor | None = None
    words: str = "held-out lessons"
    frozen: FrozenBase | None = None
    others: tuple[HeldOut, ...] = ()
    grouped: bool = False

    def counted(self, count: int) -> str:
        """So many of these examples in words, and of how many groups they are."""
        belongs = self.copy_of() if self.grouped else None
        if belongs is None:
            return f"{count:,} {self.words}"
        number = len(belongs.unique())
        return f"{count:,} {self.words} of {number} group{'s' * (number != 1)}"

    def chunks(
        self, fitted: FittedGenerator, size: int
    ) -> Iterator[tuple[FittedGenerator, Inputs, Targets, Capture | None]]:
        """Chunks of `size` examples on the base's device: the generator on the base that they are run
        on, inputs, targets, and their capture if there is one."""
        here = fitted if self.frozen is None else replace(fitted, frozen=self.frozen)
        device = here.frozen.device
        for start in range(0, num_rows(self.inputs), size):
            where = slice(start, start + size)
            rows = to_device(take_rows(self.inputs, where), device)
            capture = None if self.capture is None else self.capture(where)
            yield here, rows, to_device(take_rows(self.targets, where), device), capture
        for other in self.others:
            yield from other.chunks(fitted, size)

    def as_they_are(self) -> Tensor | None:
        """Which rows are not augmented, those of `others` too; None where all of them are alike."""
        every = (self, *self.others)
        if any(part.plain is None for part in every):
            return None
        return torch.cat([part.plain for part in every if part.plain is not None])

    def copy_of(self) -> Tensor | None:
        """Which example each row is a copy of, those of `others` too; None: each its own."""
        every = (self, *self.others)
        if any(part.example is None for part in every):
            return None
        apart = [part.example + (n << 40) for n, part in enumerate(every) if part.example is not None]
        return torch.cat(apart)


def held_out_lessons(source: LessonSource, held_out: Tensor, seed: int) -> HeldOut:
    """The lessons `held_out` (indices of the user's dataset), each on its own base. A fold that is
    reserved is unseen by base and generator, and judges as it is, not augmented."""
    if not isinstance(source, FoldedLessons):
        return held_out_examples(source.overfitter, held_out, seed)
    parts = []
    for overfitter, index in source.of_examples(held_out):
        if source.reserved is not None:
            overfitter = replace(overfitter, problem=replace(overfitter.problem, transform=None))
        part = held_out_examples(overfitter, index, seed)
        parts.append(replace(part, frozen=overfitter.frozen))
    words = parts[0].words if source.reserved is None else "examples of a fold that neither has seen"
    return replace(parts[0], others=tuple(parts[1:]), words=words)


def held_out_examples(overfitter: Overfitter, held_out: Tensor, seed: int) -> HeldOut:
    """The examples `held_out` (dataset indices) as they are, and, with a transform, as many
    augmented."""
    transform = overfitter.problem.transform
    copies = 1 if transform is None else max(1, ENOUGH // (2 * len(held_out)))
    index = held_out.repeat(copies)
    inputs, targets = overfitter.problem.fetch(index)
    if transform is not None:
        augmented, _ = overfitter.fetch(index, seeded(seed, 10))
        inputs = join_rows(inputs, augmented)
        targets = join_rows(targets, targets)
    belongs = overfitter.problem.belongs
    if overfitter.problem.is_augmented:
        times = num_rows(targets) // len(index)
        plain = torch.arange(num_rows(targets)) < len(index) if times > 1 else None
        example = index if belongs is None else belongs[index]
        example, grouped = example.repeat(times), belongs is not None
        return HeldOut(inputs, targets, example=example, plain=plain, grouped=grouped)
    recalled = partial(overfitter.problem.capture, overfitter.frozen)
    together = None if belongs is None else belongs[index]

    def capture(where: slice) -> Capture:
        return recalled(index[where], take_rows(inputs, where))

    return HeldOut(inputs, targets, capture, example=together, grouped=together is not None)
