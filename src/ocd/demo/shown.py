"""The run that a page shows: its fitted OCD, its test examples, and which of them to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.applying import Answers, Ask, LoadedRun, load
from ocd.data import Examples, read_tensors, take_rows
from ocd.errors import OCDError
from ocd.tasks import NewRows

MOST = 12
"""Test examples in a list."""
ROUNDING = 1e-5
"""A loss that differs by a smaller share of it is the same."""
UNCERTAIN = ("predictive_entropy", "spread")
"""Scores of uncertainty, the one that is shown first: a run has one of them at least."""


@dataclass(frozen=True)
class Question:
    """What is asked: one input. Where it is a test example, `place` is its number in the test set and
    `truth` its target, (…) as the task has it. Only the page looks at these two."""

    rows: NewRows
    place: int | None = None
    truth: Tensor | None = None


@dataclass(frozen=True)
class Listed:
    """A test example in a list: its number, the score that brought it there (an uncertainty, or how far
    its loss moved), and the losses of the base and of OCD's ensemble, as `ocd predict` found them."""

    place: int
    score: float
    base_loss: float
    ocd_loss: float


@dataclass(frozen=True)
class ShownRun:
    """`root`: the run's folder. `loaded`: its fitted OCD. `missing`: why there are no test examples to
    pick; "" where there are."""

    root: Path
    loaded: LoadedRun
    missing: str = ""

    @classmethod
    def open(cls, root: Path, seed: int | None = None) -> ShownRun:
        """Raises OCDError, one line, where the folder is no run or is not trained yet.

        Where the run's data cannot be read any more, its generator answers new inputs all the same.
        """
        try:
            return cls(root, load(root, seed, with_data=True))
        except (OCDError, OSError) as error:  # gone, or in a folder that may not be written
            return cls(root, load(root, seed), str(error))

    @property
    def task(self) -> str:
        """Its name."""
        return self.loaded.run.task.name

    @property
    def test(self) -> Examples:
        """The test examples; none where they cannot be read."""
        return self.loaded.run.data.test

    @property
    def num_draws(self) -> int:
        """Draws that the run's own table has."""
        return self.loaded.num_draws

    def question(self, place: int) -> Question:
        """A test example as it is. Its label is for the page alone: `answer` does not see it."""
        one = slice(place, place + 1)
        rows = NewRows([f"test example {place}"], take_rows(self.test.inputs, one))
        return Question(rows, place, self.test.targets[place])

    def answer(self, question: Question, draws: int, seed: int = 0) -> Answers:
        """What base and OCD say."""
        return self.loaded.answer(question.rows, Ask(draws, seed=seed))

    def most_uncertain(self) -> list[Listed]:
        """The test examples of which OCD's draws are least certain; [] where nothing is predicted."""
        found = self._predicted
        for name in UNCERTAIN:
            if f"uncertainty/{name}" in found:
                return self._listed(found[f"uncertainty/{name}"])
        return []

    def most_changed(self) -> list[Listed]:
        """The test examples whose loss OCD's ensemble changed most, for the better or the worse; none
        whose loss is the base's."""
        found = self._predicted
        listed = self._listed((found["ocd"] - found["base"]).abs()) if found else []
        return [one for one in listed if one.score > ROUNDING * max(1.0, abs(one.base_loss))]

    @cached_property
    def _predicted(self) -> dict[str, Tensor]:
        """Of each test example, as `ocd predict` kept it: losses "base" and "ocd", uncertainties."""
        path = self.root / "predictions" / f"seed-{self.loaded.seed}.safetensors"
        if self.missing or not path.exists():
            return {}
        tensors = read_tensors(path)
        kept = {name: value for name, value in tensors.items() if name.startswith("uncertainty/")}
        ensemble = f"loss/ocd_ensemble_{self.num_draws}"
        return kept | {"base": tensors["loss/base"], "ocd": tensors[ensemble]}

    def _listed(self, scores: Tensor) -> list[Listed]:
        found = self._predicted
        order = scores.nan_to_num(-math.inf).argsort(descending=True, stable=True)[:MOST]
        return [
            Listed(place, float(scores[place]), float(found["base"][place]), float(found["ocd"][place]))
            for place in order.tolist()
        ]


def as_numbers(values: Tensor) -> list[Any]:
    """Of a tensor on any device."""
    listed: list[Any] = values.detach().to("cpu", torch.float64).tolist()
    return listed
