"""Eq. 1 and Eq. 3: the layer that moves, and the overfitted deltas that the generator learns from."""

from ocd.lessons.collection import (
    CollectionConfig,
    Maker,
    OnTheFly,
    Source,
    Stored,
    TrainingRows,
    Transform,
    collect,
    places_of_batch,
    seeded,
    split_places,
)
from ocd.lessons.overfitting import (
    LR_GRID,
    Deltas,
    Loss,
    OverfitConfig,
    chunk_of,
    example_losses,
    overfit,
    overfit_batch,
    overfit_chunks,
)
from ocd.lessons.plan import Decisions, Workdir
from ocd.lessons.planning import build_network, decide, make_maker
from ocd.lessons.selection import LayerScores, SelectionConfig, select_layer
from ocd.lessons.store import (
    DeltaStore,
    StoreReader,
    file_digest,
    put_in_place,
    read_tensors,
    write_tensors,
)

__all__ = [
    "LR_GRID",
    "CollectionConfig",
    "Decisions",
    "DeltaStore",
    "Deltas",
    "LayerScores",
    "Loss",
    "Maker",
    "OnTheFly",
    "OverfitConfig",
    "SelectionConfig",
    "Source",
    "StoreReader",
    "Stored",
    "TrainingRows",
    "Transform",
    "Workdir",
    "build_network",
    "chunk_of",
    "collect",
    "decide",
    "example_losses",
    "file_digest",
    "make_maker",
    "overfit",
    "overfit_batch",
    "overfit_chunks",
    "places_of_batch",
    "put_in_place",
    "read_tensors",
    "seeded",
    "select_layer",
    "split_places",
    "write_tensors",
]
