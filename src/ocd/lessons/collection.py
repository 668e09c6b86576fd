"""Overfit a whole dataset into a store, resuming where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ocd.data import (
    ResumableLoop,
    Shard,
    dataset_size,
    in_chunks,
    progress_bar,
    resumable,
    take_rows,
)
from ocd.errors import OCDError
from ocd.lessons.config import LessonConfig
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.per_example import chunk_size_of, overfit_chunk
from ocd.lessons.problem import Problem
from ocd.lessons.record import FitRecord
from ocd.lessons.sources import FreshLessons, LessonSource, StoredLessons
from ocd.lessons.steps import check_skipped
from ocd.lessons.store import COMPLETE, DeltaStore
from ocd.lessons.store_rows import Rows, delta_rows, example_rows, feature_rows


def collect(
    overfitter: Overfitter,
    store: DeltaStore,
    seed: int,
    share: Shard | None = None,
    advance: Callable[[int], None] = lambda examples: None,
) -> None:
    """Overfit every example that the store does not hold yet, a unit of them at a time.

    Any number of processes may do this at once (`share`: which of them this is), and all end when the
    last unit is there. What a unit holds does not depend on who makes it, nor on what was made before.
    A unit that was interrupted is gone on with by whoever takes it. `seed` augments; `advance(n)` is
    told that n more examples are done. Raises OCDError where too many examples are not finite.
    """
    advance(store.num_done())
    left_out: list[int] = []
    for unit in store.to_do(share or Shard()):
        with resumable(store.units.begun(unit)):
            rows, skipped = _overfit_unit(overfitter, store, unit, seed, advance)
            left_out += skipped
            check_skipped(left_out, store.total)
            store.write(unit, rows, skipped)
    store.finish(check_skipped)


def _overfit_unit(
    overfitter: Overfitter,
    store: DeltaStore,
    unit: int,
    seed: int,
    advance: Callable[[int], None],
) -> tuple[Rows, list[int]]:
    """A unit's rows, and the indices of the examples left out."""
    examples = store.range_of(unit)
    size = chunk_size_of(overfitter.frozen, overfitter.config)
    loop = ResumableLoop(f"{store.folder.name} from {examples.start}")
    parts: list[Rows] = loop.values.setdefault("parts", [])
    skipped: list[int] = loop.values.setdefault("skipped", [])
    done = loop.values.setdefault("done", examples.start)
    advance(done - examples.start)
    for chunk, (rows, left_out) in loop.saving_after(
        in_chunks(examples.stop, size, lambda chunk: _overfit(overfitter, chunk, seed), done)
    ):
        parts.append({name: values.cpu() for name, values in rows.items()})
        skipped += left_out
        loop.values["done"] = chunk.stop
        advance(chunk.stop - chunk.start)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, skipped


def _overfit(overfitter: Overfitter, chunk: slice, seed: int) -> tuple[Rows, list[int]]:
    """A chunk of the dataset as rows of the store, and the indices of the examples left out.

    All parts of I(x) are kept, whatever the settings use, so that `ocd condition` can compare them.
    """
    problem, frozen = overfitter.problem, overfitter.frozen
    index = torch.arange(chunk.start, chunk.stop)
    inputs, targets = overfitter.fetch_each(index, seed)
    capture = None if problem.is_augmented else problem.capture(frozen, index, inputs, fixed=True)
    done = overfit_chunk(
        frozen, overfitter.loss, inputs, targets, overfitter.config, problem.excerpt, capture=capture
    )
    deltas, kept = done.deltas, done.kept
    rows = delta_rows(deltas.delta) | {"index": index[deltas.indices]}
    features = problem.condition.of_all_parts().features(frozen, inputs, done.capture)
    rows |= feature_rows({name: values[kept] for name, values in features.items()})
    if problem.transform is not None:  # the dataset does not have the augmented inputs
        rows |= example_rows("inputs", take_rows(inputs, kept))
        rows |= example_rows("targets", take_rows(targets, kept))
    return rows, index[deltas.skipped].tolist() if deltas.skipped else []


def row_bytes(overfitter: Overfitter) -> int:
    """Bytes of a stored lesson."""
    rows, _ = _overfit(overfitter, slice(0, 1), 0)
    return sum(values.nbytes for values in rows.values())


def is_collected(record: FitRecord) -> bool:
    """Whether a fit has a plan, and every delta that the plan wants stored."""
    if record.plan is None:
        return False
    if record.plan.storage != "store":
        return True
    if record.num_folds is None:
        return False
    if not record.num_folds:
        return DeltaStore.is_complete(record.work.deltas, record.store_key)
    folds = (record.work.of_fold(number).deltas for number in range(record.num_folds))
    return all((fold / COMPLETE).exists() for fold in folds)


def collect_lessons(
    problem: Problem, record: FitRecord, config: LessonConfig, progress: bool = True
) -> None:
    """Eq. 1 for every example, into the store of the record's plan; nothing where it wants none
    stored."""
    plan = record.plan
    assert plan is not None
    if is_collected(record):
        return
    overfitter = Overfitter.of_plan(problem, plan, config)
    total = dataset_size(problem.dataset)
    store = _open_store(problem, record, config)
    with progress_bar(f"overfit {plan.layer}", total, progress) as advance:
        collect(overfitter, store, config.seed, record.work.share, advance)


def open_lessons(problem: Problem, record: FitRecord, config: LessonConfig) -> LessonSource:
    """The overfitted examples of a fit, to train on. Raises OCDError where they are not complete."""
    if record.plan is None:
        raise OCDError(f"nothing is overfitted yet in {record.work.root}: overfit first")
    overfitter = Overfitter.of_plan(problem, record.plan, config)
    if record.plan.storage == "on_the_fly":
        return FreshLessons(overfitter)
    store = _open_store(problem, record, config)
    if not store.complete:
        raise OCDError(f"the deltas in {record.work.deltas} are not complete: overfit first")
    return StoredLessons(store.reader(), overfitter)


def _open_store(problem: Problem, record: FitRecord, config: LessonConfig) -> DeltaStore:
    total = dataset_size(problem.dataset)
    return DeltaStore.open(record.work.deltas, record.store_key, total, config.collection.shard_rows)
