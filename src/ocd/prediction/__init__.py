"""Alg. 2: draw deltas for unseen inputs, choose how draws are taken, and what a prediction is."""

from ocd.prediction.choosing import settle_sampling
from ocd.prediction.drawing import DrawRequest, FittedGenerator, check_count
from ocd.prediction.held_out import HeldOut, held_out_examples, held_out_lessons
from ocd.prediction.novelty import UNLIKE, Reference
from ocd.prediction.result import (
    Prediction,
    Predictor,
    apply_deltas,
    joined_chunks,
    predict_in_chunks,
    unmoved,
)
from ocd.prediction.sampling import (
    AS_THE_BASE,
    AS_TUNED,
    Join,
    SamplingConfig,
    join_by_mean,
)
from ocd.prediction.scoring import centre_and_spread
from ocd.prediction.uncertainty import (
    central_interval,
    covered_by_interval,
    crps_per_example,
    interval_coverage,
    interval_width,
    mutual_information,
    predictive_entropy,
    reaches,
    softmax_entropy,
    spread,
)
from ocd.prediction.verifying import Choose, best_draws

__all__ = [
    "AS_THE_BASE",
    "AS_TUNED",
    "UNLIKE",
    "Choose",
    "DrawRequest",
    "FittedGenerator",
    "HeldOut",
    "Join",
    "Prediction",
    "Predictor",
    "Reference",
    "SamplingConfig",
    "apply_deltas",
    "best_draws",
    "central_interval",
    "centre_and_spread",
    "check_count",
    "covered_by_interval",
    "crps_per_example",
    "held_out_examples",
    "held_out_lessons",
    "interval_coverage",
    "interval_width",
    "join_by_mean",
    "joined_chunks",
    "mutual_information",
    "predict_in_chunks",
    "predictive_entropy",
    "reaches",
    "settle_sampling",
    "softmax_entropy",
    "spread",
    "unmoved",
]
