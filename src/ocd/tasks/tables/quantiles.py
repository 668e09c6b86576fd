"""Quantile normalisation of features: each to a normal distribution, as the training rows say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST = 100_000
"""Rows that quantiles are taken from: a thousand quantiles need no more."""
STRETCH = 50_000
"""Rows at a time: scikit-learn works on copies."""


@dataclass(frozen=True)
class Quantiles:
    """`values` (Q, D): quantiles of each feature. `references` (Q,): which quantiles they are."""

    values: NDArray[Any]
    references: NDArray[Any]

    @classmethod
    def fit(cls, features: NDArray[Any]) -> Quantiles:
        """Of training rows (N, D), all finite."""
        from sklearn.preprocessing import QuantileTransformer

        fitted = QuantileTransformer(
            n_quantiles=_count(len(features)), output_distribution="normal", random_state=0
        ).fit(features)
        return cls(np.asarray(fitted.quantiles_), np.asarray(fitted.references_))

    def __call__(self, features: NDArray[Any]) -> NDArray[Any]:
        """Features (N, D) in standard deviations of a normal distribution, of the same type."""
        made = np.empty_like(features)
        for start in range(0, len(features), STRETCH):
            stretch = slice(start, start + STRETCH)
            made[stretch] = self._transformer.transform(features[stretch])
        return made

    def inverse(self, normal: NDArray[Any]) -> NDArray[np.float64]:
        """The features (N, D) that `__call__` gives these for, as far as the training rows reach."""
        return np.asarray(self._transformer.inverse_transform(normal), np.float64)

    def reach(self, place: int) -> tuple[float, float]:
        """The smallest and the largest value of a feature in the training rows."""
        return float(self.values[0, place]), float(self.values[-1, place])

    @cached_property
    def _transformer(self) -> Any:
        """scikit-learn's own, with these quantiles."""
        from sklearn.preprocessing import QuantileTransformer

        count = len(self.references)
        transformer = QuantileTransformer(n_quantiles=count, output_distribution="normal")
        transformer.quantiles_, transformer.references_ = self.values, self.references
        transformer.n_quantiles_, transformer.n_features_in_ = count, self.values.shape[1]
        return transformer

    def state(self) -> dict[str, Tensor]:
        """As tensors."""
        return {
            "quantiles": torch.from_numpy(self.values),
            "references": torch.from_numpy(self.references),
        }

    @classmethod
    def from_state(cls, tensors: dict[str, Tensor]) -> Quantiles:
        """As `state` gave it."""
        return cls(tensors["quantiles"].numpy(), tensors["references"].numpy())


def fit_quantiles(features: NDArray[np.float32]) -> Quantiles:
    """Quantiles of each feature (N, D), as Gorishniy et al. (2021) have them: with a little noise, so
    that equal values do not pile up."""
    from sklearn.preprocessing import QuantileTransformer

    draw = np.random.default_rng(0)
    few = features
    if len(features) > MOST:
        few = features[np.sort(draw.choice(len(features), MOST, replace=False))]
    few = few + draw.normal(0, 1e-5, few.shape).astype(np.float32) * np.maximum(few.std(axis=0), 1e-3)
    fitted = QuantileTransformer(
        n_quantiles=_count(len(few)), output_distribution="normal", subsample=None, random_state=0
    ).fit(few)
    return Quantiles(np.asarray(fitted.quantiles_), np.asarray(fitted.references_))


def _count(rows: int) -> int:
    """Of quantiles, by the number of rows."""
    return max(min(rows // 30, 1000), 10)
