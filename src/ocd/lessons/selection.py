"""Eq. 3: which layer to move. The one whose small perturbations spread the loss most.

For each example many perturbed weights of one layer alone are drawn, their losses fitted with a
Gaussian kernel density (Silverman's bandwidth), and its entropy taken; the layer with the largest
mean over examples wins. No backward pass.

The perturbation is relative: each weight moves by a normal number of `relative_size` times the
root mean square of its layer's weights, so that every layer moves by the same share of its own norm
and layers of different fan-in can be compared. The paper does not say its size; ours is 0.1, small
enough to stay near the base, large enough that float32 losses spread (see docs/selection.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ocd.base import Capture, DenseDelta, FrozenBase, Loss, example_losses, num_weights, usable_layers
from ocd.data import Excerpt, Inputs, num_rows, take_excerpt, take_rows
from ocd.errors import OCDError

# Losses closer together than this are the same in float32; keeps the entropy of a constant finite.
SMALLEST_SPREAD = 1e-7


@dataclass(frozen=True)
class SelectionConfig:
    """How the layers are compared (Eq. 3)."""

    num_examples: int = 64
    """Examples whose entropies are averaged."""
    num_draws: int = 1000
    """Perturbed weights a layer; the paper draws 10,000."""
    relative_size: float = 0.1
    """Perturbation's deviation as a share of the layer's root mean square weight."""
    absolute_size: float | None = None
    """Where set, the deviation itself, the same for every layer, in place of relative_size."""
    redraw: bool = False
    """Draw the weights anew (Kaiming), as the released selector does, in place of moving them."""

    excerpt: int = 0
    """Positions of an example whose loss is looked at (excerpts.py); 0: all of it."""

    def __post_init__(self) -> None:
        if self.excerpt < 0:
            raise OCDError(f"selection.excerpt is {self.excerpt}: it must be at least 0")
        if self.num_draws < 2 or self.num_examples < 1 or self.relative_size <= 0:
            raise OCDError(
                "selection needs num_draws >= 2, num_examples >= 1 and relative_size > 0, got "
                f"{self.num_draws}, {self.num_examples} and {self.relative_size:g}"
            )
        if self.absolute_size is not None and self.absolute_size <= 0:
            raise OCDError(
                f"selection.absolute_size is {self.absolute_size:g}: it must be positive, or none"
            )


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


def kde_entropies(losses: Tensor) -> Tensor:
    """Entropy of a Gaussian KDE of each row, in nats: (N, R) -> (N,).

    Silverman's bandwidth as in scipy.stats.gaussian_kde; −∫ p log p by the trapezoid rule on a grid
    that reaches four bandwidths beyond the losses.
    """
    losses = losses.double()
    num_draws = losses.shape[1]
    spread = losses.std(dim=1, keepdim=True).clamp_min(SMALLEST_SPREAD)
    bandwidth = spread * (num_draws * 3 / 4) ** -0.2
    low = losses.amin(dim=1, keepdim=True) - 4 * bandwidth
    high = losses.amax(dim=1, keepdim=True) + 4 * bandwidth
    # Four points a bandwidth for the row that reaches farthest; an outlier far away costs points.
    grid_size = min(4096, max(256, math.ceil(4 * float(((high - low) / bandwidth).max()))))
    share = torch.linspace(0, 1, grid_size, dtype=torch.float64, device=losses.device)
    grid = low + (high - low) * share
    density = torch.zeros_like(grid)
    block = max(1, 2**22 // grid.numel())  # bounds the (N, grid, draws) block
    for part in losses.split(block, dim=1):
        scaled = (grid[:, :, None] - part[:, None, :]) / bandwidth[..., None]
        density += torch.exp(-0.5 * scaled.square()).sum(dim=2)
    density = density / (num_draws * bandwidth * math.sqrt(2 * math.pi))
    return torch.trapezoid(-torch.special.xlogy(density, density), grid, dim=1)


def perturbed_losses(
    frozen: FrozenBase,
    capture: Capture,
    loss: Loss,
    targets: Tensor,
    config: SelectionConfig,
    generator: torch.Generator,
) -> Tensor:
    """Losses under perturbed weights, (N, R). All examples share the R perturbed weights."""
    weight = frozen.weight.detach()
    size = config.absolute_size or float(config.relative_size * weight.square().mean().sqrt())
    if config.redraw:
        size = math.sqrt(2.0 / weight[0].numel())  # Kaiming's deviation for a layer before a ReLU
    parts = []
    for draws in _draw_chunks(config.num_draws, len(capture), frozen.weight_shape):
        noise = torch.randn(1, draws, *frozen.weight_shape, generator=generator).to(weight) * size
        output = frozen.run(capture, DenseDelta(noise - weight if config.redraw else noise))
        repeated = targets.repeat_interleave(draws, dim=0)
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
    targets: Tensor,
    config: SelectionConfig | None = None,
    *,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    excerpt: Excerpt | None = None,
) -> LayerScores:
    """Scores of Eq. 3 for every layer that a delta can sit on (or for `layers` alone).

    `inputs` (B, ...) and `targets`; the first `config.num_examples` of them are used. Layers that
    cannot be moved are in `skipped` with the reason. With `excerpt` the loss is that of one random part
    of each example. Raises OCDError where none can.
    """
    config = config or SelectionConfig()
    few = slice(0, min(config.num_examples, num_rows(inputs)))
    inputs, targets = take_rows(inputs, few), targets[few]
    whole = torch.Generator().manual_seed(seed)
    inputs, targets = take_excerpt(excerpt, inputs, targets, config.excerpt, whole)
    names, skipped = (list(layers), {}) if layers is not None else usable_layers(base, inputs)
    if not names:
        reasons = "; ".join(skipped.values()) or "it has no Linear, Conv1d or Conv2d"
        raise OCDError(f"the base has no layer that OCD can move: {reasons}")
    scored, scores, errors = [], [], []
    for name in names:
        frozen = FrozenBase(base, name)
        frozen.probe(inputs)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            capture = frozen.capture(inputs)
            losses = perturbed_losses(frozen, capture, loss, targets, config, generator)
        finite = losses.isfinite().all(dim=1)
        if not finite.any():
            skipped[name] = f"no example has finite losses while layer {name!r} is perturbed"
            continue
        entropies = kde_entropies(losses[finite])
        scored.append(name)
        scores.append(float(entropies.mean()))
        deviation = float(entropies.std()) if len(entropies) > 1 else math.nan
        errors.append(deviation / math.sqrt(len(entropies)))
    if not scored:
        raise OCDError(f"the base has no layer that OCD can move: {'; '.join(skipped.values())}")
    return LayerScores(scored, scores, errors, skipped)
