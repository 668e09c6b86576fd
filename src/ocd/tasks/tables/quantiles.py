"""Quantile normalisation of features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def fit_quantiles(
    features: NDArray[np.float32],
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Quantile normalisation of each feature (N, D), fitted on these rows, as Gorishniy et al. (2021)
    have it: to a normal distribution, with a little noise so that equal values do not pile up."""
    from sklearn.preprocessing import QuantileTransformer

    most = 100_000  # rows that quantiles are taken from: a thousand quantiles need no more
    draw = np.random.default_rng(0)
    few = features
    if len(features) > most:
        few = features[np.sort(draw.choice(len(features), most, replace=False))]
    few = few + draw.normal(0, 1e-5, few.shape).astype(np.float32) * np.maximum(few.std(axis=0), 1e-3)
    fitted = QuantileTransformer(
        n_quantiles=max(min(len(few) // 30, 1000), 10),
        output_distribution="normal",
        subsample=None,
        random_state=0,
    ).fit(few)

    def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        made = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), 50_000):  # scikit-learn works on copies
            stretch = slice(start, start + 50_000)
            made[stretch] = fitted.transform(rows[stretch])
        return made

    return normalise
