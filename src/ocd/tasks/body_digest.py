"""What a frozen body is known by: a hash of what its answers depend on, cheap enough for every call.

    if may_be_kept(body):
        key = body_digest(body)      # equal for copies and private views; other after any change

The hash is of

* the values of parameters and buffers. Parameters are read whole once (0.2 s for the 90 MB of a
  MiniLM); a call that finds the same tensors again compares PyTorch's counts of writes, and the
  numbers of a diagonal through each tensor, which meets every row. So what is written by an optimiser,
  by `load_state_dict` or under `no_grad` is always seen. PyTorch does not count writes through `.data`
  or NumPy: of these are seen those that change whole tensors or rows, but not all that change single
  numbers. Write `with torch.no_grad(): weight[2, 5] = 0.0`, and it is seen;
* the form: the names and kinds of all modules, and their plain attributes (how vectors are pooled, the
  number of heads, a `config` and what is in it);
* whether autocast is on, and with which type.

On one core it takes 2 ms for a MiniLM and 5 to 8 for an mpnet, where a pass of a text of twenty tokens
takes 24 and 147. To read all of the weights each time would be 4 to 8 ms more, and 30.

The code of the modules is not part of it. Where code was put in later (hooks that are not OCD's, a
`forward` of one object), and where something is in train mode, `may_be_kept` is False.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import threading
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ocd.base import digest_of

MOST_KNOWN = 8
"""Sets of weights whose hash is remembered."""
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes that PyTorch gives each module: tensors, modules and hooks, which are looked at otherwise,
and the mode."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)


class _Known:
    """A set of weights, and its hash. The weights are held, so that no others can come to lie where
    they lie."""

    def __init__(self, weights: list[Tensor]) -> None:
        self.weights, self.versions = weights, [_version(one) for one in weights]
        self.diagonals = [_diagonal(one) for one in weights]
        self.digest = digest_of(weights)

    def is_of(self, weights: list[Tensor]) -> bool:
        """Whether these are the tensors that were hashed, and nothing is seen of a write since."""
        if len(weights) != len(self.weights):
            return False
        pairs = zip(self.weights, weights, strict=True)
        there = all(_place(one) == _place(other) for one, other in pairs)
        if not there or self.versions != [_version(one) for one in weights]:
            return False
        pairs = zip(self.diagonals, weights, strict=True)
        return all(torch.equal(before, _diagonal(weight)) for before, weight in pairs)


_KNOWN: list[_Known] = []
_LOCK = threading.Lock()


def may_be_kept(body: nn.Module) -> bool:
    """Whether what the body answers depends on nothing but its hash and the input, as far as can be
    seen: no module draws at random, and none runs code that was put into this object."""
    return not any(_is_random(part) or _has_code_of_its_own(part) for part in _parts(body).values())


def _is_random(module: nn.Module) -> bool:
    # A private view has attention of PyTorch's own in train mode, without dropout (ocd.base.view).
    quiet = type(module) is nn.MultiheadAttention and module.dropout == 0.0
    return module.training and not quiet


def _has_code_of_its_own(module: nn.Module) -> bool:
    attributes = vars(module)
    hooks = [hook for name in HOOKS for hook in attributes.get(name, {}).values()]
    # Those of captures and recordings only look on.
    foreign = any(not str(getattr(hook, "__module__", "")).startswith("ocd.base.") for hook in hooks)
    return foreign or "forward" in attributes or isinstance(module, torch.jit.ScriptModule)


def _parts(body: nn.Module) -> dict[str, nn.Module]:
    """The body and all modules in it, by name. PyTorch's `named_modules` takes four times as long."""
    found, known, left = {}, set(), [("", body)]
    while left:
        name, module = left.pop()
        if id(module) in known:
            continue
        known.add(id(module))
        found[name] = module
        left += [(f"{name}.{key}", part) for key, part in module._modules.items() if part is not None]
    return found


