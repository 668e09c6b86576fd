"""Alg. 2: draw deltas for unseen inputs, choose how draws are taken, and what a prediction is."""

from ocd.prediction.result import Prediction, Predictor, join_predictions, moved, predict_in_chunks
from ocd.prediction.sampling import (
    ENOUGH,
    NUM_DRAWS,
    Join,
    SamplingConfig,
    choose_sampling,
    join_by_mean,
    keep_sampling,
)

__all__ = [
    "ENOUGH",
    "NUM_DRAWS",
    "Join",
    "Prediction",
    "Predictor",
    "SamplingConfig",
    "choose_sampling",
    "join_by_mean",
    "join_predictions",
    "keep_sampling",
    "moved",
    "predict_in_chunks",
]
