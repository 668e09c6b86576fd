"""Judge all methods of a table on a test set, with intervals of their differences.

`comparison` holds what is compared, `evaluating` runs it, and the metrics are in one module for each
kind of task. `bootstrap` and `ranking` need no torch, so that a report can do without it: the other
names are imported when they are first used.

    evaluation = evaluate(comparison, test)        # every method on the test examples
    paired_bootstrap(differences)                  # intervals of differences (M, S seeds, N examples)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ocd.evaluation.bootstrap import (
    FEWEST,
    TOGETHER,
    Json,
    MethodMetric,
    add_differences,
    num_pieces,
    paired_bootstrap,
    resample,
    resampled_counts,
)
from ocd.evaluation.ranking import Array, area_under_risk_coverage, auroc, risk_coverage

if TYPE_CHECKING:
    from ocd.evaluation.baseline_methods import USES_LABEL, list_methods, prepare_methods
    from ocd.evaluation.classifier_metrics import CLASSIFIER_METRICS, MATTHEWS
    from ocd.evaluation.comparison import (
        Comparison,
        FittedBaselines,
        MethodSettings,
        OCDFits,
        TrainingData,
    )
    from ocd.evaluation.evaluating import Evaluation, Together, evaluate, run_methods
    from ocd.evaluation.method import Method, Oracle
    from ocd.evaluation.metric import Metric, check_installed
    from ocd.evaluation.ranking_metrics import RANKING_METRICS
    from ocd.evaluation.regression_metrics import REGRESSION_METRICS
    from ocd.evaluation.separation_metrics import SEPARATION_METRICS, in_voices_order
    from ocd.evaluation.sounds import pick_sounds
    from ocd.evaluation.view_metrics import VIEW_METRICS
    from ocd.evaluation.views import film_frames

_MODULES = {
    "CLASSIFIER_METRICS": "classifier_metrics",
    "MATTHEWS": "classifier_metrics",
    "RANKING_METRICS": "ranking_metrics",
    "REGRESSION_METRICS": "regression_metrics",
    "SEPARATION_METRICS": "separation_metrics",
    "USES_LABEL": "baseline_methods",
    "VIEW_METRICS": "view_metrics",
    "Comparison": "comparison",
    "FittedBaselines": "comparison",
    "MethodSettings": "comparison",
    "Method": "method",
    "Metric": "metric",
    "OCDFits": "comparison",
    "Oracle": "method",
    "TrainingData": "comparison",
    "Evaluation": "evaluating",
    "Together": "evaluating",
    "check_installed": "metric",
    "evaluate": "evaluating",
    "run_methods": "evaluating",
    "film_frames": "views",
    "in_voices_order": "separation_metrics",
    "list_methods": "baseline_methods",
    "pick_sounds": "sounds",
    "prepare_methods": "baseline_methods",
}
"""Name -> the module that has it."""

__all__ = [
    "CLASSIFIER_METRICS",
    "FEWEST",
    "MATTHEWS",
    "RANKING_METRICS",
    "REGRESSION_METRICS",
    "SEPARATION_METRICS",
    "TOGETHER",
    "USES_LABEL",
    "VIEW_METRICS",
    "Array",
    "Comparison",
    "Evaluation",
    "FittedBaselines",
    "Json",
    "Method",
    "MethodMetric",
    "MethodSettings",
    "Metric",
    "OCDFits",
    "Oracle",
    "Together",
    "TrainingData",
    "add_differences",
    "area_under_risk_coverage",
    "auroc",
    "check_installed",
    "evaluate",
    "film_frames",
    "in_voices_order",
    "list_methods",
    "num_pieces",
    "paired_bootstrap",
    "pick_sounds",
    "prepare_methods",
    "resample",
    "resampled_counts",
    "risk_coverage",
    "run_methods",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ocd.evaluation' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ocd.evaluation.{_MODULES[name]}"), name)
