"""Full single precision for proofs, which compare two ways to one answer.

A GPU rounds the inputs of convolutions, and where it is asked to of matrix products, to the ten bits of
TF32. PyTorch's choice of kernels decides which, so that the same images in another batch, or the same
product by another way, come out a thousandth apart: no fast way could be proven then, and a base that
is right would look as if it mixed its rows. What is proven holds at any precision, so proofs alone are
made in full single precision; all other passes keep the precision that the user's program has set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_products() -> Iterator[None]:
    """Convolutions, recurrent layers and matrix products on a GPU in IEEE single precision."""
    backends: Any = torch.backends
    kinds = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision
