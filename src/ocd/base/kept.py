"""A capture as tensors with a row for each example, to keep, and back.

    rows = capture_rows(frozen, capture)                    # name -> (B, ...), or None
    capture = restored_capture(frozen, like, inputs, some)  # of any of these rows, in any order

What is kept is the layer's input and output, f(x), and what goes around the layer (ocd.base.front): as
little as the part behind the layer can be run from. The vectors that a convolution's weight multiplies
are made anew from the layer's input, since they are larger than it by the size of the kernel.
"""

from __future__ import annotations

from torch import Tensor

from ocd.base.capture import Capture
from ocd.base.front import Front
from ocd.base.frozen_base import FrozenBase
from ocd.base.positions import to_positions
from ocd.data import Inputs


def capture_rows(
    frozen: FrozenBase, capture: Capture, front: Front | None = None
) -> dict[str, Tensor] | None:
    """What has to be kept of each example of a capture, (B, ...); None where it would not be enough: a
    layer that is called several times, or a front that cannot be taken apart. `front`: if it was."""
    rows = {"output": capture.output}
    if not capture.leading:  # moved the plain way: passes start from the inputs in any case
        return rows | {"layer_input": capture.layer_input, "layer_output": capture.layer_output}
    front = front or frozen.front(capture.inputs)
    if front is None or len(capture.leading) > 1 or not front.fits(capture):
        return None
    batch = len(capture)
    rows["layer_input"] = capture.layer_input.unflatten(0, (batch, -1))
    rows["layer_output"] = capture.layer_output.unflatten(0, (batch, -1))
    return rows | front.rows(capture)


def restored_capture(
    frozen: FrozenBase,
    like: Capture,
    inputs: Inputs,
    rows: dict[str, Tensor],
    front: Front | None = None,
) -> Capture:
    """The capture of examples with these rows. `like`: of any examples, on the same view. `front`: by
    which the rows were taken."""
    output, batch = rows["output"], len(rows["output"])
    if not like.leading:
        nothing = output.new_empty(batch, 0, 1, 0)
        return Capture(
            inputs, nothing, rows["layer_input"], rows["layer_output"], output, like.module,
            outputs=frozen.outputs,
        )  # fmt: skip
    front = front or frozen.front(inputs)
    assert front is not None and like.recording is not None
    layer_input, layer_output = rows["layer_input"].flatten(0, 1), rows["layer_output"].flatten(0, 1)
    positions = to_positions(like.module, layer_input, batch, frozen.name)
    recording = front.recording(like.recording, rows, batch)
    return Capture(
        inputs, positions, layer_input, layer_output, output, like.module, recording,
        (len(layer_input),), False, frozen.outputs,
    )  # fmt: skip
