"""Put the committed results into the pages that have a table of them: `python tools/results_tables.py`.
A test checks the pages. README.md has a line for each result with one answer, docs/results.md has all
of them whole, docs/draws.md has those whose draws are judged, as whole answers or as a number.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from statistics import mean
from typing import Any

from ocd.tasks import get_task
from results_plan import ROOT, Planned, made, read_plan

Json = dict[str, Any]
BLOCK = re.compile(r"<!-- table: (results|all|left|draws|numbers) -->\n.*?<!-- end -->", re.DOTALL)
PAGES = ("README.md", "docs/results.md", "docs/draws.md")
SHORT_HEAD = (
    "task (loss, seeds)",
    "base",
    "OCD",
    "oracle",
    "best baseline of at most equal cost",
    "OCD against the base",
    "against that baseline",
)
HEAD = (
    "experiment (loss, seeds)",
    "the paper's base → OCD",
    "here",
    "base",
    "OCD, one draw",
    "ensemble",
    "mean in one pass",
    "oracle",
    "best baseline of at most equal cost",
    "OCD against the base",
    "against that baseline",
    "minutes a seed",
    "code",
)
DRAWS_HEAD = (
    "task (seeds)",
    "base alone",
    "base + residuals",
    "nearest residuals",
    "output diffusion",
    "OCD's draws",
    "against base + residuals",
    "against the output diffusion",
)
NUMBERS_HEAD = (
    "task (seeds)",
    "base alone",
    "base + conformal residuals",
    "boosted trees + the same",
    "OCD's draws",
    "against the base",
    "against the trees",
    "covered by 90 %",
)
ORACLE = "overfit_test"


def read_results(planned: Planned, root: Path = ROOT) -> Json:
    """What a run measured."""
    path = root / "results" / planned.folder / "results.json"
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found


def short_table(root: Path = ROOT) -> str:
    """A line for each result with one answer: the loss of the base, of OCD's ensemble, of the oracle
    and of the best baseline that costs at most as much, and what can be said of the differences."""
    rows = []
    for planned in made(root):
        if planned.in_readme:
            rows.append(_short(planned, read_results(planned, root), "results"))
    return _table(SHORT_HEAD, rows, numbers=(1, 2, 3))


def _short(planned: Planned, results: Json, where: str) -> list[str]:
    verdict = results["verdict"]
    loss, ensemble = verdict["metric"], verdict["comparison"].removesuffix(" vs base")
    found = rival_of(results)
    return [
        f"[{planned.name}]({where}/{planned.folder}/README.md) "
        f"({loss.replace('_', ' ')}, {len(results['seeds'])})",
        *(_value(results, method) for method in ("base", ensemble, ORACLE)),
        f"{_value(results, found['baseline'])}: {found['title']}" if found else "none in this run",
        _said(verdict),
        _said(found) if found else "–",
    ]


def full_table(root: Path = ROOT) -> str:
    """A line for each result: as the short one, with the paper's figures, one draw, the mean in one
    pass, and the minutes."""
    rows = []
    for planned in made(root):
        results = read_results(planned, root)
        name, base, ensemble, oracle, rival, *said = _short(planned, results, "../results")
        one, whole = (_value(results, method) for method in ("ocd", "ocd_mean"))
        minutes = f"{sum(results['seconds'].values()) / 60:.0f}"
        paper = _paper(planned, results)
        shown = [base, one, ensemble, whole, oracle, rival, *said, minutes, _code(planned, root)]
        rows.append([name, *paper, *shown])
    return _table(HEAD, rows, numbers=(3, 4, 5, 6, 7, 11))


def _code(planned: Planned, root: Path) -> str:
    """The commit whose code made a result."""
    path = root / "results" / planned.folder / "made.json"
    return (
        str(json.loads(path.read_text(encoding="utf-8"))["commit"])[:7] if path.exists() else "earlier"
    )


def _paper(planned: Planned, results: Json) -> list[str]:
    """The paper's metric of base and OCD, as published and here; dashes where nothing was published of
    this experiment."""
    published = results["published"]
    if not published or "ocd" not in published["methods"] or published.get("stand_in"):
        return ["–", "–"]
    # As the task has them today: a result of before may not name all.
    needed = published["options"] | getattr(get_task(planned.task).published, "options", {})
    if any(needed.get(key, value) != value for key, value in planned.settings.items()):
        return ["–", "–"]  # another network, other data
    there = published["methods"]
    metric = next(iter(there["ocd"]))
    method = "ocd_mean" if "ocd_mean" in there else "ocd"  # for tables the mean is what is comparable
    pairs = [there["base"][metric][0], there["ocd"][metric][0]]
    here = [mean(results["methods"][name][metric]) for name in ("base", method)]
    shown = [f"{_number(a)} → {_number(b)}" for a, b in (pairs, here)]
    return [f"{metric.replace('_', ' ')} {shown[0]}", shown[1]]


def draws_table(root: Path = ROOT) -> str:
    """The energy scores of every way to draw whole answers."""
    rows = []
    for planned in made(root):
        results = read_results(planned, root)
        found = results.get("joint")
        if found is None:
            continue
        cells = [f"[{planned.name}](../results/{planned.folder}/README.md) ({len(results['seeds'])})"]
        order = ("base", "base_residuals", "nearest_residuals", "output_diffusion", "ocd")
        cells += [f"{mean(found[method]['energy']):.4f}" for method in order]
        rivals = ("base_residuals", "output_diffusion")
        cells += [_drawn(found, method, "energy") for method in rivals]
        rows.append(cells)
    return _table(DRAWS_HEAD, rows, numbers=(1, 2, 3, 4, 5))


def numbers_table(root: Path = ROOT) -> str:
    """The CRPS of draws of one number, beside what is usual; of a single answer it is the absolute
    error."""
    rows = []
    for planned in made(root):
        results = read_results(planned, root)
        found = results.get("distribution")
        if not found:
            continue
        rivals = ("base_conformal", "boosting_conformal")
        alone = mean(results["methods"]["base"]["mae"])
        scores = [mean(found[name]["crps"]) if name in found else None for name in (*rivals, "ocd")]
        rows.append(
            [
                f"[{planned.name}](../results/{planned.folder}/README.md) ({len(results['seeds'])})",
                *("–" if score is None else f"{score:.4f}" for score in (alone, *scores)),
                *(_drawn(found, name, "crps") if name in found else "–" for name in rivals),
                f"{mean(found['ocd']['coverage_90']):.1f} %",
            ]
        )
    return _table(NUMBERS_HEAD, rows, numbers=(1, 2, 3, 4, 7))


def left_table(root: Path = ROOT) -> str:
    """What is planned and was not made here, with what it needs."""
    there = made(root)
    left = [one for one in read_plan(root) if one not in there]
    rows = [[one.name, f"`{one.task}`", one.needs or "time: not run yet"] for one in left]
    return _table(("experiment", "task", "needs"), rows) if rows else "Nothing is left out."


def _table(head: tuple[str, ...], rows: list[list[str]], numbers: tuple[int, ...] = ()) -> str:
    rule = ["---:" if place in numbers else "---" for place in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def rival_of(results: Json) -> Json | None:
    """The best baseline of at most equal cost; of what OCD is set against, the base comes first."""
    others = [one for one in results["verdict"]["against"][1:] if "at most equal cost" in one["why"]]
    return others[0] if others else None


def _value(results: Json, method: str) -> str:
    """The verdict's loss of a method, mean over the seeds."""
    return _number(mean(results["methods"][method][results["verdict"]["metric"]]))


