"""The tables of a report, made from results.json alone: in Markdown, and one for the terminal.

A row is a method, a column a metric with its direction and unit. To change how a column is written,
look at `comparison_table` and at `ocd.reporting.wording`; the methods' order and titles are in
`ocd.reporting.methods`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from ocd.evaluation import Json
from ocd.reporting.error_ranking import score_title
from ocd.reporting.methods import BASE, group, table_order, title, uses_label
from ocd.reporting.wording import counted, decimals, known_mean, ratio, spread, times, words

if TYPE_CHECKING:
    from rich.table import Table

NUM_HEADLINES = 3  # metrics of the narrow tables, the task's first
NUM_KEPT = 3  # columns beside which, in a narrow terminal, methods' titles are broken
LEAST_TITLE = 24  # characters of a title on a line, below which a column goes instead
INDENT = "  "
LINE_END = re.compile(r"[ \t]*[\r\n\v\f\x85\u2028\u2029]+[ \t]*")
NO_BREAK_SPACE = "\u00a0"
COSTS = {  # header, decimals, and the header of how many times the base's
    "microseconds": ("µs per example", 1, "× base"),
    "training_seconds": ("training s", 1, "× base's"),
    "parameters": ("parameters", 0, "× base's"),
}


class Column(NamedTuple):
    """A column of the table of methods: its cells by method, and which of them is the best."""

    header: str
    cells: dict[str, str]
    best: Collection[str] = ()


def markdown_table(results: Json) -> str:
    """The narrow table, what a README shows: the first metrics, what predicting and training cost."""
    return _methods_table(results, [column for part in _narrow(results) for column in part])


def quality_table(results: Json) -> str:
    """Every metric of every method, the best that needs no test label in bold."""
    return _methods_table(results, _quality(results, [*results["metrics"]]))


def cost_table(results: Json) -> str:
    columns = [column for key in COSTS for column in _cost(results, key, of_base=True)]
    return _methods_table(results, columns) if columns else "No costs are known."


def results_table(results: Json, width: int | None = None) -> Table:
    """The narrow table for the terminal: whole, or with fewer columns where it is wider than `width`.

    The first two metrics and the price of a prediction in units of the base's go last. Beside them,
    methods' titles are broken between words, never numbers.
    """
    quality, predicting, training = _narrow(results)
    shown = [*quality, *predicting, *training]
    longest = max(len(title(method)) for method in results["methods"]) + len(INDENT)
    table = _terminal_table(results, shown, longest)
    if width is None:
        return table
    for dropped in (*training, *quality[2:], *predicting, *quality[1:2], None):
        excess = table_width(table) - width
        if excess > 0 and len(shown) <= NUM_KEPT:
            least = LEAST_TITLE if dropped else 1
            table = _terminal_table(results, shown, max(least, longest - excess))
            excess = table_width(table) - width
        if excess <= 0 or dropped is None:
            break
        shown = [column for column in shown if column is not dropped]
        table = _terminal_table(results, shown, longest)
    return table


def table_width(table: Table) -> int:
    """The characters of a line on which nothing has to be broken."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=1000)
    return Measurement.get(console, console.options, table).maximum


