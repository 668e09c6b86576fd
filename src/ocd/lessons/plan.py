"""What a fit decides before it collects and trains, made once and passed down.

    plan, notes = make_plan(problem, "fc1", config)
    overfitter = Overfitter.of_plan(problem, plan, config)

Two of the decisions are measured (the learning rate and the cost of overfitting), so that a second
measurement could come out differently. The plan is therefore written to the work folder
(`ocd.lessons.record`), and a run that resumes reads it back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ocd.base import Way


@dataclass(frozen=True)
class Plan:
    """The decisions of one fit.

    `layer`: what moves. `way`: how (ocd.base.Way). `lr`: learning rate of Eq. 1. `form`: of an
    overfitted delta, "dense" or "rank_one". `code`: what is diffused, "dense", "rank_one" or "pca".
    `storage`: "store" or "on_the_fly". `unit`: what the loss is counted in (ocd.base.losses). `new`:
    whether lessons are few and augmented, and new to the base by that (ocd.lessons.unseen).
    """

    layer: str
    way: Way
    lr: float
    form: str
    code: str
    storage: str
    unit: float = 1.0
    new: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """The plan of `as_dict`."""
        return cls(**{**values, "way": Way(**values["way"])})
