"""Features of a frozen body: computed once for each input, for these weights and no others."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from ocd.base import find_layer, list_layers, private_view
from ocd.errors import OCDError
from ocd.lessons import select_layer
from ocd.tasks import kept_features
from ocd.tasks.kept_features import KeptFeatures, kept_in


class Body(nn.Module):
    """Counts the rows that it is asked for."""

    rows = 0

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Body.rows += len(x)
        return self.fc(x).tanh()


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = KeptFeatures(Body())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.front(x))


@pytest.fixture(autouse=True)
def nothing_kept():
    kept_features._FEATURES.clear()
    kept_features._KNOWN.clear()
    Body.rows = 0


@pytest.fixture
def base():
    torch.manual_seed(0)
    return Base().eval().requires_grad_(False)


def test_each_row_is_computed_once_also_on_views_and_copies(base):
    x = torch.randn(10, 3)
    wanted = base.head(base.front.body(x))
    Body.rows = 0
    for network in (base, private_view(base), copy.deepcopy(base)):
        assert torch.allclose(network(x), wanted)
        assert torch.allclose(network(x[3:5]), wanted[3:5])
    assert Body.rows == 10


def test_other_weights_have_other_features(base):
    x = torch.randn(4, 3)
    before = base(x)
    with torch.no_grad():
        base.front.body.fc.weight.mul_(2)
    after = base(x)
    assert not torch.allclose(before, after)
    assert torch.allclose(after, base.head(base.front.body(x)))


def test_gradients_and_train_mode_go_through_the_body(base):
    x = torch.randn(4, 3)
    base.front.requires_grad_(True)
    base(x).sum().backward()
    assert base.front.body.fc.weight.grad is not None
    base.requires_grad_(False).train()
    Body.rows = 0
    base(x), base(x)
    assert Body.rows == 8


def test_vmap_over_weights_behind_it(base):
    x, weights = torch.randn(5, 3), torch.randn(5, 2, 4)

    def answer(weight, row):
        return functional_call(base, {"head.weight": weight}, (row[None],))[0]

    found = vmap(answer)(weights, x)
    wanted = torch.stack([answer(*pair) for pair in zip(weights, x, strict=True)])
    assert torch.allclose(found, wanted, atol=1e-6)


def test_they_are_read_again_from_the_folder(base, tmp_path):
    x = torch.randn(6, 3)
    with kept_in(tmp_path):
        first = base(x)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    kept_features._FEATURES.clear()
    Body.rows = 0
    with kept_in(tmp_path):
        assert torch.equal(base(x), first)
    assert Body.rows == 0


def test_layers_inside_are_not_compared_and_cannot_be_named(base):
    assert list_layers(base) == ["head"]
    loss = nn.CrossEntropyLoss(reduction="none")
    x, y = torch.randn(8, 3), torch.randint(2, (8,))
    assert select_layer(base, loss, x, y).names == ["head"]
    with pytest.raises(OCDError, match="computed once for each input.*head"):
        find_layer(base, "front.body.fc")