def body_digest(body: nn.Module) -> str:
    """The hash, of 16 letters. Raises nothing: what it does not understand enters by its type."""
    parts = _parts(body)
    weights = [one for part in parts.values() for one in part._parameters.values() if one is not None]
    digest = hashlib.sha256(_weights_digest([weight.detach() for weight in weights]).encode())
    for line in _form(parts):
        digest.update(line.encode())
    for part in parts.values():
        for name, buffer in part._buffers.items():
            if buffer is not None:
                digest.update(f"{name}{tuple(buffer.shape)}{buffer.dtype}".encode())
                digest.update(_bytes(buffer.detach()))
    for kind in ("cpu", "cuda"):
        if torch.is_autocast_enabled(kind):
            digest.update(f"{kind}{torch.get_autocast_dtype(kind)}".encode())
    return digest.hexdigest()[:16]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _weights_digest(weights: list[Tensor]) -> str:
    """The hash of the values, remembered where these very tensors were hashed before."""
    with _LOCK:
        known = list(_KNOWN)
    for one in known:
        if one.is_of(weights):
            return one.digest
    new = _Known(weights)
    with _LOCK:
        _KNOWN.append(new)
        del _KNOWN[:-MOST_KNOWN]
    return new.digest


def _place(weight: Tensor) -> tuple[Any, ...]:
    return weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, weight.device


def _version(weight: Tensor) -> int:
    """How often PyTorch has seen it written; tensors of inference mode have no such count."""
    return 0 if weight.is_inference() else weight._version


def _diagonal(weight: Tensor) -> Tensor:
    """Bytes of numbers that lie in every row of the weight, and in most columns; all of a vector."""
    flat = weight.reshape(-1)
    if weight.dim() > 1 and flat.numel():
        rows = len(weight)
        flat = flat[:: max(1, min(rows, flat.numel() // rows) - 1)]
    return flat.contiguous().view(torch.uint8)


def _form(parts: dict[str, nn.Module]) -> Iterator[str]:
    """A line for each module, parameter and attribute."""
    described = _Described({id(module): name for name, module in parts.items()})
    for name, module in parts.items():
        yield f"\n{name}: {type(module).__module__}.{type(module).__qualname__}"
        for key, value in vars(module).items():
            if key not in OF_EVERY_MODULE:
                yield f"\n  {key} = {described.of(value)}"
        for key, weight in module._parameters.items():
            yield f"\n  {key} {None if weight is None else tuple(weight.shape)}"
        for key, part in module._modules.items():  # one that is in two places has one entry
            yield f"\n  {key} {described.of(part)}"


class _Described:
    """Values as texts that are equal for equal values, also in the next process. `modules`: names by
    id, of those that are described elsewhere."""

    def __init__(self, modules: dict[int, str]) -> None:
        self.modules = modules
        self.known: dict[int, str] = {}

    def of(self, value: Any) -> str:
        if isinstance(value, PLAIN):
            return repr(value)
        if id(value) in self.modules:
            return f"module {self.modules[id(value)]}"
        if id(value) not in self.known:
            self.known[id(value)] = "itself"  # of what contains itself
            self.known[id(value)] = self._anew(value)
        return self.known[id(value)]

    def _anew(self, value: Any) -> str:
        if isinstance(value, Tensor | nn.Module | types.FunctionType | functools.partial):
            return digest_of(value)
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if isinstance(value, types.MethodType):
            return f"{kind} {self.of(value.__func__)} {self.of(value.__self__)}"
        if isinstance(value, dict):
            return f"{kind} {self._entries(value)}"
        if isinstance(value, set | frozenset):
            return f"{kind} {sorted(self.of(entry) for entry in value)}"
        if isinstance(value, list | tuple):
            return f"{kind} {[self.of(entry) for entry in value]}"
        if isinstance(value, type):
            return f"{value.__module__}.{value.__qualname__}"
        name = getattr(value, "__qualname__", "")  # of what is built in
        return f"{kind} {name} {self._entries(getattr(value, '__dict__', {}))}"

    def _entries(self, values: Mapping[Any, Any]) -> list[tuple[str, str]]:
        return [(str(key), self.of(entry)) for key, entry in values.items()]
