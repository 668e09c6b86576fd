"""What passes through the layer in one pass of the base: I(x) = (i_L, a_L, f(x)) of Eq. 4.

`FrozenBase.capture` makes a Capture, and `FrozenBase.run` starts from it: nothing up to the layer is
computed a second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ocd.base.outputs import Outputs
from ocd.base.positions import output_positions, to_positions
from ocd.base.replay import Recording, flat_tensors
from ocd.data import Inputs, call, copied, repeat_rows
from ocd.errors import OCDError


@dataclass(frozen=True)
class Capture:
    """I(x) of a batch (Eq. 4) and what is needed to run it again from the layer on.

    `positions`: the vectors that the weight multiplies, (B, P, G, I) (ocd.base.positions).
    `layer_input`, `layer_output`: i_L and a_L, with the leading dimension that the layer sees; for a
    layer that is called several times, the positions of all calls. `output`: f(x), (B, ...), packed by
    `outputs`.
    `leading`: the leading dimension of i_L in each call. `spoils_inputs`: whether the base changes
    its inputs in place, so that each pass needs a copy. Where positions of several calls were not
    asked for, `positions`, i_L and a_L are empty.
    """

    inputs: Inputs
    positions: Tensor
    layer_input: Tensor
    layer_output: Tensor
    output: Tensor
    module: nn.Module = field(repr=False)
    recording: Recording | None = field(default=None, repr=False)
    leading: tuple[int, ...] = ()
    spoils_inputs: bool = False
    outputs: Outputs = field(default_factory=Outputs, repr=False)

    def output_positions(self) -> Tensor:
        """a_L at each position, (B, P, O)."""
        if not self.leading:  # moved the plain way: a row an example
            return self.layer_output[:, None]
        return output_positions(self.module, self.layer_output, len(self))

    def input_positions(self) -> Tensor:
        """i_L at each position, (B, P, I)."""
        if not self.leading:
            return self.layer_input[:, None]
        return self.positions.flatten(2)

    def __len__(self) -> int:
        return len(self.output)


class LayerCalls:
    """The inputs and outputs of a layer in one pass, call by call."""

    def __init__(self, module: nn.Module, name: str, batch: int, keep: bool) -> None:
        self.module, self.name, self.batch, self.keep = module, name, batch, keep
        self.leading: list[int] = []
        self.kept: list[tuple[Tensor, Tensor]] = []

    def add(self, input: Tensor, output: Tensor) -> None:
        """One call: its input and output, whose leading dimension is a multiple of B."""
        self.leading.append(len(input) if input.dim() else 0)
        # A single call is kept in any case: later passes start from it.
        if self.keep or len(self.leading) == 1:
            self.kept.append((input.clone(), output))
        else:
            self.kept = [(input[:0], output[:0])]

    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """i_L, a_L and the positions (B, P, G, I), all positions of an example side by side."""
        if len(self.kept) < len(self.leading):
            return *self.kept[0], self.kept[0][0].new_empty(self.batch, 0, 1, 0)
        every = [to_positions(self.module, input, self.batch, self.name) for input, _ in self.kept]
        if len(self.kept) == 1:
            return *self.kept[0], every[0]
        inputs, outputs = zip(*self.kept, strict=True)
        return self._side_by_side(inputs), self._side_by_side(outputs), torch.cat(every, dim=1)

    def _side_by_side(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """(B·n, ...) of each call -> (B·Σn, ...)."""
        if isinstance(self.module, nn.Linear):
            tensors = tuple(tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors)
        shapes = sorted({tuple(tensor.shape[1:]) for tensor in tensors})
        if len(shapes) > 1:
            raise OCDError(
                f"layer {self.name!r} is called {len(tensors)} times in one forward pass, on inputs of "
                f"different shapes ({', '.join(map(str, shapes))}): choose another layer"
            )
        parts = [tensor.reshape(self.batch, -1, *tensor.shape[1:]) for tensor in tensors]
        return torch.cat(parts, dim=1).flatten(0, 1)


class Watch:
    """What a module is given and answers in one pass: the first tensor of each, of its last call."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.seen: tuple[Tensor | None, Tensor | None] = (None, None)

    def __enter__(self) -> Watch:
        self.handle = None
        if not isinstance(self.module, torch.jit.ScriptModule):  # it takes no hooks: nothing is seen
            self.handle = self.module.register_forward_hook(self._see, with_kwargs=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self.handle is not None:
            self.handle.remove()

    def _see(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given, answered = flat_tensors((args, kwargs)), flat_tensors(output)
        self.seen = (next(iter(given), None), next(iter(answered), None))

    def rows(
        self, batch: int, like: Tensor, by_example: tuple[bool, ...] = (True, True)
    ) -> tuple[Tensor, Tensor]:
        """i_L and a_L as vectors, (B, F); (B, 0) where there is no tensor with a row for each
        example. `by_example`: whether there is one, found out by two sizes of batch."""
        vectors = []
        for seen, by in zip(self.seen, by_example, strict=True):
            if seen is None or not by or not _has_rows(seen, batch):
                vectors.append(like.new_empty(batch, 0))
            else:
                vectors.append(seen.detach().reshape(batch, -1))
        return vectors[0], vectors[1]


def rows_by_example(view: nn.Module, module: nn.Module, one: Inputs) -> tuple[bool, ...]:
    """Whether what a module of a view is given, and what it answers, has a row for each example: by
    batches of two sizes. A batch may have as many examples as they have time steps, and the rows of a
    recurrent layer without batch_first would be taken for examples. `one`: an example."""
    shapes = []
    for batch in (2, 3):
        with torch.inference_mode(False), torch.no_grad(), Watch(module) as watch:
            call(view, copied(repeat_rows(one, batch)))
        shapes.append(
            [
                None if seen is None or not _has_rows(seen, batch) else seen.shape[1:]
                for seen in watch.seen
            ]
        )
    return tuple(one is not None and one == other for one, other in zip(*shapes, strict=True))


def _has_rows(seen: Tensor, batch: int) -> bool:
    return seen.dim() > 0 and len(seen) == batch and seen.is_floating_point()
