"""A base's answer in any form (tensor, tuple, dict, dataclass, ModelOutput) as one tensor, and back.

    outputs = Outputs("logits")
    packed = outputs.pack(base(x), rows=B)   # (B, F): all that has a row for each example
    outputs.unpack(packed)                   # the base's answer again, for the loss
    outputs.named(packed)                    # (B, *shape): what predictions hold

A base that answers with one tensor has it passed on as it is. Only tensors with a row for each example
can be of an example: others (caches, weights, sums over the batch) are None in what the loss gets.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ocd.base.losses import Loss
from ocd.errors import OCDError, nearest

Output = str | Callable[[Any], Tensor]
"""What predictions hold: the path of a tensor in the answer ("logits", "0", "heads.box"), or a function
of the answer."""


@dataclass(frozen=True)
class _Part:
    """A tensor of the answer: path, shape without the batch, type, and columns in the packed one."""

    path: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    columns: slice

    @property
    def is_floating(self) -> bool:
        return self.dtype.is_floating_point


@dataclass(frozen=True)
class _Form:
    """An answer without its tensors: `template` has numbers of `parts` in their places."""

    template: Any
    parts: list[_Part]
    named: _Part


@dataclass(frozen=True)
class _Place:
    """Stands in a template for the part of this number."""

    number: int


class Outputs:
    """The form of a base's answers. `output`: which tensor predictions hold, by name or function; None:
    the first with floating numbers."""

    def __init__(self, output: Output | None = None) -> None:
        if output is not None and not isinstance(output, str) and not callable(output):
            raise OCDError(
                f"output is a {type(output).__name__}: it must be the name of a tensor in the base's "
                "answer, or a function of the answer"
            )
        self.output = output
        self._forms: dict[int, _Form] = {}
        self._paths: set[str] | None = None

    def knows(self, answer: Any) -> bool:
        """Whether it is known which tensors of the answer have a row for each example."""
        return self._paths is not None or (isinstance(answer, Tensor) and self.output is None)

    def learn(self, of_one: Any, of_two: Any) -> None:
        """Find the tensors that have a row for each example, by answers to one example and to two: a
        weight with as many rows as a batch has examples must not be taken for one, nor a table of all
        pairs of examples (the similarities of a contrastive model)."""
        every: list[set[tuple[str, tuple[int, ...]]]] = []
        for rows, answer in ((1, of_one), (2, of_two)):
            found: list[tuple[str, Tensor]] = []
            _emptied(answer, "", found, rows, None)
            every.append({(path, tuple(tensor.shape[1:])) for path, tensor in found})
        self._paths = {path for path, _ in every[0] & every[1]}

    def pack(self, answer: Any, rows: int) -> Any:
        """The answer to `rows` examples as one tensor (rows, F). What has no row for each example is
        left out. A single tensor is returned as it is, whatever its shape: the caller checks it."""
        if isinstance(answer, Tensor) and self.output is None:
            return answer
        found: list[tuple[str, Tensor]] = []
        template = _emptied(answer, "", found, rows, self._paths)
        if not any(tensor.is_floating_point() for _, tensor in found):
            raise OCDError(
                f"the base returns a {type(answer).__name__} that has no tensor with a row for each of "
                f"{rows} examples: it must return one, or a tuple, dict or dataclass of such"
            )
        if callable(self.output):
            found.append(("output", self._computed(answer, rows)))
        parts, first = [], 0
        for path, tensor in found:
            width = tensor[:1].numel() if rows else 0
            columns = slice(first, first + width)
            parts.append(_Part(path, tuple(tensor.shape[1:]), tensor.dtype, columns))
            first += width
        self._remember(first, _Form(template, parts, self._choose(parts)))
        kind = reduce(torch.promote_types, [_packed_kind(tensor) for _, tensor in found])
        return torch.cat([_as_numbers(tensor, kind).reshape(rows, -1) for _, tensor in found], dim=1)

    def unpack(self, packed: Tensor) -> Any:
        """The base's answer, rebuilt from a packed one (N, F)."""
        form = self._form_of(packed)
        return packed if form is None else _filled(form.template, form.parts, packed)

    def named(self, packed: Tensor) -> Tensor:
        """The tensor that predictions hold: (..., F) -> (..., *shape)."""
        form = self._form_of(packed)
        return packed if form is None else _cut(packed, form.named)

    def numbers(self, packed: Tensor) -> Tensor:
        """f(x) of Eq. 4 as vectors, (B, F) -> (B, F'): the named tensor, or all floating ones."""
        form = self._form_of(packed)
        if form is None:
            return packed.reshape(len(packed), -1)
        if self.output is not None:
            return packed[:, form.named.columns]
        return torch.cat([packed[:, part.columns] for part in form.parts if part.is_floating], dim=1)

    def joined(self, packed: Tensor, join: Callable[[Tensor], Tensor]) -> Tensor:
        """The answers of K draws as one, (K, B, F) -> (B, F): the named tensor by `join`, other
        floating ones by their mean, and numbers that cannot be averaged as in the first draw."""
        form = self._form_of(packed)
        if form is None:
            return join(packed)
        columns = []
        for part in form.parts:
            draws = packed[..., part.columns]
            if part is form.named:
                columns.append(join(_cut(packed, part)).reshape(draws.shape[1:]))
            else:
                columns.append(draws.mean(dim=0) if part.is_floating else draws[0])
        return torch.cat(columns, dim=1)

    def loss(self, loss: Loss) -> Loss:
        """The user's loss on packed answers."""
        return PackedLoss(loss, self)

    def note(self) -> str | None:
        """Which tensor predictions hold where nobody named one of several; else None."""
        for form in self._forms.values():
            others = [part.path for part in form.parts if part.is_floating and part is not form.named]
            if self.output is None and others:
                return (
                    f"output: predictions hold {form.named.path!r}, the first floating tensor of the "
                    f"base's answer; output= names another ({', '.join(others)})"
                )
        return None

    def _computed(self, answer: Any, rows: int) -> Tensor:
        assert callable(self.output)
        value = self.output(answer)
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != rows:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise OCDError(
                f"output(answer) gave {shape} for {rows} examples: it must give a row for each"
            )
        if not value.is_floating_point():
            raise OCDError(f"output(answer) gave {value.dtype}: it must give floating numbers")
        return value

    def _choose(self, parts: list[_Part]) -> _Part:
        floating = [part for part in parts if part.is_floating]
        if callable(self.output):
            return parts[-1]
        if self.output is None:
            return floating[0]
        for part in floating:
            if part.path == self.output:
                return part
        known = [part.path or "the whole" for part in floating]
        hint = nearest(self.output, known) or f"; there are {', '.join(known)}"
        raise OCDError(f"the base's answer has no floating tensor {self.output!r}{hint}")

    def _remember(self, width: int, form: _Form) -> None:
        before = self._forms.get(width)
        if before is not None and before.parts != form.parts:
            raise OCDError(
                "the base answers with several tensors whose shapes change between batches so that "
                "they cannot be told apart: let inputs have one length, or return fewer tensors"
            )
        self._forms[width] = form

    def _form_of(self, packed: Tensor) -> _Form | None:
        if not self._forms:
            return None
        if packed.shape[-1] not in self._forms:
            raise OCDError(
                f"a packed answer has {packed.shape[-1]} numbers an example, and the base's answers "
                f"had {', '.join(map(str, self._forms))}"
            )
        return self._forms[packed.shape[-1]]


