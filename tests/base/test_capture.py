"""What is seen of a layer that moves the plain way: rows of examples, and of nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ocd.base import FrozenBase, probe


class Recurrent(nn.Module):
    """`first`: whether the layer gets the examples first, or the time steps."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.rnn, self.head = nn.GRU(5, 6, batch_first=first), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.rnn(x if self.first else x.transpose(0, 1))
        return self.head(hidden[:, -1] if self.first else hidden[-1])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("probed", [True, False])
def test_time_steps_are_not_taken_for_examples(first: bool, probed: bool) -> None:
    """Batches of as many examples as there are time steps, and of others: the same of each example."""
    frozen, x = FrozenBase(Recurrent(first), "rnn.bias_hh_l0"), torch.randn(9, 4, 5)
    if probed:
        probe(frozen, x)
    for batch in (1, 3, 4, 9):
        capture = frozen.capture(x[:batch])
        assert capture.layer_input.shape == (batch, 20 if first else 0)
        assert capture.layer_output.shape == (batch, 24 if first else 0)
        if first:
            assert torch.equal(capture.layer_input, x[:batch].flatten(1))