def _terminal_table(results: Json, columns: Sequence[Column], title_width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = f"{results['task']}, {counted(results['seeds'], 'seed')}"
    table = Table(title=heading, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method")
    for column in columns:
        header = textwrap.fill(re.sub(" (?=[↑↓])", NO_BREAK_SPACE, column.header), 13)
        header = header.replace(NO_BREAK_SPACE, " ")
        table.add_column(Text(header), justify="right", no_wrap=True)

    def folded(text: str, indent: str) -> str:
        return textwrap.fill(
            text, title_width, initial_indent=indent, subsequent_indent=indent + INDENT
        )

    for name, methods in _groups(results):
        if name != BASE:
            table.add_row(Text(folded(name, ""), style="italic"))
        for method in methods:
            cells = [Text(c.cells[method], "bold" if method in c.best else "") for c in columns]
            table.add_row(Text(folded(title(method), "" if name == BASE else INDENT)), *cells)
    return table


def comparison_table(results: Json) -> str:
    """OCD's ensemble less each opponent, metric by metric, with the intervals."""
    against = results["verdict"]["against"]
    units = {name: facts.get("unit", "") for name, facts in results["metrics"].items()}
    metrics = list(dict.fromkeys(metric for found in against for metric in found["metrics"]))
    rows = []
    for found in against:
        numbers = [_difference(found["metrics"].get(metric, {}), units[metric]) for metric in metrics]
        loss = [] if found["metric"] in metrics else [_difference(found, "")]
        rows.append(
            [f"{found['title']} `{found['baseline']}`", found["why"], found["statement"], *loss]
        )
        rows[-1] += numbers
    loss_header = [] if against[0]["metric"] in metrics else [words(against[0]["metric"])]
    headers = [f"{words(metric)}{_in_brackets(units[metric])}" for metric in metrics]
    return grid(["against", "why", "statement", *loss_header, *headers], rows)


def one_draw_table(results: Json) -> str:
    """One draw of OCD less each opponent, in the loss, with the intervals."""
    found = results["verdict"]["one_draw"]
    rows = [
        [f"{of['title']} `{of['baseline']}`", of["statement"], _difference(of, ""), _share(of, results)]
        for of in found
    ]
    return grid(["against", "statement", words(found[0]["metric"]), "share of the opponent's"], rows)


def _share(found: Json, results: Json) -> str:
    """The difference as a share of the opponent's loss; of one that may be negative, as dB, there is no
    share."""
    of = known_mean(results["methods"].get(found["baseline"], {}).get(found["metric"], []))
    size = found["difference"]
    no_share = not of or of < 0 or found["interval"] is None or found["metric"] == "loss"
    return "—" if no_share else f"{100 * size / of:+.1f} %"


def uncertainty_table(results: Json) -> str:
    scores = results["uncertainty"]
    rows = [[f"{score_title(name)} `{name}`"] for name in scores]
    for key in ("auroc", "aurc"):
        columns = [found[key] for found in scores.values()]
        places = decimals([known_mean(values) for values in columns])
        for row, values in zip(rows, columns, strict=True):
            row.append(spread(values, places))
    return grid(["score", "AUROC ↑", "AURC ↓"], rows)


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column to the left and all others to the right. Cells may hold what
    would end a cell or a line, as names of classes and texts do."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in [header, rule, *rows])


def _cell(text: str) -> str:
    # A backslash in front of a bar would take the bar's own away.
    return LINE_END.sub(" ", re.sub(r"(\\*)\|", lambda found: 2 * found[1] + "\\|", text))


def _methods_table(results: Json, columns: Sequence[Column]) -> str:
    rows = []
    for name, methods in _groups(results):
        if name != BASE:  # alone in its group
            rows.append([f"**{name}**", *[""] * len(columns)])
        for method in methods:
            texts = [f"**{c.cells[method]}**" if method in c.best else c.cells[method] for c in columns]
            rows.append([f"{title(method)} `{method}`", *texts])
    return grid(["method", *(column.header for column in columns)], rows)


def _groups(results: Json) -> list[tuple[str, list[str]]]:
    """The methods in the tables' order, by group."""
    with_label = _with_label(results)
    ordered = sorted(results["methods"], key=lambda method: table_order(method, with_label))
    pairs = groupby(ordered, lambda method: group(method, with_label))
    return [(name, list(methods)) for name, methods in pairs]


def _with_label(results: Json) -> list[str]:
    return uses_label(results["methods"], results.get("uses_label", []))


def _narrow(results: Json) -> tuple[list[Column], list[Column], list[Column]]:
    """Columns of the narrow tables: the first metrics, what predicting costs, what training costs."""
    return (
        _quality(results, [*results["metrics"]][:NUM_HEADLINES]),
        _cost(results, "microseconds", of_base=True),
        _cost(results, "training_seconds", of_base=False),
    )


def _quality(results: Json, metrics: Sequence[str]) -> list[Column]:
    with_label, columns = _with_label(results), []
    for metric in metrics:
        facts = results["metrics"][metric]
        unit, up = facts.get("unit", ""), facts["higher_is_better"]
        values = {method: of[metric] for method, of in results["methods"].items()}
        # Neither the best nor the decimals follow from what nobody can use.
        usable = {m: known_mean(of) for m, of in values.items() if m not in with_label}
        whole = {m for m, of in values.items() if None not in of}  # of some seeds: another comparison
        places = decimals(list(usable.values()), unit)
        rounded = {m: round(mean, places) for m, mean in usable.items() if mean is not None}
        best = (max if up else min)((v for m, v in rounded.items() if m in whole), default=None)
        columns.append(
            Column(
                f"{words(metric)}{_in_brackets(unit)} {'↑' if up else '↓'}",
                {method: spread(of, places) for method, of in values.items()},
                [method for method, mean in rounded.items() if mean == best and method in whole],
            )
        )
    return columns


def _cost(results: Json, key: str, *, of_base: bool) -> list[Column]:
    """The column of a cost and that of how many times the base's it is; none if nothing is known."""
    header, places, ratio_header = COSTS[key]
    # Results of before there were other costs have a plain number, the microseconds.
    costs = {m: c if isinstance(c, dict) else {"microseconds": c} for m, c in results["costs"].items()}
    known = {m: costs[m].get(key) for m in results["methods"]}
    base = costs.get("base", {}).get(key)
    if all(cost is None for cost in known.values()):
        return []
    texts = {m: "—" if cost is None else f"{cost:,.{places}f}" for m, cost in known.items()}
    ratios = {method: times(ratio(cost, base)) for method, cost in known.items()}
    columns = [Column(header, texts), Column(ratio_header, ratios)]
    return columns if of_base and base else columns[:1]


def _difference(found: Json, unit: str) -> str:
    size, interval = found.get("difference"), found.get("interval")
    if size is None or interval is None:
        return "—"
    places = decimals([size], unit)
    low, high = (f"{end:+.{places}f}" for end in interval)
    return f"{size:+.{places}f} ({low} to {high})"


def _in_brackets(unit: str) -> str:
    return f" [{unit}]" if unit else ""
