"""Eq. 3: select the layer to move. It is the one whose small perturbations spread the loss most.

    scores = select_layer(base, loss, inputs, targets)
    scores.layer()  # the name of the best layer

For each example, many perturbed weights of one layer alone are drawn, a Gaussian kernel density is
fitted to their losses (Silverman's bandwidth), and its entropy is taken. The layer with the largest
mean entropy over examples wins. No backward pass is needed.

Most layers are far behind, and few draws show that. So layers race: all are scored on few draws, those
that are behind the best beyond doubt leave, and only the rest get more, up to the full number. The race
ends when one is left.

The perturbation is relative: each weight moves by a normal number with a deviation of `relative_size`
times the root mean square of its layer's weights. So every layer moves by the same share of its own
norm, and layers of different fan-in can be compared. The paper does not give the size. Ours is 0.1:
small enough to stay near the base, large enough for float32 losses to differ (docs/selection.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import nn

from ocd.base import Capture, FrozenBase, Loss, Outputs, usable_layers
from ocd.data import Excerpt, Inputs, Targets, num_rows, take_excerpt, take_rows
from ocd.errors import OCDError
from ocd.lessons.race import FEWEST, Race, first_round, rounds


@dataclass(frozen=True)
class SelectionConfig:
    """How layers are compared (Eq. 3)."""

    num_examples: int = 64
    """Examples whose entropies are averaged."""
    num_draws: int = 1000
    """Perturbed weights a layer; the paper draws 10,000."""
    relative_size: float = 0.1
    """Perturbation's deviation as a share of the layer's root mean square weight."""
    race: bool = True
    """Whether layers that are behind beyond doubt leave early, so that few get all draws."""
    budget: float = 0.1
    """Of a race: the losses that it may take, as a share of the examples that training sees
    (training.num_steps x batch_size). A fit takes at least what tells layers apart at all."""

    def __post_init__(self) -> None:
        if not 0 < self.budget < math.inf:
            raise OCDError(f"selection.budget is {self.budget:g}: it must be positive and finite")
        if self.num_draws < 2 or self.num_examples < 1 or not 0 < self.relative_size < math.inf:
            raise OCDError(
                "selection needs num_draws >= 2, num_examples >= 1 and a finite relative_size > 0, got "
                f"{self.num_draws}, {self.num_examples} and {self.relative_size:g}"
            )


def selection_excerpt(overfit_excerpt: int) -> int:
    """Positions of an example that Eq. 3 sees: an eighth of what a step of Eq. 1 does; 0 for all."""
    return overfit_excerpt // 8


@dataclass(frozen=True)
class LayerScores:
    """Scores of Eq. 3 in the order of the network, in nats, with standard errors over examples.

    `draws`: perturbed weights that each layer's score is of; in a race those that left early have
    fewer, and rank behind those with more. `num_losses`: losses that were computed in all. `undecided`:
    the layers that could not be told apart. `winner`: the best layer, and what the base said there.
    """

    names: list[str]
    scores: list[float]
    standard_errors: list[float]
    draws: list[int] = field(default_factory=list)
    num_losses: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    undecided: list[str] = field(default_factory=list)
    over_budget: bool = False
    winner: tuple[FrozenBase, Capture] | None = field(default=None, repr=False, compare=False)

    def ranked(self) -> list[str]:
        """The names, best first."""
        draws = self.draws or [0] * len(self.names)
        order = sorted(range(len(self.names)), key=lambda i: (-draws[i], -self.scores[i]))
        return [self.names[i] for i in order]

    def note(self) -> str:
        """A line on the winner, what it took, and the layers that it could not be told from."""
        best = self.layer()
        line = (
            f"layer {best}: Eq. 3, best mean entropy {self.scores[self.names.index(best)]:.3f} nats; "
            f"{self.num_losses:,} losses of {len(self.names)} layers"
        )
        others = [name for name in self.undecided if name != best]
        if others:
            why = " within the budget (selection.budget)" if self.over_budget else ""
            line += f"; not told apart{why} from {', '.join(others)}"
        return line

    def as_dict(self) -> dict[str, Any]:
        """The scores as a file keeps them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "winner"}

    def layer(self, rank: int = 1) -> str:
        """The best layer, or with rank=2 the second best (the paper's alternative layer)."""
        if not 1 <= rank <= len(self.names):
            raise OCDError(f"rank is {rank}, but there are {len(self.names)} layers to choose from")
        return self.ranked()[rank - 1]


