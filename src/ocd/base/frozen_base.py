"""Find a layer of a frozen base, see what passes through it, run the base with a delta per row.

The base is never changed: what must be set (eval mode, no gradients, a layer's `forward`) is put
back in `finally`. All of it is done by three moves:

* **capture** one plain pass gives I(x) = (i_L, a_L, f(x)), Eq. 4, and remembers the outputs of the
  modules that finished in front of the layer;
* **replay** a later pass over the same inputs answers those modules from memory, so only the part
  behind the layer is computed again;
* **widen** at the layer, B rows become B·K rows, one for each of the K deltas of an example. Where
  the base mixes in tensors of the old batch size (a residual connection around the layer) widening
  is not valid, and the inputs are repeated instead.

A layer may be used several times in one pass (a base that works through an example in chunks, or that
comes back to the layer). It then moves in all its uses; what it sees there may depend on the delta, so
passes are made in full, and the shift is computed of what each use is given.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.base.capture import Capture, Uses
from ocd.base.deltas import Delta, DenseDelta
from ocd.base.layers import find_layer, list_layers
from ocd.base.passes import answer, eval_mode, run_without_delta
from ocd.base.positions import shift_output, to_positions
from ocd.base.replay import patched_forward, record, replaying
from ocd.data import Inputs, copied, is_out_of_memory, map_tensors, num_rows, take_rows, tensors
from ocd.errors import OCDError


class FrozenBase:
    """A frozen base, frozen at one layer.

    `widen` says whether K deltas share one pass through the part in front of the layer; None until
    `probe` has tried it. `channels_last`: whether images lie channels last in memory in its passes
    (ocd.inputs.copied).
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
        return tuple(self.weight.shape)

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def capture(self, inputs: Inputs, keep_positions: bool = True) -> Capture:
        """One pass of the base: i_L(x), a_L(x), f(x). No gradients; f(x) is the base's own answer.

        `keep_positions`: False where i_L and a_L are not asked for, which keeps large examples out of
        memory (they are kept all the same where a later pass is made of them). Raises OCDError where
        the layer is not reached, or is used on inputs of different kinds.
        """
        uses = Uses(self.module, self.name, num_rows(inputs), keep_positions)
        original = self.module.forward

        def watched(input: Tensor) -> Tensor:  # named as nn.Linear and the convolutions name it
            recording.close()
            output = original(input)
            uses.add(input, output)
            return output.clone()  # what follows may work in place, on either

        with torch.no_grad(), eval_mode(self.base), record(self.base, self.module) as recording:
            own = copied(inputs, self.channels_last)
            with patched_forward(self.module, watched):
                output = self._answer(own)
            recording.check()
            spoils_inputs = any(tensor.is_inference() or tensor._version for tensor in tensors(own))
            recording.reusable &= not spoils_inputs
        self._check_reached(uses.leading)
        self._check_output(output, num_rows(inputs))
        layer_input, layer_output, rows = uses.joined()
        return Capture(
            inputs, rows, layer_input, layer_output, output, self.module, recording,
            tuple(uses.leading), spoils_inputs,
        )  # fmt: skip

    def run(self, capture: Capture, delta: Delta) -> Tensor:
        """f(x; θ + delta) for every example and draw, (B, K, ...). Differentiable in the delta."""
        with eval_mode(self.base):
            if self.widen or delta.num_draws == 1:
                output = self._run_widened(capture, delta)
            else:
                output = self._run_repeated(capture, delta)
        expected = len(capture) * delta.num_draws
        if not isinstance(output, Tensor) or len(output) != expected:
            raise OCDError(
                f"the base gave {len(output)} rows for {expected} after widening at {self.name!r}"
            )
        return output.view(len(capture), delta.num_draws, *output.shape[1:])

    def run_full(self, inputs: Inputs, delta: Delta) -> Tensor:
        """`run` of inputs that were not captured, one draw an example: f(x; θ + delta), (B, 1, ...).

        What is in front of the layer is computed too, but nothing is remembered.
        """
        if delta.num_draws != 1:
            raise ValueError(f"run_full takes one draw an example, not {delta.num_draws}")
        with eval_mode(self.base):
            output = self._pass(copied(inputs, self.channels_last), delta)
        return output[:, None]

    def _run_widened(self, capture: Capture, delta: Delta) -> Tensor:
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

    def _run_repeated(self, capture: Capture, delta: Delta) -> Tensor:
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
        """A full pass in which each use of the layer moves what it is given.

        The first use that sees an example once widens it to its K draws; later ones may see the draws
        already. `leading`: each use's leading dimension without widening, needed where K > 1.
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

    def probe(self, inputs: Inputs) -> Capture:
        """Check on a few rows that deltas of different examples do not touch one another, and find
        out whether widening is valid. Returns the capture of those rows.

        Raises OCDError where the layer's leading dimension is not the batch, and where the base fails
        or answers otherwise with images channels last.
        """
        # Never a single row: it would go with any batch size, by broadcasting.
        few = take_rows(inputs, torch.arange(3) % num_rows(inputs))
        if self.channels_last:
            self._check_channels_last(few)
        capture = self.capture(few)
        generator = torch.Generator().manual_seed(0)
        size = 0.1 * self.weight.detach().float().std(unbiased=False)
        noise = torch.randn(len(capture), 2, *self.weight_shape, generator=generator)
        delta = DenseDelta(noise.to(self.weight) * size)
        with torch.no_grad():
            self._check_independence(capture, delta)
            self.widen = self._widening_is_valid(capture, delta)
        return capture

    def _check_channels_last(self, few: Inputs) -> None:
        plain = run_without_delta(self.base, few)
        remedy = "set channels_last to false, or let the base use reshape in place of view"
        try:
            output = run_without_delta(self.base, few, channels_last=True)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise OCDError(
                f"channels_last is true, and with images that lie so in memory the base fails "
                f"({reason}): {remedy}"
            ) from error
        if isinstance(plain, Tensor) and not _alike(output, plain):
            raise OCDError(
                f"channels_last is true, and with images that lie so in memory the base gives other "
                f"outputs: {remedy}"
            )

    def _check_independence(self, capture: Capture, delta: DenseDelta) -> None:
        weight = delta.weight[:, :1].clone()
        weight[1:] = 0
        output = self.run(capture, DenseDelta(weight))
        others = slice(1, None)
        if not _agree(output[others, 0], capture.output[others]):
            raise OCDError(
                f"a delta of one example at {self.name!r} moves the outputs of others: "
                "the layer's leading dimension is not the batch, or the base mixes its rows"
            )

    def _widening_is_valid(self, capture: Capture, delta: DenseDelta) -> bool:
        with eval_mode(self.base):
            repeated = self._run_repeated(capture, delta)
            try:
                widened = self._run_widened(capture, delta)
            except (RuntimeError, ValueError, IndexError):
                return False  # shapes of the old batch size met those of the new one
        return widened.shape == repeated.shape and _agree(widened, repeated)

    def _check_reached(self, leading: list[int]) -> None:
        if not leading:
            raise OCDError(
                f"layer {self.name!r} is not reached by forward (a module may use its weight without "
                "calling it, as nn.MultiheadAttention does); choose another layer"
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


def _agree(one: Tensor, other: Tensor) -> bool:
    """Equal but for rounding; an example that is not finite must be so in both."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two kernels may have made them: in half precision they differ by a hundredth, while what
    is made of wrong pixels is off by as much as it is large."""
    finite = other.isfinite()
    if one.shape != other.shape or not torch.equal(one.isfinite(), finite):
        return False
    one, other = one[finite].float(), other[finite].float()
    return bool((one - other).norm() <= 0.05 * other.norm())


def usable_layers(base: nn.Module, inputs: Inputs) -> tuple[list[str], dict[str, str]]:
    """The layers that a delta can sit on, and for each of the others the reason why not."""
    usable: list[str] = []
    skipped: dict[str, str] = {}
    for name in list_layers(base):
        try:
            FrozenBase(base, name).probe(inputs)
            usable.append(name)
        except OCDError as error:
            skipped[name] = str(error)
    return usable, skipped
