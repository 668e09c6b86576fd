"""A run beside the paper's own table, in words: which of the published gains it repeats.

Two bases are never the same network, so gains over the base are compared, not figures. A gain is
repeated if its 95 % interval excludes zero and it is as large as the published one but for the
published deviations.
"""

from __future__ import annotations

from ocd.evaluation import Json
from ocd.reporting.gains import HEADLINE, STATUSES, Compared, compare, extensions, judge, what_is_left
from ocd.reporting.methods import title
from ocd.reporting.records import RunRecords
from ocd.reporting.tables import grid
from ocd.reporting.wording import decimals, known_mean, spread, words

LEGEND = (
    "Only methods that the paper's table has too. A gain is the distance to one's own base, positive "
    "where the method is better; in brackets, where there is a limit, its share of all that the base "
    "leaves to gain (a loss of 0, an accuracy of 100 %). The interval is that of our gain, 95 %. "
    "*Reproduced*: our interval is above zero, and our gain is at least the published one less the "
    "standard deviation that the paper gives for the method (if it gives one); *reached* instead, for "
    "OCD and its variants, where the run has extensions. *Larger here*, a disagreement too: our "
    "interval is above zero, and our gain exceeds the published one by more than twice the standard "
    "deviation of base and method together and by more than half of what is published for `ocd`; said "
    "of all but `ocd` itself and methods that leave nothing to gain there. *Smaller here*: above zero, "
    "but less than would be reproduced. *Not reproduced*: not, or not certainly, above zero. "
    "*Undecided*: not measured, or in too few seeds or on too few test examples."
)


def published_section(run: RunRecords, results: Json) -> list[str]:
    """The paragraphs "Beside the published table"; none where the task has no such table."""
    published = results["published"]
    if not published:
        return []
    others = other_experiment(run)
    rows = compare(run, results)
    parts = ["## Beside the published table", f"{published['source']}."]
    if others:
        parts.append(
            f"This run is another experiment than the published one: {', '.join(others)}. "
            "The figures stand side by side, but no gain is judged."
        )
    if extended := extensions(run):
        parts.append(f"Extensions of this run that the paper has not: {'; '.join(extended)}.")
    for metric in dict.fromkeys(row.metric for row in rows):
        of_metric = [row for row in rows if row.metric == metric]
        if not others:
            parts.append(_sentences(of_metric, results))
        parts.append(_table(of_metric, results, judged=not others))
    parts.append(LEGEND)
    remarks = [f"- {remark}" for remark in published.get("remarks", [])]
    return [*parts, "To bear in mind:\n\n" + "\n".join(remarks)] if remarks else parts


def other_experiment(run: RunRecords) -> list[str]:
    """Clauses: what makes a run another experiment than the published one; none where nothing was
    published."""
    published, options = run.config.get("published") or {}, run.config.get("options", {})
    others = [
        f"`{name}` is {options[name]} instead of {'all' if value is None else value}"
        for name, value in published.get("options", {}).items()
        if name in options and options[name] != value
    ]
    return others + [clause for clause in (published.get("stand_in"),) if clause]


def _sentences(rows: list[Compared], results: Json) -> str:
    """Of a metric: what became of the gain of the paper's own method, and of those of all others."""
    base, metric = rows[0], rows[0].metric
    unit, places = _unit(base, results), _places(base, results)
    points = " points" if unit == "%" else f" {unit}" if unit else ""
    text = f"**{words(metric).capitalize()}.**"
    left_there, left = (_left(of, results, metric) for of in (base.published[0], _mean(base)))
    for row in rows:
        if row.method == HEADLINE and row.published_gain > 0:
            share = _share(row.published_gain, left_there).replace(")", " of what its base leaves)")
            text += (
                f" {title(row.method)}: the published gain of {row.published_gain:g}{points}{share} "
                f"is {judge(row)}"
            )
            if row.gain is not None:
                text += f", {row.gain:+.{places}f}{points}{_share(row.gain, left)}"
            text += "."
    found: dict[str, list[str]] = {}
    for row in rows[1:]:
        found.setdefault(judge(row), []).append(f"`{row.method}`")
    by_status = [f"{status}: {', '.join(found[status])}" for status in STATUSES if status in found]
    text += (
        f" Of all published gains, {'; '.join(by_status)}." if by_status else " No gain is published."
    )
    beyond = [f"`{row.method}`" for row in rows[1:] if left and row.published_gain > left]
    if beyond:
        text += (
            f" Our base leaves only {left:.{places}f}{points} to gain, less than was published for "
            f"{', '.join(beyond)}: here no method could repeat that."
        )
    return text


def _table(rows: list[Compared], results: Json, *, judged: bool) -> str:
    base, metric = rows[0], rows[0].metric
    unit, places = _unit(base, results), _places(base, results)
    left_there, left = (_left(of, results, metric) for of in (base.published[0], _mean(base)))
    lines = []
    for row in rows:
        there, deviation = row.published
        cells = [
            f"{title(row.method)} `{row.method}`",
            f"{there:g}" + (f" ± {deviation:g}" if deviation is not None else ""),
            spread(row.ours, places),
        ]
        if row is base:
            cells += ["—"] * 4
        else:
            ends = [f"{end:+.{places}f}" for end in row.interval or ()]
            cells += [
                f"{row.published_gain:+g}{_share(row.published_gain, left_there)}",
                "—" if row.gain is None else f"{row.gain:+.{places}f}{_share(row.gain, left)}",
                " to ".join(ends) or "—",
                judge(row),
            ]
        lines.append(cells)
    what = f"{words(metric)}{f' [{unit}]' if unit else ''}"
    header = [
        "method",
        f"published {what}",
        "ours",
        "published gain",
        "our gain",
        "interval",
        "verdict",
    ]
    shown = slice(None if judged else -1)
    return grid(header[shown], [cells[shown] for cells in lines])


def _unit(row: Compared, results: Json) -> str:
    return str(results["metrics"][row.metric].get("unit", ""))


def _places(base: Compared, results: Json) -> int:
    return decimals([_mean(base)], _unit(base, results))


def _mean(row: Compared) -> float | None:
    return known_mean(row.ours)


def _left(base: float | None, results: Json, metric: str) -> float | None:
    """What a base leaves to gain; None where that is unknown, unlimited or nothing."""
    return None if base is None else what_is_left(base, results, metric) or None


def _share(gain: float, left: float | None) -> str:
    return f" ({100 * gain / left:.0f} %)" if left else ""
