"""Remember what the modules in front of the layer answered, and answer it again without computing.

In eval mode a second pass over the same inputs gives the same values up to the layer. So the first
pass records the outputs of the outermost modules that finish in front of the layer, and a replay
hands them back. Operations between modules are computed again, which changes nothing. Where one of
them works in place on a remembered tensor, the memory is no longer true: the recording then says
that it cannot be reused, and passes are made in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass
class Recording:
    """Outputs of the modules in front of the layer, in the order of their calls."""

    calls: list[tuple[nn.Module, Any]] = field(default_factory=list)
    reusable: bool = True
    _versions: list[tuple[Tensor, int]] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _open: bool = True

    def enter(self, module: nn.Module) -> None:
        if self._open:
            if not self._starts:
                self.check()
            self._starts.append(len(self.calls))

    def leave(self, module: nn.Module, output: Any) -> None:
        if not self._open:
            return
        # What ran inside this module will not be called again once the module itself is answered.
        del self.calls[self._starts.pop() :]
        self.calls.append((module, output))
        # A recorded module may work in place on what an earlier one gave (ReLU(inplace=True)): that
        # is harmless, since it is itself answered from memory.
        self._remember_versions()

    def close(self) -> None:
        """The layer is reached: nothing behind it is recorded."""
        if self._open:
            self.check()
            self._open = False

    def check(self) -> None:
        """Note whether a remembered tensor was changed in place from outside a recorded module."""
        if any(tensor._version != version for tensor, version in self._versions):
            self.reusable = False

    def _remember_versions(self) -> None:
        outputs = [tensor for _, output in self.calls for tensor in _tensors(output)]
        self._versions = [(tensor, tensor._version) for tensor in outputs]


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        return [tensor for value in output.values() for tensor in _tensors(value)]
    if isinstance(output, tuple | list):
        return [tensor for value in output for tensor in _tensors(value)]
    return []


@contextmanager
def record(base: nn.Module, layer: nn.Module) -> Iterator[Recording]:
    """Record the calls of every module of the base but the layer itself; hooks go afterwards."""
    recording = Recording()
    handles = []
    for module in base.modules():
        if module is layer or module is base:
            continue
        handles.append(
            module.register_forward_pre_hook(lambda m, args: recording.enter(m), prepend=True)
        )
        handles.append(module.register_forward_hook(lambda m, args, out: recording.leave(m, out)))
    try:
        yield recording
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def patched_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """The module answers with `forward`; its own is put back, also after an exception."""
    own = vars(module).get("forward")
    module.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own  # type: ignore[method-assign]


@contextmanager
def replaying(recording: Recording) -> Iterator[None]:
    """Each recorded module answers its first calls from memory, later ones as always."""
    remembered: dict[nn.Module, list[Any]] = {}
    for module, output in recording.calls:
        remembered.setdefault(module, []).append(output)
    with ExitStack() as stack:
        for module, outputs in remembered.items():
            stack.enter_context(patched_forward(module, _answers(module.forward, iter(outputs))))
        yield


def _answers(original: Callable[..., Any], outputs: Iterator[Any]) -> Callable[..., Any]:
    exhausted = object()

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = next(outputs, exhausted)
        return original(*args, **kwargs) if output is exhausted else output

    return forward
