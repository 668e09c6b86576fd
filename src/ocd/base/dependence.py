"""Which of some tensors a computation's result depends on, by its operations and not by its numbers.

    dependence = Dependence()
    dependence.mark(hidden, 0)
    with dependence.traced():
        output = compute(hidden, mask)
    dependence.of(output)   # {0}, also where nothing of `hidden` came through, as under torch.where

Numbers hide what an operation could do with others: a mask that masks nothing, an index of nobody, a
threshold that is not reached. So every operation is seen, and what it answers gets the marks of what it
is given; so does memory that is changed in place.

What is read out of a marked tensor into Python (`item`, a condition, a size that numbers decide) may
choose other operations for other numbers: then `is_read` is true, and `held` has the marks of all that
such operations could still get at, since somebody held it then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ocd.base.replay import flat_tensors

ONLY_THE_FORM = {
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like",
    "new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided",
}  # fmt: skip
"""Operations whose answer does not depend on the numbers that they are given."""
NO_NUMBERS = {
    "__get__", "__len__", "__iter__", "__hash__", "size", "dim", "numel", "nelement", "ndimension",
    "stride", "storage_offset", "element_size", "get_device", "type", "result_type", "can_cast",
    "register_hook",
}  # fmt: skip
"""Functions that answer with something else than tensors, but of the form and not of the numbers."""


class Dependence:
    """Marks of tensors, by the memory that they lie in: views have those of what they are views of."""

    def __init__(self) -> None:
        self.is_read = False
        self.held: set[int] = set()
        # By address, which stays unique as long as a weak reference to the memory lives.
        self._marks: dict[int, tuple[StorageWeakRef, set[int]]] = {}

    def mark(self, values: Any, number: int) -> None:
        """Mark the tensors in `values`."""
        self._add(flat_tensors(values), {number})

    def of(self, values: Any) -> set[int]:
        """The marks of the tensors in `values`."""
        found: set[int] = set()
        for tensor in flat_tensors(values):
            known = self._marks.get(_memory(tensor)._cdata)
            found |= known[1] if known else set()
        return found

    def hold(self) -> None:
        """Code that runs from here on may use any tensor that still lives: its marks are added to
        `held`."""
        for weak, marks in self._marks.values():
            if not marks <= self.held and not weak.expired():
                self.held |= marks

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Follow the marks through every operation."""
        with _Functions(self), _Operations(self):
            yield

    def see(self, func: Any, given: tuple[Any, ...], result: Any) -> None:
        """An operation of PyTorch's dispatcher was computed."""
        marks = self.of(given)
        if not marks:
            return
        if torch.Tag.data_dependent_output in func.tags or self.of(_deciding_the_size(func, given)):
            self._read()
        if func.overloadpacket.__name__ not in ONLY_THE_FORM:
            self._add([*flat_tensors(result), *_changed_in_place(func, given)], marks)

    def see_function(self, func: Any, given: tuple[Any, ...], result: Any) -> None:
        """A function or method was called from Python: what is not an operation (`numpy`, `tolist`)
        reads numbers too."""
        if _gives_numbers(func, result) and self.of(given):
            self._read()

    def _read(self) -> None:
        self.is_read = True
        self.hold()

    def _add(self, tensors: list[Tensor], marks: set[int]) -> None:
        for tensor in tensors:
            memory = _memory(tensor)
            if memory._cdata not in self._marks:
                self._marks[memory._cdata] = (StorageWeakRef(memory), set())
            self._marks[memory._cdata][1].update(marks)


class _Operations(TorchDispatchMode):
    def __init__(self, dependence: Dependence) -> None:
        super().__init__()
        self.dependence = dependence

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here, and to make sure of it would import the compiler: a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.dependence.see(func, (args, kwargs or {}), result)
        return result


class _Functions(TorchFunctionMode):
    def __init__(self, dependence: Dependence) -> None:
        super().__init__()
        self.dependence = dependence

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.dependence.see_function(func, (args, kwargs or {}), result)
        return result


def _memory(tensor: Tensor) -> torch.UntypedStorage:
    with torch._C.DisableTorchFunction():  # this look at the memory is not the computation's
        if tensor.layout is torch.sparse_coo:
            tensor = tensor._values()
        elif tensor.layout is not torch.strided:
            tensor = tensor.values()
        return tensor.untyped_storage()


def _changed_in_place(func: Any, given: tuple[Any, ...]) -> list[Tensor]:
    args, kwargs = given
    changed: list[Tensor] = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            changed += flat_tensors(args[place] if place < len(args) else kwargs.get(argument.name))
    return changed


def _deciding_the_size(func: Any, given: tuple[Any, ...]) -> list[Tensor]:
    """The tensors whose numbers decide how large the answer is, as of `nonzero`; of an index, masks."""
    if torch.Tag.dynamic_output_shape not in func.tags:
        return []
    if func.overloadpacket.__name__ != "index":
        return flat_tensors(given)
    indices = flat_tensors(given[0][1:])
    return [index for index in indices if index.dtype in (torch.bool, torch.uint8)]


def _gives_numbers(func: Any, result: Any) -> bool:
    if result is None or flat_tensors(result) or isinstance(result, torch.Size | torch.dtype):
        return False
    name = getattr(func, "__name__", "")
    return not (name in NO_NUMBERS or (name.startswith("is_") and name != "is_nonzero"))
