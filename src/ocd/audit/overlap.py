"""Are test examples among the training examples? Each input's bytes are hashed and looked up.

Equal means equal bit for bit: a copy that was stored or scaled again is not found.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ocd.audit.findings import Finding, counted, listed
from ocd.data import Inputs, num_rows, tensors


def check_overlap(train_inputs: Inputs, test_inputs: Inputs) -> Finding:
    """Test inputs that are a training input, bit for bit. Nearly equal ones are not found.

    Test inputs that repeat an earlier one are counted, for information.
    """
    kinds = _kinds(train_inputs), _kinds(test_inputs)
    if kinds[0] != kinds[1]:
        text = (
            f"training inputs are {' and '.join(kinds[0])}, test inputs {' and '.join(kinds[1])}: "
            "their bytes cannot agree"
        )
        return Finding("overlap", None, text)
    train, test = example_digests(train_inputs), example_digests(test_inputs)
    first_of = _first_places(train)
    pairs = [(i, first_of[digest]) for i, digest in enumerate(test) if digest in first_of]
    repeats = len(test) - len(set(test))
    details = {
        "train": len(train),
        "test": len(test),
        "overlapping": len(pairs),
        "pairs": [list(pair) for pair in pairs[:100]],
        "repeated_in_test": repeats,
    }
    sizes = f"{counted(len(test), 'test example')}", f"{counted(len(train), 'training example')}"
    if pairs:
        named = listed([f"test {i} = training {j}" for i, j in pairs])
        text = f"{len(pairs):,} of {sizes[0]} are among the {sizes[1]}: {named}"
    else:
        text = f"none of {sizes[0]} is among the {sizes[1]} (sha256 of each input)"
    if repeats:
        text += f"; {counted(repeats, 'test example')} repeat an earlier one"
    return Finding("overlap", not pairs, text, details)


def example_digests(inputs: Inputs) -> list[bytes]:
    """sha256 of every example: the bytes of all its tensors, after their types and shapes."""
    start = hashlib.sha256("; ".join(_kinds(inputs)).encode())
    parts = [_bytes_by_row(tensor) for tensor in tensors(inputs)]
    digests = []
    for row in range(num_rows(inputs)):
        digest = start.copy()
        for flat, width in parts:
            digest.update(flat[row * width : (row + 1) * width])
        digests.append(digest.digest())
    return digests


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The numbers of a tensor as they lie in memory, without a copy where it is contiguous."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def describe(tensor: Tensor) -> str:
    """Type and shape of one example, such as "float32 1×28×28"."""
    shape = "×".join(map(str, tensor.shape[1:])) or "number"
    return f"{str(tensor.dtype).removeprefix('torch.')} {shape}"


def _bytes_by_row(tensor: Tensor) -> tuple[memoryview, int]:
    flat = tensor_bytes(tensor)
    return flat, len(flat) // max(1, len(tensor))


def _kinds(inputs: Inputs) -> list[str]:
    return [describe(tensor) for tensor in tensors(inputs)]


def _first_places(digests: list[bytes]) -> dict[bytes, int]:
    places: dict[bytes, int] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest, place)
    return places
