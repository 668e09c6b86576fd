"""What OCD is compared with. Each control is a `Predictor`, so that a table is a loop over them."""

from ocd.controls.boosting import Boosting, fit_boosting
from ocd.controls.conformal import Conformal
from ocd.controls.deltas import NearestNeighbor, RandomDirection, SharedMove, mean_delta, mean_of_store
from ocd.controls.ensemble import DeepEnsemble
from ocd.controls.generated import Generated
from ocd.controls.laplace import Laplace, fit_laplace
from ocd.controls.mc_dropout import MCDropout
from ocd.controls.overfit_test import OverfitTest, OverfitTestAllLayers
from ocd.controls.temperature import Plain, TemperatureScaled, base_outputs, fit_temperature
from ocd.controls.tent import Tent
from ocd.controls.trained import (
    EQUAL_TIME,
    TRAINED,
    TrainedControl,
    failure,
    fit_control,
    load_control,
    plain_kind,
    why_not,
)

__all__ = [
    "EQUAL_TIME",
    "TRAINED",
    "Boosting",
    "Conformal",
    "DeepEnsemble",
    "Generated",
    "Laplace",
    "MCDropout",
    "NearestNeighbor",
    "OverfitTest",
    "OverfitTestAllLayers",
    "Plain",
    "RandomDirection",
    "SharedMove",
    "TemperatureScaled",
    "Tent",
    "TrainedControl",
    "base_outputs",
    "failure",
    "fit_boosting",
    "fit_control",
    "fit_laplace",
    "fit_temperature",
    "load_control",
    "mean_delta",
    "mean_of_store",
    "plain_kind",
    "why_not",
]
