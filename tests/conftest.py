"""Settings of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from small_run import shrink

# The tests' tensors are tiny. Beside another busy process two OpenMP threads wait for each other at
# each of them: a test of 2 s was measured at 113 s.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def small_constants() -> Iterator[None]:
    """Every test sees the small constants; module fixtures do too."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield
