"""What OCD is compared with. Each control is a `Predictor`, so that a table is a loop over them."""

from ocd.controls.deltas import NearestNeighbor, RandomDirection, SharedMove, mean_delta, mean_of_store
from ocd.controls.ensemble import DeepEnsemble
from ocd.controls.generated import Generated
from ocd.controls.laplace import Laplace, fit_laplace
from ocd.controls.overfit_test import OverfitTest, OverfitTestAllLayers
from ocd.controls.temperature import Plain, TemperatureScaled, fit_temperature
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
    "DeepEnsemble",
    "Generated",
    "Laplace",
    "NearestNeighbor",
    "OverfitTest",
    "OverfitTestAllLayers",
    "Plain",
    "RandomDirection",
    "SharedMove",
    "TemperatureScaled",
    "Tent",
    "TrainedControl",
    "failure",
    "fit_control",
    "fit_laplace",
    "fit_temperature",
    "load_control",
    "mean_delta",
    "mean_of_store",
    "plain_kind",
    "why_not",
]
