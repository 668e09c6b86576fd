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
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ocd.deltas import Delta, DenseDelta
from ocd.errors import OCDError, nearest
from ocd.inputs import Inputs, call, map_tensors, num_rows, take_rows, tensors
from ocd.replay import Recording, patched_forward, record, replaying
from ocd.rows import as_rows, from_rows, output_as_rows

SUPPORTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


@contextmanager
def frozen(base: nn.Module) -> Iterator[None]:
    """The base in eval mode and without gradients of its own; everything put back afterwards.

    The fused attention path is off meanwhile: it skips the modules that a delta may sit on.
    """
    modes = [(module, module.training) for module in base.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)
        torch.backends.mha.set_fastpath_enabled(fast_path)


def list_layers(base: nn.Module) -> list[str]:
    """The names of all layers that OCD can move, in the order of the network."""
    return [name for name, module in base.named_modules() if isinstance(module, SUPPORTED)]


def find_layer(base: nn.Module, name: str) -> nn.Module:
    """The layer called `name`.

    Raises OCDError for an unknown name (with the nearest names), a module that is no Linear,
    Conv1d or Conv2d, and a weight that another module shares.
    """
    modules = dict(base.named_modules())
    if name not in modules:
        known = list_layers(base)
        hint = nearest(name, known) or f"; the layers are {', '.join(known) or 'none'}"
        raise OCDError(f"the base has no layer {name!r}{hint}")
    module = modules[name]
    if not isinstance(module, SUPPORTED):
        raise OCDError(
            f"layer {name!r} is a {type(module).__name__}: OCD moves Linear, Conv1d and Conv2d layers"
        )
    for other_name, other in base.named_modules():
        for parameter_name, parameter in other.named_parameters(recurse=False):
            if other is not module and parameter is module.weight:
                raise OCDError(
                    f"layer {name!r} shares its weight with {other_name}.{parameter_name}: "
                    "a delta on a tied weight would move both; choose another layer"
                )
    return module


@dataclass(frozen=True)
class Capture:
    """I(x) of a batch (Eq. 4) and what is needed to run it again from the layer on.

    `rows`: what the weight multiplies, (B, R, G, I). `layer_input`, `layer_output`: i_L and a_L with
    their leading dimension B or B·P. `output`: f(x), (B, ...). `spoils_inputs`: whether the base
    works in place on its inputs, so that each pass needs a copy of them.
    """

    inputs: Inputs
    rows: Tensor
    layer_input: Tensor
    layer_output: Tensor
    output: Tensor
    module: nn.Module = field(repr=False)
    recording: Recording = field(repr=False)
    spoils_inputs: bool = False

    def output_rows(self) -> Tensor:
        """a_L as rows, (B, R, O)."""
        return output_as_rows(self.module, self.layer_output, len(self))

    def inputs_to_spend(self) -> Inputs:
        """The inputs, for one pass of the base."""
        return map_tensors(Tensor.clone, self.inputs) if self.spoils_inputs else self.inputs

    def __len__(self) -> int:
        return len(self.output)


