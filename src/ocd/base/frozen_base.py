"""Run a frozen base with another delta of one layer for each example.

    frozen = FrozenBase(base, "fc1")
    capture = frozen.capture(inputs)        # one pass: I(x) of Eq. 4
    outputs = frozen.run(capture, delta)    # f(x; θ + delta), (B, K, ...), for K deltas an example

The base is never changed: what has to be set (eval mode, no gradients, the layer's `forward`) is
restored in `finally`. Three ideas make it fast:

* **capture**: one plain pass gives I(x) and records the outputs of the modules that finish before the
  layer is reached.
* **replay**: a later pass over the same inputs takes these outputs from the recording, so that only the
  part of the base behind the layer is computed again (ocd.base.replay).
* **widen**: at the layer B rows become B·K rows, one for each of an example's K deltas. Where the base
  combines them later with tensors of the old batch size (a residual connection around the layer),
  widening is not valid, and the inputs are repeated instead. `ocd.base.probe` finds out which.

A base may call the layer several times in one pass, for instance when it works through an example in
chunks. Every call then moves. What the layer sees may depend on the delta, so such passes are made in
full, and the shift is computed from the input of each call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.base.capture import Capture, LayerCalls
from ocd.base.deltas import Delta, DenseDelta
from ocd.base.layers import find_layer
from ocd.base.passes import answer, eval_mode
from ocd.base.positions import shift_output, to_positions
from ocd.base.replay import patched_forward, record, replaying
from ocd.data import Inputs, copied, map_tensors, num_rows, tensors
from ocd.errors import OCDError


class FrozenBase:
    """A base whose weights stay as they are, and the one layer that deltas are added to.

    `name`: of the layer. `widen`: whether K deltas share one pass up to the layer; None until `probe`
    has tried it. `channels_last`: whether passes run on images that lie channels last in memory
    (ocd.data.copied). Raises OCDError where the layer cannot be moved (ocd.base.layers).
    """

    def __init__(
        self, base: nn.Module, name: str, widen: bool | None = None, channels_last: bool = False
    ) -> None:
        self.base = base
        self.name = name
        self.module = find_layer(base, name)
        weight = self.module.weight
        assert isinstance(weight, Tensor)  # find_layer lets no other through
        self.weight = weight
        self.widen = widen
        self.channels_last = channels_last

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the layer's weight, which every delta has."""
        return tuple(self.weight.shape)

    @property
    def device(self) -> torch.device:
        """Where the base computes."""
        return self.weight.device

    def capture(self, inputs: Inputs, keep_positions: bool = True) -> Capture:
        """One pass of the base: i_L(x), a_L(x), f(x). No gradients; f(x) is the base's own answer.

        `keep_positions`: False where i_L and a_L are not needed, which saves memory for large examples
        (they are kept all the same where later passes start from them). Raises OCDError where the layer
        is not reached, is called on inputs of different shapes, or the output is not one tensor (B,
        ...).
        """
        calls = LayerCalls(self.module, self.name, num_rows(inputs), keep_positions)
        original = self.module.forward

        def watched(input: Tensor) -> Tensor:  # named as nn.Linear and the convolutions name it
            recording.close()
            output = original(input)
            calls.add(input, output)
            return output.clone()  # the modules behind the layer may work in place

        with torch.no_grad(), eval_mode(self.base), record(self.base, self.module) as recording:
            own = copied(inputs, self.channels_last)
            with patched_forward(self.module, watched):
                output = self._answer(own)
            recording.check()
            spoils_inputs = any(tensor.is_inference() or tensor._version for tensor in tensors(own))
            recording.reusable &= not spoils_inputs
        self._check_reached(calls.leading)
        self._check_output(output, num_rows(inputs))
        layer_input, layer_output, positions = calls.joined()
        return Capture(
            inputs, positions, layer_input, layer_output, output, self.module, recording,
            tuple(calls.leading), spoils_inputs,
        )  # fmt: skip

    def run(self, capture: Capture, delta: Delta) -> Tensor:
        """f(x; θ + delta) for every example and draw, (B, K, ...). Differentiable in the delta."""
        with eval_mode(self.base):
            if self.widen or delta.num_draws == 1:
                output = self.run_widened(capture, delta)
            else:
                output = self.run_repeated(capture, delta)
        expected = len(capture) * delta.num_draws
        if not isinstance(output, Tensor) or len(output) != expected:
            raise OCDError(
                f"the base gave {len(output)} rows for {expected} after widening at {self.name!r}"
            )
        return output.view(len(capture), delta.num_draws, *output.shape[1:])

    def run_full(self, inputs: Inputs, delta: Delta) -> Tensor:
        """f(x; θ + delta) of inputs that were not captured, one draw an example: (B, 1, ...).

        A full pass; nothing is recorded.
        """
        if delta.num_draws != 1:
            raise ValueError(f"run_full takes one draw an example, not {delta.num_draws}")
        with eval_mode(self.base):
            output = self._pass(copied(inputs, self.channels_last), delta)
        return output[:, None]

    def run_widened(self, capture: Capture, delta: Delta) -> Tensor:
        """`run` with B rows widened to B·K at the layer: (B·K, ...)."""
        if len(capture.leading) > 1:
            return self._pass(self._inputs_to_spend(capture), delta, capture.leading)
        moved = shift_output(self.module, capture.layer_output, delta.shift(capture.positions))
        if capture.recording.reusable:
            with (
                replaying(capture.recording),
                patched_forward(self.module, lambda input: moved),
            ):
                return self._answer(self._inputs_to_spend(capture))
        with patched_forward(self.module, lambda input: moved):
            return self._answer(self._inputs_to_spend(capture))

    def _answer(self, inputs: Inputs) -> Any:
        return answer(self.base, inputs, self.channels_last)

    def _inputs_to_spend(self, capture: Capture) -> Inputs:
        """The inputs, for one more pass of the base."""
        if self.channels_last or capture.spoils_inputs:
            return copied(capture.inputs, self.channels_last)
        return capture.inputs

    def run_repeated(self, capture: Capture, delta: Delta) -> Tensor:
        """`run` with every input repeated K times: (B·K, ...), right for any base."""
        draws = delta.num_draws
        inputs = map_tensors(lambda x: x.repeat_interleave(draws, dim=0), capture.inputs)
        if self.channels_last:
            inputs = copied(inputs, channels_last=True)
        if len(capture.leading) > 1:
            return self._pass(inputs, delta.as_examples(len(capture)))
        moved = shift_output(self.module, capture.layer_output, delta.shift(capture.positions))
        with patched_forward(self.module, lambda input: moved):
            return self._answer(inputs)

    def _pass(self, inputs: Inputs, delta: Delta, leading: tuple[int, ...] = ()) -> Tensor:
        """A full pass in which every call of the layer is moved.

        The first call widens B rows to B·K; later calls may see B·K rows already. `leading`: the
        leading dimension of each call without widening, needed where K > 1.
        """
        batch, draws = num_rows(inputs), delta.num_draws
        every = delta.as_examples(batch) if draws > 1 else delta
        original = self.module.forward
        seen = iter(leading)

        def moved(input: Tensor) -> Tensor:
            widened = draws > 1 and len(input) == draws * next(seen, 0)
            rows_of, own = (batch * draws, every) if widened else (batch, delta)
            one = isinstance(own, DenseDelta) and own.weight.shape[:2] == (1, 1)
            if one and isinstance(
                self.module, nn.Linear
            ):  # one product, where a shift is two and a sum
                return F.linear(input, self.weight + own.dense()[0, 0], self.module.bias)
            rows = to_positions(self.module, input, rows_of, self.name)
            return shift_output(self.module, original(input), own.shift(rows))

        with patched_forward(self.module, moved):
            output = self._answer(inputs)
        return output

    def _check_reached(self, leading: list[int]) -> None:
        if not leading:
            raise OCDError(
                f"layer {self.name!r} is not reached by forward (a module may use its weight without "
                "calling it, as nn.MultiheadAttention does): choose another layer"
            )

    def _check_output(self, output: object, batch: int) -> None:
        if not isinstance(output, Tensor):
            raise OCDError(
                f"the base returns a {type(output).__name__}: wrap it so that it returns one tensor"
            )
        if output.dim() == 0 or len(output) != batch:
            raise OCDError(
                f"the base returns shape {tuple(output.shape)} for {batch} examples: "
                "the leading dimension must be the batch"
            )
