"""Metrics of a test set, all methods of a table on it, and intervals of their differences."""

from ocd.evaluation.bootstrap import Json, MethodMetric, add_differences, paired_bootstrap, resample
from ocd.evaluation.comparison import USES_LABEL, Comparison, evaluate, show_film
from ocd.evaluation.metrics import CLASSIFIER_METRICS, REGRESSION_METRICS, VIEW_METRICS, Metric
from ocd.evaluation.ranking import Array, area_under_risk_coverage, auroc, risk_coverage

__all__ = [
    "CLASSIFIER_METRICS",
    "REGRESSION_METRICS",
    "USES_LABEL",
    "VIEW_METRICS",
    "Array",
    "Comparison",
    "Json",
    "MethodMetric",
    "Metric",
    "add_differences",
    "area_under_risk_coverage",
    "auroc",
    "evaluate",
    "paired_bootstrap",
    "resample",
    "risk_coverage",
    "show_film",
]
