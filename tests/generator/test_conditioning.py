"""What conditions are made of: standardised by the training examples, in any unit."""

from __future__ import annotations

import pytest
import torch

from ocd.generator.conditioning import Standardize


@pytest.mark.parametrize("exponent", [-60, -20, 0, 20])
def test_features_are_standardised_in_any_unit(exponent: int) -> None:
    values = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) + 1
    standardize = Standardize(3)
    standardize.fit(2.0**exponent * values)
    found = standardize(2.0**exponent * values)
    assert torch.allclose(found.mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(found.std(dim=0), torch.ones(3), atol=0.05)


def test_features_that_do_not_vary_say_nothing() -> None:
    standardize = Standardize(2)
    standardize.fit(torch.full((5, 2), 3.0))
    assert torch.equal(standardize(torch.full((4, 2), 3.0)), torch.zeros(4, 2))
    standardize.fit(torch.zeros(5, 2))
    assert torch.equal(standardize(torch.zeros(4, 2)), torch.zeros(4, 2))
