"""Batch norm statistics taken anew: what the inputs have, and nothing else of the base."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ocd import OCDError
from ocd.baselines import fit_renewed_statistics, has_batch_norms
from ocd.data import Examples


def make_base() -> nn.Sequential:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    base[1].weight.data.uniform_(0.5, 1.5)
    return base


def test_the_statistics_are_those_of_the_inputs() -> None:
    base, inputs = make_base(), 3 + 2 * torch.randn(512, 3)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    found = fit_renewed_statistics(base, Examples(inputs, torch.zeros(512, dtype=torch.long)))
    with torch.no_grad():
        seen = base[0](inputs)
        halves = [half.var(dim=0) for half in seen.chunk(2)]  # the mean over two batches of 256
        norm = (seen - seen.mean(dim=0)) / (torch.stack(halves).mean(dim=0) + 1e-5).sqrt()
        expected = base[3](torch.relu(norm * base[1].weight + base[1].bias))
    assert torch.allclose(found.predict(inputs).outputs[0], expected, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())


def test_a_base_without_batch_norm_is_named() -> None:
    base = nn.Linear(3, 2)
    assert not has_batch_norms(base) and has_batch_norms(make_base())
    with pytest.raises(OCDError, match="no batch norm"):
        fit_renewed_statistics(base, Examples(torch.randn(4, 3), torch.zeros(4, dtype=torch.long)))
