"""A hash that tells one base from another."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def base_digest(base: nn.Module) -> str:
    """A hash of every parameter and buffer of the base, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(base.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
