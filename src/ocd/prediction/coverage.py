"""Choose the spread of draws by what their intervals cover, where draws are a distribution.

Their centre is judged apart: where the mean of the draws does not gain against the base beyond doubt,
draws lie around the base's own answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ocd.base import Capture, FrozenBase, example_losses
from ocd.data import Targets
from ocd.errors import OCDError
from ocd.generator import HyperNetwork, apart
from ocd.lessons import as_evidence, is_gain
from ocd.prediction.drawing import FittedGenerator
from ocd.prediction.held_out import HeldOut
from ocd.prediction.sampling import FEWEST_JUDGES, EnsembleLoss, SamplingConfig
from ocd.prediction.uncertainty import interval_coverage

SPREADS_TRIED = (0.25, 4.0)
"""The narrowest and the widest spread that is tried."""
CENTRES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the conditional mean that are tried, beside none."""
NUM_DRAWS = 100
"""Draws of each example; their twentieths are the ends of an interval of nine tenths."""


@torch.no_grad()
def choose_spread_by_coverage(
    fitted: FittedGenerator,
    held_out: HeldOut,
    config: SamplingConfig,
    chunk_size: int = 256,
    judge: EnsembleLoss | None = None,
) -> str:
    """Set the network's `spread` to the smallest with which the draws' central interval covers its
    share of the held-out targets; returns a line that says so. `judge`: of the draws' centre, which
    stays the conditional mean without one.

    Raises OCDError for a generator that predicts the noise, and for targets that do not have the shape
    of the outputs.
    """
    network = fitted.network
    if network.diffusion.config.prediction != "x0":
        raise OCDError(
            "sampling.coverage needs diffusion.prediction = 'x0', which has a mean to widen from"
        )
    factor = 1.0 if config.scale_factor is None else config.scale_factor
    drawn = []
    for here, rows, labels, known in held_out.chunks(fitted, chunk_size):
        frozen = here.frozen
        capture = frozen.capture(rows) if known is None else known
        answer = frozen.outputs.named(capture.output)
        _check_shapes(answer, labels)
        embedding = network.embed(fitted.condition.features(frozen, rows, capture), rows)
        draws = network.raw_codes(embedding, fitted.noise(rows, 0, NUM_DRAWS))
        drawn.append((frozen, capture, labels, draws, network.raw_mean(embedding)))
    centre, words = _choose_centre(network, drawn, judge, config, held_out.copy_of())
    count = sum(len(drawn_of[2]) for drawn_of in drawn)

    def covered(spread: float) -> float:
        total = 0.0
        for frozen, capture, labels, draws, mean in drawn:
            codes = factor * (centre * mean + spread * apart(draws, mean))
            delta = network.codec.decode(codes, capture.positions)
            outputs = frozen.outputs.named(frozen.run(capture, delta))
            level = 100 * config.coverage
            total += len(labels) * interval_coverage(outputs.transpose(0, 1), labels, level)
        return total / count

    best = _smallest_spread(covered, 100 * config.coverage)
    network.set_sampling(spread=best, scale_factor=factor, centre=centre)
    return (
        f"sampling: {words}spread {best:g}, with which the central {100 * config.coverage:g} % of the "
        f"draws cover {covered(best):.1f} % of {count} held-out targets, where the paper's way, 1, "
        f"covers {covered(1.0):.1f} %"
    )


def _smallest_spread(covered: Callable[[float], float], wanted: float) -> float:
    """The smallest spread that covers so many per cent: the wider the draws, the more they cover."""
    low, high = SPREADS_TRIED
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (low, middle) if covered(middle) >= wanted else (middle, high)
    return round(high, 2)


def _choose_centre(
    network: HyperNetwork,
    drawn: list[tuple[FrozenBase, Capture, Targets, Tensor, Tensor]],
    judge: EnsembleLoss | None,
    config: SamplingConfig,
    together: Tensor | None,
) -> tuple[float, str]:
    """The share of the conditional mean around which draws lie, and words that say why. `together`:
    which examples are one piece of evidence."""
    if judge is None or not config.confidence:
        return 1.0, ""
    parts = []
    for frozen, capture, labels, _, mean in drawn:
        rows = [example_losses(judge.loss, capture.output, labels)]
        for centre in CENTRES:
            output = frozen.run(capture, network.codec.decode(centre * mean, capture.positions))[:, 0]
            rows.append(example_losses(judge.loss, output, labels))
        parts.append(torch.stack(rows))
    losses = torch.cat(parts, dim=1).double()
    usable = losses[0].isfinite()
    losses = losses[:, usable].nan_to_num(torch.inf)
    if together is not None:
        losses = as_evidence(losses, together.to(usable.device)[usable])
    sure = is_gain(losses[:1] - losses[1:], config.confidence, FEWEST_JUDGES)
    means, base = losses.mean(dim=1).tolist(), float(losses[0].mean())
    allowed = [place for place in range(len(CENTRES)) if sure[place]]
    kind = "examples" if together is None else "groups of examples"
    if not allowed:
        return 0.0, (
            "draws lie around the base's answer, since their mean does not gain beyond doubt on "
            f"{losses.shape[1]} {kind} (loss {min(means[1:]):.4g}, the base {base:.4g}); "
        )
    best = min(allowed, key=lambda place: means[1 + place])
    return CENTRES[best], (
        f"draws lie around {CENTRES[best]:g} of the expected delta, whose loss is "
        f"{means[1 + best]:.4g}, the base's {base:.4g}; "
    )


def _check_shapes(answer: Tensor, labels: Targets) -> None:
    if isinstance(labels, Tensor) and answer.shape == labels.shape:
        return
    found = tuple(labels.shape) if isinstance(labels, Tensor) else "several tensors"
    raise OCDError(
        "sampling.coverage is for continuous targets in the shape of the outputs, not "
        f"{found} for outputs {tuple(answer.shape)}: set it to 0"
    )
