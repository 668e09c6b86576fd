"""How draws are taken from a trained generator: two numbers, chosen on held-out examples.

Beyond the paper. The generator learns the deltas of training examples, and the base's own loss never
judged what it generates. Its moves may be too long, and its draws too far apart, for examples that it
has not seen. Two numbers are therefore chosen by trying:

* `scale_factor` multiplies every generated delta;
* `spread` moves each draw towards the conditional mean: mean + spread · (draw − mean). Where draws
  are to be a distribution of a continuous target, the spread is instead the one with which their
  central interval covers its share of the held-out targets (`coverage`), and may be above 1.

1 and 1 are the paper's way, and what the presets `paper` and `released` have.

**Moving must not harm.** A generator that learned from few examples, or from noise, or for a base that
cannot be improved, makes predictions worse. Moves are therefore made only where the ensemble gains
against the base on the held-out examples beyond doubt: the mean of the paired differences is above zero
at the one-sided `confidence`. Where no pair of numbers gains, the factor is 0: OCD answers as the base
does, with the common move (ocd.lessons.common_move) where there is one that gains.

Which examples judge: a user's validation examples; else a fold whose base has not seen it and the
generator neither; else some lessons that are held out. On the last, the base may have been fitted:
chosen on these alone, moves would be too short. Augmented examples are harder than the ones to come:
chosen on these alone, moves would be too long. With a transform, both are then used in equal parts, and
moves that harm the ones as they are beyond doubt are not made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ocd.base import Capture, Loss, example_losses
from ocd.data import Excerpt, Inputs, ResumableLoop, Targets, take_excerpt
from ocd.errors import OCDError
from ocd.lessons import FEWEST_JUDGES, as_evidence, is_gain
from ocd.prediction.drawing import FittedGenerator
from ocd.prediction.held_out import HeldOut

Join = Callable[[Tensor], Tensor]
"""Outputs of K draws (K, B, ...) -> (B, ...), how they answer as one."""

SCALE_FACTORS = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Moves are only shortened: longer ones than were learned are a gamble on few examples."""
SPREADS = (0.25, 0.5, 0.75, 1.0)
"""Not below a quarter: without a spread all draws would be one, and would not say how sure they are.
`mode="mean"` gives the mean alone."""
NUM_DRAWS = 5
HARM = 0.95
"""One-sided confidence at which a pair of numbers harms the held-out lessons as they are, and is left
out, whatever it gains on augmented ones."""
AS_THE_BASE = "OCD answers as the base does"
AS_TUNED = "OCD answers as the base does with the common move"


