"""Scores of draws by method, and by how much OCD's are lower: for numbers and for whole answers."""

from __future__ import annotations

from ocd.data import finite_only
from ocd.evaluation import Array, Json, MethodMetric, add_differences, resample
from ocd.reporting.records import RunRecords

OURS = "ocd"


def compared_draws(run: RunRecords, part: str, score: str) -> Json:
    """Name -> the numbers of each seed that `part` of the predictions has, and under `against` OCD's
    difference in `score`, positive where OCD is better; {} where nothing was judged. None stands for a
    number that a seed does not have, or that is not finite."""
    of_seeds = [finite_only(run.predictions[seed].get(part) or {}) for seed in run.seeds]
    names = [name for name in of_seeds[0] if all(name in found for found in of_seeds)]
    found: Json = {
        name: {key: [of[name][key] for of in of_seeds] for key in of_seeds[0][name]} for name in names
    }
    paired: dict[MethodMetric, Array] = {}
    ours = run.of_seeds(f"{score}/{OURS}")
    for name in names:
        if name != OURS:
            add_differences(paired, (name, ""), -1, ours, run.of_seeds(f"{score}/{name}"))
    for (name, _), difference in resample(paired, run.together).items():
        found[name]["against"] = difference
    return found
