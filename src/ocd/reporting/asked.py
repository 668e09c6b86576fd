"""What a run was asked for, and whether OCD gives it: a better answer, or draws that say where it lies.

With `goal=answer` that is the verdict on the ensemble's loss. With `goal=distribution` the mean of the
draws is beside the point: what counts is whether the draws are closer to the targets than the base's
answer with residuals of other examples, in the energy score of whole answers or the CRPS of numbers.
"""

from __future__ import annotations

from statistics import mean

from ocd.evaluation import Json
from ocd.reporting.compared_draws import OURS
from ocd.reporting.distribution import PLAIN
from ocd.reporting.records import RunRecords
from ocd.reporting.verdict import statement_of
from ocd.reporting.wording import change

ANSWER, DRAWS = "answer", "distribution"  # as the setting `goal` has them
SETTLED = "goal: distribution"
"""How the note of a fit begins that was left to find out its goal, and took draws."""


SAYS = {
    "gain": "Draws pay: they are closer to the targets than the base's answer with split-conformal "
    "residuals",
    "worse": "Do not use the draws: they are worse than the base's answer with split-conformal "
    "residuals, which costs nothing",
    "no gain": "Draws cannot be told from the base's answer with split-conformal residuals",
    "undecided": "Whether draws beat the base's answer with split-conformal residuals is undecided",
}
"""Of draws of single numbers; of whole answers see ocd.reporting.joint."""


def asked_for(run: RunRecords, results: Json, verdict: Json) -> Json:
    """`goal` and `statement`: gain, no gain, worse or undecided in what the run was asked for; and a
    `sentence`, where the verdict says nothing else of it."""
    goal = run.config.get("config", {}).get("goal", ANSWER)
    if goal == "auto" and any(str(note["text"]).startswith(SETTLED) for note in run.of("note")):
        goal = DRAWS
    if goal == DRAWS and "joint" in verdict:
        return {"goal": DRAWS, "statement": verdict["joint"]["statement"]}
    if goal == DRAWS and PLAIN in results.get("distribution", {}):
        return {"goal": DRAWS, **_of_numbers(results["distribution"])}
    # Draws that nothing trivial stands beside, as of classes, are judged by their ensemble.
    return {"goal": ANSWER, "statement": verdict["statement"]}


def _of_numbers(found: Json) -> Json:
    """Statement and sentence by the CRPS; undecided where it is not finite."""
    statement = statement_of(found[PLAIN].get("against", {}).get("interval"))
    scores = [found[name]["crps"] for name in (PLAIN, OURS)]
    if any(None in values for values in scores):
        return {"statement": "undecided", "sentence": f"{SAYS['undecided']}: a score is not finite."}
    before, after = map(mean, scores)
    return {"statement": statement, "sentence": f"{SAYS[statement]} (CRPS {change(before, after)})."}
