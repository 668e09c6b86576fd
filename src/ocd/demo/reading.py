"""What a page says of its run: the verdict above, the report's tables."""

from __future__ import annotations

from ocd.demo.pieces import line, text
from ocd.demo.shown import ShownRun
from ocd.errors import OCDError
from ocd.evaluation import Json
from ocd.reporting import as_fragment, opening_lines, results_in_short
from ocd.runs import read_reported

KINDS = {"gain": "gain", "worse": "worse"}
"""A verdict's statement -> the colour of its band."""
DOUBTS = ("data",)
"""Parts of a verdict that are not folded away."""


def heading(shown: ShownRun) -> str:
    """The task, which fit of it, and the verdict: its first words, what makes the data doubtful, and
    the whole of it folded away. Where there is no report yet, how to make it."""
    run, seed = shown.loaded.run, shown.loaded.seed
    layer = shown.loaded.ocd.generator().frozen.name
    summary = run.task.summary.partition(": --set")[0]
    about = f"{summary[:1].upper()}{summary[1:]}. Layer {layer}, seed {seed}."
    title = f"<h1>OCD on {text(run.task.name)}</h1><p>{text(about)}</p>"
    try:
        verdict = read_reported(shown.root).results["verdict"]
    except OCDError as error:
        return f'<header>{title}<div class="verdict none">{line(str(error), "small")}</div></header>'
    first = said_first(verdict)
    short = first["sentence"].partition(" (")[0].rstrip(".") + "."
    doubts = [verdict[part]["sentence"] for part in DOUBTS if verdict.get(part)]
    whole = as_fragment("\n\n".join(opening_lines(verdict)))
    lines = f"<strong>{as_fragment(short)}</strong>" + "".join(line(one, "warn") for one in doubts)
    lines += f"<details><summary>The whole verdict</summary>{whole}</details>"
    kind = KINDS.get(first["statement"], "none")
    return f'<header>{title}<div class="verdict {kind}">{lines}</div></header>'


def said_first(verdict: Json) -> Json:
    """The part of a verdict that stands above all, and whose statement gives the band its colour: of a
    run that was asked for draws it is about these."""
    asked = verdict.get("asked", {})  # with a sentence where it is about draws of a number
    return asked if "sentence" in asked else verdict.get("joint", verdict)


def report(shown: ShownRun) -> str:
    """The report's tables, or why there are none."""
    try:
        results = read_reported(shown.root).results
    except OCDError as error:
        return line(str(error), "error")
    where = line(f"All of it, with figures, is in {shown.root / 'report.md'}.")
    tables = as_fragment("\n\n".join(results_in_short(results)))
    return f'<div class="report">{tables}{where}</div>'
