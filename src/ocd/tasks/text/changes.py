"""The test texts whose answer OCD changed most, for the report."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ocd.tasks.task import TaskData
from ocd.tasks.text.options import TextData
from ocd.tasks.text.tokens import row_key

MOST = 5
"""Texts of each kind that are shown."""
LONGEST = 200
"""Characters of a text that are shown."""
LEAST = 0.01
"""Of a probability that changed: less is not seen in the two decimals that are shown."""


def text_of_row(data: TaskData, rows: Tensor) -> str:
    """The text of one row of tokens (1, L) of a run's own data."""
    assert isinstance(data, TextData)
    return data.texts[row_key(rows[0])]


def changed_texts(data: TaskData, base: Tensor, ocd: Tensor) -> dict[str, Any]:
    """Of logits (N, C) of base and ensemble: how many answers changed, to right and to wrong, and the
    texts whose right class gained and lost the most probability, `LEAST` or more."""
    assert isinstance(data, TextData) and isinstance(data.test.inputs, Tensor)
    targets, names = data.test.targets, data.classes
    before, after = base.softmax(dim=1), ocd.softmax(dim=1)
    rows = torch.arange(len(targets))
    gained = after[rows, targets] - before[rows, targets]
    was, now = before.argmax(dim=1), after.argmax(dim=1)
    changed = was != now

    def shown(places: Tensor) -> list[dict[str, Any]]:
        """Some test texts, cut where they are long: label, answers, and the label's probabilities."""
        return [
            {
                "text": data.texts[row_key(data.test.inputs[place])][:LONGEST],
                "right": names[int(targets[place])],
                "base": names[int(was[place])],
                "ocd": names[int(now[place])],
                "base_probability": float(before[place, targets[place]]),
                "ocd_probability": float(after[place, targets[place]]),
            }
            for place in places.tolist()
        ]

    order = gained.argsort(descending=True)
    return {
        "texts": len(targets),
        "changed": int(changed.sum()),
        "to_right": int((changed & (now == targets)).sum()),
        "to_wrong": int((changed & (was == targets)).sum()),
        "gained": shown(order[:MOST][gained[order[:MOST]] >= LEAST]),
        "lost": shown(order.flip(0)[:MOST][gained[order.flip(0)[:MOST]] <= -LEAST]),
    }
