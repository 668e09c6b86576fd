"""One pass of a base, on a private view and in the wanted memory layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ocd.base.view import private_view
from ocd.data import Inputs, call, copied


def answer(view: nn.Module, inputs: Inputs, channels_last: bool) -> Any:
    """The output of a view. With `channels_last` it is brought back to the usual memory layout, since
    an output in the form of an image would have that of the inputs."""
    output = call(view, inputs)
    return output.contiguous() if channels_last and isinstance(output, Tensor) else output


def run_without_delta(base: nn.Module, inputs: Inputs, channels_last: bool = False) -> Tensor:
    """f(x), in eval mode and without gradients; the base is not touched. `channels_last`: see
    ocd.data.copied."""
    with torch.inference_mode(False), torch.no_grad():
        # A base may change its inputs in place.
        output: Tensor = answer(private_view(base), copied(inputs, channels_last), channels_last)
    return output
