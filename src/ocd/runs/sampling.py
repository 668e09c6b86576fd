"""What a run costs on this machine, measured on a sample of its own examples."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ocd.data import dataset_size, take_rows, tensors
from ocd.errors import OCDError
from ocd.lessons import FoldedLessons, row_bytes
from ocd.runs.logged import num_steps

if TYPE_CHECKING:
    from ocd.runs.run import Run

MOST = 256
"""Examples of the sample, of work that is fast enough."""
LONG_ENOUGH = 1.0
"""Seconds for which each kind of work is repeated."""


@dataclass(frozen=True)
class Sample:
    """Costs on this machine. Seconds an example: of the base's `forward` pass, of a `lesson` (Eq. 1,
    with its pass) and of its `draws`. Seconds of a training of `steps` steps, of the selection, of the
    base's own training: as the run logged them, None where it did not do this. Bytes an example: of a
    stored lesson, of an input with its target, of an answer. `memory`: bytes of a process that did all
    of this. `flops`: of the base's pass of one example."""

    examples: int
    forward: float
    lesson: float
    draws: float
    steps: int
    train: float | None
    select: float | None
    base: float | None
    lesson_bytes: int
    example_bytes: int
    answer_bytes: int
    memory: int
    flops: int
    device: str


def measure_sample(run: Run) -> Sample:
    """Overfit and predict some examples of a finished run, each kind of work for about a second, or for
    two examples where one takes longer.

    Raises OCDError where the run's first seed is not trained.
    """
    from torch.utils.flop_counter import FlopCounterMode  # as in ocd.lessons.common_move

    seed = run.seeds[0]
    run = run.at(seed)
    if not run.selection_path(seed).exists():
        raise OCDError(f"{run.root} has no trained generator yet: finish the run first (ocd train)")
    _, ocd, work = next(run.fits(seed))
    if not work.is_finished:
        raise OCDError(f"{run.root} has no trained generator yet: finish the run first (ocd train)")
    _, source = ocd.lessons(run.lessons_of("main", seed), work)
    own = source.folds[0][1] if isinstance(source, FoldedLessons) else source
    overfitter = own.overfitter
    count = min(MOST, dataset_size(overfitter.problem.dataset))
    fitted = run.load(ocd, work)
    inputs, targets = overfitter.fetch(torch.arange(count), torch.Generator())
    draws = run.run_options.num_draws
    with FlopCounterMode(display=False) as flops:
        overfitter.frozen.answer(take_rows(inputs, slice(0, 1)))
    answer = fitted.predict(take_rows(inputs, slice(0, 1)), draws=draws)
    seconds = run.phase_seconds(seed)
    return Sample(
        examples=count,
        forward=_seconds(lambda few: overfitter.frozen.answer(take_rows(inputs, few)), count),
        lesson=_seconds(
            lambda few: overfitter.overfit(take_rows(inputs, few), take_rows(targets, few)), count
        ),
        draws=_seconds(lambda few: fitted.predict(take_rows(inputs, few), draws=draws), count),
        steps=num_steps(run.root, seed),
        train=seconds.get("train"),
        select=seconds.get("select"),
        base=seconds.get("base"),
        lesson_bytes=row_bytes(overfitter),
        example_bytes=sum(one.nbytes for one in (*tensors(inputs), *tensors(targets))) // count,
        answer_bytes=8 + 3 * answer.mean.nbytes,  # its place; mean, deviation and the base's
        memory=_most_memory(),
        flops=flops.get_total_flops(),
        device=str(overfitter.frozen.device),
    )


def _seconds(work: Callable[[slice], Any], most: int) -> float:
    """Of one example: the least of some tries, after one that is not counted, of as many examples as
    are worked on within a part of the time, `most` at most."""
    count = 1
    _timed(work, count)
    start, took = time.perf_counter(), _timed(work, count)
    while count < most and took < LONG_ENOUGH / 8:
        count = min(most, 4 * count)
        _timed(work, count)
        start, took = time.perf_counter(), _timed(work, count)
    while time.perf_counter() - start < LONG_ENOUGH:
        took = min(took, _timed(work, count))
    return took / count


def _timed(work: Callable[[slice], Any], count: int) -> float:
    began = time.perf_counter()
    work(slice(0, count))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _most_memory() -> int:
    """The most that this process had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
