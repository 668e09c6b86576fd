"""How many threads a process computes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def on_one_thread() -> Iterator[None]:
    """PyTorch computes on one thread inside the block.

    Threads that share a sum or a convolution part it, so that the last bits of it depend on how many
    they are. What several processes do together must not depend on that: they are the threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
