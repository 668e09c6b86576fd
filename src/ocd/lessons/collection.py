"""Overfit a whole dataset into a store, resuming where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ocd.data import (
    ResumableLoop,
    dataset_size,
    in_chunks,
    progress_bar,
    seeded,
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
from ocd.lessons.store import DeltaStore
from ocd.lessons.store_rows import Rows, delta_rows, example_rows, feature_rows


def collect(
    overfitter: Overfitter,
    store: DeltaStore,
    shard_rows: int,
    seed: int,
    advance: Callable[[int], None] = lambda examples: None,
) -> None:
    """Overfit every example that the store does not hold yet, `shard_rows` of them a file.

    An interrupted run resumes at `store.next_example`, the first example of the shard that was not
    finished. `seed` augments; `advance(n)` is told that n more examples are done. Raises OCDError where
    too many examples are not finite.
    """
    total = dataset_size(overfitter.problem.dataset)
    size = chunk_size_of(overfitter.frozen, overfitter.config)
    advance(store.next_example)
    while store.next_example < total:
        start, stop = store.next_example, min(total, store.next_example + shard_rows)
        loop = ResumableLoop(f"{store.folder.name} from {start}")
        parts: list[Rows] = loop.values.setdefault("parts", [])
        skipped: list[int] = loop.values.setdefault("skipped", [])
        done = loop.values.setdefault("done", start)
        advance(done - start)
        for chunk, (rows, left_out) in loop.saving_after(
            in_chunks(stop, size, lambda chunk: _overfit(overfitter, chunk, seed), done)
        ):
            parts.append({name: values.cpu() for name, values in rows.items()})
            skipped += left_out
            loop.values["done"] = chunk.stop
            advance(chunk.stop - chunk.start)
        check_skipped(store.skipped + skipped, total)
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        store.append(joined, stop, skipped)
    store.finish()


def _overfit(overfitter: Overfitter, chunk: slice, seed: int) -> tuple[Rows, list[int]]:
    """A chunk of the dataset as rows of the store, and the indices of the examples left out.

    All parts of I(x) are kept, whatever the settings use, so that `ocd condition` can compare them.
    """
    problem, frozen = overfitter.problem, overfitter.frozen
    index = torch.arange(chunk.start, chunk.stop)
    # One seed for each chunk: one for each example would need a Python loop over the examples.
    inputs, targets = overfitter.fetch(index, seeded(seed, 1, chunk.start))
    capture = None if problem.is_augmented else problem.capture(frozen, index, inputs)
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


def is_collected(record: FitRecord) -> bool:
    """Whether a fit has a plan, and every delta that the plan wants stored."""
    if record.plan is None:
        return False
    if record.is_collected:  # in folds
        return record.plan.storage != "store" or (record.work.deltas / "fold-0").exists()
    return record.plan.storage != "store" or _open_store(record).complete


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
    with progress_bar(f"overfit {plan.layer}", total, progress) as advance:
        shard_rows = config.collection.shard_rows
        collect(overfitter, _open_store(record), shard_rows, config.seed, advance)


def open_lessons(problem: Problem, record: FitRecord, config: LessonConfig) -> LessonSource:
    """The overfitted examples of a fit, to train on. Raises OCDError where they are not complete."""
    if record.plan is None:
        raise OCDError(f"nothing is overfitted yet in {record.work.root}: overfit first")
    overfitter = Overfitter.of_plan(problem, record.plan, config)
    if record.plan.storage == "on_the_fly":
        return FreshLessons(overfitter)
    store = _open_store(record)
    if not store.complete:
        raise OCDError(f"the deltas in {record.work.deltas} are not complete: overfit first")
    return StoredLessons(store.reader(), overfitter)


def _open_store(record: FitRecord) -> DeltaStore:
    return DeltaStore.open(record.work.deltas, record.store_key)
