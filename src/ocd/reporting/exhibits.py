"""Single test examples in the report: the texts whose answer OCD changed most, right and wrong."""

from __future__ import annotations

from ocd.evaluation import Json
from ocd.reporting.records import RunRecords
from ocd.reporting.tables import grid


def exhibits_section(run: RunRecords) -> list[str]:
    """The paragraphs "What changed"; none where the task shows no single examples."""
    if not run.exhibits:
        return []
    counts = [
        [str(seed), *(f"{of[name]:,}" for name in ("texts", "changed", "to_right", "to_wrong"))]
        for seed, of in run.exhibits.items()
    ]
    first = min(run.exhibits)
    of = run.exhibits[first]
    parts = [
        "## What changed",
        "Test texts whose answer the ensemble changed against the base: to the right one, and from it.",
        grid(["seed", "texts", "changed", "to right", "to wrong"], counts),
    ]
    for key, what in (("gained", "gained"), ("lost", "lost")):
        if of[key]:
            parts.append(f"Texts whose right class {what} the most probability (seed {first}):")
            parts.append(grid(["text", "right", "base", "OCD", "probability"], _rows(of[key])))
    if not of["gained"] and not of["lost"]:
        parts.append(f"No text's right class gained or lost 0.01 of probability (seed {first}).")
    return parts


def _rows(shown: list[Json]) -> list[list[str]]:
    """Cells of a table, of each text one line."""
    return [
        [
            " ".join(one["text"].split()),
            one["right"],
            one["base"],
            one["ocd"],
            f"{one['base_probability']:.2f} → {one['ocd_probability']:.2f}",
        ]
        for one in shown
    ]
