"""The parameter of a base that deltas are added to, and the private views that passes run on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn

from ocd.base.capture import rows_by_example
from ocd.base.duplicate import independent_copy
from ocd.base.front import Front
from ocd.base.layers import find_layer, get_module, get_parameter
from ocd.base.outputs import Outputs
from ocd.base.view import open_weights, private_view
from ocd.base.way import SHIFTED, Way
from ocd.data import Inputs
from ocd.errors import OCDError


class MovedParameter:
    """A layer's parameter, and the views of its base that passes run on. See FrozenBase."""

    def __init__(
        self,
        base: nn.Module,
        name: str,
        way: Way | None = None,
        channels_last: bool = False,
        outputs: Outputs | None = None,
        start: Tensor | None = None,
    ) -> None:
        self.base = base
        self.start = start
        self.name = name
        self.layer = find_layer(base, name)
        self.channels_last = channels_last
        self.outputs = outputs or Outputs()
        self.way = way
        self.notes: list[str] = []
        self.layer_size: int | None = None  # numbers of a_L an example, as last captured
        self._by_example: tuple[bool, ...] | None = None
        self._fronts: dict[Any, Front | None] = {}  # by the shapes of an example
        self._older_fronts: dict[Any, Front | None] = {}  # of the base as it was before
        self._of_thread = threading.local()
        self.weight: Tensor = get_parameter(self.module, self.layer).detach()
        if not self.weight.is_floating_point():
            raise OCDError(
                f"layer {name!r} has a weight of {self.weight.dtype}: a delta is a real number"
            )

    @property
    def view(self) -> nn.Module:
        """This thread's private view of the base, in eval mode."""
        view: nn.Module | None = getattr(self._of_thread, "view", None)
        if view is None:
            view = self._of_thread.view = self._make_view()
        return view

    def renew(self) -> None:
        """Look at the base anew, which its user may have changed since (a device, a constant): the view
        of this thread is made again, and what was found out about the part in front of the layer is
        proven again before it is used."""
        self._older_fronts, self._fronts = self._fronts or self._older_fronts, {}
        self._of_thread.view = self._make_view()
        self.weight = get_parameter(self.module, self.layer).detach()

    def start_from(self, start: Tensor | None) -> None:
        """Let the layer start from another delta than before; passes are made on a new view."""
        self.start = start
        self._fronts.clear()
        self.renew()

    def rows_by_example(self, one: Inputs) -> tuple[bool, ...]:
        """Whether what the layer is given, and what it answers, has a row for each example: found out
        once, by one input."""
        if self._by_example is None:
            view = self._make_view()
            self._by_example = rows_by_example(view, get_module(view, self.layer), one)
        return self._by_example

    @property
    def module(self) -> nn.Module:
        """The layer's module in this thread's view."""
        return get_module(self.view, self.layer)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape that every delta has: the weight's; (1,) for a single number."""
        return tuple(self.weight.shape) or (1,)

    def zeros(self, *leading: int) -> Tensor:
        """Deltas of zero, (*leading, *weight.shape), in float32 where the base has half precision:
        small steps would be lost in it."""
        dtype = torch.float64 if self.weight.dtype == torch.float64 else torch.float32
        return torch.zeros(*leading, *self.weight_shape, dtype=dtype, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the base computes."""
        return self.weight.device

    @property
    def is_shifted(self) -> bool:
        """Whether deltas shift the layer's output. Before the probe: whether its type allows it."""
        if self.way is None:
            return type(self.module) in SHIFTED and self.layer.parameter == "weight"
        return self.way.kind == "shift"

    @property
    def widen(self) -> bool:
        """Whether K deltas share one pass up to the layer."""
        return self.way is not None and self.way.widen

    @property
    def fresh_views(self) -> bool:
        """Whether each pass has a view of its own."""
        return self.way is not None and self.way.fresh_views

    def _make_view(self) -> nn.Module:
        view = private_view(self.base)
        module = get_module(view, self.layer)
        open_weights(module)
        if self.start is not None:
            own = get_parameter(module, self.layer)
            # Whatever in the view refers to the parameter (tied layers, flat lists) sees it moved.
            moved = own.detach() + self.start.to(own.device).view(own.shape)
            own.data = moved.to(own.dtype)
        return view

    @contextmanager
    def own_view(self) -> Iterator[None]:
        """Where a base computes parts of its forward pass again in the backward pass (activation
        checkpointing), each pass has a view of its own, which stays as the pass left it."""
        if not self.fresh_views:
            yield
            return
        before = self.view
        self._of_thread.view = self._make_view()
        try:
            yield
        finally:
            self._of_thread.view = before

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

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        base = independent_copy(self.base, memo)
        return type(self)(base, self.name, self.way, self.channels_last, self.outputs, self.start)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._of_thread = threading.local()