def select_layer(
    base: nn.Module,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    config: SelectionConfig | None = None,
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    excerpt: Excerpt | None = None,
    excerpt_size: int = 0,
    outputs: Outputs | None = None,
    advance: Callable[[int], None] = lambda losses: None,
    budget: int | None = None,
) -> LayerScores:
    """Eq. 3: the score of every layer that a delta can sit on, or of `layers` alone.

    `inputs` (B, ...) and `targets`; the first `config.num_examples` of them are used. Layers that
    cannot be moved are in `skipped`, with the reason. With `excerpt` the loss is that of one random
    part of each example, `excerpt_size` positions large. `outputs`: the form of the base's answers,
    which is learnt here where it is not known yet. `advance(n)` is told that n more losses are
    computed. `budget`: losses that a race may take; where they do not suffice for all draws, it takes
    fewer draws and examples, eight at least, and ends with the best so far. Raises OCDError where no
    layer can be moved.
    """
    config = config or SelectionConfig()
    few = slice(0, min(config.num_examples, num_rows(inputs)))
    inputs, targets = take_rows(inputs, few), take_rows(targets, few)
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = take_excerpt(excerpt, inputs, targets, excerpt_size, generator)
    outputs = outputs or Outputs()
    contenders, skipped = usable_layers(base, inputs, outputs, layers)
    if not contenders:
        reasons = "; ".join(skipped.values()) or "it has no Linear, Conv1d or Conv2d"
        raise OCDError(f"the base has no layer that OCD can move: {reasons}")
    draws, budget = [config.num_draws], budget if config.race else None
    if config.race:
        enough = slice(0, _affordable_examples(num_rows(inputs), len(contenders), budget))
        inputs, targets = take_rows(inputs, enough), take_rows(targets, enough)
        of_a_draw = len(contenders) * num_rows(inputs)
        whole = of_a_draw * config.num_draws
        first = first_round(config.num_draws, of_a_draw, whole if budget is None else budget)
        draws = rounds(config.num_draws, first)
    race = Race(outputs.loss(loss), inputs, targets, draws, config.relative_size, seed, advance, budget)
    race.run(contenders)
    return _scores(race, contenders, skipped)


def _affordable_examples(available: int, layers: int, budget: int | None) -> int:
    """Examples that a race begins with: fewer where even the fewest draws would exceed the budget."""
    if budget is None:
        return available
    return min(available, max(FEWEST, budget // (FEWEST * layers)))


def _scores(race: Race, contenders: Sequence[FrozenBase], skipped: dict[str, str]) -> LayerScores:
    skipped |= {
        frozen.name: f"no example has finite losses while layer {frozen.name!r} is perturbed"
        for frozen in contenders
        if frozen.name not in race.scores
    }
    if not race.scores:
        raise OCDError(f"the base has no layer that OCD can move: {'; '.join(skipped.values())}")
    usable = [frozen for frozen in contenders if frozen.name in race.scores]
    found = [race.scores[frozen.name] for frozen in usable]
    scores = LayerScores(
        [frozen.name for frozen in usable],
        [of.mean for of in found],
        [of.error for of in found],
        [of.draws for of in found],
        race.num_losses,
        skipped,
        race.undecided,
        race.over_budget,
    )
    best = next(frozen for frozen in usable if frozen.name == scores.layer())
    return replace(scores, winner=(best, race.captures[best.name]))
