"""One pass of the base, in eval mode and in the wanted memory layout; the base is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ocd.data import Inputs, call, copied


@contextmanager
def eval_mode(base: nn.Module) -> Iterator[None]:
    """The base in eval mode and without gradients of its own; everything is restored afterwards.

    The fused attention path is off meanwhile: it bypasses modules that a delta may sit on.
    """
    modes = [(module, module.training) for module in base.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Only what differs is written: writing takes longer than reading.
        for module, mode in modes:
            if mode:
                module.training = False
        for parameter, flag in wanted:
            if flag:
                parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode
        for parameter, flag in wanted:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)
        torch.backends.mha.set_fastpath_enabled(fast_path)


def answer(base: nn.Module, inputs: Inputs, channels_last: bool) -> Any:
    """The base's output. With `channels_last` it is brought back to the usual memory layout, since an
    output in the form of an image would have that of the inputs."""
    output = call(base, inputs)
    return output.contiguous() if channels_last and isinstance(output, Tensor) else output


def run_without_delta(base: nn.Module, inputs: Inputs, channels_last: bool = False) -> Tensor:
    """f(x), in eval mode and without gradients. `channels_last`: see ocd.data.copied."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(eval_mode(base))
        # A base may change its inputs in place.
        output: Tensor = answer(base, copied(inputs, channels_last), channels_last)
    return output
