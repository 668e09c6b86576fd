"""One row of the table (`Method`), and the rows that could be made (`MethodTable`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ocd.baselines import OverfitTest, OverfitTestAllLayers
from ocd.data import resumable_part
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


Oracle = OverfitTest | OverfitTestAllLayers
"""Made without labels, which a `MethodTable` gives it."""


@dataclass
class MethodTable:
    """Methods by name, and why others are missing. Some are fitted when they are asked for.

    A run that goes on asks only for those that it has not judged yet; an audit asks for all. `oracles`
    have no labels, which they are given with each call. `notes`: lines for the report, some of them of
    fits (which learning rate an oracle has).
    """

    methods: dict[str, Method] = field(default_factory=dict)
    oracles: dict[str, Oracle] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _fits: dict[str, Callable[[], Method]] = field(default_factory=dict)
    _oracle_fits: dict[str, Callable[[], Oracle]] = field(default_factory=dict)

    def add_fitted(self, name: str, fit: Callable[[], Method]) -> None:
        """Add a method that `fit` makes when it is asked for, with the seconds that this takes. An
        OCDError of it is the reason why the method has no row."""
        self._fits[name] = fit

    def add_oracle(self, name: str, fit: Callable[[], Oracle]) -> None:
        """The same for an oracle."""
        self._oracle_fits[name] = fit

    def leave_out(self, names: Collection[str]) -> None:
        """Without these, which a task says make no sense for it: nothing is fitted for them."""
        for rows in (self.methods, self.oracles, self._fits, self._oracle_fits):
            for name in names:
                rows.pop(name, None)

    def take_oracles(self, oracles: Mapping[str, Oracle]) -> None:
        """Oracles that another table has fitted, so that they need not be fitted here."""
        self.oracles |= oracles
        self._oracle_fits = {n: fit for n, fit in self._oracle_fits.items() if n not in oracles}

    @property
    def names(self) -> list[str]:
        """All methods, fitted or not."""
        return [*self.methods, *self._fits, *self.oracles, *self._oracle_fits]

    def fit(self, name: str) -> None:
        """Fit a method, or an oracle, that is not fitted yet; or say in `skipped` why it cannot be."""
        with self.skipping(name), resumable_part("fit") as clock:
            if name in self._fits:
                made = self._fits.pop(name)()
                seconds = clock.seconds + (made.training_seconds or 0.0)
                self.methods[name] = replace(made, training_seconds=seconds)
            elif name in self._oracle_fits:
                self.oracles[name] = self._oracle_fits.pop(name)()

    def method(self, name: str, targets: Tensor | None = None) -> Method | None:
        """A method, fitted now where it is not yet; None where there is none, and `skipped` says why.
        `targets`: as for `for_labels`."""
        if name in self._fits or (name in self._oracle_fits and targets is not None):
            self.fit(name)
        if name in self.methods:
            return self.methods[name]
        if name not in self.oracles or targets is None:
            return None
        oracle = replace(self.oracles[name], targets=targets)
        return Method(oracle, parameters=self.methods["base"].parameters)

    @contextmanager
    def skipping(self, name: str) -> Iterator[None]:
        """An OCDError in this block is the reason why the method `name` is missing."""
        try:
            yield
        except OCDError as error:
            self.skipped[name] = str(error)

    def for_labels(self, targets: Tensor | None) -> dict[str, Method]:
        """Every method, fitted. `targets` (N, ...): labels of the inputs to come, which the oracles
        alone are given; None leaves the oracles out."""
        made = {name: self.method(name, targets) for name in self.names}
        return {name: method for name, method in made.items() if method is not None}


def count_parameters(module: nn.Module) -> int:
    """Numbers in all parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
