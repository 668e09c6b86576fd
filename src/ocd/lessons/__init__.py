"""Eq. 1 and Eq. 3: the layer that moves, and the overfitted deltas that the generator learns from."""

from ocd.lessons.collection import is_collected, row_bytes
from ocd.lessons.common_move import USES, find_common_move, groups_of
from ocd.lessons.config import CollectionConfig, CrossFittingConfig, LessonConfig
from ocd.lessons.cross_fitting import FitBase, fold_parts
from ocd.lessons.curriculum import NUM_GROUPS, Curriculum
from ocd.lessons.folds import Fold, FoldedLessons, in_order
from ocd.lessons.gain import FEWEST, FEWEST_JUDGES, as_evidence, is_gain
from ocd.lessons.overfitter import Overfitter
from ocd.lessons.overfitting import overfit_batch
from ocd.lessons.per_example import Deltas, chunk_of, overfit, overfit_in_chunks
from ocd.lessons.plan import Plan
from ocd.lessons.planning import make_plan
from ocd.lessons.problem import Problem, Transform
from ocd.lessons.rate_search import mean_fall, search_rate
from ocd.lessons.record import FitRecord, Workdir
from ocd.lessons.selection import LayerScores, SelectionConfig, select_layer, selection_excerpt
from ocd.lessons.sources import LessonBatch, LessonSource, StoredLessons
from ocd.lessons.steps import OverfitConfig, in_units
from ocd.lessons.store import StoreReader
from ocd.lessons.store_rows import read_delta
from ocd.lessons.tuning import TUNING
from ocd.lessons.unseen import warning_if_seen

__all__ = [
    "FEWEST",
    "FEWEST_JUDGES",
    "NUM_GROUPS",
    "TUNING",
    "USES",
    "CollectionConfig",
    "CrossFittingConfig",
    "Curriculum",
    "Deltas",
    "FitBase",
    "FitRecord",
    "Fold",
    "FoldedLessons",
    "LayerScores",
    "LessonBatch",
    "LessonConfig",
    "LessonSource",
    "OverfitConfig",
    "Overfitter",
    "Plan",
    "Problem",
    "SelectionConfig",
    "StoreReader",
    "StoredLessons",
    "Transform",
    "Workdir",
    "as_evidence",
    "chunk_of",
    "find_common_move",
    "fold_parts",
    "groups_of",
    "in_order",
    "in_units",
    "is_collected",
    "is_gain",
    "make_plan",
    "mean_fall",
    "overfit",
    "overfit_batch",
    "overfit_in_chunks",
    "read_delta",
    "row_bytes",
    "search_rate",
    "select_layer",
    "selection_excerpt",
    "warning_if_seen",
]
