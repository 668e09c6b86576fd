"""Trained baselines that draw answers: a distribution of the output itself, without any weights moved.

As large as OCD's generator, given the same condition, and trained on the same examples for as many
steps:

* `gaussian_head`: a mean and a deviation for each number of the answer;
* `quantile_head`: 19 quantiles of each number (Koenker & Bassett 1978);
* `output_diffusion`: the same diffusion as OCD's, of what the base's answer lacks (target - f(x)) in
  place of weights. The honest rival: what moving weights adds must show against it.

The first two know each number of an answer apart from the others: their draws do not hold together.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ocd.base import Loss, example_losses
from ocd.baselines.trained.conditioned import ConditionedNetwork
from ocd.data import Inputs
from ocd.generator import (
    Diffusion,
    DiffusionConfig,
    Features,
    Placement,
    example_keys,
    example_noise,
)
from ocd.lessons import LessonBatch, as_evidence
from ocd.prediction import centre_and_spread
from ocd.training import energy_scores

LEVELS = tuple((i + 1) / 20 for i in range(19))
"""Of the quantiles: 5 to 95 %."""
NUM_DRAWS = 20
"""By which centre and spread are chosen."""


class GaussianHead(nn.Module):
    """Independent normal distributions around f(x) + correction: `network` has (2, *shape) outputs, the
    correction and the logarithm of the deviation."""

    def __init__(self, network: ConditionedNetwork) -> None:
        super().__init__()
        self.network = network

    def loss(self, features: Features, inputs: Inputs, base: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood, mean over everything, but for a constant."""
        mean, log_deviation = self._parts(features, inputs, base)
        return (log_deviation + ((targets - mean) / log_deviation.exp()).square() / 2).mean()

    def draws(
        self, features: Features, inputs: Inputs, base: Tensor, num_draws: int, seed: int
    ) -> Tensor:
        """(B, K, *shape)."""
        mean, log_deviation = self._parts(features, inputs, base)
        noise = example_noise(example_keys(inputs), seed, num_draws, tuple(mean.shape[1:]))
        return mean[:, None] + noise.to(mean) * log_deviation.exp()[:, None]

    def _parts(self, features: Features, inputs: Inputs, base: Tensor) -> tuple[Tensor, Tensor]:
        correction, log_deviation = self.network(features, inputs).unbind(dim=1)
        return base + correction, log_deviation.clamp(-7, 7)


class QuantileHead(nn.Module):
    """Quantiles of each number around f(x): `network` has (19, *shape) outputs."""

    def __init__(self, network: ConditionedNetwork) -> None:
        super().__init__()
        self.network = network

    def loss(self, features: Features, inputs: Inputs, base: Tensor, targets: Tensor) -> Tensor:
        """Pinball loss, mean over everything."""
        error = (targets - base)[:, None] - self.network(features, inputs)
        levels = torch.tensor(LEVELS, device=error.device).view(-1, *[1] * (error.dim() - 2))
        return torch.maximum(levels * error, (levels - 1) * error).mean()

    def draws(
        self, features: Features, inputs: Inputs, base: Tensor, num_draws: int, seed: int
    ) -> Tensor:
        """(B, K, *shape), each number drawn apart: between two quantiles evenly, none outside them."""
        quantiles = self.network(features, inputs).sort(dim=1).values  # (B, 19, *shape)
        noise = example_noise(example_keys(inputs), seed, num_draws, tuple(base.shape[1:]))
        place = torch.special.ndtr(noise.to(base)) * 20 - 1
        place = place.clamp(0, len(LEVELS) - 1)
        below = place.floor().long().clamp(max=len(LEVELS) - 2)
        low, high = quantiles.gather(1, below), quantiles.gather(1, below + 1)
        return base[:, None] + low + (place - below) * (high - low)


