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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ocd.base import (
    Capture,
    DenseDelta,
    FrozenBase,
    Loss,
    Output,
    Outputs,
    example_losses,
    num_weights,
    usable_layers,
)
from ocd.data import Excerpt, Inputs, Targets, num_rows, repeat_rows, take_excerpt, take_rows
from ocd.errors import OCDError
from ocd.lessons.entropy import kde_entropies

FEWEST = 8
"""Draws of the first round of a race, and examples that a difference is judged by, at least."""
BEYOND_DOUBT = 4.0
"""Standard errors of the mean difference by which a layer has to be behind to leave."""


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

    def __post_init__(self) -> None:
        if self.num_draws < 2 or self.num_examples < 1 or self.relative_size <= 0:
            raise OCDError(
                "selection needs num_draws >= 2, num_examples >= 1 and relative_size > 0, got "
                f"{self.num_draws}, {self.num_examples} and {self.relative_size:g}"
            )


def selection_excerpt(overfit_excerpt: int) -> int:
    """Positions of an example that Eq. 3 sees: an eighth of what a step of Eq. 1 does; 0 for all."""
    return overfit_excerpt // 8


@dataclass(frozen=True)
class LayerScores:
    """Scores of Eq. 3 in the order of the network, in nats, with standard errors over examples.

    `draws`: perturbed weights that each layer's score is of; in a race those that left early have
    fewer, and rank behind those with more. `num_losses`: losses that were computed in all.
    """

    names: list[str]
    scores: list[float]
    standard_errors: list[float]
    draws: list[int] = field(default_factory=list)
    num_losses: int = 0
    skipped: dict[str, str] = field(default_factory=dict)

    def ranked(self) -> list[str]:
        """The names, best first."""
        draws = self.draws or [0] * len(self.names)
        order = sorted(range(len(self.names)), key=lambda i: (-draws[i], -self.scores[i]))
        return [self.names[i] for i in order]

    def layer(self, rank: int = 1) -> str:
        """The best layer, or with rank=2 the second best (the paper's alternative layer)."""
        if not 1 <= rank <= len(self.names):
            raise OCDError(f"rank is {rank}, but there are {len(self.names)} layers to choose from")
        return self.ranked()[rank - 1]


def perturbed_losses(
    frozen: FrozenBase,
    capture: Capture,
    loss: Loss,
    targets: Targets,
    config: SelectionConfig,
    generator: torch.Generator,
) -> Tensor:
    """Losses under perturbed weights, (N, R). All examples share the R perturbed weights."""
    weight = frozen.weight.detach()
    size = float(config.relative_size * weight.square().mean().sqrt())
    parts = []
    for draws in _draw_chunks(config.num_draws, len(capture), frozen.weight_shape):
        noise = torch.randn(1, draws, *frozen.weight_shape, generator=generator).to(weight) * size
        output = frozen.run(capture, DenseDelta(noise))
        repeated = repeat_rows(targets, draws)
        parts.append(example_losses(loss, output.flatten(0, 1), repeated).view(-1, draws))
    return torch.cat(parts, dim=1)


