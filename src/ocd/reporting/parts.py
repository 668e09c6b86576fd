"""Which part of OCD helps: its correction alone, and its diffusion alone, each against the base.

The correction is beyond the paper (ocd.generator.correction). Where a run has one, both parts are
predicted alone, and the report says how much of the ensemble's gain each of them has.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ocd.evaluation import Array, Json, MethodMetric, add_differences, resample
from ocd.reporting.methods import number
from ocd.reporting.records import RunRecords
from ocd.reporting.wording import decimals

CORRECTION = "correction_only"


class Parts(NamedTuple):
    """What each of both methods gains over the base in the task's loss."""

    gains: dict[str, Json]  # method -> difference and interval, the correction first
    lead: list[float]  # 95 % interval of how much more the correction gains


def compare_parts(run: RunRecords, ensemble: str) -> Parts | None:
    """None where one of both is missing, nothing moves, or nothing can be told. The resamples are those
    of the verdict."""
    if is_unmoved(run, ensemble):
        return None
    without = f"ocd_without_correction_{number(ensemble)}"
    base, correction, diffusion = (run.of_seeds(f"loss/{m}") for m in ("base", CORRECTION, without))
    paired: dict[MethodMetric, Array] = {}
    add_differences(paired, (CORRECTION, "base"), -1, correction, base)
    add_differences(paired, (without, "base"), -1, diffusion, base)
    add_differences(paired, (CORRECTION, without), -1, correction, diffusion)
    if len(paired) < 3:
        return None
    found = resample(paired, run.together)
    if any(facts["interval"] is None for facts in found.values()):
        return None  # too few test examples
    gains = {method: found[method, "base"] for method in (CORRECTION, without)}
    return Parts(gains, found[CORRECTION, without]["interval"])


def is_unmoved(run: RunRecords, ensemble: str) -> bool:
    """Whether OCD generates no move: one draw, the ensemble and the correction answer alike on every
    test example. By what it differs from the base is then the common move."""
    found = [run.of_seeds(f"loss/{method}") for method in ("ocd", ensemble, CORRECTION)]
    return all(
        losses is not None and found[0] is not None and np.array_equal(losses, found[0])
        for losses in found
    )


def parts_sentence(parts: Parts, ensemble: Json) -> str:
    """How much of the ensemble's gain over the base each part has, and which of them helps."""
    size = ensemble["difference"]
    places = decimals([size])
    correction, diffusion = (f"{of['difference']:.{places}f}" for of in parts.gains.values())
    if ensemble["statement"] == "gain":
        has = f"Of this gain of {size:.{places}f} the correction alone (no diffusion) has"
    else:
        has = "Against the base, the correction alone (no diffusion) gains"
    return f"{has} {correction}, and OCD without the correction {diffusion}: {_what_helps(parts)}."


def _what_helps(parts: Parts) -> str:
    named = zip(parts.gains.values(), ("correction", "diffusion"), strict=True)
    (less, _), (more, name) = sorted(named, key=lambda part: float(part[0]["difference"]))
    if more["interval"][0] <= 0:
        return "neither of them is certain to help by itself"
    if parts.lead[0] <= 0 <= parts.lead[1]:
        return "which of them helps more cannot be told"
    # A part with half of the other's gain or more cannot be said to do nothing.
    alone = less["difference"] < more["difference"] / 2
    return f"what helps here is the {name}" if alone else f"the {name} helps more"
