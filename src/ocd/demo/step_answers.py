"""The next steps of a series: what was given, base, OCD and its scenarios on one chart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ocd.applying import Answers
from ocd.demo.pieces import section, short, table, text, tile, tiles
from ocd.demo.shown import Question, as_numbers
from ocd.demo.windows import in_units

WIDTH, HEIGHT = 640, 240
"""Of the chart, in its own units: it is as wide as there is room for."""
SHOWN = 8
"""Steps in the table, the last among them."""


def step_answer(found: Answers, question: Question) -> str:
    """In the series' own unit: the forecast of the base and OCD's mean, each draw a scenario."""
    base, ocd, draws = found.base[0], found.ocd[0], found.draws[:, 0]
    truth = None if question.truth is None else question.truth.cpu().flatten()
    steps = len(base)
    parts = [
        tile(f"Base, step {steps}", short(float(base[-1])), "the last one", "base"),
        tile(f"OCD, {len(draws)} draws", short(float(ocd[-1])), "their mean", "ours"),
    ]
    if truth is not None:
        errors = [float((one - truth).square().mean()) for one in (ocd, base)]
        nearer = "OCD's mean is nearer" if errors[0] < errors[1] else "the base is nearer"
        parts.append(tile("Right answer", short(float(truth[-1])), nearer, "truth"))
    spread = None if found.std is None else float(found.std[0, -1])
    said = "no draws to compare" if spread is None else f"± {short(spread)}"
    parts.append(tile("Uncertainty", said, "deviation of the draws"))
    given = in_units(question.rows)[-2 * steps :]
    chart = _chart(given, base, ocd, draws, truth)
    return tiles(parts) + section("What may follow", chart) + _table(found, truth)


def _chart(given: Tensor, base: Tensor, ocd: Tensor, draws: Tensor, truth: Tensor | None) -> str:
    """Lines over the steps, those of the draws beneath all others."""
    lines = [given, base, ocd, *draws, *([] if truth is None else [truth])]
    every = torch.cat([line.cpu().double() for line in lines])
    low, high = float(every.min()), float(every.max())
    reach = (high - low) or 1.0
    total = len(given) + len(base)

    def point(place: int, value: float) -> str:
        height = HEIGHT * (0.95 - 0.9 * (value - low) / reach)
        return f"{WIDTH * (place + 0.5) / total:.1f},{height:.1f}"

    def line(values: Tensor, start: int, kind: str) -> str:
        points = " ".join(point(start + n, value) for n, value in enumerate(as_numbers(values)))
        return f'<polyline class="{kind}" points="{points}"/>'

    behind = len(given)
    drawn = [line(draw, behind, "draw") for draw in draws]
    drawn += [line(given, 0, "given"), line(base, behind, "base"), line(ocd, behind, "ours")]
    keys = [("given", "given"), ("base", "base"), ("ours", "OCD's mean"), ("draw", "its draws")]
    if truth is not None:
        drawn.append(line(truth, behind, "truth"))
        keys.append(("truth", "right answer"))
    key = "".join(f'<li><i class="key {kind}"></i>{text(what)}</li>' for kind, what in keys)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="The window that was given, and forecasts from {short(low)} to {short(high)}">'
        f'{"".join(drawn)}</svg><div class="ends"><span>{short(low)} to {short(high)}</span>'
        f'<span>{len(base)} steps ahead</span></div><ul class="keys">{key}</ul>'
    )


def _table(found: Answers, truth: Tensor | None) -> str:
    """Some steps in numbers."""
    steps = found.base.shape[1]
    places: Sequence[int] = sorted({round(p) for p in torch.linspace(0, steps - 1, SHOWN).tolist()})
    levels = sorted(found.intervals)
    header = ["step", "base", "OCD", *(f"{level} % of the draws" for level in levels)]
    rows = []
    for place in places:
        cells = [str(place + 1), *(short(float(one[0, place])) for one in (found.base, found.ocd))]
        for level in levels:
            ends = (short(float(end[0, place])) for end in found.intervals[level])
            cells.append(text(" to ".join(ends)))
        rows.append([*cells, *([] if truth is None else [short(float(truth[place]))])])
    header += [] if truth is None else ["right answer"]
    return section("Some steps", table(header, rows, "Some steps"))
