"""Answers as HTML: base, draws, ensemble and uncertainty side by side, by what the outputs are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ocd.applying import Answers
from ocd.demo.class_answers import class_answer
from ocd.demo.number_answers import number_answer
from ocd.demo.pieces import line, per_cent
from ocd.demo.shown import Question
from ocd.demo.step_answers import step_answer
from ocd.demo.view_answers import view_answer
from ocd.demo.voice_answers import voice_answer

Shows = Callable[[Answers, Question], str]
SHOWS: dict[str, Shows] = {
    "classes": class_answer,
    "number": number_answer,
    "steps": step_answer,
    "view": view_answer,
    "voices": voice_answer,
}
"""What outputs are (ocd.tasks.Answer.kind) -> how they are shown."""


def as_html(found: Answers, question: Question) -> str:
    """Of one input: what was asked, what base and OCD say, and how far to trust it."""
    asked = f"Test example {question.place}" if question.place is not None else "Your own input"
    body = SHOWS[found.answer.kind](found, question)
    whole = f'<p class="asked">{asked}</p>{body}{_trust(found)}'
    return f'<div class="answer" aria-live="polite">{whole}</div>'


def _trust(found: Answers) -> str:
    """How far the input is from the training inputs (ocd.prediction.Reference; not known of a run that
    reads no new inputs), the reader's remarks on it, and a note on the prediction."""
    lines = []
    nearer = float(found.nearer[0])
    if bool(found.is_unlike[0]):
        lines.append(line(
            f"This input is unlike the training inputs: farther from them than {per_cent(nearer)} of "
            "them are from each other. Trust the answer less.", "warn",
        ))  # fmt: skip
    elif not torch.isnan(found.nearer[0]):
        lines.append(line(
            f"{per_cent(nearer)} of the training inputs are nearer to each other than this input is to "
            "them; from 99 % on it would be called unlike them."
        ))  # fmt: skip
    lines += [line(remark, "warn") for remark in found.remarks if remark]
    return "".join([*lines, line(f"{found.note.rstrip('.')}.") if found.note else ""])
