"""Layers that are scored on more and more perturbed weights, while those far behind leave (Eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ocd.base import Capture, DenseDelta, FrozenBase, Loss, example_losses, loss_unit, num_weights
from ocd.data import Inputs, ResumableLoop, Targets, num_rows, repeat_rows
from ocd.lessons.entropy import kde_entropies

FEWEST = 8
"""Draws of the first round of a race, and examples that a difference is judged by, at least."""
BEYOND_DOUBT = 4.0
"""Standard errors of the mean difference by which a layer has to be behind to leave."""


def perturbed_losses(
    frozen: FrozenBase,
    capture: Capture,
    loss: Loss,
    targets: Targets,
    draws: int,
    relative_size: float,
    generator: torch.Generator,
) -> Tensor:
    """Losses under perturbed weights, (N, R). All examples share the R = `draws` perturbed weights."""
    weight = frozen.weight.detach()
    size = float(relative_size * weight.square().mean().sqrt())
    loop = ResumableLoop(f"losses of {frozen.name}", generator=generator)
    parts = loop.values.setdefault("losses", [])
    chunks = list(_draw_chunks(draws, len(capture), frozen.weight_shape))
    for some in loop.saving_after(chunks[loop.step :]):
        noise = torch.randn(1, some, *frozen.weight_shape, generator=generator).to(weight) * size
        output = frozen.run(capture, DenseDelta(noise))
        repeated = repeat_rows(targets, some)
        parts.append(example_losses(loss, output.flatten(0, 1), repeated).view(-1, some))
    return torch.cat([part.to(weight.device) for part in parts], dim=1)


def _draw_chunks(total: int, batch: int, weight_shape: Sequence[int]) -> Iterator[int]:
    """Numbers of draws whose perturbed weights and rows stay within some hundred megabytes."""
    most = max(1, min(2**24 // num_weights(tuple(weight_shape)), 4096 // batch))
    for start in range(0, total, most):
        yield min(most, total - start)


def rounds(num_draws: int, first: int) -> list[int]:
    """Draws of a layer after each round of a race: `first`, doubled until all are drawn."""
    found = []
    while first < num_draws:
        found.append(first)
        first *= 2
    return [*found, num_draws]


def first_round(num_draws: int, losses_a_draw: int, budget: int) -> int:
    """Draws of the first round: an eighth of all, and no more than half of the budget allows.
    `losses_a_draw`: layers times examples."""
    affordable = budget // (2 * losses_a_draw)
    return max(min(num_draws, FEWEST), min(num_draws // 8, affordable))


@dataclass(frozen=True)
class Score:
    """Of one layer: the entropy of each example (NaN where its losses are not finite)."""

    entropies: Tensor
    draws: int

    @property
    def finite(self) -> Tensor:
        """The entropies that there are."""
        return self.entropies[self.entropies.isfinite()]

    @property
    def mean(self) -> float:
        """The layer's score, in nats."""
        return float(self.finite.mean())

    @property
    def error(self) -> float:
        """The score's standard error over examples."""
        count = len(self.finite)
        return float(self.finite.std()) / math.sqrt(count) if count > 1 else math.nan

    def is_behind(self, other: Score | None) -> bool:
        """Whether it is behind beyond doubt, by the differences on the same examples."""
        if other is None or other is self:
            return False
        off = (other.entropies - self.entropies)[(other.entropies - self.entropies).isfinite()]
        if len(off) < FEWEST:
            return False
        return bool(off.mean() > BEYOND_DOUBT * off.std() / math.sqrt(len(off)))


@dataclass
class Race:
    """Layers that are scored on more and more draws, while those behind leave.

    Scores of different numbers of draws cannot be compared (the kernel density's bandwidth depends on
    it), so a layer is compared with others of the same round only. All layers of a round see the same
    examples, and leave by the differences on these: most of a score's error is common to all layers.

    `rounds`: draws of a layer after each of them. `budget`: losses after which no other round begins.
    `undecided`: the layers that the race could not tell apart, the winner among them.
    """

    loss: Loss
    inputs: Inputs
    targets: Targets
    rounds: Sequence[int]
    relative_size: float
    seed: int
    advance: Callable[[int], None]
    budget: int | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    captures: dict[str, Capture] = field(default_factory=dict)
    undecided: list[str] = field(default_factory=list)
    num_losses: int = 0
    over_budget: bool = False
    _unit: float | None = None
    _losses: dict[str, Tensor] = field(default_factory=dict)
    _generators: dict[str, torch.Generator] = field(default_factory=dict)

    def run(self, contenders: Sequence[FrozenBase]) -> None:
        """Fill `scores` with the last score of each layer that has one."""
        left, before = list(contenders), 0
        for draws in self.rounds:
            cost = len(left) * num_rows(self.inputs) * (draws - before)
            if before and self.budget is not None and self.num_losses + cost > self.budget:
                self.over_budget = True
                break
            left, before = self._round(left, draws), draws
            if len(left) == 1 and len(self.rounds) > 1:
                break
        self.undecided = [frozen.name for frozen in left]

    def _round(self, contenders: Sequence[FrozenBase], draws: int) -> list[FrozenBase]:
        """Score these layers; those that are not behind."""
        for frozen in contenders:
            score = Score(self._entropies(frozen, draws), draws)
            if len(score.finite):
                self.scores[frozen.name] = score
        scored = [frozen for frozen in contenders if frozen.name in self.scores]
        best = max((self.scores[one.name] for one in scored), key=lambda of: of.mean, default=None)
        left = [frozen for frozen in scored if not self.scores[frozen.name].is_behind(best)]
        for frozen in contenders:
            if frozen not in left:
                self.captures.pop(frozen.name, None)
        return left

    def _entropies(self, frozen: FrozenBase, draws: int) -> Tensor:
        """Entropies of the examples' losses while one layer is perturbed: (N,). Draws of earlier rounds
        are kept, and so is what the base says in front of the layer."""
        name = frozen.name
        before = self._losses.get(name)
        with torch.no_grad():
            if before is None:
                self._generators[name] = torch.Generator().manual_seed(self.seed)
                self.captures[name] = frozen.capture(self.inputs)
            more = perturbed_losses(
                frozen, self.captures[name], self.loss, self.targets,
                draws - (0 if before is None else before.shape[1]), self.relative_size,
                self._generators[name],
            )  # fmt: skip
        if self._unit is None:
            self._unit = loss_unit(more)
        self.num_losses += more.numel()
        self.advance(more.numel())
        losses = more if before is None else torch.cat([before, more], dim=1)
        self._losses[name] = losses
        entropies = losses.new_full((len(losses),), torch.nan, dtype=torch.float64)
        good = losses.isfinite().all(dim=1)
        if good.any():
            entropies[good] = kde_entropies(losses[good], self._unit)
        return entropies
