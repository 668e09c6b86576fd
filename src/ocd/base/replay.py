"""Record the outputs of the modules that run before the layer, and use them again in later passes.

In eval mode a second pass over the same inputs gives the same values up to the layer. The first pass
therefore records the output of every outermost module that finishes before the layer is reached, and a
replay returns these outputs in place of computing them. Operations between modules are computed again.

    with record(base, layer) as recording:
        base(inputs)
    with replaying(recording):
        base(inputs)  # computes only what follows the layer

Work in place could make a recording wrong:

* a module with `inplace=True` is computed again in a replay, on a copy of the recorded value that it
  changes;
* any other change in place, of a recorded tensor or of a recorded module's input, shows in the tensors'
  version counters. The recording then says that it cannot be reused, and passes are made in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Versions = list[tuple[Tensor, int]]


@dataclass
class Call:
    """The output of a module, and the versions of its tensors at that time.

    `is_copy`: the output is a copy, made before an in-place module changed it; a replay returns
    copies of it, for that module to change again.
    """

    module: nn.Module
    output: Any
    versions: Versions
    is_copy: bool = False

    def answer(self) -> Any:
        """The recorded output, or a copy of it for a module that changes it in place."""
        return self.output.clone() if self.is_copy else self.output


@dataclass
class Recording:
    """Outputs of the modules before the layer, in the order of their calls."""

    calls: list[Call] = field(default_factory=list)
    reusable: bool = True
    _depth: int = 0
    _given: Versions = field(default_factory=list)
    _open: bool = True

    def enter(self, module: nn.Module, given: Any) -> None:
        """A module is called; `given`: its inputs."""
        if self._open and self._depth == 0:
            self._given = self._versions(given)
            if _works_in_place(module):
                self._keep_copy(given)
        self._depth += 1

    def leave(self, module: nn.Module, output: Any) -> None:
        """A module returns; its output is kept if it is an outermost one before the layer."""
        self._depth -= 1
        if not self._open or self._depth > 0 or _works_in_place(module):
            return
        if _changed(self._given):
            self.reusable = False  # a replay would miss this change
        self.calls.append(Call(module, output, self._versions(output)))

    def close(self) -> None:
        """The layer is reached: nothing after it is recorded."""
        self._open = False

    def check(self) -> None:
        """Find out, after the pass, whether a recorded tensor was changed in place."""
        if any(_changed(call.versions) for call in self.calls):
            self.reusable = False

    def _keep_copy(self, given: Any) -> None:
        """Record what an in-place module is about to change as it is now."""
        memory = {_memory(tensor) for tensor in flat_tensors(given)}
        calls = [
            call
            for call in self.calls
            if not call.is_copy
            and any(_memory(tensor) in memory for tensor in flat_tensors(call.output))
        ]
        # Several outputs in the same memory would have to change together; `check` sees that change.
        if len(calls) == 1 and isinstance(calls[0].output, Tensor) and not _changed(calls[0].versions):
            calls[0].output = calls[0].output.clone()
            calls[0].versions, calls[0].is_copy = [], True

    def _versions(self, values: Any) -> Versions:
        tensors = flat_tensors(values)
        if any(tensor.is_inference() for tensor in tensors):
            self.reusable = False  # torch.inference_mode keeps no versions: no change would be seen
            return []
        return [(tensor, tensor._version) for tensor in tensors]


def _changed(versions: Versions) -> bool:
    return any(tensor._version != version for tensor, version in versions)


def _works_in_place(module: nn.Module) -> bool:
    """Whether a module without parts, such as ReLU(inplace=True), says that it works in place."""
    return bool(getattr(module, "inplace", False)) and not any(True for _ in module.children())


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def flat_tensors(values: Any) -> list[Tensor]:
    """The tensors of what a module is given or answers, in a fixed order."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        return [tensor for value in values.values() for tensor in flat_tensors(value)]
    if isinstance(values, tuple | list):
        return [tensor for value in values for tensor in flat_tensors(value)]
    return []


@contextmanager
def record(base: nn.Module, layer: nn.Module) -> Iterator[Recording]:
    """Record the calls of the modules that do not contain the layer; the hooks are removed
    afterwards."""
    recording = Recording()
    handles = []
    holding: dict[nn.Module, bool] = {}
    _holds(base, layer, holding)
    for module, holds in holding.items():
        if holds or isinstance(module, torch.jit.ScriptModule):
            # It runs in a replay too, with the modules in it replayed. A scripted one takes no hooks.
            continue
        # Before the user's own hooks, which a replay runs again.
        enter = module.register_forward_pre_hook(
            lambda m, args, kwargs: recording.enter(m, (args, kwargs)),
            prepend=True,
            with_kwargs=True,
        )
        leave = module.register_forward_hook(
            lambda m, args, output: recording.leave(m, output), prepend=True
        )
        handles += [enter, leave]
    try:
        yield recording
    finally:
        for handle in handles:
            handle.remove()


def _holds(module: nn.Module, layer: nn.Module, known: dict[nn.Module, bool]) -> bool:
    """Whether the layer is the module or inside it. `known` gets the answer for every module inside."""
    if module not in known:
        known[module] = module is layer  # set first, for a module that contains itself
        inside = [_holds(part, layer, known) for part in module.children()]
        known[module] |= any(inside)
    return known[module]


@contextmanager
def patched_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """The module uses this `forward`; its own is restored, also after an exception."""
    own = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


@contextmanager
def replaying(recording: Recording) -> Iterator[None]:
    """Each recorded module returns its recorded outputs first, and computes later calls."""
    recorded: dict[nn.Module, list[Call]] = {}
    for call in recording.calls:
        recorded.setdefault(call.module, []).append(call)
    with ExitStack() as stack:
        for module, calls in recorded.items():
            stack.enter_context(patched_forward(module, _answers(module.forward, iter(calls))))
        yield


def _answers(original: Callable[..., Any], calls: Iterator[Call]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        call = next(calls, None)
        return original(*args, **kwargs) if call is None else call.answer()

    return forward