@dataclass(frozen=True)
class PackedLoss:
    """`loss` of answers that were packed."""

    loss: Loss
    outputs: Outputs

    def __call__(self, packed: Tensor, targets: Any) -> Tensor:
        return self.loss(self.outputs.unpack(packed), targets)


def _emptied(
    value: Any, path: str, found: list[tuple[str, Tensor]], rows: int, paths: set[str] | None
) -> Any:
    """`value` with those of its tensors that have `rows` rows (and are at one of `paths`) moved to
    `found`, and None for the others."""

    def inside(key: object, inner: Any) -> Any:
        return _emptied(inner, f"{path}.{key}" if path else str(key), found, rows, paths)

    if isinstance(value, Tensor):
        if paths is not None and path not in paths:
            return None
        if value.dim() == 0 or len(value) != rows or value.is_complex() or value.is_quantized:
            return None
        found.append((path, value))
        return _Place(len(found) - 1)
    if isinstance(value, Mapping):
        return rebuilt(value, {key: inside(key, inner) for key, inner in value.items()})
    if isinstance(value, tuple | list):
        keys = getattr(value, "_fields", range(len(value)))  # a named tuple's parts have names
        return rebuilt(value, [inside(key, inner) for key, inner in zip(keys, value, strict=True)])
    if is_dataclass(value) and not isinstance(value, type):
        return rebuilt(value, {f.name: inside(f.name, getattr(value, f.name)) for f in fields(value)})
    return value if isinstance(value, str | bytes | bool | int | float | None) else None


def _filled(value: Any, parts: list[_Part], packed: Tensor) -> Any:
    """A template with its tensors in place."""
    if isinstance(value, _Place):
        return _cut(packed, parts[value.number])
    if isinstance(value, Mapping):
        return rebuilt(value, {key: _filled(inner, parts, packed) for key, inner in value.items()})
    if isinstance(value, tuple | list):
        return rebuilt(value, [_filled(inner, parts, packed) for inner in value])
    if is_dataclass(value) and not isinstance(value, type):
        inner = {f.name: _filled(getattr(value, f.name), parts, packed) for f in fields(value)}
        return rebuilt(value, inner)
    return value


def rebuilt(value: Any, inner: Any) -> Any:
    """A container like `value` with other contents."""
    if isinstance(value, Mapping):
        if not hasattr(value, "__setitem__"):
            return dict(inner)
        other = copy.copy(value)
        for key, entry in inner.items():
            other[key] = entry
        return other
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return type(value)(*inner)
    if isinstance(value, tuple | list):
        return tuple(inner) if isinstance(value, tuple) else list(inner)
    other = copy.copy(value)
    for name, entry in inner.items():
        object.__setattr__(other, name, entry)
    return other


def _packed_kind(tensor: Tensor) -> torch.dtype:
    """The least precise floating type for a tensor; whole numbers are not put into half precision."""
    if tensor.is_floating_point():
        return tensor.dtype
    return torch.float16 if tensor.dtype == torch.bool else torch.float32


def _as_numbers(tensor: Tensor, kind: torch.dtype) -> Tensor:
    """A tensor in the packed type; NaN for whole numbers that it cannot hold (`_cut` refuses them)."""
    if tensor.is_floating_point():
        return tensor.to(kind)
    numbers = tensor.to(kind)
    return torch.where(numbers.to(tensor.dtype) == tensor, numbers, torch.nan)


def _cut(packed: Tensor, part: _Part) -> Tensor:
    values = packed[..., part.columns].reshape(*packed.shape[:-1], *part.shape)
    if not part.is_floating and bool(values.isnan().any()):
        raise OCDError(
            f"{part.path!r} of the base's answer has whole numbers that {packed.dtype} cannot hold: "
            "let the base return it as a floating tensor, or leave it out"
        )
    return values.to(part.dtype)
