"""How draws are taken from a trained generator: a few numbers, chosen on held-out examples.

Beyond the paper. The generator learns from the deltas of training examples, which the base's own
loss never judged; whether its moves are too long, and its draws too far apart, for examples that it
has not seen is found by trying:

* `scale_factor` multiplies every generated delta;
* `spread` brings each draw nearer to the conditional mean: mean + spread · (draw − mean). Where draws
  are to be a distribution of a continuous target, it is rather what makes their central interval cover
  its share of the held-out targets, and may be above 1 (`coverage`);
* `skip_below` leaves examples as the base answers them whose mean delta is shorter, and saves their
  draws (`skip`; off by default).

1 and 1 are the paper's way, and what the presets `paper` and `released` have.

A base fits the examples that it was trained on, also those that are held out of the generator: judged
on them alone, moves come out too short. Augmented ones are harder than what will come: judged on them
alone, moves come out too long. Where there is a transform, both are used, in equal parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import FrozenBase, Loss, example_losses
from ocd.data import Excerpt, Inputs, num_rows, take_excerpt, take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import Condition, HyperNetwork, example_keys, example_noise
from ocd.prediction.uncertainty import interval_coverage

Join = Callable[[Tensor], Tensor]
"""Outputs of K draws (K, B, ...) -> (B, ...), how they answer as one."""

# Moves are only shortened: longer ones than were learned are a gamble on few examples.
SCALE_FACTORS = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ENOUGH = 512  # examples, augmented copies counted, on which the two numbers are chosen
# Not below a quarter: with no spread at all the draws would be one, and would say nothing of how
# sure they are. Whoever wants the mean alone has mode="mean".
SPREADS = (0.25, 0.5, 0.75, 1.0)
NUM_DRAWS = 5
COVERING_SPREADS = (0.25, 4.0)  # the narrowest and the widest that are tried
NUM_COVERING = 100  # draws, whose twentieths are the ends of an interval of nine tenths


@dataclass(frozen=True)
class SamplingConfig:
    """How draws are taken (beyond the paper; 1 and 1 there)."""

    scale_factor: float | None = None
    """Factor of every generated delta; None chooses it on held-out examples."""
    spread: float | None = None
    """Distance of draws from their mean, over the generated one; None chooses it likewise."""
    coverage: float = 0.0
    """Of a continuous target: the share of held-out examples that the draws' central interval of that
    share is to cover, by which `spread` is chosen in place of the loss; 0: by the loss."""
    skip: float = 0.0
    """Share of the ensemble's gain on held-out examples that may be given up for not moving those
    examples whose mean delta is shortest, which saves the time of their draws; 0: all are moved."""
    mixed_precision: bool = False
    """Products of matrices in bfloat16 while codes are generated, which halves the time of a prediction
    on a device that has them (a CPU with AVX-512 BF16, a GPU); the base itself stays as it is."""

    def __post_init__(self) -> None:
        for name in ("scale_factor", "spread"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise OCDError(f"sampling.{name} is {value:g}: it must be from 0 to 10")
        if not 0 <= self.coverage < 1:
            raise OCDError(f"sampling.coverage is {self.coverage:g}: it must be from 0 to below 1")
        if not 0 <= self.skip < 1:
            raise OCDError(f"sampling.skip is {self.skip:g}: it must be from 0 to below 1")
        if self.skip and self.coverage:
            raise OCDError(
                "sampling.skip goes by the loss, sampling.coverage by intervals: set one of them to 0"
            )


def join_by_mean(outputs: Tensor) -> Tensor:
    """The mean of the outputs themselves, where nothing else is said."""
    return outputs.mean(dim=0)


def keep_sampling(network: HyperNetwork, config: SamplingConfig) -> str:
    """Set what is configured, and 1 where it is open, as where nothing is held out to choose on."""
    network.set_sampling(
        spread=1.0 if config.spread is None else config.spread,
        scale_factor=1.0 if config.scale_factor is None else config.scale_factor,
        skip_below=0.0,
    )
    kept = f"spread {float(network.spread):g} and scale factor {float(network.scale_factor):g}"
    return f"sampling: {kept}, as configured, or since nothing is held out to choose them on"


@torch.no_grad()
def choose_sampling(
    network: HyperNetwork,
    frozen: FrozenBase,
    loss: Loss,
    condition: Condition,
    config: SamplingConfig,
    inputs: Inputs,
    targets: Tensor,
    join: Join = join_by_mean,
    chunk_size: int = 256,
    excerpt: Excerpt | None = None,
    excerpt_size: int = 0,
) -> str:
    """Set the network's `scale_factor` and `spread` to what gives an ensemble of five the smallest
    loss on these (held-out) examples, B of them, and `skip_below` to what is asked of it; returns a
    line that says so.

    Configured values are kept. A generator that predicts the noise has no mean in one pass, so its
    spread stays 1. Examples whose loss is not finite are left out. With an `excerpt` the loss is that
    of one part of each example.
    """
    if config.coverage and config.spread is None:
        return _choose_by_coverage(
            network, frozen, condition, config, _chunks(inputs, targets, frozen.device, chunk_size)
        )
    # A generator of the noise ε cannot be asked for its mean, which a spread is relative to.
    has_mean = network.diffusion.config.prediction == "x0"
    spreads = SPREADS if config.spread is None else (config.spread,)
    factors = SCALE_FACTORS if config.scale_factor is None else (config.scale_factor,)
    if not has_mean:
        spreads = (1.0 if config.spread is None else config.spread,)
        if spreads[0] != 1:
            raise OCDError("sampling.spread other than 1 needs diffusion.prediction = 'x0'")
    pairs = [(spread, factor) for spread in spreads for factor in factors]
    if config.skip and not has_mean:
        raise OCDError("sampling.skip needs diffusion.prediction = 'x0', which has a mean to go by")
    network.set_sampling(spread=1.0, scale_factor=1.0, skip_below=0.0)
    parts, sizes = [], []
    for rows, labels in _chunks(inputs, targets, frozen.device, chunk_size):
        part, labels = take_excerpt(
            excerpt, rows, labels, excerpt_size, torch.Generator().manual_seed(0)
        )
        capture = frozen.capture(part)
        whole = capture if part is rows else None
        embedding = network.embed(condition.features(frozen, rows, whole), rows)
        shape = (network.diffusion.num_noises, *network.diffused_shape)
        draws = network.draw_code(embedding, example_noise(example_keys(rows), 0, NUM_DRAWS, shape))
        mean = network.mean_code(embedding) if has_mean else draws
        losses = [example_losses(loss, capture.output, labels)]  # the base's own come first
        for spread, factor in pairs:
            code = factor * (mean + spread * (draws - mean))
            outputs = frozen.run(capture, network.codec.decode(code, capture.positions))
            losses.append(example_losses(loss, join(outputs.transpose(0, 1)), labels))
        parts.append(torch.stack(losses))
        sizes.append(network.sizes(mean))
    every = torch.cat(parts, dim=1)  # (1 + pairs, B)
    finite = every.isfinite().all(dim=0)
    every, sizes_of_mean = every[:, finite].double(), torch.cat(sizes)[finite]
    if not every.shape[1]:
        return keep_sampling(network, config)
    means = dict(zip(pairs, every[1:].mean(dim=1).tolist(), strict=True))
    best = min(pairs, key=lambda pair: (means[pair], abs(pair[1] - 1)))
    network.set_sampling(spread=best[0], scale_factor=best[1])
    skipped = ""
    if config.skip:
        of_best = every[1 + pairs.index(best)]
        skipped = _choose_skip(network, config.skip, best[1] * sizes_of_mean, every[0], of_best)
    plain = means.get((1.0, 1.0))
    as_paper = f", where the paper's way, 1 and 1, has {plain:.4g}" if plain is not None else ""
    return (
        f"sampling: spread {best[0]:g} and scale factor {best[1]:g}, with which an ensemble of "
        f"{NUM_DRAWS} has the loss {means[best]:.4g} on {every.shape[1]} held-out examples "
        f"(augmented copies counted){as_paper}{skipped}"
    )


def _choose_skip(
    network: HyperNetwork, share: float, sizes: Tensor, base: Tensor, moved: Tensor
) -> str:
    """Set `skip_below` to the largest size of mean delta below which examples may be left as they
    are, the mean loss rising by at most `share` of what moving gains; all (B,). Returns the end of a
    line."""
    order = sizes.argsort()
    gains = (base - moved)[order]
    lost = gains.cumsum(dim=0)  # by leaving the first one, two, ... of them
    allowed = (lost <= share * gains.sum()).nonzero()[:, 0]
    if gains.sum() <= 0 or not len(allowed):
        return "; moving gains nothing that could be saved, so that none are skipped"
    count = int(allowed[-1]) + 1
    ordered = sizes[order]
    threshold = float(ordered[count]) if count < len(ordered) else 2 * float(ordered[-1])
    network.set_sampling(skip_below=threshold)
    return (
        f"; examples whose mean delta is below {threshold:.3g} are left as they are, {count} of "
        f"{len(ordered)}, for {100 * float(lost[count - 1] / gains.sum()):.1f} % of the gain"
    )


@torch.no_grad()
def _choose_by_coverage(
    network: HyperNetwork,
    frozen: FrozenBase,
    condition: Condition,
    config: SamplingConfig,
    chunks: Iterator[tuple[Inputs, Tensor]],
) -> str:
    """Set the network's `spread` to the smallest whose draws' central interval covers its share of the
    held-out targets; returns a line that says so. Raises OCDError where it cannot be."""
    if network.diffusion.config.prediction != "x0":
        raise OCDError(
            "sampling.coverage needs diffusion.prediction = 'x0', which has a mean to widen from"
        )
    factor = 1.0 if config.scale_factor is None else config.scale_factor
    held_out = []
    for rows, labels in chunks:
        capture = frozen.capture(rows)
        if capture.output.shape != labels.shape:
            raise OCDError(
                "sampling.coverage is for continuous targets in the shape of the outputs, not "
                f"{tuple(labels.shape)} for outputs {tuple(capture.output.shape)}: set it to 0"
            )
        embedding = network.embed(condition.features(frozen, rows, capture), rows)
        shape = (network.diffusion.num_noises, *network.diffused_shape)
        noise = example_noise(example_keys(rows), 0, NUM_COVERING, shape)
        drawn = network.draw_code(embedding, noise), network.mean_code(embedding)
        held_out.append((capture, labels, *drawn))
    count = sum(len(labels) for _, labels, _, _ in held_out)

    def covered(spread: float) -> float:
        total = 0.0
        for capture, labels, draws, mean in held_out:
            code = factor * (mean + spread * (draws - mean))
            outputs = frozen.run(capture, network.codec.decode(code, capture.positions)).transpose(0, 1)
            total += len(labels) * interval_coverage(outputs, labels, 100 * config.coverage)
        return total / count

    low, high = COVERING_SPREADS
    for _ in range(10):  # the wider the draws, the more is covered
        middle = (low + high) / 2
        low, high = (low, middle) if covered(middle) >= 100 * config.coverage else (middle, high)
    best = round(high, 2)
    network.set_sampling(spread=best, scale_factor=factor, skip_below=0.0)
    return (
        f"sampling: spread {best:g}, with which the central {100 * config.coverage:g} % of the draws "
        f"cover {covered(best):.1f} % of {count} held-out targets, where the paper's way, 1, covers "
        f"{covered(1.0):.1f} %"
    )


def _chunks(
    inputs: Inputs, targets: Tensor, device: torch.device, size: int
) -> Iterator[tuple[Inputs, Tensor]]:
    for start in range(0, num_rows(inputs), size):
        where = slice(start, start + size)
        yield to_device(take_rows(inputs, where), device), targets[where].to(device)
