"""The inputs of a base: a tensor, tuple or dict of tensors with the leading dimension B examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ocd.errors import OCDError

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Targets = Any
"""What the loss compares with, in the same forms. Most are one tensor, and are used as such."""


def call(module: nn.Module, inputs: Inputs) -> Any:
    """`module(x)`, `module(*x)` or `module(**x)`, by the form of the inputs."""
    if isinstance(inputs, Tensor):
        return module(inputs)
    if isinstance(inputs, dict):
        return module(**inputs)
    return module(*inputs)


def tensors(inputs: Inputs) -> list[Tensor]:
    """Every tensor of the inputs, dict entries in the order of their names."""
    if isinstance(inputs, Tensor):
        return [inputs]
    values = [inputs[key] for key in sorted(inputs)] if isinstance(inputs, dict) else list(inputs)
    return [value for value in values if isinstance(value, Tensor)]


def map_tensors(function: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """The inputs in the same form, each tensor passed through `function`."""

    def apply(value: Any) -> Any:
        return function(value) if isinstance(value, Tensor) else value

    mapped: Inputs = _map_parts(apply, inputs)
    return mapped


def _map_parts(function: Callable[[Any], Any], inputs: Any) -> Any:
    """The inputs in the same form, each part, tensor or not, passed through `function`."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, dict):
        return {key: function(part) for key, part in inputs.items()}
    return tuple(function(part) for part in inputs)


def copied(inputs: Inputs, channels_last: bool = False) -> Inputs:
    """A copy of the inputs; with `channels_last` images (B, C, H, W) lie in memory as (B, H, W, C).

    Only the layout changes, not the shape. Convolutions and the modules behind them keep it, and many
    are faster in it. Tensor.contiguous would leave images of one channel unchanged, since both
    layouts describe them; but convolutions look at the strides, so these are set.
    """

    def copy(tensor: Tensor) -> Tensor:
        if not channels_last or tensor.dim() != 4:
            return tensor.clone()
        last = tensor.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
        return last.permute(0, 3, 1, 2)

    return map_tensors(copy, inputs)


def as_inputs(value: Any) -> Inputs:
    """A user's inputs in the forms that OCD works with: a mapping as a dict, a list as a tuple, NumPy
    arrays and data frames of numbers as tensors (double becomes PyTorch's default type). Raises
    OCDError for anything else (texts, None)."""
    if isinstance(value, Tensor):
        return value
    found: Any
    if isinstance(value, Mapping):
        found = {str(key): _as_part(part) for key, part in value.items()}
    elif isinstance(value, tuple | list):
        found = tuple(_as_part(part) for part in value)
    else:
        found = _as_part(value)
    if not isinstance(found, Tensor | dict | tuple):
        raise OCDError(
            f"inputs are a {type(value).__name__}: they must be a tensor, or a tuple or dict of tensors"
        )
    if not tensors(found):
        raise OCDError(
            "inputs hold no tensor: turn texts and other objects into tensors (token numbers) first"
        )
    return found


def as_targets(value: Any) -> Targets:
    """Targets as a tensor with a row for each example, or a tuple or dict of such. Raises OCDError for
    anything that is not numbers."""
    if isinstance(value, Mapping):
        return {str(key): _as_numbers(part) for key, part in value.items()}
    if isinstance(value, tuple | list) and any(isinstance(part, Tensor | np.ndarray) for part in value):
        return tuple(_as_numbers(part) for part in value)
    return _as_numbers(value)


def _as_numbers(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.dim():
            return value
        raise OCDError("targets are a single number: one target an example is needed")
    try:
        found = np.asarray(value)
    except ValueError:
        found = np.asarray(None)
    if found.dtype.kind not in "fiub" or found.ndim == 0:
        raise OCDError(
            f"targets are a {type(value).__name__} of {found.dtype}: they must be numbers "
            "with a row for each example (turn labels into class numbers)"
        )
    return from_numpy(found)


def _as_part(value: Any) -> Any:
    if hasattr(value, "iloc"):  # a data frame, or one of its columns
        value = value.to_numpy()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return from_numpy(value)
    return value


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor of an array of numbers. NumPy's usual type is double, that of networks PyTorch's
    default: double becomes that."""
    array = np.ascontiguousarray(array)
    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def num_rows(inputs: Inputs) -> int:
    """B, the number of examples. Raises OCDError where the tensors do not agree on it."""
    shapes = [tuple(tensor.shape) for tensor in tensors(inputs)]
    if () in shapes or len({shape[0] for shape in shapes}) != 1:
        raise OCDError(
            f"inputs have shapes {', '.join(map(str, shapes)) or 'none'}: every tensor must have the "
            "same leading dimension, one row an example"
        )
    return shapes[0][0]


def example_shapes(inputs: Inputs) -> tuple[tuple[int, ...], ...]:
    """The shape of an example, tensor by tensor: batches of texts that were padded to different lengths
    have different ones."""
    return tuple(tuple(tensor.shape[1:]) for tensor in tensors(inputs))


def take_rows(inputs: Inputs, index: Tensor | slice | int) -> Inputs:
    """The examples named by `index`. A list or array with a value for each example is cut with them."""
    if isinstance(inputs, Tensor):
        return inputs[index]
    count = len(tensors(inputs)[0]) if tensors(inputs) else -1
    return _map_parts(lambda part: _take(part, index, count), inputs)


def repeat_rows(inputs: Inputs, times: int) -> Inputs:
    """Every example `times` times, one behind the other."""
    if isinstance(inputs, Tensor):
        return inputs.repeat_interleave(times, dim=0)
    return take_rows(inputs, torch.arange(num_rows(inputs)).repeat_interleave(times))


def _take(part: Any, index: Tensor | slice | int, count: int) -> Any:
    if isinstance(part, Tensor):
        return part[index.to(part.device)] if isinstance(index, Tensor) else part[index]
    if isinstance(part, list | tuple | np.ndarray) and len(part) == count:
        if isinstance(index, Tensor):
            chosen = [part[i] for i in index.tolist()]
            return np.asarray(chosen) if isinstance(part, np.ndarray) else type(part)(chosen)
        return part[index]
    return part


def join_rows(*parts: Inputs) -> Inputs:
    """The examples of all parts, which have the same form."""
    first: Any = parts[0]
    columns: Any = parts
    if isinstance(first, Tensor):
        return torch.cat(columns)
    if isinstance(first, dict):
        return {key: torch.cat([part[key] for part in columns]) for key in first}
    return tuple(torch.cat(column) for column in zip(*columns, strict=True))


def to_device(inputs: Any, device: torch.device) -> Any:
    """Inputs, or some tensors, on a device; other parts than tensors stay as they are."""
    return map_tensors(lambda tensor: _sent(tensor, device), inputs)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy to a GPU waits for nothing: its source is pinned, and kept by PyTorch until it is sent."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
