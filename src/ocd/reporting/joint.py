"""Draws of whole answers: the table, who is better, and whether they beat what is trivial.

Each method that draws answers is judged by its energy score (lower is better), by the variogram score,
the CRPS of single numbers, what its simultaneous bands cover, and how well a classifier tells its draws
from the truth. The numbers come from a seed's predictions file (ocd.evaluation.joint_scores).
"""

from __future__ import annotations

from statistics import mean

from ocd.evaluation import Json
from ocd.reporting.compared_draws import OURS, compared_draws
from ocd.reporting.evidence import Evidence, intervals_over
from ocd.reporting.methods import title
from ocd.reporting.records import RunRecords
from ocd.reporting.tables import grid
from ocd.reporting.verdict import statement_of
from ocd.reporting.wording import change, spread

TRIVIAL = "base_residuals"
TITLES = {
    OURS: "OCD's draws",
    "base": "base, one answer",
    TRIVIAL: "base + residuals of other examples",
    "nearest_residuals": "base + residuals of the nearest examples",
}
BESIDE = {
    "gain": "OCD's draws are better",
    "worse": "OCD's draws are worse",
    "no gain": "OCD's draws are neither better nor worse beyond doubt",
    "undecided": "it is undecided whether OCD's draws are better",
}
"""What is said of OCD's draws beside the best others."""
NOT_FINITE = (
    "What OCD's draws of whole answers are worth cannot be told: their energy score is not a finite "
    "number. Look for values far beyond those to learn from."
)
"""Said in place of a verdict."""
LEGEND = (
    "Energy score: how far draws lie from the truth less half of how far they lie apart, in the unit "
    "of the answer; for one answer its distance. Variogram score: whether differences within an "
    "answer are as in the truth. CRPS: of each number by itself. Energy score and CRPS are those of "
    "many draws of the kind. Covered: test answers that lie as a whole in the band that holds as many "
    "of the draws (none of fewer than 20). Told from truth: right answers of a classifier that is "
    "shown a draw or the truth (50 %: it cannot tell). 50 draws each, but of an ensemble its members. "
    "Difference: in the energy score, positive where OCD is better, with the 95 % interval of a "
    "paired bootstrap over {over}. —: what cannot be said, such as a variogram of one number, or what "
    "a classifier tells from fewer than four test examples."
)


def joint_results(run: RunRecords) -> Json:
    """Name -> the numbers of each seed, and OCD's difference in energy score; {} where no answers were
    drawn."""
    return compared_draws(run, "joint", "energy")


def judge_joint(found: Json, evidence: Evidence) -> Json:
    """The verdict about draws: against the trivial distribution, and against the best other.
    `evidence`: what their intervals rest on."""
    known = {name: score for name, of in found.items() if (score := _energy(of)) is not None}
    ours = known.get(OURS)
    if ours is None:
        return {"statement": "undecided", "sentence": NOT_FINITE}
    others = {name: score for name, score in known.items() if name not in (OURS, TRIVIAL, "base")}
    sentences, statement = [], "undecided"
    if TRIVIAL in known:
        theirs, against = known[TRIVIAL], found[TRIVIAL].get("against", {})
        statement = statement_of(against.get("interval"))
        says = {
            "gain": "Draws of whole answers pay: they beat the base's answer with residuals of other "
            "examples",
            "worse": "Do not use the draws: they are worse than the base's answer with residuals of "
            "other examples, which costs nothing",
            "no gain": "Draws of whole answers cannot be told from the base's answer with residuals of "
            "other examples",
            "undecided": "Whether draws beat the base's answer with residuals of other examples is "
            "undecided",
        }[statement]
        sentences.append(f"{says} (energy score {change(theirs, ours)}).")
    if others:
        best = min(others, key=others.__getitem__)
        ends = found[best].get("against", {}).get("interval")
        sentences.append(
            f"Against the best other way to draw, {joint_title(best)}, {BESIDE[statement_of(ends)]} "
            f"({change(others[best], ours)})."
        )
    if sentences and not evidence.is_enough:
        sentences.append(evidence.sentence)
    return {"statement": statement, "sentence": " ".join(sentences) or "Draws were judged alone."}


def _energy(of: Json) -> float | None:
    """Mean over the seeds; None where one of them has no finite score."""
    return mean(of["energy"]) if None not in of["energy"] else None


def joint_section(results: Json) -> list[str]:
    """The paragraphs "Draws of whole answers"; none where none were judged."""
    found = results.get("joint")
    if not found:
        return []
    legend = LEGEND.format(over=intervals_over(results))
    return ["## Draws of whole answers", joint_table(found), legend]


def joint_table(found: Json) -> str:
    """A row a method, the best energy score first behind OCD's own."""
    rows = []
    scores = {name: _energy(of) for name, of in found.items()}
    last = [name for name in found if scores[name] is None]
    order = sorted(found, key=lambda name: (name != OURS, name in last, scores[name] or 0.0))
    for name in order:
        of = found[name]
        cells = [f"{joint_title(name)} `{name}`", spread(of["energy"], 4), spread(of["variogram"], 4)]
        cells += [spread(of["crps"], 4), spread(of["covered_90"], 1), spread(of["covered_50"], 1)]
        cells.append(spread(of["two_sample"], 1))
        against = of.get("against")
        if against and against["interval"]:
            low, high = against["interval"]
            cells.append(f"{against['difference']:+.4f} ({low:+.4f} to {high:+.4f})")
        else:
            cells.append("—")
        rows.append(cells)
    header = ["draws", "energy ↓", "variogram ↓", "CRPS ↓", "covered by 90 % [%]", "by 50 % [%]"]
    return grid([*header, "told from truth [%] ↓", "difference"], rows)


def joint_title(name: str) -> str:
    """What people read in place of the key."""
    return TITLES.get(name) or title(name)
