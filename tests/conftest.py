"""Settings of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from small_run import shrink

# The client of the hub reads it once, when it is imported: without a hub it would try five times, for
# half a minute. A test that speaks to a hub of its own sets it back.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The tests' tensors are tiny. Beside another busy process two OpenMP threads wait for each other at
# each of them: a test of 2 s was measured at 113 s.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def small_constants() -> Iterator[None]:
    """Every test sees the small constants; module fixtures do too."""
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield
