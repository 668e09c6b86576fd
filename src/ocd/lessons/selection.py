"""Eq. 3: select the layer to move. It is the one whose small perturbations spread the loss most.

    scores = select_layer(base, loss, inputs, targets)
    scores.layer()  # the name of the best layer

For each example, many perturbed weights of one layer alone are drawn, a Gaussian kernel density is
fitted to their losses (Silverman's bandwidth), and its entropy is taken. The layer with the largest
mean entropy over examples wins. No backward pass is needed.

The perturbation is relative: each weight moves by a normal number with a deviation of `relative_size`
times the root mean square of its layer's weights. So every layer moves by the same share of its own
norm, and layers of different fan-in can be compared. The paper does not give the size. Ours is 0.1:
small enough to stay near the base, large enough for float32 losses to differ (docs/selection.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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
    probe,
    unwrapped,
    usable_layers,
)
from ocd.data import Excerpt, Inputs, Targets, num_rows, repeat_rows, take_excerpt, take_rows
from ocd.errors import OCDError
from ocd.lessons.entropy import kde_entropies


@dataclass(frozen=True)
class SelectionConfig:
    """How layers are compared (Eq. 3)."""

    num_examples: int = 64
    """Examples whose entropies are averaged."""
    num_draws: int = 1000
    """Perturbed weights a layer; the paper draws 10,000."""
    relative_size: float = 0.1
    """Perturbation's deviation as a share of the layer's root mean square weight."""

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
    """Scores of Eq. 3 in the order of the network, in nats, with standard errors over examples."""

    names: list[str]
    scores: list[float]
    standard_errors: list[float]
    skipped: dict[str, str] = field(default_factory=dict)

    def ranked(self) -> list[str]:
        """The names, best first."""
        order = sorted(range(len(self.names)), key=lambda i: -self.scores[i])
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
) -> LayerScores:
    """Eq. 3: the score of every layer that a delta can sit on, or of `layers` alone.

    `inputs` (B, ...) and `targets`; the first `config.num_examples` of them are used. Layers that
    cannot be moved are in `skipped`, with the reason. With `excerpt` the loss is that of one random
    part of each example, `excerpt_size` positions large. Raises OCDError where no layer can be moved.
    """
    config = config or SelectionConfig()
    few = slice(0, min(config.num_examples, num_rows(inputs)))
    inputs, targets = take_rows(inputs, few), take_rows(targets, few)
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = take_excerpt(excerpt, inputs, targets, excerpt_size, generator)
    outputs, base = Outputs(output), unwrapped(base)
    names, skipped = (list(layers), {}) if layers is not None else usable_layers(base, inputs, outputs)
    if not names:
        reasons = "; ".join(skipped.values()) or "it has no Linear, Conv1d or Conv2d"
        raise OCDError(f"the base has no layer that OCD can move: {reasons}")
    scored, scores, errors = [], [], []
    for name in names:
        entropies = _entropies(
            FrozenBase(base, name, outputs=outputs), outputs.loss(loss), inputs, targets, config, seed
        )
        if not len(entropies):
            skipped[name] = f"no example has finite losses while layer {name!r} is perturbed"
            continue
        scored.append(name)
        scores.append(float(entropies.mean()))
        deviation = float(entropies.std()) if len(entropies) > 1 else math.nan
        errors.append(deviation / math.sqrt(len(entropies)))
    if not scored:
        raise OCDError(f"the base has no layer that OCD can move: {'; '.join(skipped.values())}")
    return LayerScores(scored, scores, errors, skipped)


def _entropies(
    frozen: FrozenBase,
    loss: Loss,
    inputs: Inputs,
    targets: Targets,
    config: SelectionConfig,
    seed: int,
) -> Tensor:
    """Entropies of the examples' losses while one layer is perturbed: (N,), N of them with finite
    losses."""
    probe(frozen, inputs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        capture = frozen.capture(inputs)
        losses = perturbed_losses(frozen, capture, loss, targets, config, generator)
    losses = losses[losses.isfinite().all(dim=1)]
    return kde_entropies(losses) if len(losses) else losses.new_empty(0)
