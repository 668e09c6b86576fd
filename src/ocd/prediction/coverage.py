"""Choose the spread of draws by what their intervals cover, where draws are a distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.data import Targets
from ocd.errors import OCDError
from ocd.prediction.drawing import FittedGenerator
from ocd.prediction.held_out import HeldOut
from ocd.prediction.sampling import SamplingConfig
from ocd.prediction.uncertainty import interval_coverage

SPREADS_TRIED = (0.25, 4.0)
"""The narrowest and the widest spread that is tried."""
NUM_DRAWS = 100
"""Draws of each example; their twentieths are the ends of an interval of nine tenths."""


@torch.no_grad()
def choose_spread_by_coverage(
    fitted: FittedGenerator, held_out: HeldOut, config: SamplingConfig, chunk_size: int = 256
) -> str:
    """Set the network's `spread` to the smallest with which the draws' central interval covers its
    share of the held-out targets; returns a line that says so.

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
        drawn.append((frozen, capture, labels, draws, network.mean_codes(embedding)))
    count = sum(len(drawn_of[2]) for drawn_of in drawn)

    def covered(spread: float) -> float:
        total = 0.0
        for frozen, capture, labels, draws, mean in drawn:
            codes = factor * (mean + spread * (draws - mean))
            delta = network.codec.decode(codes, capture.positions)
            outputs = frozen.outputs.named(frozen.run(capture, delta))
            level = 100 * config.coverage
            total += len(labels) * interval_coverage(outputs.transpose(0, 1), labels, level)
        return total / count

    low, high = SPREADS_TRIED
    for _ in range(10):  # the wider the draws, the more they cover
        middle = (low + high) / 2
        low, high = (low, middle) if covered(middle) >= 100 * config.coverage else (middle, high)
    best = round(high, 2)
    network.set_sampling(spread=best, scale_factor=factor)
    return (
        f"sampling: spread {best:g}, with which the central {100 * config.coverage:g} % of the draws "
        f"cover {covered(best):.1f} % of {count} held-out targets, where the paper's way, 1, covers "
        f"{covered(1.0):.1f} %"
    )


def _check_shapes(answer: Tensor, labels: Targets) -> None:
    if isinstance(labels, Tensor) and answer.shape == labels.shape:
        return
    found = tuple(labels.shape) if isinstance(labels, Tensor) else "several tensors"
    raise OCDError(
        "sampling.coverage is for continuous targets in the shape of the outputs, not "
        f"{found} for outputs {tuple(answer.shape)}: set it to 0"
    )
