"""Several runs side by side: a row for each, with what differs in the settings of runs of one task.

    table = side_by_side([Reported("runs/a", config, results), ...], not_shown={})
    runs_markdown(table)          # a page; runs_table(table) is for a terminal
    table["runs"][0]["difference"]

Each gain is that of a run over its own base. Rows are not compared with one another: their bases, and
often their test examples, are different ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ocd.evaluation import Json
from ocd.reporting.asked import DRAWS
from ocd.reporting.tables import grid
from ocd.reporting.verdict import EQUAL_COST
from ocd.reporting.wording import decimals, known_mean, of_seeds, words

if TYPE_CHECKING:
    from rich.table import Table

HEADER = (
    "run", "task", "seeds", "layer", "settings that differ", "loss", "base", "OCD",
    "best baseline of equal cost", "OCD's gain (95 %)", "verdict", "draws", "intervals",
)  # fmt: skip
MOST_SETTINGS = 6
"""Settings in a cell, above which they are counted; the JSON has all."""
NOT_THERE = "not there"
"""In place of the value of a setting that a run's version did not have."""
GROUPS = ("options", "run_options", "config")
"""Of config.json: the settings of the task, of the run, and of OCD."""
LEGEND = (
    "Each run against its own base, in its task's loss, mean over seeds: lower is better, and a "
    "positive gain is OCD's. OCD: the ensemble of draws. The baseline costs at most as much as OCD to "
    "train and to predict; in brackets what OCD is against it. Draws: what they are against the base "
    "with residuals, where a run was asked for them. Intervals: whether those of the draws are right, "
    "where the target is a number. Rows are not compared with one another."
)


@dataclass(frozen=True)
class Reported:
    """A run that has a report. `name`: its folder; `config`, `results`: its JSON files."""

    name: str
    config: Json
    results: Json


def side_by_side(runs: Sequence[Reported], not_shown: Mapping[str, str]) -> Json:
    """The table as JSON: a row for each run, and a line for all that a reader must know of others.

    `not_shown`: folders that have no row, and why.
    """
    notes = [f"not shown: {reason}" for reason in not_shown.values()]
    for run in runs:
        if missing := sorted(set(run.config["seeds"]) - set(run.results["seeds"])):
            listed = of_seeds(missing, [])
            notes.append(f"unfinished: {run.name} has seeds that are not in its report{listed}")
    differing = _differing(runs)
    rows = [_row(run, settings) for run, settings in zip(runs, differing, strict=True)]
    return {"runs": rows, "not_shown": dict(not_shown), "notes": notes}


def _row(run: Reported, settings: dict[str, Any]) -> Json:
    """A run's numbers, as its results.json has them; `settings`: those in which it differs."""
    results, verdict = run.results, run.results["verdict"]
    asked = verdict.get("asked", {})
    metric, ensemble = verdict["metric"], verdict["comparison"].removesuffix(" vs base")
    against = next((of for of in verdict["against"] if of.get("why") == EQUAL_COST), None)
    best = None
    if against is not None:
        facts = {key: against[key] for key in ("title", "difference", "interval", "statement")}
        best = {"method": against["baseline"], "loss": _loss(results, against["baseline"]), **facts}
    return {
        "run": run.name,
        "task": results["task"],
        "seeds": results["seeds"],
        "quick": bool(verdict.get("quick")),
        "layer": results["layer"],
        "settings": settings,
        "metric": metric,
        "base": _loss(results, "base"),
        "ensemble": _loss(results, ensemble),
        "best_baseline": best,
        "difference": verdict["difference"],
        "interval": verdict["interval"],
        "statement": verdict["statement"],
        "draws": asked["statement"] if asked.get("goal") == DRAWS else None,
        "intervals": verdict.get("distribution", {}).get("statement"),
    }


def _loss(results: Json, method: str) -> float | None:
    """Mean over the seeds; None where the loss is no metric of the table."""
    return known_mean(results["methods"].get(method, {}).get(results["verdict"]["metric"], []))


def _differing(runs: Sequence[Reported]) -> list[dict[str, Any]]:
    """Of each run the settings that not all runs of its task share, the preset first."""
    flat = [dict(_settings(run.config)) for run in runs]
    found = []
    for mine, run in zip(flat, runs, strict=True):
        pairs = zip(flat, runs, strict=True)
        of_task = [other for other, of in pairs if of.results["task"] == run.results["task"]]
        names = dict.fromkeys(name for other in of_task for name in other)
        values = {name: [other.get(name, NOT_THERE) for other in of_task] for name in names}
        differ = [name for name, of in values.items() if any(value != of[0] for value in of)]
        found.append({name: mine.get(name, NOT_THERE) for name in differ})
    return found


def _settings(config: Json) -> Iterator[tuple[str, Any]]:
    """The settings as --set takes them."""
    yield "preset", config["preset"]
    for group in GROUPS:
        yield from _flat(config.get(group, {}), "")


def _flat(values: Json, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# ---- words ---------------------------------------------------------------------------


def runs_markdown(table: Json) -> str:
    """The table as a Markdown page, with its legend and the lines about other runs."""
    header, rows = _cells(table)
    notes = ["\n".join(f"- {note}" for note in table["notes"])] if table["notes"] else []
    return "\n\n".join(["# Runs side by side", grid(header, rows), *notes, LEGEND]) + "\n"


def runs_table(table: Json) -> Table:
    """The table for a terminal, whose cells are broken where it is narrow."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    header, rows = _cells(table)
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in header:
        made.add_column(Text(name), overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell.replace("`", "")) for cell in row))
    return made


def _cells(table: Json) -> tuple[list[str], list[list[str]]]:
    """Header and rows, without columns that are empty in every row."""
    rows = [_row_cells(row) for row in table["runs"]]
    kept = [place for place in range(len(HEADER)) if any(row[place] != "—" for row in rows)]
    return [HEADER[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _row_cells(row: Json) -> list[str]:
    best = row["best_baseline"]
    places = decimals([row["base"], row["ensemble"], best and best["loss"]])
    seeds = f"{len(row['seeds'])}{' (quick)' if row['quick'] else ''}"
    baseline = f"{_number(best['loss'], places)} {best['title']} ({best['statement']})" if best else "—"
    return [
        f"`{row['run']}`", row["task"], seeds, f"`{row['layer']}`", _settings_cell(row["settings"]),
        words(row["metric"]), _number(row["base"], places), _number(row["ensemble"], places), baseline,
        _gain(row), row["statement"], row["draws"] or "—", row["intervals"] or "—",
    ]  # fmt: skip


def _settings_cell(settings: Json) -> str:
    """As one would type them behind --set."""
    shown = [f"{name}={_value(value)}" for name, value in settings.items()]
    more = len(shown) - MOST_SETTINGS
    if more > 0:
        shown = [*shown[:MOST_SETTINGS], f"and {more} more"]
    return ", ".join(shown) or "—"


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: float | None, places: int) -> str:
    return "—" if value is None else f"{value:.{places}f}"


def _gain(row: Json) -> str:
    """The base's loss less OCD's, with its interval; a dash where there is no verdict."""
    if row["difference"] is None or row["interval"] is None:
        return "—"
    places = decimals([row["difference"]])
    low, high = (f"{end:+.{places}f}" for end in row["interval"])
    return f"{row['difference']:+.{places}f} ({low} to {high})"
