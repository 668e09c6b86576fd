"""OCD as scikit-learn has its models: fit(X, y), predict, and what scikit-learn's own tools expect.

    model = OCDRegressor().fit(X, y)
    model.predict(X_new), model.predict_quantiles(X_new, (0.05, 0.95))

For tables of numbers. Everything is that of the task `table`: the base, an MLP, is trained here; then a
generator learns from bases that have not seen its lessons (docs/lessons.md).
"""

from ocd.estimators.classifier import OCDClassifier
from ocd.estimators.regressor import OCDRegressor

__all__ = ["OCDClassifier", "OCDRegressor"]
