"""OCD: Learning to Overfit with Conditional Diffusion Models, for any trained network.

The names below are imported when they are first used, so that `import ocd` needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocd._version import __version__

if TYPE_CHECKING:
    from ocd.applying import (
        Answers,
        BatchPredictor,
        LoadedRun,
        load,
        predict_to,
        read_predictions,
    )
    from ocd.config import OCDConfig
    from ocd.data import Columns, Examples
    from ocd.errors import OCDError
    from ocd.estimators import OCDClassifier, OCDRegressor
    from ocd.lessons import Deltas, LayerScores, overfit, select_layer
    from ocd.model import OCD
    from ocd.prediction import Prediction

_HOMES = {
    "OCD": "ocd.model",
    "Answers": "ocd.applying",
    "BatchPredictor": "ocd.applying",
    "LoadedRun": "ocd.applying",
    "OCDConfig": "ocd.config",
    "load": "ocd.applying",
    "OCDClassifier": "ocd.estimators",
    "OCDError": "ocd.errors",
    "OCDRegressor": "ocd.estimators",
    "Columns": "ocd.data",
    "Deltas": "ocd.lessons",
    "Examples": "ocd.data",
    "LayerScores": "ocd.lessons",
    "Prediction": "ocd.prediction",
    "overfit": "ocd.lessons",
    "predict_to": "ocd.applying",
    "read_predictions": "ocd.applying",
    "select_layer": "ocd.lessons",
}

__all__ = [
    "OCD",
    "Answers",
    "BatchPredictor",
    "Columns",
    "Deltas",
    "Examples",
    "LayerScores",
    "LoadedRun",
    "OCDClassifier",
    "OCDConfig",
    "OCDError",
    "OCDRegressor",
    "Prediction",
    "__version__",
    "load",
    "overfit",
    "predict_to",
    "read_predictions",
    "select_layer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ocd' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
