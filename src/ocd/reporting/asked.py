"""What a run was asked for, and whether OCD gives it: a better answer, or draws that say where it lies.

With `goal=answer` that is the verdict on the ensemble's loss. With `goal=distribution` the mean of the
draws is beside the point: what counts is whether the draws are closer to the targets than the base's
answer with residuals of other examples, in the energy score of whole answers or the CRPS of numbers.
"""

from __future__ import annotations

from ocd.evaluation import Json
from ocd.reporting.distribution import PLAIN
from ocd.reporting.records import RunRecords
from ocd.reporting.verdict import statement_of

ANSWER, DRAWS = "answer", "distribution"  # as the setting `goal` has them
SETTLED = "goal: distribution"
"""How the note of a fit begins that was left to find out its goal, and took draws."""


def asked_for(run: RunRecords, results: Json, verdict: Json) -> Json:
    """`goal` and `statement`: gain, no gain, worse or undecided in what the run was asked for."""
    goal = run.config.get("config", {}).get("goal", ANSWER)
    if goal == "auto" and any(str(note["text"]).startswith(SETTLED) for note in run.of("note")):
        goal = DRAWS
    if goal == DRAWS and "joint" in verdict:
        return {"goal": DRAWS, "statement": verdict["joint"]["statement"]}
    if goal == DRAWS and (against := results.get("distribution", {}).get(PLAIN, {}).get("against")):
        return {"goal": DRAWS, "statement": statement_of(against["interval"])}
    # Draws that nothing trivial stands beside, as of classes, are judged by their ensemble.
    return {"goal": ANSWER, "statement": verdict["statement"]}
