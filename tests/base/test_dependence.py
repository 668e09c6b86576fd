"""What a result depends on is told by operations, not by numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ocd.base.dependence import Dependence

NOBODY = torch.zeros(3, dtype=torch.bool)
NONE = torch.empty(0, dtype=torch.int64)


def written(a: Tensor, b: Tensor) -> Tensor:
    c = b.clone()
    c[NOBODY] = a[NOBODY]
    return c


def added_in_place(a: Tensor, b: Tensor) -> Tensor:
    c = torch.zeros(4)
    c[1:].add_(a)
    return c


def into_a_given_tensor(a: Tensor, b: Tensor) -> Tensor:
    c = torch.zeros(3)
    torch.mul(a, 0.0, out=c)
    return c


def only_its_form(a: Tensor, b: Tensor) -> Tensor:
    return b + torch.zeros_like(a) + a.new_ones(len(a)) * a.dim() * a.shape[0] * a.numel()


@pytest.mark.parametrize(
    ("compute", "marks"),
    [
        (lambda a, b: torch.where(NOBODY, a, b), {0, 1}),
        (lambda a, b: b + 0 * a, {0, 1}),
        (lambda a, b: torch.cat([a[:0], b]), {0, 1}),
        (lambda a, b: b.index_add(0, NONE, a[NONE]), {0, 1}),
        (lambda a, b: {"part": [b, (a.view(3, 1).T,)]}, {0, 1}),
        (lambda a, b: a.argmax(), {0}),
        (lambda a, b: torch.nn.functional.relu(a, inplace=False), {0}),
        (lambda a, b: torch.sparse.mm(torch.eye(3).to_sparse(), a[:, None]), {0}),
        (written, {0, 1}),
        (added_in_place, {0}),
        (into_a_given_tensor, {0}),
        (only_its_form, {1}),
        (lambda a, b: torch.ones(3), set()),
    ],
)
def test_marks_follow_every_operation(
    compute: Callable[[Tensor, Tensor], Any], marks: set[int]
) -> None:
    dependence, a, b = Dependence(), torch.randn(3), torch.randn(3)
    dependence.mark(a, 0)
    dependence.mark([b], 1)
    with dependence.traced():
        result = compute(a, b)
    assert dependence.of(result) == marks
    assert not dependence.is_read


@pytest.mark.parametrize(
    "read",
    [
        lambda a: a[0].item(),
        lambda a: bool(a.sum() > 0),
        lambda a: float(a.max()),
        lambda a: a.tolist(),
        lambda a: a.numpy(),
        lambda a: a.nonzero(),
        lambda a: a[a > 0],
        lambda a: torch.equal(a, a),
        lambda a: torch.allclose(a, a),
        lambda a: f"{a}",
        lambda a: copy.copy(a).data_ptr(),
        lambda a: 1.0 in a,
    ],
)
def test_numbers_that_reach_python_are_noticed(read: Callable[[Tensor], Any]) -> None:
    for is_marked in (True, False):
        dependence, a = Dependence(), torch.randn(3)
        if is_marked:
            dependence.mark(a, 0)
        with dependence.traced():
            read(a)
        assert dependence.is_read is is_marked


def test_what_nobody_holds_any_more_cannot_be_used() -> None:
    dependence, a, b = Dependence(), torch.randn(3), torch.randn(3)
    dependence.mark(a, 0)
    dependence.mark(b, 1)
    with dependence.traced():
        a = a * 2 if b is None else b * 2  # the first is given up
        assert bool((a.sum() - b.sum()).isfinite())
    assert dependence.held == {1}
