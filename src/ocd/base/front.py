"""What a recording of the part in front of the layer consists of: which of it is needed, and row by
row.

    front = find_front(frozen, inputs)             # ocd.base.front_search
    rows = front.rows(capture)                     # tensors (B, ...): what later passes need
    recording = front.recording(like, rows, B)     # the recording of the examples with these rows
    recording = front.repeated(capture, draws=K)   # or of K copies of each

A replay answers for every module in front of the layer (ocd.base.replay), but the part behind needs
only the last of these answers, and those that a residual connection carries past the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.base.capture import Capture
from ocd.base.outputs import rebuilt
from ocd.base.replay import Call, Recording, flat_tensors


@dataclass(frozen=True)
class Piece:
    """A tensor of a recorded answer. `axis`: along which the examples lie, None for one that is the
    same for every batch. `fold`: rows of an example along it. `shape`: of a batch of one."""

    axis: int | None
    fold: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def by_example(self, tensor: Tensor, batch: int) -> Tensor:
        """(…, B·fold, …) -> (B, fold, …)."""
        assert self.axis is not None
        return tensor.movedim(self.axis, 0).unflatten(0, (batch, self.fold))

    def joined(self, rows: Tensor) -> Tensor:
        """(B, fold, …) -> (…, B·fold, …)."""
        assert self.axis is not None
        return rows.flatten(0, 1).movedim(0, self.axis)

    def fits(self, tensor: Tensor, batch: int) -> bool:
        """Whether it is of this form, for a batch of so many."""
        return tuple(tensor.shape) == self._shape_for(batch) and tensor.dtype == self.dtype

    def placeholder(self, batch: int, device: torch.device) -> Tensor:
        """A tensor of the shape for `batch` examples, that nothing reads: one number in memory. NaN,
        so that an error would show."""
        nothing = torch.nan if self.dtype.is_floating_point else 0
        return torch.full((), nothing, dtype=self.dtype, device=device).expand(self._shape_for(batch))

    def _shape_for(self, batch: int) -> tuple[int, ...]:
        shape = list(self.shape)
        if self.axis is not None:
            shape[self.axis] = batch * self.fold
        return tuple(shape)


@dataclass(frozen=True)
class FrontCall:
    """A recorded call of a module: its tensors, whether they are needed, and the answer's form."""

    pieces: tuple[Piece, ...]
    is_needed: bool
    is_copy: bool
    kind: type

    def fits(self, call: Call, batch: int) -> bool:
        """Whether a call of a batch is of this form."""
        found = flat_tensors(call.output)
        return (type(call.module), call.is_copy, len(found)) == (
            self.kind,
            self.is_copy,
            len(self.pieces),
        ) and all(piece.fits(tensor, batch) for piece, tensor in zip(self.pieces, found, strict=True))


@dataclass(frozen=True)
class Front:
    """The calls in front of the layer, in their order."""

    calls: tuple[FrontCall, ...]

    def fits(self, capture: Capture) -> bool:
        """Whether a capture consists of these calls. Code between modules may look at numbers, and do
        something else for another batch (trim what is padded in all of it, leave a module out)."""
        calls = [] if capture.recording is None else capture.recording.calls
        return len(calls) == len(self.calls) and all(
            form.fits(call, len(capture)) for form, call in zip(self.calls, calls, strict=True)
        )

    def rows(self, capture: Capture) -> dict[str, Tensor]:
        """What later passes need of the examples of a capture: tensors (B, ...), by name."""
        assert capture.recording is not None
        found: dict[str, Tensor] = {}
        for i, (form, call) in enumerate(zip(self.calls, capture.recording.calls, strict=True)):
            if form.is_needed:
                for j, (piece, tensor) in enumerate(
                    zip(form.pieces, flat_tensors(call.output), strict=True)
                ):
                    if piece.axis is not None:
                        found[f"front.{i}.{j}"] = piece.by_example(tensor, len(capture))
        return found

    def recording(self, like: Recording, rows: dict[str, Tensor], batch: int) -> Recording:
        """The recording of `batch` examples with these rows. `like`: of any examples, on the same view:
        its modules, and the tensors that are the same for all."""
        calls = []
        for i, (form, call) in enumerate(zip(self.calls, like.calls, strict=True)):
            old = flat_tensors(call.output)
            new = []
            for j, (piece, tensor) in enumerate(zip(form.pieces, old, strict=True)):
                if piece.axis is None and form.is_needed:
                    new.append(tensor)
                elif form.is_needed:
                    new.append(piece.joined(rows[f"front.{i}.{j}"]))
                else:
                    new.append(piece.placeholder(batch, tensor.device))
            calls.append(Call(call.module, refilled(call.output, iter(new)), [], form.is_copy))
        return Recording(calls)

    def repeated(self, capture: Capture, draws: int, like: Recording | None = None) -> Recording | None:
        """The recording of K copies of each example, one behind the other; None where the capture does
        not consist of these calls. `like`: as `recording` takes it, if it is not the capture's own."""
        if capture.recording is None or not self.fits(capture):
            return None
        rows = {name: v.repeat_interleave(draws, dim=0) for name, v in self.rows(capture).items()}
        return self.recording(like or capture.recording, rows, len(capture) * draws)


def refilled(values: Any, tensors: Iterator[Tensor]) -> Any:
    """An answer of the same form with other tensors. What is neither tensor nor plain value (a cache of
    keys and values) is None: it may hold something of other examples."""
    if isinstance(values, Tensor):
        return next(tensors)
    if isinstance(values, dict):
        return rebuilt(values, {key: refilled(value, tensors) for key, value in values.items()})
    if isinstance(values, tuple | list):
        return rebuilt(values, [refilled(value, tensors) for value in values])
    return values if isinstance(values, str | bytes | bool | int | float | None) else None
