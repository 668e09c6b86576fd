"""Take the part in front of the layer apart: find which answers a replay needs, and prove it.

    front = find_front(frozen, inputs)            # None where it cannot be taken apart
    front = renewed_front(frozen, inputs, front)  # after the base may have changed

Which answers are needed is found by following what the operations of a replay do with them
(ocd.base.dependence): numbers could hide it. Where an example's rows lie in an answer is found by two
batch sizes. Both are then proven by numbers, on three examples.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ocd.base.capture import Capture
from ocd.base.deltas import DenseDelta
from ocd.base.dependence import Dependence
from ocd.base.exact import exact_products
from ocd.base.examples import finite_rows, unlike_examples
from ocd.base.front import Front, FrontCall, Piece, refilled
from ocd.base.passes import answer
from ocd.base.replay import Call, Recording, flat_tensors, patched_forward, replaying
from ocd.data import Inputs, copied, is_out_of_memory, take_rows, tensors

if TYPE_CHECKING:
    from ocd.base.frozen_base import FrozenBase

MOST_TRIED = 64
"""Examples among which three with finite answers are looked for."""
EXAMPLES = -1
"""The mark of the inputs, and of the layer's output: beside the numbers of the calls."""


@exact_products()
def find_front(frozen: FrozenBase, inputs: Inputs) -> Front | None:
    """Take the part in front of the layer apart, and prove on three examples that passes which start
    from its pieces answer as whole passes do. None where that is not so."""
    try:
        with torch.no_grad():
            capture = _finite_capture(frozen, inputs)
            if capture is None:
                return None
            smaller = frozen.capture(take_rows(capture.inputs, torch.tensor([2, 1])))
            calls = _forms(capture, smaller)
            if calls is None:
                return None
            front = Front(_only_needed(frozen, capture, calls))
            return front if _is_right(frozen, front, capture, smaller) else None
    except Exception as error:  # whatever fails: passes are made in full then
        if is_out_of_memory(error):
            raise
        return None


@exact_products()
def renewed_front(
    frozen: FrozenBase, inputs: Inputs, front: Front | None, capture: Capture | None = None
) -> Front | None:
    """`front` of before, if a replay still needs the same of it; else the part in front is taken apart
    anew. A constant of the base may have brought something around the layer. `capture`: of the inputs
    on the present view, if it was made; else three examples are asked for."""
    if front is None:
        return None
    try:
        with torch.no_grad():
            capture = capture or frozen.capture(take_rows(inputs, unlike_examples(inputs)))
            if front.fits(capture) and _only_needed(frozen, capture, front.calls) == front.calls:
                return front
    except Exception as error:
        if is_out_of_memory(error):
            raise
    return find_front(frozen, inputs)


def _finite_capture(frozen: FrozenBase, inputs: Inputs) -> Capture | None:
    """The capture of three examples that are unlike: of those whose answers are finite, since a base
    that answers NaN to them proves nothing. None where there are no such examples."""
    capture = frozen.capture(take_rows(inputs, unlike_examples(inputs)))
    if finite_rows(capture.output).all():
        return capture
    some = take_rows(inputs, slice(0, MOST_TRIED))
    finite = finite_rows(frozen.capture(some).output).nonzero()[:, 0]
    if not len(finite):
        return None
    some = take_rows(some, finite)
    return frozen.capture(take_rows(some, unlike_examples(some)))


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
        kept = tuple(piece for piece in pieces if piece)
        forms.append(FrontCall(kept, True, one.is_copy, type(one.module)))
    return tuple(forms)


def _piece(three: Tensor, two: Tensor) -> Piece | None:
    if three.dim() != two.dim():
        return None
    axes = [d for d in range(three.dim()) if three.shape[d] != two.shape[d]]
    if not axes and not _equal(three, two):
        return None  # made of the whole batch
    if not axes:
        return Piece(None, 1, tuple(three.shape), three.dtype)
    axis, fold = axes[0], three.shape[axes[0]] // 3
    if len(axes) > 1 or (three.shape[axis], two.shape[axis]) != (3 * fold, 2 * fold):
        return None
    shape = (*three.shape[:axis], fold, *three.shape[axis + 1 :])
    return Piece(axis, fold, tuple(shape), three.dtype)


class _Given(Call):
    """A call that marks what it answers, and holds it no longer."""

    def __init__(self, call: Call, number: int, dependence: Dependence) -> None:
        # In memory of its own: answers may share theirs with inputs and with each other.
        output = refilled(call.output, iter([t.clone() for t in flat_tensors(call.output)]))
        super().__init__(call.module, output, [], call.is_copy)
        self.number, self.dependence = number, dependence

    def answer(self) -> Any:
        output, self.output = super().answer(), None
        self.dependence.mark(output, self.number)
        return output


def _only_needed(
    frozen: FrozenBase, capture: Capture, calls: tuple[FrontCall, ...]
) -> tuple[FrontCall, ...]:
    """The calls, marked by whether the base's answer depends on theirs in a replay. Where code between
    the modules looks at numbers, and may do something else with others: whether it could, since
    their answers were not yet given up when it looked, or when the layer was reached."""
    assert capture.recording is not None
    dependence = Dependence()
    given: list[Call] = [
        _Given(call, number, dependence) for number, call in enumerate(capture.recording.calls)
    ]
    inputs, moved = copied(capture.inputs, frozen.channels_last), capture.layer_output.clone()
    for values in (tensors(inputs), moved):
        dependence.mark(values, EXAMPLES)

    def layer(input: Tensor) -> Tensor:
        dependence.hold()
        return moved

    with (
        replaying(Recording(given)),
        patched_forward(frozen.module, layer),
        dependence.traced(),
    ):
        found = answer(frozen.view, inputs, frozen.channels_last)
        needed = dependence.of(frozen.outputs.pack(found, len(capture)))
    if dependence.is_read:
        needed |= dependence.held
    return tuple(replace(call, is_needed=number in needed) for number, call in enumerate(calls))


def _is_right(frozen: FrozenBase, front: Front, capture: Capture, smaller: Capture) -> bool:
    """Passes that start from the pieces answer as whole passes. They come first: modules that remember
    something of a whole pass have it of the smaller batch then, and are found out."""
    delta = _trial_delta(frozen)
    recording = front.repeated(capture, delta.num_draws, smaller.recording)
    if recording is None:
        return False
    found = frozen.run_repeated(capture, delta, recording)
    wanted = frozen.run_repeated(capture, delta)
    return found.shape == wanted.shape and bool(wanted.isfinite().any()) and _equal(found, wanted)


def _equal(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    return torch.allclose(one, other, 1e-4, 1e-5, equal_nan=True)
