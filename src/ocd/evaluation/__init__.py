"""Metrics of a test set, all methods of a table on it, and intervals of their differences."""

from ocd.evaluation.bootstrap import Pair, add_differences, paired_bootstrap, resample
from ocd.evaluation.comparison import USES_LABEL, Contest, evaluate, show_film
from ocd.evaluation.metrics import (
    CLASSIFIER_METRICS,
    REGRESSION_METRICS,
    VIEW_METRICS,
    Metric,
    interval_coverage,
    softmax_entropy,
)
from ocd.evaluation.ranking import area_under_risk_coverage, auroc, risk_coverage

__all__ = [
    "CLASSIFIER_METRICS",
    "REGRESSION_METRICS",
    "USES_LABEL",
    "VIEW_METRICS",
    "Contest",
    "Metric",
    "Pair",
    "add_differences",
    "area_under_risk_coverage",
    "auroc",
    "evaluate",
    "interval_coverage",
    "paired_bootstrap",
    "resample",
    "risk_coverage",
    "show_film",
    "softmax_entropy",
]
