"""What a metric is: one number of a whole test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from ocd.errors import OCDError


@dataclass(frozen=True)
class Metric:
    """A function of all outputs and targets (N, ...), and how its value is read.

    All metrics compute in double precision. A metric raises OCDError for outputs and targets
    that do not fit together.
    """

    fn: Callable[[Tensor, Tensor], float]
    """(outputs (N, ...), targets (N, ...)) -> the value."""
    higher_is_better: bool
    unit: str = ""
    per_example: Callable[[Tensor, Tensor], Tensor] | None = None
    """(outputs, targets) -> (N,), whose mean is the value; None for a metric that is no such mean."""
    by_query: Callable[[Tensor, Tensor, Tensor], float] | None = None
    """(outputs, targets, queries (N,)) -> the value, where rows of a query are judged together."""
    of_answers: bool = False
    """Whether it is computed of the classes that are answered alone, so that a report that has these
    can compute it anew."""

    needs: str = ""
    """A package that it computes with, beyond those of the core."""

    def value(self, outputs: Tensor, targets: Tensor, queries: Tensor | None) -> float:
        """The value, with the queries that rows belong to where these are known and count."""
        if self.by_query is None or queries is None:
            return self.fn(outputs, targets)
        return self.by_query(outputs, targets, queries)


def check_installed(metrics: Mapping[str, Metric]) -> None:
    """Raises OCDError where a metric needs a package that is not installed: before hours of work, which
    would end without a report."""
    for name, metric in metrics.items():
        if metric.needs and find_spec(metric.needs) is None:
            raise OCDError(
                f"the metric {name} needs {metric.needs}, which is not installed: the extra of each "
                "task that has this metric brings it (`ocd doctor`)"
            )


def import_torchmetrics(part: str) -> Any:
    """torchmetrics.functional.`part`, imported when it is needed: the import takes seconds.

    Raises OCDError where torchmetrics is not installed.
    """
    try:
        return import_module(f"torchmetrics.functional.{part}")
    except ImportError as error:
        raise OCDError("this metric needs torchmetrics: pip install torchmetrics") from error
