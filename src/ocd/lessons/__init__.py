"""Eq. 1 and Eq. 3: the layer that moves, and the overfitted deltas that the generator learns from."""

from ocd.lessons.collection import CollectionConfig, collect
from ocd.lessons.overfitter import Overfitter, Transform, make_overfitter
from ocd.lessons.overfitting import (
    LR_GRID,
    Deltas,
    OverfitConfig,
    chunk_of,
    overfit,
    overfit_batch,
    overfit_chunks,
)
from ocd.lessons.plan import Plan, Workdir
from ocd.lessons.planning import build_network, fill_plan
from ocd.lessons.selection import LayerScores, SelectionConfig, select_layer
from ocd.lessons.sources import FreshLessons, LessonBatch, LessonSource, StoredLessons
from ocd.lessons.store import DeltaStore, StoreReader

__all__ = [
    "LR_GRID",
    "CollectionConfig",
    "DeltaStore",
    "Deltas",
    "FreshLessons",
    "LayerScores",
    "LessonBatch",
    "LessonSource",
    "OverfitConfig",
    "Overfitter",
    "Plan",
    "SelectionConfig",
    "StoreReader",
    "StoredLessons",
    "Transform",
    "Workdir",
    "build_network",
    "chunk_of",
    "collect",
    "fill_plan",
    "make_overfitter",
    "overfit",
    "overfit_batch",
    "overfit_chunks",
    "select_layer",
]