def _drawn(found: Json, method: str, score: str) -> str:
    """By how many per cent OCD's score is lower, with the interval of the difference."""
    ours, theirs = (mean(found[name][score]) for name in ("ocd", method))
    change, interval = f"{100 * (ours / theirs - 1):+.1f} %", found[method]["against"]["interval"]
    if interval is None:
        return f"{change}, undecided"
    low, high = interval
    return f"{change}, {low:+.4f} to {high:+.4f}"


def _said(found: Json) -> str:
    """`gain, +0.0174 to +0.0278`: the statement and the 95 % interval of the difference, if any."""
    if found["interval"] is None:
        return str(found["statement"])
    places = max(4, _places(found["difference"]))
    low, high = (f"{end:+.{places}f}" for end in found["interval"])
    return f"{found['statement']}, {low} to {high}"


def _number(value: float) -> str:
    """Three digits that count, at most seven decimals: 0.0406, 0.00543."""
    return f"{value:.{min(7, max(0, _places(value)))}f}"


def _places(value: float) -> int:
    """The decimals that show three digits of a value."""
    return 2 - math.floor(math.log10(abs(value))) if value else 2


TABLES = {
    "results": short_table,
    "all": full_table,
    "left": left_table,
    "draws": draws_table,
    "numbers": numbers_table,
}


def filled(text: str, root: Path = ROOT) -> str:
    """The text with its `<!-- table: ... -->` blocks made from what is committed."""
    return BLOCK.sub(
        lambda block: f"<!-- table: {block[1]} -->\n{TABLES[block[1]](root)}\n<!-- end -->", text
    )


def write() -> None:
    """All pages that have such a table."""
    for page in PAGES:
        path = ROOT / page
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
