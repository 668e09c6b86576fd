"""What `predict` returns, and what it means to be able to predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ocd.base import Capture, Delta, FrozenBase, OutputShift
from ocd.data import (
    GlobalRandom,
    Inputs,
    ResumableLoop,
    in_chunks,
    num_rows,
    rows_at_once,
    take_rows,
    to_device,
)
from ocd.errors import OCDError


@dataclass(frozen=True)
class Prediction:
    """Predictions for B inputs with K draws each.

    `outputs`: f(x; θ + delta) of every draw, (K, B, ...). `mean_network`: the output of the averaged
    deltas, (B, ...). `base`: f(x; θ), (B, ...). `scale`: ‖delta‖ of every draw, (K, B), without the
    common move (ocd.lessons.common_move). The last two are None where a baseline has no delta to speak
    of. `note`: what is to be known about it, if anything. `balanced`: whether draws lie around the
    expected move by construction and not by chance alone, so that a draw depends on K; so it is where
    draws were chosen as a distribution (ocd.generator.placement).
    """

    outputs: Tensor
    mean_network: Tensor
    base: Tensor | None = None
    scale: Tensor | None = None
    note: str = ""
    balanced: bool = False

    @property
    def mean(self) -> Tensor:
        """Mean over the draws, in the outputs' own units (logits stay logits): (B, ...)."""
        return self.outputs.mean(dim=0)

    @property
    def std(self) -> Tensor:
        """Standard deviation over the draws, the spread of the ensemble: (B, ...); 0 for one draw."""
        return self.outputs.std(dim=0, unbiased=False)

    def __len__(self) -> int:
        return self.outputs.shape[1]


class Predictor(Protocol):
    """What every method of a table is: OCD itself, and all that it is compared with."""

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        """Predictions for unseen inputs (B, ...). A method without chance ignores `draws`, `seed`."""
        ...


def predict_in_chunks(
    inputs: Inputs,
    device: torch.device,
    work: Callable[[Inputs, slice], Prediction],
    size: int | None = None,
    random: GlobalRandom | None = None,
) -> Prediction:
    """`work(rows, where)` on chunks of the inputs, moved to the device, as one prediction. `size`: of a
    chunk, at most 256 and fewer of large inputs if not given. `random`: where the work draws from the
    global generator."""
    if num_rows(inputs) == 0:
        raise OCDError("predict needs at least one input")

    def one(where: slice) -> Prediction:
        return work(to_device(take_rows(inputs, where), device), where)

    return joined_chunks(num_rows(inputs), size or rows_at_once(inputs), one, device, random)


def joined_chunks(
    total: int,
    size: int,
    work: Callable[[slice], Prediction],
    device: torch.device,
    random: GlobalRandom | None = None,
) -> Prediction:
    """`work` on slices of `total` rows, as one prediction.

    One that was interrupted goes on behind the last chunk that was saved (ocd.data.resuming), where it
    is made inside something resumable, as when a run predicts. Chunks are cut as before, so that
    methods whose answers depend on their batch give the same ones.
    """
    loop = ResumableLoop("chunks", **({} if random is None else {"random": random}))
    saved = loop.values.setdefault("parts", [])
    parts = [Prediction(**{name: _to(device, value) for name, value in one.items()}) for one in saved]
    chunks = in_chunks(total, size, work, loop.values.get("done", 0))
    for chunk, part in loop.saving_after(chunks):
        parts.append(part)
        saved.append(vars(part))
        loop.values["done"] = chunk.stop
    return join_predictions(parts)


def _to(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def apply_deltas(
    frozen: FrozenBase, capture: Capture, delta: Delta, balanced: bool = False
) -> Prediction:
    """f(x; θ + delta) of a captured batch. `delta`: of each example, or one for all of them.
    `balanced`: its draws."""
    with torch.no_grad():
        outputs, mean = _of_draws_and_mean(frozen, capture, delta)
    norms = delta.norms().expand(len(capture), -1)
    named = frozen.outputs.named
    own = named(frozen.own_output(capture))
    outputs = named(outputs.transpose(0, 1))
    return Prediction(outputs, named(mean), own, norms.T, balanced=balanced)


def unmoved(frozen: FrozenBase, capture: Capture, num_draws: int, note: str) -> Prediction:
    """What the base answers, with the common move if there is one, as the answer of every draw."""
    named = frozen.outputs.named(capture.output)
    outputs = named[None].repeat_interleave(num_draws, dim=0)
    own = frozen.outputs.named(frozen.own_output(capture))
    return Prediction(outputs, named, own, named.new_zeros(num_draws, len(capture)), note)


def _of_draws_and_mean(frozen: FrozenBase, capture: Capture, delta: Delta) -> tuple[Tensor, Tensor]:
    """f(x; θ + delta) of every draw (B, K, ...), and of the averaged deltas (B, ...)."""
    if delta.num_draws == 1:
        outputs = frozen.run(capture, delta)
        return outputs, outputs[:, 0]
    if not frozen.can_be_shifted(capture):
        return frozen.run(capture, delta), frozen.run(capture, delta.mean_draw())[:, 0]
    shift = delta.shift(capture.positions)
    # What the mean delta adds is the mean of what the draws add: it is one draw more.
    every = frozen.run(capture, OutputShift(torch.cat([shift, shift.mean(1, keepdim=True)], dim=1)))
    return every[:, :-1], every[:, -1]


def join_predictions(parts: list[Prediction]) -> Prediction:
    """The chunks of a batch as one prediction."""
    bases = [part.base for part in parts if part.base is not None]
    scales = [part.scale for part in parts if part.scale is not None]
    return Prediction(
        torch.cat([part.outputs for part in parts], dim=1),
        torch.cat([part.mean_network for part in parts]),
        torch.cat(bases) if bases else None,
        torch.cat(scales, dim=1) if scales else None,
        parts[0].note,
        parts[0].balanced,
    )
