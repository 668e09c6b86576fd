"""Run a frozen base with another delta of one layer for each example.

    frozen = FrozenBase(base, "fc1")
    capture = frozen.capture(inputs)        # one pass: I(x) of Eq. 4
    outputs = frozen.run(capture, delta)    # f(x; θ + delta), (B, K, ...), for K deltas an example

The base is never touched: every pass runs on a private view of it, one for each thread (ocd.base.view).

How a delta is applied is the base's *way*, which `ocd.base.probe` finds by trying on real examples:

* **shift**, the fast way of linear layers and convolutions: the layer's output is moved by delta ·
  vector
  at each position. One plain pass (`capture`) records the outputs of the modules before the layer,
  later passes **replay** them (ocd.base.replay), and at the layer B rows are **widened** to B·K rows,
  one for each draw. Where the base combines them later with tensors of the old batch size (a residual
  connection around the layer) widening is not valid, and the inputs are repeated instead.
* **plain**, for every other parameter: the parameter itself is replaced, one example at a time or
  vectorised (ocd.base.plain).

A base may call the layer several times in one pass, for instance when it works through an example in
chunks. Every call then moves, and such passes are made in full.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.base.capture import Capture, LayerCalls, Watch
from ocd.base.deltas import Delta, DenseDelta, OutputShift
from ocd.base.front import Front
from ocd.base.front_search import find_front, renewed_front
from ocd.base.parameter import MovedParameter
from ocd.base.passes import answer
from ocd.base.plain import kept_answer, plain_outputs
from ocd.base.positions import shift_output, to_positions
from ocd.base.replay import Recording, patched_forward, record, replaying
from ocd.base.view import private_view
from ocd.data import Inputs, call, copied, example_shapes, num_rows, repeat_rows, take_rows, tensors
from ocd.errors import OCDError

MOST_SHAPES = 4
"""Shapes of inputs for which the part in front of the layer is taken apart."""


class FrozenBase(MovedParameter):
    """A base whose weights stay as they are, and the one parameter that deltas are added to.

    `name`: of the layer (ocd.base.layers). `way`: how it moves; None until `probe` has found out.
    `channels_last`: whether passes run on images that lie channels last in memory (ocd.data.copied).
    `outputs`: the form of its answers, which passes give packed into one tensor (ocd.base.outputs).
    `start`: a delta (*weight.shape) that the layer has from the beginning, in all passes; None: the
    layer is the base's own. `notes`: what `probe` noticed. Raises OCDError where there is no such
    layer.
    """

    def answer(self, inputs: Inputs) -> Any:
        """f(x), without gradients; the inputs are not changed."""
        with torch.inference_mode(False), torch.no_grad():
            return self._answer(copied(inputs, self.channels_last), num_rows(inputs))

    def capture(self, inputs: Inputs, keep_positions: bool = True) -> Capture:
        """One pass of the base: i_L(x), a_L(x), f(x). No gradients; f(x) is the base's own answer.

        `keep_positions`: False where i_L and a_L are not needed, which saves memory for large examples
        (they are kept all the same where later passes start from them). Raises OCDError where the layer
        is not reached, is called on inputs of different shapes, or the output is not one tensor (B,
        ...).
        """
        if not self.is_shifted:
            return self._watch(inputs)
        calls = LayerCalls(self.module, self.name, num_rows(inputs), keep_positions)
        original = self.module.forward

        def watched(input: Tensor) -> Tensor:  # named as nn.Linear and the convolutions name it
            recording.close()
            output = original(input)
            calls.add(input, output)
            return output.clone()  # the modules behind the layer may work in place

        with (
            torch.inference_mode(False),
            torch.no_grad(),
            record(self.view, self.module) as recording,
        ):
            own = copied(inputs, self.channels_last)
            with patched_forward(self.module, watched):
                output = self._answer(own, num_rows(inputs))
            recording.check()
            spoils_inputs = any(tensor._version for tensor in tensors(own))
            recording.reusable &= not spoils_inputs
        self._check_reached(calls.leading)
        self._check_output(output, num_rows(inputs))
        layer_input, layer_output, positions = calls.joined()
        self.layer_size = layer_output.numel() // max(1, num_rows(inputs))
        return Capture(
            inputs, positions, layer_input, layer_output, output, self.module, recording,
            tuple(calls.leading), spoils_inputs, self.outputs,
        )  # fmt: skip

    def _watch(self, inputs: Inputs) -> Capture:
        """`capture` of a layer that is moved the plain way: i_L and a_L are what its module was given
        and answered, if these are tensors with a row for each example."""
        with torch.inference_mode(False), torch.no_grad(), Watch(self.module) as watch:
            output = self._answer(copied(inputs, self.channels_last), num_rows(inputs))
        self._check_output(output, num_rows(inputs))
        by_example = self.rows_by_example(take_rows(inputs, slice(0, 1)))
        layer_input, layer_output = watch.rows(num_rows(inputs), output, by_example)
        nothing = output.new_empty(len(output), 0, 1, 0)
        return Capture(
            inputs, nothing, layer_input, layer_output, output, self.module, outputs=self.outputs
        )

    def own_output(self, capture: Capture) -> Tensor:
        """f(x) of the base as its user knows it, without `start`: (B, ...)."""
        if self.start is None:
            return capture.output
        with torch.no_grad():
            back = DenseDelta(self.zeros(1, 1) - self.start.to(self.device))
            return self.run(capture, back)[:, 0]

    def can_be_shifted(self, capture: Capture) -> bool:
        """Whether `run` takes an OutputShift: the layer is shifted, and called once in a pass."""
        return self.is_shifted and len(capture.leading) == 1

    def run(self, capture: Capture, delta: Delta | OutputShift) -> Tensor:
        """f(x; θ + delta) for every example and draw, (B, K, ...). Differentiable in the delta."""
        if isinstance(delta, OutputShift):
            if not self.can_be_shifted(capture):
                raise ValueError(f"layer {self.name!r} is not moved by one shift of its output")
        elif not self.is_shifted:
            return self._run_plain(capture.inputs, delta)
        with self.own_view():
            if self.widen or delta.num_draws == 1:
                output = self.run_widened(capture, delta)
            else:
                output = self.run_repeated(
                    capture, delta, self._repeated_front(capture, delta.num_draws)
                )
        expected = len(capture) * delta.num_draws
        if not isinstance(output, Tensor) or len(output) != expected:
            raise OCDError(
                f"the base gave {len(output)} rows for {expected} after widening at {self.name!r}"
            )
        return output.view(len(capture), delta.num_draws, *output.shape[1:])

    def front(self, inputs: Inputs, capture: Capture | None = None) -> Front | None:
        """The part in front of the layer, taken apart (ocd.base.front): found out once for inputs of
        one shape. None where passes have to start from the inputs, and for many lengths of inputs.
        `capture`: of these inputs, on the present view, if it was made: one pass less."""
        if self.fresh_views or not self.is_shifted:
            return None
        shapes = example_shapes(inputs)
        if shapes not in self._fronts and len(self._fronts) < MOST_SHAPES:
            if shapes in self._older_fronts:
                self._fronts[shapes] = renewed_front(self, inputs, self._older_fronts[shapes], capture)
            else:
                self._fronts[shapes] = find_front(self, inputs)
        return self._fronts.get(shapes)

    def _repeated_front(self, capture: Capture, draws: int) -> Recording | None:
        """The recording of K copies of each example, where there is one on this thread's view."""
        recording = capture.recording
        if recording is None or not recording.reusable or capture.module is not self.module:
            return None
        front = self.front(capture.inputs, capture)
        return None if front is None else front.repeated(capture, draws)

    def run_full(self, inputs: Inputs, delta: Delta) -> Tensor:
        """f(x; θ + delta) of inputs that were not captured, one draw an example: (B, 1, ...).

        A full pass; nothing is recorded.
        """
        if delta.num_draws != 1:
            raise ValueError(f"run_full takes one draw an example, not {delta.num_draws}")
        if not self.is_shifted:
            return self._run_plain(inputs, delta)
        with self.own_view():
            output = self._pass(copied(inputs, self.channels_last), delta)
        return output[:, None]

    def run_plain(self, inputs: Inputs, delta: Delta, vectorized: bool = False) -> Tensor:
        """f(x; θ + delta) the plain way, (B, K, ...): the definition of `run`."""
        batch, draws = num_rows(inputs), delta.num_draws
        dense = delta.as_examples(batch).dense()[:, 0]
        repeated = repeat_rows(inputs, draws)
        weights = (self.weight + dense.reshape(-1, *self.weight.shape)).to(self.weight.dtype)
        name = self.layer.full_name
        if self.fresh_views:
            rows = [take_rows(repeated, slice(i, i + 1)) for i in range(len(weights))]
            answers = [
                self.outputs.pack(kept_answer(self._make_view(), name, weight, row), rows=1)
                for weight, row in zip(weights, rows, strict=True)
            ]
            outputs = torch.cat(answers)
        else:
            outputs = plain_outputs(self.view, name, weights, repeated, self.outputs, vectorized)
        return outputs.view(batch, draws, *outputs.shape[1:])

    def _run_plain(self, inputs: Inputs, delta: Delta) -> Tensor:
        return self.run_plain(
            inputs, delta, vectorized=self.way is not None and self.way.kind == "vectorized"
        )

    def run_widened(self, capture: Capture, delta: Delta | OutputShift) -> Tensor:
        """`run` with B rows widened to B·K at the layer: (B·K, ...)."""
        if not isinstance(delta, OutputShift) and len(capture.leading) > 1:
            return self._pass(self._inputs_to_spend(capture), delta, capture.leading)
        moved = shift_output(self.module, capture.layer_output, delta.shift(capture.positions))
        rows = len(capture) * delta.num_draws
        recording = capture.recording
        # A recording answers for the modules of the view that it was made on.
        if recording is not None and recording.reusable and capture.module is self.module:
            with replaying(recording), patched_forward(self.module, lambda input: moved):
                return self._answer(self._inputs_to_spend(capture), rows)
        return self._patched(self._inputs_to_spend(capture), lambda input: moved, rows)

    def run_repeated(
        self, capture: Capture, delta: Delta | OutputShift, recording: Recording | None = None
    ) -> Tensor:
        """`run` with every input repeated K times: (B·K, ...). `recording`: of these repeated inputs,
        which is replayed."""
        draws = delta.num_draws
        inputs = repeat_rows(capture.inputs, draws)
        if self.channels_last:
            inputs = copied(inputs, channels_last=True)
        if not isinstance(delta, OutputShift) and len(capture.leading) > 1:
            return self._pass(inputs, delta.as_examples(len(capture)))
        moved = shift_output(self.module, capture.layer_output, delta.shift(capture.positions))
        rows = len(capture) * draws
        if recording is None:
            return self._patched(inputs, lambda input: moved, rows)
        with replaying(recording), patched_forward(self.module, lambda input: moved):
            return self._answer(inputs, rows)

    def _pass(self, inputs: Inputs, delta: Delta, leading: tuple[int, ...] = ()) -> Tensor:
        """A full pass in which every call of the layer is moved.

        The first call widens B rows to B·K; later calls may see B·K rows already. `leading`: the
        leading dimension of each call without widening, needed where K > 1.
        """
        batch, draws = num_rows(inputs), delta.num_draws
        every = delta.as_examples(batch) if draws > 1 else delta
        module = self.module
        original = module.forward
        sizes = iter(leading)
        copies = self.way is not None and self.way.copies

        def moved(input: Tensor) -> Tensor:
            widened = draws > 1 and len(input) == draws * next(sizes, 0)
            rows_of, own = (batch * draws, every) if widened else (batch, delta)
            one = isinstance(own, DenseDelta) and own.weight.shape[:2] == (1, 1)
            if one and isinstance(module, nn.Linear):  # one product, where a shift is two and a sum
                weight = (self.weight + own.dense()[0, 0]).to(self.weight.dtype)
                return F.linear(input, weight, module.bias)
            seen = input.clone() if copies else input
            positions = to_positions(module, seen, rows_of, self.name)
            return shift_output(module, original(input), own.shift(positions))

        return self._patched(inputs, moved, batch * draws)

    def _patched(self, inputs: Inputs, forward: Any, rows: int) -> Tensor:
        """A pass that answers `rows` examples, the layer's forward replaced; on a view of its own
        it stays replaced, so that a backward pass finds the view as the forward pass left it."""
        if self.fresh_views:
            self.module.forward = forward
            return self._answer(inputs, rows)
        with patched_forward(self.module, forward):
            return self._answer(inputs, rows)

    def _answer(self, inputs: Inputs, rows: int) -> Any:
        found = answer(self.view, inputs, self.channels_last)
        if not self.outputs.knows(found):
            self._learn_outputs(inputs)
        return self.outputs.pack(found, rows)

    def _learn_outputs(self, inputs: Inputs) -> None:
        """What of the base's answer has a row for each example: found once, on a view of its own."""
        view, one = private_view(self.base), take_rows(inputs, slice(0, 1))
        with torch.no_grad():
            answers = [call(view, copied(repeat_rows(one, times))) for times in (1, 2)]
        self.outputs.learn(*answers)

    def _inputs_to_spend(self, capture: Capture) -> Inputs:
        """The inputs, for one more pass of the base."""
        if self.channels_last or capture.spoils_inputs:
            return copied(capture.inputs, self.channels_last)
        return capture.inputs