@dataclass(frozen=True)
class SamplingConfig:
    """How draws are taken (beyond the paper)."""

    scale_factor: float | None = None
    """Factor of every generated delta; None chooses it on held-out examples."""
    spread: float | None = None
    """Distance of draws from their mean, over the generated one; None chooses it likewise."""
    confidence: float = 0.99
    """One-sided confidence with which moves have to gain against the base on examples that the
    generator has not seen, where the factor is chosen; otherwise OCD answers as the base does. 0.5: the
    mean gain decides. 0: moves are made in any case."""
    coverage: float = 0.0
    """Of a continuous target: the share of held-out examples that the draws' central interval of that
    share is to cover, by which `spread` is chosen; 0: by the loss."""
    mixed_precision: bool = False
    """Whether codes are generated with matrix products in bfloat16, which halves the time of a
    prediction on devices that have it (a CPU with AVX-512 BF16, a GPU)."""

    def __post_init__(self) -> None:
        for name in ("scale_factor", "spread"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise OCDError(f"sampling.{name} is {value:g}: it must be from 0 to 10")
        if self.confidence and not 0.5 <= self.confidence < 1:
            raise OCDError(
                f"sampling.confidence is {self.confidence:g}: it must be from 0.5 to below 1, or 0"
            )
        if not 0 <= self.coverage < 1:
            raise OCDError(f"sampling.coverage is {self.coverage:g}: it must be from 0 to below 1")

    @property
    def is_settled(self) -> bool:
        """Whether both numbers are configured, so that there is nothing to choose."""
        return self.scale_factor is not None and self.spread is not None


@dataclass(frozen=True)
class EnsembleLoss:
    """How the answer of several draws is judged: `loss` of the `join`ed outputs, on whole examples or
    on an excerpt of each, `excerpt_size` positions large."""

    loss: Loss
    join: Join
    excerpt: Excerpt | None = None
    excerpt_size: int = 0


def join_by_mean(outputs: Tensor) -> Tensor:
    """The mean of the draws' outputs, (K, B, ...) -> (B, ...): the default."""
    return outputs.mean(dim=0)


PAPER = {"spread": 1.0, "scale_factor": 1.0, "centre": 1.0, "balanced": 0.0}
"""Draws as the paper takes them."""
NOTHING_HELD_OUT = "since no example is held out to judge moves on"


def keep_sampling(fitted: FittedGenerator, config: SamplingConfig, why: str = NOTHING_HELD_OUT) -> str:
    """Set what is configured, and 1 for the rest; returns a line that says so. Where nothing is there
    to judge moves on and none are configured, none are made. `why` nothing is there."""
    network = fitted.network
    network.set_sampling(**PAPER)
    if config.scale_factor is None and config.confidence:
        network.set_sampling(spread=1.0 if config.spread is None else config.spread, scale_factor=0.0)
        return (
            f"sampling: {_unmoved(fitted)}, {why} (training.validation_share, validation=, or "
            "sampling.scale_factor to move in any case)"
        )
    network.set_sampling(
        spread=1.0 if config.spread is None else config.spread,
        scale_factor=1.0 if config.scale_factor is None else config.scale_factor,
    )
    kept = f"spread {float(network.spread):g} and scale factor {float(network.scale_factor):g}"
    return f"sampling: {kept}, as configured, or {why}"


@torch.no_grad()
def choose_sampling(
    fitted: FittedGenerator,
    held_out: HeldOut,
    judge: EnsembleLoss,
    config: SamplingConfig,
    chunk_size: int = 256,
) -> str:
    """Set the network's `scale_factor` and `spread` to those with which an ensemble of five has the
    smallest loss on held-out examples; returns a line that says so.

    Configured values are kept. A generator that predicts the noise has no mean in one pass, so its
    spread stays 1. Examples whose loss is not finite are left out.
    """
    pairs = _pairs(fitted, config)
    network = fitted.network
    network.set_sampling(**PAPER)
    loop = ResumableLoop("sampling")
    parts = loop.values.setdefault("losses", [])
    chunks = islice(held_out.chunks(fitted, chunk_size), loop.step, None)
    for here, rows, labels, capture in loop.saving_after(chunks):
        parts.append(_losses(here, rows, labels, capture, judge, pairs))
    device = fitted.frozen.device
    every = torch.cat([part.to(device) for part in parts], dim=1)  # (2 + pairs, B), the base's first
    # Where the base itself is not finite nothing is judged; elsewhere that is boundless harm.
    usable = every[0].isfinite()
    every, count = every[:, usable].double().nan_to_num(torch.inf), int(usable.sum())
    if not count:
        why = f"since the base's loss is finite on none of the {held_out.counted(len(usable))}"
        return keep_sampling(fitted, config, why)
    plain = held_out.as_they_are()
    example = held_out.copy_of()
    harmed = torch.zeros(len(pairs), dtype=torch.bool, device=every.device)
    if plain is not None and example is not None:
        plain, example = plain.to(usable.device)[usable], example.to(usable.device)[usable]
        known = as_evidence(every[:, plain], example[plain])
        harmed = is_gain(known[2:] - known[1], HARM)
    if example is not None:
        every = as_evidence(every, example.to(usable.device)[usable])
    copied = " (augmented copies counted)" if plain is not None else ""
    return _choose(fitted, pairs, every, config, f"on {held_out.counted(count)}{copied}", harmed)


def _choose(
    fitted: FittedGenerator,
    pairs: list[tuple[float, float]],
    every: Tensor,
    config: SamplingConfig,
    on: str,
    harmed: Tensor,
) -> str:
    """Set the best pair that gains beyond doubt, or a factor of 0. `every` (2 + pairs, G): losses of
    the base, of the base with the common move, and of each pair. `on`: which examples, in words.
    `harmed` (pairs): which are left out. A common move that does not gain on them either is given up
    with the moves."""
    network, means, frozen = fitted.network, every[2:].mean(dim=1), fitted.frozen
    tuned = frozen.start is not None and not _undone(every[0] - every[1], config)
    reference = every[1] if tuned else every[0]
    base = float(reference.mean())
    gains = reference - every[2:]
    allowed = is_gain(gains, config.confidence, FEWEST_JUDGES)
    if config.scale_factor is not None or not config.confidence:
        allowed = torch.ones_like(allowed)
    elif means.isinf().any():
        # The loss has a domain, and moves of some length leave it: rarer inputs leave it sooner.
        allowed &= False
    elif harmed.any():
        allowed &= ~harmed
        on += f" ({int(harmed.sum())} of {len(pairs)} ways to move harm them as they are)"
    places = allowed.nonzero()[:, 0].tolist()
    if not places:
        best = int(means.argmin())
        count = len(gains[best])
        error = f" ± {float(gains[best].std()) / count**0.5:.2g}" if count > 1 else ""
        network.set_sampling(spread=pairs[best][0], scale_factor=0.0)
        if not tuned:
            frozen.start_from(None)
        return (
            f"sampling: {_unmoved(fitted)}, since no move gains beyond doubt {on}: the best has the "
            f"loss {float(means[best]):.4g}{error}, the base {base:.4g} (sampling.confidence "
            f"{config.confidence:g}){_too_few(count)}"
        )
    best = min(places, key=lambda place: (float(means[place]), abs(pairs[place][1] - 1)))
    spread, factor = pairs[best]
    network.set_sampling(spread=spread, scale_factor=factor)
    plain = dict(zip(pairs, means.tolist(), strict=True)).get((1.0, 1.0))
    as_paper = f", where the paper's way, 1 and 1, has {plain:.4g}" if plain is not None else ""
    return (
        f"sampling: spread {spread:g} and scale factor {factor:g}, with which an ensemble of "
        f"{NUM_DRAWS} has the loss {float(means[best]):.4g} {on}, the base {base:.4g}{as_paper}"
    )


def _undone(gains: Tensor, config: SamplingConfig) -> bool:
    """Whether the common move, which gained beyond doubt on the lessons, is given up: where it does not
    gain on the judges by their mean; few of them have to say so beyond doubt."""
    if len(gains) >= FEWEST_JUDGES:
        return float(gains.mean()) < 0
    return bool(is_gain(-gains[None], max(config.confidence, 0.5), 2))


def _too_few(count: int) -> str:
    """Words on what would be needed, where so few examples could show no gain."""
    if count >= FEWEST_JUDGES:
        return ""
    return (
        f"; {count} different ones judge, and {FEWEST_JUDGES} are needed: give more examples, or set "
        "sampling.confidence to 0"
    )


def _unmoved(fitted: FittedGenerator) -> str:
    return AS_THE_BASE if fitted.frozen.start is None else AS_TUNED


def _pairs(fitted: FittedGenerator, config: SamplingConfig) -> list[tuple[float, float]]:
    """The pairs of spread and factor to try. Raises OCDError for a spread of a generator without
    mean."""
    has_mean = fitted.network.diffusion.config.prediction == "x0"
    spreads = SPREADS if config.spread is None else (config.spread,)
    factors = SCALE_FACTORS if config.scale_factor is None else (config.scale_factor,)
    if not has_mean:  # a spread is relative to the mean
        spreads = (1.0 if config.spread is None else config.spread,)
        if spreads[0] != 1:
            raise OCDError("sampling.spread other than 1 needs diffusion.prediction = 'x0'")
    return [(spread, factor) for spread in spreads for factor in factors]


def _losses(
    fitted: FittedGenerator,
    rows: Inputs,
    labels: Targets,
    known: Capture | None,
    judge: EnsembleLoss,
    pairs: list[tuple[float, float]],
) -> Tensor:
    """The base's loss on each example of a chunk, that with the common move, and the ensemble's for
    every pair of spread and factor: (2 + pairs, B)."""
    network, frozen = fitted.network, fitted.frozen
    part, labels = take_excerpt(
        judge.excerpt, rows, labels, judge.excerpt_size, torch.Generator().manual_seed(0)
    )
    capture = known if known is not None and part is rows else frozen.capture(part)
    whole = capture if part is rows else None
    embedding = network.embed(fitted.condition.features(frozen, rows, whole), rows)
    draws = network.raw_codes(embedding, fitted.noise(rows, 0, NUM_DRAWS))
    has_mean = network.diffusion.config.prediction == "x0"
    mean = network.mean_codes(embedding) if has_mean else draws

    def judged(outputs: Tensor) -> Tensor:
        joined = frozen.outputs.joined(outputs.transpose(0, 1), judge.join)
        return example_losses(judge.loss, joined, labels)

    unmoved = [frozen.own_output(capture), capture.output]
    losses = [judged(output[:, None].repeat_interleave(NUM_DRAWS, dim=1)) for output in unmoved]
    for spread, factor in pairs:
        codes = factor * (mean + spread * (draws - mean))
        losses.append(judged(frozen.run(capture, network.codec.decode(codes, capture.positions))))
    return torch.stack(losses)