def _draw_chunks(total: int, batch: int, weight_shape: Sequence[int]) -> Iterator[int]:
    """Numbers of draws whose perturbed weights and rows stay within some hundred megabytes."""
    most = max(1, min(2**24 // num_weights(tuple(weight_shape)), 4096 // batch))
    for start in range(0, total, most):
        yield min(most, total - start)


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
    output: Output | None = None,
    advance: Callable[[int], None] = lambda losses: None,
) -> LayerScores:
    """Eq. 3: the score of every layer that a delta can sit on, or of `layers` alone.

    `inputs` (B, ...) and `targets`; the first `config.num_examples` of them are used. Layers that
    cannot be moved are in `skipped`, with the reason. With `excerpt` the loss is that of one random
    part of each example, `excerpt_size` positions large. `advance(n)` is told that n more losses are
    computed. Raises OCDError where no layer can be moved.
    """
    config = config or SelectionConfig()
    few = slice(0, min(config.num_examples, num_rows(inputs)))
    inputs, targets = take_rows(inputs, few), take_rows(targets, few)
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = take_excerpt(excerpt, inputs, targets, excerpt_size, generator)
    outputs = Outputs(output)
    contenders, skipped = usable_layers(base, inputs, outputs, layers)
    if not contenders:
        reasons = "; ".join(skipped.values()) or "it has no Linear, Conv1d or Conv2d"
        raise OCDError(f"the base has no layer that OCD can move: {reasons}")
    race = _Race(outputs.loss(loss), inputs, targets, config, seed, advance)
    race.run(contenders)
    skipped |= {
        frozen.name: f"no example has finite losses while layer {frozen.name!r} is perturbed"
        for frozen in contenders
        if frozen.name not in race.scores
    }
    if not race.scores:
        raise OCDError(f"the base has no layer that OCD can move: {'; '.join(skipped.values())}")
    names = [frozen.name for frozen in contenders if frozen.name in race.scores]
    found = [race.scores[name] for name in names]
    return LayerScores(
        names, [of.mean for of in found], [of.error for of in found], [of.draws for of in found],
        race.num_losses, skipped,
    )  # fmt: skip


def rounds(config: SelectionConfig) -> list[int]:
    """Draws of a layer after each round of a race; one round of all where there is none."""
    every = config.num_draws
    return [every // part for part in (8, 4, 2) if config.race and every // part >= FEWEST] + [every]


@dataclass(frozen=True)
class _Score:
    """Of one layer: the entropy of each example (NaN where its losses are not finite)."""

    entropies: Tensor
    draws: int

    @property
    def finite(self) -> Tensor:
        return self.entropies[self.entropies.isfinite()]

    @property
    def mean(self) -> float:
        return float(self.finite.mean())

    @property
    def error(self) -> float:
        count = len(self.finite)
        return float(self.finite.std()) / math.sqrt(count) if count > 1 else math.nan

    def is_behind(self, other: _Score | None) -> bool:
        """Whether it is behind beyond doubt, by the differences on the same examples."""
        if other is None or other is self:
            return False
        off = (other.entropies - self.entropies)[(other.entropies - self.entropies).isfinite()]
        if len(off) < FEWEST:
            return False
        return bool(off.mean() > BEYOND_DOUBT * off.std() / math.sqrt(len(off)))


@dataclass
class _Race:
    """Layers that are scored on more and more draws, while those behind leave.

    Scores of different numbers of draws cannot be compared (the kernel density's bandwidth depends on
    it), so a layer is compared with others of the same round only. All layers of a round see the same
    examples, and leave by the differences on these: most of a score's error is common to all layers.
    """

    loss: Loss
    inputs: Inputs
    targets: Targets
    config: SelectionConfig
    seed: int
    advance: Callable[[int], None]
    scores: dict[str, _Score] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)
    generators: dict[str, torch.Generator] = field(default_factory=dict)
    num_losses: int = 0

    def run(self, contenders: Sequence[FrozenBase]) -> None:
        """Fill `scores` with the last score of each layer that has one."""
        left = list(contenders)
        for draws in rounds(self.config):
            for frozen in left:
                score = _Score(self._entropies(frozen, draws), draws)
                if len(score.finite):
                    self.scores[frozen.name] = score
            left = [frozen for frozen in left if frozen.name in self.scores]
            best = max(
                (self.scores[frozen.name] for frozen in left), key=lambda of: of.mean, default=None
            )
            left = [frozen for frozen in left if not self.scores[frozen.name].is_behind(best)]
            if len(left) == 1 and self.config.race:
                break

    def _entropies(self, frozen: FrozenBase, draws: int) -> Tensor:
        """Entropies of the examples' losses while one layer is perturbed: (N,). Draws of earlier rounds
        are kept."""
        if frozen.name not in self.losses:
            self.generators[frozen.name] = torch.Generator().manual_seed(self.seed)
        before = self.losses.get(frozen.name)
        config = replace(self.config, num_draws=draws - (0 if before is None else before.shape[1]))
        with torch.no_grad():
            more = perturbed_losses(
                frozen, frozen.capture(self.inputs), self.loss, self.targets, config,
                self.generators[frozen.name],
            )  # fmt: skip
        self.num_losses += more.numel()
        self.advance(more.numel())
        losses = more if before is None else torch.cat([before, more], dim=1)
        self.losses[frozen.name] = losses
        entropies = losses.new_full((len(losses),), torch.nan, dtype=torch.float64)
        good = losses.isfinite().all(dim=1)
        if good.any():
            entropies[good] = kde_entropies(losses[good])
        return entropies
