"""What a recording of the part in front of the layer consists of: which of it is needed, and row by
row.

    front = find_front(frozen, inputs)             # None where it cannot be taken apart
    rows = front.rows(capture)                     # tensors (B, ...): what later passes need
    recording = front.recording(like, rows, B)     # the recording of the examples with these rows
    recording = front.repeated(capture, draws=K)   # or of K copies of each

A replay answers for every module in front of the layer (ocd.base.replay), but the part behind needs
only the last of these answers, and those that a residual connection carries past the layer. Which
these are is found by trying: an answer that can be replaced by NaN without a trace is not needed.
Where an example's rows lie in an answer is found by two batch sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ocd.base.capture import Capture
from ocd.base.deltas import DenseDelta
from ocd.base.outputs import rebuilt
from ocd.base.replay import Call, Recording, flat_tensors
from ocd.data import Inputs, is_out_of_memory, num_rows, take_rows

if TYPE_CHECKING:
    from ocd.base.frozen_base import FrozenBase


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

    def placeholder(self, batch: int, device: torch.device) -> Tensor:
        """A tensor of the shape for `batch` examples, that nothing reads: one number in memory."""
        shape = list(self.shape)
        if self.axis is not None:
            shape[self.axis] = batch * self.fold
        return torch.zeros((), dtype=self.dtype, device=device).expand(shape)


@dataclass(frozen=True)
class FrontCall:
    """A recorded call of a module: its tensors, whether they are needed, and the answer's form."""

    pieces: tuple[Piece, ...]
    is_needed: bool
    is_copy: bool


@dataclass(frozen=True)
class Front:
    """The calls in front of the layer, in their order."""

    calls: tuple[FrontCall, ...]

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

    def repeated(self, capture: Capture, draws: int) -> Recording:
        """The recording of K copies of each example, one behind the other."""
        assert capture.recording is not None
        rows = {name: v.repeat_interleave(draws, dim=0) for name, v in self.rows(capture).items()}
        return self.recording(capture.recording, rows, len(capture) * draws)


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


def find_front(frozen: FrozenBase, inputs: Inputs) -> Front | None:
    """Take the part in front of the layer apart, and prove on three examples that passes which start
    from its pieces answer as whole passes do. None where that is not so."""
    index = torch.arange(3) % num_rows(inputs)
    few, fewer = take_rows(inputs, index), take_rows(inputs, index[:2])
    try:
        with torch.no_grad():
            capture, smaller = frozen.capture(few), frozen.capture(fewer)
            calls = _forms(capture, smaller)
            if calls is None:
                return None
            delta = _trial_delta(frozen)
            front = Front(_only_needed(frozen, capture, calls, delta))
            return front if _is_right(frozen, front, capture, delta) else None
    except Exception as error:  # whatever fails: passes are made in full then
        if is_out_of_memory(error):
            raise
        return None


def _trial_delta(frozen: FrozenBase) -> DenseDelta:
    noise = torch.randn(3, 2, *frozen.weight_shape, generator=torch.Generator().manual_seed(0))
    size = 0.1 * float(frozen.weight.float().square().mean().sqrt()) or 0.01
    return DenseDelta(noise.to(frozen.zeros()) * size)


def _forms(capture: Capture, smaller: Capture) -> tuple[FrontCall, ...] | None:
    """The form of each recorded call, by its tensors for three and for two examples."""
    of_three, of_two = capture.recording, smaller.recording
    if of_three is None or of_two is None or not of_three.reusable or len(capture.leading) != 1:
        return None
    if [call.module for call in of_three.calls] != [call.module for call in of_two.calls]:
        return None
    forms = []
    for one, two in zip(of_three.calls, of_two.calls, strict=True):
        pairs = list(zip(flat_tensors(one.output), flat_tensors(two.output), strict=True))
        pieces = [_piece(*pair) for pair in pairs]
        if any(piece is None for piece in pieces):
            return None
        forms.append(FrontCall(tuple(piece for piece in pieces if piece), True, one.is_copy))
    return tuple(forms)


def _piece(three: Tensor, two: Tensor) -> Piece | None:
    if three.dim() != two.dim():
        return None
    axes = [d for d in range(three.dim()) if three.shape[d] != two.shape[d]]
    if not axes:
        return Piece(None, 1, tuple(three.shape), three.dtype)
    axis, fold = axes[0], three.shape[axes[0]] // 3
    if len(axes) > 1 or (three.shape[axis], two.shape[axis]) != (3 * fold, 2 * fold):
        return None
    shape = (*three.shape[:axis], fold, *three.shape[axis + 1 :])
    return Piece(axis, fold, tuple(shape), three.dtype)


def _only_needed(
    frozen: FrozenBase, capture: Capture, calls: tuple[FrontCall, ...], delta: DenseDelta
) -> tuple[FrontCall, ...]:
    """The calls, marked by whether the part behind the layer needs them."""
    assert capture.recording is not None
    one = DenseDelta(delta.weight[:, :1])
    wanted = frozen.run_repeated(capture, one)
    kept = capture.recording.calls

    def is_right(needed: list[bool]) -> bool:
        spoiled = [
            call if keep else Call(call.module, _spoiled(call.output), [], call.is_copy)
            for call, keep in zip(kept, needed, strict=True)
        ]
        try:
            found = frozen.run_repeated(capture, one, Recording(spoiled))
        except Exception as error:  # code between modules may refuse what is no answer
            if is_out_of_memory(error):
                raise
            return False
        return found.shape == wanted.shape and torch.allclose(found, wanted, 1e-4, 1e-5, equal_nan=True)

    needed = _fewest(len(calls), is_right)
    return tuple(
        FrontCall(call.pieces, keep, call.is_copy) for call, keep in zip(calls, needed, strict=True)
    )


def _fewest(count: int, is_right: Callable[[list[bool]], bool]) -> list[bool]:
    """The calls that cannot be left out. Most often it is none, or the last one."""
    for start in (count, count - 1):
        needed = [i >= start for i in range(count)]
        if start >= 0 and is_right(needed):
            return needed
    needed = [True] * count
    for i in range(count):
        needed[i] = False
        needed[i] = not is_right(needed)
    return needed


def _spoiled(output: Any) -> Any:
    new = [
        torch.full_like(t, torch.nan) if t.is_floating_point() else torch.zeros_like(t)
        for t in flat_tensors(output)
    ]
    return refilled(output, iter(new))


def _is_right(frozen: FrozenBase, front: Front, capture: Capture, delta: DenseDelta) -> bool:
    """Passes that start from the pieces answer as whole passes, for one draw and for two."""
    for draws in (1, 2):
        some = DenseDelta(delta.weight[:, :draws])
        wanted = frozen.run_repeated(capture, some)
        found = frozen.run_repeated(capture, some, front.repeated(capture, draws))
        if found.shape != wanted.shape or not torch.allclose(found, wanted, 1e-4, 1e-5, equal_nan=True):
            return False
    return True
