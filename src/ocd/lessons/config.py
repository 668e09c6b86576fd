"""The settings that lessons are made by, as one object."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocd.errors import OCDError
from ocd.generator import CodecConfig
from ocd.lessons.selection import SelectionConfig
from ocd.lessons.steps import OverfitConfig

STORAGES = ("auto", "store", "on_the_fly")


@dataclass(frozen=True)
class CollectionConfig:
    """How overfitted examples reach the training loop."""

    storage: str = "auto"
    """auto (by measured cost), store (on disk), or on_the_fly (overfitted anew for every batch)."""
    shard_rows: int = 4096
    """Of store: examples in a file, and between two points at which an interrupted run can resume."""
    max_examples: int = 10_000_000
    """Examples that lessons are made of at most; of a larger dataset as many by chance. A generator of
    this size has seen enough long before (docs/scale.md); 0: all."""
    num_workers: int = 0
    """Of on_the_fly: processes that read and augment batches in advance, for datasets that are slow to
    read; 0: none. Transforms then run on the CPU."""

    def __post_init__(self) -> None:
        if self.storage not in STORAGES:
            raise OCDError(f"collection.storage is {self.storage!r}: use one of {STORAGES}")
        if self.shard_rows < 1:
            raise OCDError(f"collection.shard_rows is {self.shard_rows}: it must be at least 1")
        if self.max_examples < 0:
            raise OCDError(f"collection.max_examples is {self.max_examples}: it must be at least 0")
        if self.num_workers < 0:
            raise OCDError(f"collection.num_workers is {self.num_workers}: it must be at least 0")


@dataclass(frozen=True)
class CrossFittingConfig:
    """How bases are trained without a part of the examples, where `fit` is given `fit_base`."""

    num_folds: int = 5
    """Parts of the examples, and bases, each trained without one of them. The last part is kept from
    the generator, to judge it."""
    num_processes: int = 1
    """Processes in which bases are trained at a time; above 1, `fit_base`, base and dataset have to be
    picklable."""
    stratify: bool = False
    """Whether every part has its share of each class, where targets are classes: of few examples a part
    by chance may hold most of a class. Examples that belong together stay so."""

    def __post_init__(self) -> None:
        if self.num_folds < 2:
            raise OCDError(f"cross_fitting.num_folds is {self.num_folds}: it must be at least 2")
        if self.num_processes < 1:
            raise OCDError(
                f"cross_fitting.num_processes is {self.num_processes}: it must be at least 1"
            )


@dataclass(frozen=True)
class LessonConfig:
    """Everything that decides which lessons are made, but for the layer."""

    selection: SelectionConfig = field(default_factory=SelectionConfig)
    overfit: OverfitConfig = field(default_factory=OverfitConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    seed: int = 0
    channels_last: bool = False
    common_move: str = "auto"
    cross_fitting: CrossFittingConfig = field(default_factory=CrossFittingConfig)
