"""One row of the table (`Method`), and the rows that could be made (`MethodTable`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ocd.baselines import OverfitTest, OverfitTestAllLayers
from ocd.errors import OCDError
from ocd.prediction import Join, Prediction, Predictor


@dataclass(frozen=True)
class Method:
    """One row of the table: a predictor, its number of draws, and how they become one output.

    `parameters`: numbers that must be kept to predict; None where they cannot be counted (trees).
    `training_seconds`: None where not known. `uses_mean_network`: whether the output is that of the
    averaged deltas, in place of joined outputs.
    """

    predictor: Predictor
    draws: int = 1
    parameters: int | None = 0
    training_seconds: float | None = 0.0
    uses_mean_network: bool = False

    def combine(self, prediction: Prediction, join: Join) -> Tensor:
        """The output (B, ...) that is judged. `join`: used where there are several draws."""
        if self.uses_mean_network:
            return prediction.mean_network
        return join(prediction.outputs) if len(prediction.outputs) > 1 else prediction.outputs[0]


@dataclass
class MethodTable:
    """Methods by name in the order of the table, and why others are missing.

    `oracles`: made without labels, which `for_labels` gives them. `notes`: lines for the report.
    """

    methods: dict[str, Method] = field(default_factory=dict)
    oracles: dict[str, OverfitTest | OverfitTestAllLayers] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_fitted(self, name: str, fit: Callable[[], Method]) -> None:
        """Fit a method and add it, with the seconds that it took; or the reason why it has no row."""
        start = time.perf_counter()
        with self.skipping(name):
            method = fit()
            seconds = time.perf_counter() - start + (method.training_seconds or 0.0)
            self.methods[name] = replace(method, training_seconds=seconds)

    @contextmanager
    def skipping(self, name: str) -> Iterator[None]:
        """An OCDError in this block is the reason why the method `name` is missing."""
        try:
            yield
        except OCDError as error:
            self.skipped[name] = str(error)

    def for_labels(self, targets: Tensor | None) -> dict[str, Method]:
        """Every method. `targets` (N, ...): labels of the inputs to come, which the oracles alone are
        given; None leaves the oracles out."""
        if targets is None:
            return dict(self.methods)
        size = self.methods["base"].parameters
        oracles = {
            name: Method(replace(oracle, targets=targets), parameters=size)
            for name, oracle in self.oracles.items()
        }
        return self.methods | oracles


def count_parameters(module: nn.Module) -> int:
    """Numbers in all parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
