"""Alg. 2: draw deltas for unseen inputs, choose how draws are taken, and what a prediction is."""

from ocd.prediction.result import (
    Prediction,
    Predictor,
    apply_deltas,
    join_predictions,
    predict_in_chunks,
)
from ocd.prediction.sampling import (
    ENOUGH,
    NUM_DRAWS,
    Join,
    SamplingConfig,
    choose_sampling,
    join_by_mean,
    keep_sampling,
)
from ocd.prediction.uncertainty import (
    crps_per_example,
    interval_coverage,
    mutual_information,
    predictive_entropy,
    softmax_entropy,
    spread,
)

__all__ = [
    "ENOUGH",
    "NUM_DRAWS",
    "Join",
    "Prediction",
    "Predictor",
    "SamplingConfig",
    "apply_deltas",
    "choose_sampling",
    "crps_per_example",
    "interval_coverage",
    "join_by_mean",
    "join_predictions",
    "keep_sampling",
    "mutual_information",
    "predict_in_chunks",
    "predictive_entropy",
    "softmax_entropy",
    "spread",
]