class OpenBase:
    """A frozen base, opened at one layer.

    `widen` says whether K deltas share one pass through the part in front of the layer; None until
    `probe` has tried it.
    """

    def __init__(self, base: nn.Module, name: str, widen: bool | None = None) -> None:
        self.base = base
        self.name = name
        self.module = find_layer(base, name)
        weight = self.module.weight
        assert isinstance(weight, Tensor)  # find_layer lets no other through
        self.weight = weight
        self.widen = widen

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return tuple(self.weight.shape)

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def capture(self, inputs: Inputs) -> Capture:
        """One pass of the base: i_L(x), a_L(x), f(x). No gradients; f(x) is the base's own answer.

        Raises OCDError where the layer is not reached, or is used more than once.
        """
        calls: list[tuple[Tensor, Tensor]] = []
        original = self.module.forward

        def watched(input: Tensor) -> Tensor:  # named as nn.Linear and the convolutions name it
            recording.close()
            output = original(input)
            calls.append((input.clone(), output))
            return output.clone()  # what follows may work in place, on either

        with torch.no_grad(), frozen(self.base), record(self.base, self.module) as recording:
            own = map_tensors(Tensor.clone, inputs)
            with patched_forward(self.module, watched):
                output = call(self.base, own)
            recording.check()
            spoils_inputs = any(tensor.is_inference() or tensor._version for tensor in tensors(own))
            recording.reusable &= not spoils_inputs
        self._check_calls(len(calls))
        layer_input, layer_output = calls[0]
        self._check_output(output, num_rows(inputs))
        rows = as_rows(self.module, layer_input, num_rows(inputs), self.name)
        return Capture(
            inputs, rows, layer_input, layer_output, output, self.module, recording, spoils_inputs
        )

    def run(self, capture: Capture, delta: Delta) -> Tensor:
        """f(x; θ + delta) for every example and draw, (B, K, ...). Differentiable in the delta."""
        with frozen(self.base):
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

    def _run_widened(self, capture: Capture, delta: Delta) -> Tensor:
        moved = from_rows(self.module, capture.layer_output, delta.shift(capture.rows))
        if capture.recording.reusable:
            with (
                replaying(capture.recording),
                patched_forward(self.module, lambda input: moved),
            ):
                return call(self.base, capture.inputs_to_spend())
        with patched_forward(self.module, lambda input: moved):
            return call(self.base, capture.inputs_to_spend())

    def _run_repeated(self, capture: Capture, delta: Delta) -> Tensor:
        draws = delta.num_draws
        inputs = map_tensors(lambda x: x.repeat_interleave(draws, dim=0), capture.inputs)
        moved = from_rows(self.module, capture.layer_output, delta.shift(capture.rows))
        with patched_forward(self.module, lambda input: moved):
            return call(self.base, inputs)

    def probe(self, inputs: Inputs) -> Capture:
        """Check on a few rows that deltas of different examples do not touch one another, and find
        out whether widening is valid. Returns the capture of those rows.

        Raises OCDError where the layer's leading dimension is not the batch.
        """
        # Never a single row: it would go with any batch size, by broadcasting.
        few = take_rows(inputs, torch.arange(3) % num_rows(inputs))
        capture = self.capture(few)
        generator = torch.Generator().manual_seed(0)
        size = 0.1 * self.weight.detach().float().std(unbiased=False)
        noise = torch.randn(len(capture), 2, *self.weight_shape, generator=generator)
        delta = DenseDelta(noise.to(self.weight) * size)
        with torch.no_grad():
            self._check_independence(capture, delta)
            self.widen = self._widening_is_valid(capture, delta)
        return capture

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
        with frozen(self.base):
            repeated = self._run_repeated(capture, delta)
            try:
                widened = self._run_widened(capture, delta)
            except (RuntimeError, ValueError, IndexError):
                return False  # shapes of the old batch size met those of the new one
        return widened.shape == repeated.shape and _agree(widened, repeated)

    def _check_calls(self, num_calls: int) -> None:
        if num_calls == 0:
            raise OCDError(
                f"layer {self.name!r} is not reached by forward (a module may use its weight without "
                "calling it, as nn.MultiheadAttention does); choose another layer"
            )
        if num_calls > 1:
            raise OCDError(
                f"layer {self.name!r} is used {num_calls} times in one forward pass: "
                "OCD moves a layer that is used once; choose another layer"
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


def usable_layers(base: nn.Module, inputs: Inputs) -> tuple[list[str], dict[str, str]]:
    """The layers that a delta can sit on, and for each of the others the reason why not."""
    usable: list[str] = []
    skipped: dict[str, str] = {}
    for name in list_layers(base):
        try:
            OpenBase(base, name).probe(inputs)
            usable.append(name)
        except OCDError as error:
            skipped[name] = str(error)
    return usable, skipped


def run_without_delta(base: nn.Module, inputs: Inputs) -> Tensor:
    """f(x), in eval mode and without gradients."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(frozen(base))
        # A base may work in place on what it is given.
        output: Tensor = call(base, map_tensors(Tensor.clone, inputs))
    return output