class OutputDiffusion(nn.Module):
    """OCD's diffusion on target - f(x), in units of its root mean square.

    `network` answers for noisy codes (B, K, *shape) in place of none. `unit` is taken from the first
    batch that it learns from. `centre` and `spread`: the share of the mean around which its draws lie,
    and how far from there, chosen as OCD's are.
    """

    unit: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(
        self, network: ConditionedNetwork, config: DiffusionConfig, num_noise_levels: int
    ) -> None:
        super().__init__()
        self.network, self.diffusion = network, Diffusion(config)
        self.num_noise_levels = num_noise_levels
        self.register_buffer("unit", torch.zeros(()))
        self.register_buffer("centre", torch.ones(()))
        self.register_buffer("spread", torch.ones(()))

    def losses(
        self,
        features: Features,
        inputs: Inputs,
        residuals: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Eq. 7 on residuals (B, *shape), at as many noise levels as OCD's generator."""
        if self.unit == 0:
            self.unit.copy_(residuals.square().mean().sqrt().clamp_min(1e-12))
        levels, config = self.num_noise_levels, self.diffusion.config
        clean = (residuals / self.unit)[:, None].expand(-1, levels, *residuals.shape[1:])
        t = torch.randint(0, config.num_train_steps, clean.shape[:2], generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        noisy = self.diffusion.noising(clean, noise, t.to(clean.device))
        embedding = self.network.embed(features, inputs)
        answer = self.network.network(noisy, t.to(clean.device), embedding)
        return (answer - self.diffusion.target(clean, noise)).square().mean()

    def draws(
        self, features: Features, inputs: Inputs, base: Tensor, num_draws: int, seed: int
    ) -> Tensor:
        """(B, K, *shape)."""
        placement = self.placement
        with_mean = not placement.is_plain
        drawn, mean = self._codes(features, inputs, base, num_draws, seed, with_mean=with_mean)
        return base[:, None] + self.unit * placement.around(drawn, mean)

    def _codes(
        self,
        features: Features,
        inputs: Inputs,
        base: Tensor,
        num_draws: int,
        seed: int,
        *,
        with_mean: bool,
    ) -> tuple[Tensor, Tensor]:
        """Draws (B, K, *shape) as they are learnt, in units of `unit`, and their mean (B, 1, *shape);
        the draws again without."""
        embedding = self.network.embed(features, inputs)
        noise = example_noise(example_keys(inputs), seed, num_draws, tuple(base.shape[1:])).to(base)

        def denoise(code: Tensor, t: int) -> Tensor:
            level = torch.full((1, 1), t, device=code.device)
            answer: Tensor = self.network.network(code, level, embedding)
            return answer

        drawn = self.diffusion.sample(denoise, noise)
        return drawn, self.diffusion.mean(denoise, noise[:, :1]) if with_mean else drawn

    @property
    def placement(self) -> Placement:
        """Where its draws lie: they are a distribution, as OCD's are where it is set against them."""
        return Placement(float(self.centre), float(self.spread), balanced=True)

    @torch.no_grad()
    def choose_sampling(
        self, batches: Iterable[LessonBatch], loss: Loss, belongs: Tensor | None = None
    ) -> None:
        """Set centre and spread as OCD sets its own (`centre_and_spread`): by the energy score on
        held-out examples, of the centres whose answer does no harm by `loss`. `belongs` (N,): groups
        of the examples, each one piece of evidence."""
        if self.diffusion.config.prediction != "x0":  # it has no mean in one pass to widen from
            return
        judges, alone = [], []
        for rows in batches:
            assert isinstance(rows.targets, Tensor)
            base = rows.base_outputs
            codes = self._codes(rows.features, rows.inputs, base, NUM_DRAWS, 0, with_mean=True)
            judges.append((base, rows.targets, *codes))
            alone.append(example_losses(loss, base, rows.targets))

        def joined(values: list[Tensor]) -> Tensor:
            return as_evidence(torch.cat(values).double(), belongs)

        base_losses = joined(alone)
        usable = base_losses.isfinite()  # the others judge nothing

        def score(centre: float, spread: float) -> float:
            placement, parts = Placement(centre, spread, balanced=True), []
            for base, targets, drawn, mean in judges:
                found = base[:, None] + self.unit * placement.around(drawn, mean)
                parts.append(energy_scores(found, targets, placement.balances(NUM_DRAWS)))
            return float(joined(parts)[usable].mean())

        def harm(centre: float) -> Tensor:
            moved = [(base + self.unit * centre * mean[:, 0], y) for base, y, _, mean in judges]
            losses = joined([example_losses(loss, output, y) for output, y in moved])
            return (losses - base_losses)[usable]

        centre, spread = centre_and_spread(score, harm)
        self.centre.fill_(centre)
        self.spread.fill_(spread)


Drawn = GaussianHead | QuantileHead | OutputDiffusion
