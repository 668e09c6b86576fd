"""Classes: who says which, with which probability, and how far the draws lie apart."""

from __future__ import annotations

import math

from ocd.applying import Answers
from ocd.demo.pieces import per_cent, section, table, text, tile, tiles
from ocd.demo.shown import Question

MOST = 10
"""Classes that are listed."""


def class_answer(found: Answers, question: Question) -> str:
    """The classes of base and OCD, and every draw's probabilities on one scale."""
    names, ocd, base = found.answer.names, found.ocd[0], found.base[0]
    ours, before = int(ocd.argmax()), int(base.argmax())
    count = len(found.draws)
    parts = [
        tile("Base", names[before], per_cent(float(base[before])), "base"),
        tile(f"OCD, {count} draws", names[ours], per_cent(float(ocd[ours])), "ours"),
    ]
    if question.truth is not None:
        right = int(question.truth)
        said = "both right" if before == ours == right else _who(before == right, ours == right)
        parts.append(tile("Right answer", names[right], said, "truth"))
    parts.append(_uncertainty(found, ours))
    return tiles(parts) + _probabilities(found) + _draws(found)


def _who(base: bool, ours: bool) -> str:
    if base or ours:
        return "the base is right" if base else "OCD is right"
    return "neither is right"


def _uncertainty(found: Answers, ours: int) -> str:
    """The draws' standard deviation in the probability of the class that OCD says, and the entropy of
    the ensemble's probabilities as a share of the largest, which all classes alike would have."""
    ocd = found.ocd[0]
    entropy = float(-(ocd * ocd.clamp_min(1e-12).log()).sum()) / math.log(len(ocd))
    spread = "no draws to compare" if found.std is None else per_cent(float(found.std[0, ours]))
    small = f"the draws' deviation; entropy {per_cent(entropy)}"
    return tile("Uncertainty", f"± {spread}" if found.std is not None else spread, small)


def _probabilities(found: Answers) -> str:
    """A row for each class, or for the most likely ones: two bars on one scale, and the draws as dots.
    The bars are for the eye alone; the numbers beside them say the same."""
    ocd, base = found.ocd[0], found.base[0]
    shown = [*range(len(ocd))]
    if len(ocd) > MOST:
        shown = (ocd + base).argsort(descending=True)[:MOST].tolist()
    rows = []
    for place in shown:
        dots = "".join(
            f'<b style="left:{100 * float(draw[0, place]):.2f}%"></b>' for draw in found.draws
        )
        bars = (
            f'<i class="base" style="width:{100 * float(base[place]):.2f}%"></i>'
            f'<i class="ours" style="width:{100 * float(ocd[place]):.2f}%"></i>{dots}'
        )
        track = f'<div class="track" aria-hidden="true">{bars}</div>'
        numbers = [f'<span class="number">{per_cent(float(v[place]))}</span>' for v in (base, ocd)]
        rows.append([f"<strong>{text(found.answer.names[place])}</strong>", track, *numbers])
    listed = table(["class", "0 to 100 %", "base", "OCD"], rows, "Probabilities of the classes")
    note = "Upper bar: base. Lower bar: OCD's ensemble. Dots: its draws, one by one."
    left = len(ocd) - len(rows)
    note += f" {left} less likely classes are not listed." if left else ""
    return section("Probabilities", f'<div class="classes">{listed}</div>', note)


def _draws(found: Answers) -> str:
    """The class that each draw finds most probable."""
    names, cells = found.answer.names, []
    for number, draw in enumerate(found.draws, 1):
        place = int(draw[0].argmax())
        chance = per_cent(float(draw[0, place]))
        cells.append(
            f'<li><span class="small">draw {number}</span><br><strong>{text(names[place])}</strong> '
            f'<span class="number">{chance}</span></li>'
        )
    return section("Draws", f'<ol class="chips">{"".join(cells)}</ol>')
