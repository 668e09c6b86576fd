"""Which bases end in a linear layer on one vector, and what is said of those that do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ocd import OCDError
from ocd.baselines.laplace import last_layer


class InUnits(nn.Module):
    """A network whose answer is restored to the target's unit, as a table's base is."""

    def __init__(self, network: nn.Module, scale: float, shift: float) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.network(x)
        return answer * self.scale + self.shift


class MeanOfPositions(nn.Module):
    """A linear layer on each of seven vectors, and the mean of its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, None].expand(-1, 7, -1)).mean(dim=1)


class Scaled(nn.Module):
    """No layer whose weight could move."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))


def test_a_base_that_ends_in_its_linear_layer_has_it() -> None:
    assert last_layer(network(), torch.randn(3, 5)).name == "2"
    assert last_layer(InUnits(network(), 1.0, 0.0), torch.randn(3, 5)).name == "network.2"


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        (InUnits(network(), 3.0, 10.0), "'network.2', sees one, but what it answers is changed behind"),
        (MeanOfPositions(), "its last one, 'head', sees 7 vectors of each example"),
        (Scaled(), "none of its layers can be moved"),
    ],
)
def test_what_the_last_layer_lacks_is_said(base: nn.Module, reason: str) -> None:
    with pytest.raises(OCDError, match="ends in a linear layer on one vector: ") as caught:
        last_layer(base, torch.randn(3, 5))
    assert reason in str(caught.value)


def test_a_last_convolution_in_groups_is_named_so() -> None:
    base = nn.Sequential(nn.Conv1d(4, 4, 5, groups=2), nn.Flatten())
    with pytest.raises(OCDError, match="its last one, '0', is a convolution in 2 groups"):
        last_layer(base, torch.randn(3, 4, 5))
