"""How long plain fine-tuning goes on, of the layer that OCD moves or of a whole base: the same care."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """`batch`: lessons in a step. `judged`: lessons at most on which steps are judged, every
    `judge_every` steps. `patience`: steps without a gain after which no more are made."""

    most_steps: int = 300
    most_epochs: int = 150
    batch: int = 256
    judged: int = 1024
    judge_every: int = 10
    patience: int = 60

    def num_steps(self, total: int, batch: int) -> int:
        """Steps at most on so many lessons, in batches of this size."""
        return max(1, min(self.most_steps, self.most_epochs * total // batch))


TUNING = Tuning()
