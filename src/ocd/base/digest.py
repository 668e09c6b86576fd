"""Hashes by which a base, a loss or an encoder is known again in another process."""

from __future__ import annotations

import functools
import hashlib
import types
from typing import Any

import torch
from torch import Tensor, nn

from ocd.base.view import unwrapped


def base_digest(base: nn.Module) -> str:
    """A hash of every parameter, buffer (persistent or not) and extra state of a module, by name."""
    digest = hashlib.sha256()
    base = unwrapped(base)
    for name, value in sorted(base.state_dict().items()):
        digest.update(name.encode())
        update(digest, value)
    for name, tensor in sorted(base.named_buffers()):
        digest.update(name.encode())
        update(digest, tensor)
    return digest.hexdigest()[:16]


def digest_of(*parts: Any) -> str:
    """A hash of functions, modules, tensors and plain values: equal in the next process for equal
    parts."""
    digest = hashlib.sha256()
    for part in parts:
        update(digest, part)
    return digest.hexdigest()[:16]


def update(digest: Any, part: Any) -> None:
    """Add one thing to a hash: a tensor by its values, a module by its structure and state, a
    function by its code and what it closes over."""
    if isinstance(part, Tensor):
        _update_tensor(digest, part)
    elif isinstance(part, nn.Module):
        digest.update(repr(part).encode())
        digest.update(base_digest(part).encode())
    elif isinstance(part, functools.partial):
        for inner in (part.func, part.args, part.keywords):
            update(digest, inner)
    elif isinstance(part, types.MethodType):
        update(digest, part.__func__)
        update(digest, part.__self__)
    elif isinstance(part, types.FunctionType):
        _update_function(digest, part)
    elif isinstance(part, dict):
        for key in sorted(part, key=str):
            digest.update(str(key).encode())
            update(digest, part[key])
    elif isinstance(part, tuple | list):
        digest.update(f"{type(part).__name__} of {len(part)}".encode())
        for inner in part:
            update(digest, inner)
    elif isinstance(part, str | bytes | bool | int | float | None | torch.dtype | torch.device):
        digest.update(repr(part).encode())
    else:  # an object that says nothing of itself: its type, and its plain attributes
        digest.update(f"{type(part).__module__}.{type(part).__qualname__}".encode())
        attributes = getattr(part, "__dict__", None)
        if attributes and not isinstance(part, type | types.ModuleType):
            update(digest, {k: v for k, v in attributes.items() if _is_plain(v)})


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor | str | bytes | bool | int | float | None | tuple | list | dict)


def _update_tensor(digest: Any, tensor: Tensor) -> None:
    digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")


def _update_function(digest: Any, function: types.FunctionType) -> None:
    digest.update(function.__qualname__.encode())
    _update_code(digest, function.__code__)
    update(digest, function.__defaults__)
    update(digest, function.__kwdefaults__)
    for cell in function.__closure__ or ():
        try:
            inside = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if inside is not function:
            update(digest, inside)


def _update_code(digest: Any, code: types.CodeType) -> None:
    digest.update(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _update_code(digest, constant)
        else:
            digest.update(repr(constant).encode())
