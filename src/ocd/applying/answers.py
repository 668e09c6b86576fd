"""Answers for new inputs, in the user's own terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ocd.applying.voices import as_in_mixture
from ocd.prediction import UNLIKE, Prediction, central_interval, reaches
from ocd.tasks import Answer, NewRows

if TYPE_CHECKING:
    import pandas as pd

LEVELS = (50, 90)
"""Per cent of the central intervals."""


@dataclass(frozen=True)
class Answers:
    """For B inputs, in their order. Numbers (B, 1) of a regression are in the target's own unit,
    so are the steps of series (B, H; in double precision), classes are probabilities (B, C), views are
    colours (B, 3, H, W) from 0 to 1, voices are waveforms (B, C, T) that add up to the recording as
    well as they can.

    `ids`: how the user knows each row. `base`: what the base says, unchanged. `ocd`: what OCD says.
    `std`: standard deviation over the draws, None of a mean. `intervals`: per cent -> lower and upper
    end of the draws' central interval, of numbers with enough draws. `draws` (K, B, ...): each
    draw. `distance` (B,): to the training inputs; `nearer` (B,): the share of these that are nearer to
    each other. `remarks`: of each row, "" for none. `note`: what is to be known of all.
    """

    answer: Answer
    ids: list[str]
    base: Tensor
    ocd: Tensor
    std: Tensor | None
    intervals: dict[int, tuple[Tensor, Tensor]]
    draws: Tensor
    distance: Tensor
    nearer: Tensor
    remarks: list[str]
    note: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_unlike(self) -> Tensor:
        """(B,) whether an input is farther from the training inputs than 99 % of these are."""
        return self.nearer >= UNLIKE

    @property
    def classes(self) -> list[str]:
        """The class that OCD finds most probable, for each input of a classifier."""
        return [self.answer.names[int(place)] for place in self.ocd.argmax(dim=1)]

    def frame(self) -> pd.DataFrame:
        """A row for each input, of series for each step; what is said of views and voices is how far
        they moved alone."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    def columns(self) -> dict[str, Any]:
        """The same without pandas: a list or array for each column."""
        if self.answer.kind == "steps":
            return self._of_steps()
        return {"row": self.ids} | self._own() | self._of_inputs()

    def draw_columns(self) -> dict[str, Any]:
        """Every draw of numbers or classes: a row for each input and draw, and of series each step."""
        count, size = self.draws.shape[:2]
        if self.answer.kind == "steps":
            lines = [
                (n, draw + 1) for n in self.ids for draw in range(count) for _ in self.answer.names
            ]
            return {
                "row": [name for name, _ in lines],
                "draw": [draw for _, draw in lines],
                "step": [*self.answer.names] * (count * size),
                "value": _numbers(self.draws.transpose(0, 1).flatten()),
            }
        made: dict[str, Any] = {
            "row": [name for name in self.ids for _ in range(count)],
            "draw": [number + 1 for _ in range(size) for number in range(count)],
        }
        values = self.draws.transpose(0, 1).reshape(size * count, -1)
        names = ["value"] if self.answer.kind == "number" else [f"p {n}" for n in self.answer.names]
        return made | {name: _numbers(values[:, place]) for place, name in enumerate(names)}

    def _of_steps(self) -> dict[str, Any]:
        steps = len(self.answer.names)
        made: dict[str, Any] = {
            "row": [name for name in self.ids for _ in range(steps)],
            "step": [*self.answer.names] * len(self),
            "base": _numbers(self.base.flatten()),
            "ocd": _numbers(self.ocd.flatten()),
        }
        if self.std is not None:
            made["std"] = _numbers(self.std.flatten())
        for level, (low, high) in self.intervals.items():
            made[f"low {level} %"] = _numbers(low.flatten())
            made[f"high {level} %"] = _numbers(high.flatten())
        of_inputs = self._of_inputs()
        return made | {name: [v for v in of for _ in range(steps)] for name, of in of_inputs.items()}

    def _own(self) -> dict[str, Any]:
        if self.answer.kind == "number":
            made = {"base": _numbers(self.base[:, 0]), "ocd": _numbers(self.ocd[:, 0])}
            if self.std is not None:
                made["std"] = _numbers(self.std[:, 0])
            for level, (low, high) in self.intervals.items():
                made |= {f"low {level} %": _numbers(low[:, 0]), f"high {level} %": _numbers(high[:, 0])}
            return made
        if self.answer.kind == "classes":
            names, places = self.answer.names, self.ocd.argmax(dim=1, keepdim=True)
            of_base = self.base.argmax(dim=1)
            made = {
                "base": [names[int(place)] for place in of_base],
                "ocd": self.classes,
                "base probability": _numbers(self.base.amax(dim=1)),
                "ocd probability": _numbers(self.ocd.amax(dim=1)),
            }
            if self.std is not None:
                made["std"] = _numbers(self.std.gather(1, places)[:, 0])
            return made | {f"p {n}": _numbers(self.ocd[:, place]) for place, n in enumerate(names)}
        spread = torch.zeros(len(self)) if self.std is None else self.std.flatten(1).mean(dim=1)
        moved = (self.ocd - self.base).flatten(1).square().mean(dim=1).sqrt()
        return {"moved": _numbers(moved), "std": _numbers(spread)}

    def _of_inputs(self) -> dict[str, Any]:
        return {
            "distance": _numbers(self.distance),
            "nearer": _numbers(self.nearer),
            "unlike training": self.is_unlike.tolist(),
            "remark": self.remarks,
        }


def make_answers(
    rows: NewRows,
    found: Prediction,
    join: Callable[[Tensor], Tensor],
    answer: Answer,
    near: tuple[Tensor, Tensor],
) -> Answers:
    """What the base and OCD predicted for some rows, in the terms of the answer."""
    outputs, base = found.outputs.cpu(), found.base
    assert base is not None  # OCD always says what its base does
    joined, base = join(outputs), base.cpu()
    if answer.kind == "classes":
        joined, base, outputs = joined.softmax(dim=-1), base.softmax(dim=-1), outputs.softmax(dim=-1)
    if answer.kind == "voices":
        assert isinstance(rows.inputs, Tensor)
        mixture, order = rows.inputs.cpu(), base
        base, joined = (as_in_mixture(waves, order, mixture) for waves in (base, joined))
        outputs = torch.stack([as_in_mixture(draw, order, mixture) for draw in outputs])
    if rows.units is not None:
        outputs, base, joined = (_in_units(values, rows.units) for values in (outputs, base, joined))
    several = len(outputs) > 1
    remarks = [""] * len(rows)
    for place, text in rows.remarks:
        remarks[place] = f"{remarks[place]}; {text}" if remarks[place] else text
    return Answers(
        answer,
        rows.ids,
        base,
        joined,
        outputs.std(dim=0, unbiased=False) if several else None,
        _intervals(outputs) if answer.kind in ("number", "steps") else {},
        outputs,
        *near,
        remarks,
        found.note,
    )


def _in_units(values: Tensor, units: Tensor) -> Tensor:
    """Of (..., B, H) with a mean and a deviation for each of the B, in double precision: beside a large
    mean float32 has no digits for the rest."""
    return units[:, :1].double() + units[:, 1:].double() * values.double()


def _intervals(draws: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
    return {level: central_interval(draws, level) for level in LEVELS if reaches(len(draws), level)}


def _numbers(values: Tensor) -> Any:
    """As NumPy has them; float32 in double precision would show digits that are not there."""
    return values.detach().cpu().numpy()
