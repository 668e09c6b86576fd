"""What the probe finds out before anything is learned: the way, and what nothing is right for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from ocd import overfit
from ocd.base import DenseDelta, FrozenBase, check_loss_rows, probe
from ocd.errors import OCDError


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


class Scaled(nn.Linear):
    """Looks like a linear layer, and is none: its weight is used divided by its norm."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight / self.weight.norm(), self.bias)


class Twice(nn.Module):
    """The weight of `fc` is used a second time, by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.fc(x)) + nn.functional.linear(x, self.fc.weight))


class Regularised(nn.Module):
    """Adds the norm of the layer's weight to what it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + self.fc.weight.square().sum()


class Recomputed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(checkpoint(lambda y: torch.tanh(self.fc(y)), x, use_reentrant=False))


def pruned() -> nn.Module:
    base = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    prune.random_unstructured(base[0], "weight", amount=0.5)  # type: ignore[arg-type]
    return base


KINDS: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)), "0", "shift"),
    "a forward of its own": (lambda: nn.Sequential(Scaled(5, 6), nn.Tanh()), "0", "vectorized"),
    "used a second time": (Twice, "fc", "vectorized"),
    "used without being called": (Regularised, "fc", "vectorized"),
    "a bias": (lambda: nn.Sequential(nn.Linear(5, 3)), "0.bias", "vectorized"),
    "a norm": (lambda: nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3)), "1", "vectorized"),
    "recomputed": (Recomputed, "fc", "shift"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_is_the_fastest_that_is_right(kind: str) -> None:
    make, layer, way = KINDS[kind]
    base, inputs = make(), torch.randn(4, 5)
    frozen = FrozenBase(base, layer)
    probe(frozen, inputs)
    assert frozen.way is not None and frozen.way.kind == way
    delta = DenseDelta(0.2 * torch.randn(4, 3, *frozen.weight_shape))
    moved = frozen.run(frozen.capture(inputs), delta).detach()
    torch.testing.assert_close(moved, frozen.run_plain(inputs, delta).detach(), rtol=1e-4, atol=1e-5)


def test_a_pruned_weight_stays_pruned() -> None:
    base, inputs = pruned(), torch.randn(4, 5)
    deltas = overfit(base, "0", squares, inputs, torch.randn(4, 3), steps=3, lr=0.1)
    assert deltas.dense()[:, base[0].weight_mask == 1].abs().max() > 0
    assert deltas.dense()[:, base[0].weight_mask == 0].abs().max() == 0


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().flatten(1).sum(1)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_weight_that_is_constant_does_not_blind_the_probe(value: float) -> None:
    """With a weight of zeros a relative delta would be zero, and every way would agree."""
    base = Twice()
    nn.init.constant_(base.fc.weight, value)
    frozen = FrozenBase(base, "fc")
    probe(frozen, torch.randn(4, 5))
    assert frozen.way is not None and frozen.way.kind != "shift"


def test_a_weight_of_one_element() -> None:
    base, inputs, targets = nn.Sequential(nn.Linear(1, 1)), torch.randn(4, 1), torch.randn(4, 1)
    deltas = overfit(base, "0", squares, inputs, targets, steps=1, lr=0.1)
    error = base(inputs) - targets
    torch.testing.assert_close(deltas.dense()[:, :, 0], (-0.1 * 2 * error * inputs).detach())


class Random(nn.Module):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.fc, self.head, self.where = nn.Linear(5, 6), nn.Linear(6, 3), where

    def forward(self, x: Tensor) -> Tensor:
        if self.where == "in front":
            x = nn.functional.dropout(x)
        hidden = torch.tanh(self.fc(x))
        return self.head(nn.functional.dropout(hidden) if self.where == "behind" else hidden)


@pytest.mark.parametrize("where", ["in front", "behind"])
def test_a_base_that_answers_at_random(where: str) -> None:
    with pytest.raises(OCDError, match="the base is random.*dropout by a function takes training="):
        probe(FrozenBase(Random(where), "fc"), torch.randn(4, 5))


class Mixes(nn.Module):
    def __init__(self, how: Callable[[Tensor], Tensor], in_front: bool) -> None:
        super().__init__()
        self.fc, self.head, self.how, self.in_front = nn.Linear(5, 5), nn.Linear(5, 3), how, in_front

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc(self.how(x)) if self.in_front else self.how(self.fc(x))
        return self.head(torch.tanh(hidden))


MIXING = {
    "mean of the batch": lambda x: x - x.mean(0),
    "batch statistics": lambda x: nn.functional.batch_norm(x, None, None, training=True),
    "attention over rows": lambda x: torch.softmax(x @ x.T, 1) @ x,
    "the row before": lambda x: x + x.roll(1, 0),
}


@pytest.mark.parametrize("in_front", [True, False], ids=["in front", "behind"])
@pytest.mark.parametrize("how", MIXING)
def test_a_base_that_mixes_the_rows_of_a_batch(how: str, in_front: bool) -> None:
    with pytest.raises(OCDError, match=r"mixes the rows of a batch|fails on a batch of one input"):
        probe(FrozenBase(Mixes(MIXING[how], in_front), "fc"), torch.randn(4, 5))


def test_rows_that_mix_behind_a_layer_of_zeros_are_found_too() -> None:
    base = Mixes(lambda x: x - x.mean(0), in_front=False)
    nn.init.zeros_(base.fc.weight)
    nn.init.zeros_(base.fc.bias)
    with pytest.raises(OCDError, match="mixes the rows of a batch"):
        probe(FrozenBase(base, "fc"), torch.randn(4, 5))


LOSSES: dict[str, Callable[[Any, Any], Tensor]] = {
    "all pairs": lambda y, t: (y[:, 0] - t[:, None]).square().mean(1),
    "less the batch's mean": lambda y, t: (y[:, 0] - t).square() - (y[:, 0] - t).square().mean(),
    "contrastive": lambda y, t: torch.logsumexp(y @ y.T, dim=1),
    "the next row's target": lambda y, t: (y[:, 0] - t.roll(1)).square(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_mixes_the_rows(name: str) -> None:
    with pytest.raises(OCDError, match="the loss mixes the rows of a batch"):
        check_loss_rows(LOSSES[name], torch.randn(3, 2), torch.randn(3))
    with pytest.raises(OCDError, match="the loss mixes the rows of a batch"):
        overfit(nn.Sequential(nn.Linear(5, 2)), "0", LOSSES[name], torch.randn(6, 5), torch.randn(6))


def test_a_loss_of_each_row_is_no_such() -> None:
    check_loss_rows(lambda y, t: (y[:, 0] - t).square(), torch.randn(3, 2), torch.randn(3))


def test_what_the_output_does_not_depend_on() -> None:
    class Cut(nn.Module):
        def __init__(self, detached: bool) -> None:
            super().__init__()
            self.fc, self.unused, self.detached = nn.Linear(5, 3), nn.Linear(5, 3), detached

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x).detach() if self.detached else self.fc(x)

    for layer, detached in (("unused", False), ("fc", True)):
        with pytest.raises(OCDError, match="does not depend on .* or cannot be differentiated"):
            probe(FrozenBase(Cut(detached), layer), torch.randn(4, 5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_move_too(dtype: torch.dtype) -> None:
    base = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    inputs, targets = torch.randn(8, 5).to(dtype), torch.randn(8, 3).to(dtype)
    deltas = overfit(base, "0", squares, inputs, targets, steps=3, lr=0.05)
    exact = nn.Sequential(*[layer.double() for layer in base])
    wanted = overfit(exact, "0", squares, inputs.double(), targets.double(), steps=3, lr=0.05)
    size = wanted.dense().abs().max()
    limit = {torch.float16: 0.02, torch.bfloat16: 0.1, torch.float64: 1e-12}[dtype]
    assert (deltas.dense().double() - wanted.dense()).abs().max() < limit * size
    assert deltas.dense().dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_whole_numbers_cannot_move() -> None:
    base = nn.Module()
    base.register_parameter(
        "steps", nn.Parameter(torch.ones(3, dtype=torch.int64), requires_grad=False)
    )
    with pytest.raises(OCDError, match="a delta is a real number"):
        FrozenBase(base, "steps")


@pytest.fixture
def rounded_convolutions() -> Iterator[None]:
    """As PyTorch comes: convolutions of a GPU in TF32."""
    kind = torch.backends.cudnn.conv
    before, kind.fp32_precision = kind.fp32_precision, "tf32"
    yield
    kind.fp32_precision = before


def test_proofs_are_made_in_full_precision_and_leave_it_as_it_was(rounded_convolutions: None) -> None:
    backends, seen = torch.backends, []

    class Watches(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision))
            return super().forward(x)

    matmul = backends.cuda.matmul.fp32_precision
    frozen = FrozenBase(nn.Sequential(Watches(5, 4), nn.ReLU(), nn.Linear(4, 3)), "2")
    probe(frozen, torch.randn(4, 5))
    assert frozen.front(torch.randn(4, 5)) is not None
    assert set(seen) == {("ieee", "ieee")}
    frozen.answer(torch.randn(4, 5))
    assert seen[-1] == ("tf32", matmul)
