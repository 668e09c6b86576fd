"""What OCD is compared with: each baseline is a `Predictor`, so that a table is a loop over them."""

from ocd.baselines.boosting import Boosting, fit_boosting
from ocd.baselines.conformal import Conformal
from ocd.baselines.deltas import NearestNeighbor, RandomDirection, mean_delta, mean_of_store
from ocd.baselines.ensemble import DeepEnsemble
from ocd.baselines.generated import Generated
from ocd.baselines.laplace import fit_laplace
from ocd.baselines.mc_dropout import MCDropout
from ocd.baselines.overfit_test import OverfitTest, OverfitTestAllLayers
from ocd.baselines.temperature import BaseAlone, base_outputs, fit_temperature
from ocd.baselines.tent import Tent
from ocd.baselines.trained import (
    EQUAL_TIME,
    TRAINED,
    TrainedBaseline,
    failure,
    fit_baseline,
    load_baseline,
    plain_kind,
    why_not,
)

__all__ = [
    "EQUAL_TIME",
    "TRAINED",
    "BaseAlone",
    "Boosting",
    "Conformal",
    "DeepEnsemble",
    "Generated",
    "MCDropout",
    "NearestNeighbor",
    "OverfitTest",
    "OverfitTestAllLayers",
    "RandomDirection",
    "Tent",
    "TrainedBaseline",
    "base_outputs",
    "failure",
    "fit_baseline",
    "fit_boosting",
    "fit_laplace",
    "fit_temperature",
    "load_baseline",
    "mean_delta",
    "mean_of_store",
    "plain_kind",
    "why_not",
]
