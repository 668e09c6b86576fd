"""A number: base, OCD, its draws and their intervals on one scale."""

from __future__ import annotations

from ocd.applying import Answers
from ocd.demo.pieces import section, short, table, text, tile, tiles
from ocd.demo.shown import Question, as_numbers


def number_answer(found: Answers, question: Question) -> str:
    """In the target's own unit: the base's number, the mean of OCD's draws and their deviation, all of
    them on one scale, and the central intervals for which there are enough draws."""
    name = found.answer.names[0] if found.answer.names else "answer"
    base, ocd = float(found.base[0, 0]), float(found.ocd[0, 0])
    parts = [
        tile("Base", short(base), name, "base"),
        tile(f"OCD, {len(found.draws)} draws", short(ocd), name, "ours"),
    ]
    truth = None
    if question.truth is not None:
        truth = float(question.truth.flatten()[0])
        nearer = "OCD is nearer" if abs(ocd - truth) < abs(base - truth) else "the base is nearer"
        parts.append(tile("Right answer", short(truth), nearer, "truth"))
    spread = None if found.std is None else float(found.std[0, 0])
    said = "no draws to compare" if spread is None else f"± {short(spread)}"
    parts.append(tile("Uncertainty", said, "deviation of the draws"))
    return tiles(parts) + _strip(found, base, ocd, truth) + _intervals(found)


def _strip(found: Answers, base: float, ocd: float, truth: float | None) -> str:
    """Marks on a line, whose ends are a little beyond all of them."""
    draws = as_numbers(found.draws[:, 0, 0])
    every = [*draws, base, ocd, *([] if truth is None else [truth])]
    every += [float(end[0, 0]) for ends in found.intervals.values() for end in ends]
    low, high = min(every), max(every)
    reach = max(high - low, 1e-6 * max(abs(high), abs(low), 1.0))
    low, high = low - 0.06 * reach, high + 0.06 * reach

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    marks = [
        f'<i class="interval l{level}" style="left:{at(float(ends[0][0, 0]))};'
        f'right:calc(100% - {at(float(ends[1][0, 0]))})"></i>'
        for level, ends in sorted(found.intervals.items(), reverse=True)
    ]
    marks += [f'<b class="draw" style="left:{at(value)}"></b>' for value in draws]
    marks += [f'<b class="mark base" style="left:{at(base)}"></b>']
    marks += [f'<b class="mark ours" style="left:{at(ocd)}"></b>']
    if truth is not None:
        marks.append(f'<b class="mark truth" style="left:{at(truth)}"></b>')
    keys = [("base", "base"), ("ours", "OCD"), ("draw", "its draws")]
    keys += [] if truth is None else [("truth", "right answer")]
    key = "".join(f'<li><i class="key {kind}"></i>{text(what)}</li>' for kind, what in keys)
    ends = f'<div class="ends"><span>{short(low)}</span><span>{short(high)}</span></div>'
    strip = f'<div class="strip" aria-hidden="true">{"".join(marks)}</div>{ends}'
    return section("On one scale", f'{strip}<ul class="keys">{key}</ul>')


def _intervals(found: Answers) -> str:
    if not found.intervals:
        note = "More draws give intervals: 3 for that of 50 %, 19 for that of 90 %."
        return f'<p class="note">{note}</p>' if len(found.draws) < 3 else ""
    rows = [
        [f"{level} %", short(float(low[0, 0])), short(float(high[0, 0]))]
        for level, (low, high) in found.intervals.items()
    ]
    note = "The run's report says whether such intervals hold on its test rows."
    return section(
        "Intervals of the draws", table(["of the cases", "from", "to"], rows, "Intervals"), note
    )
