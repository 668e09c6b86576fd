"""Features of a frozen module, computed once for each input: in memory, and in a run's folder.

    front = KeptFeatures(body)            # a module: inputs (B, ...) -> what `body` answers, (B, ...)
    with kept_in(run / "features"):       # what is new is written there at the end, and read again
        front(inputs)

For a base of a large frozen part and a small one behind it that moves. Whoever asks the base again for
an input that it has answered (every baseline, every draw, a process that goes on, an audit) gets the
features from here, and `body` does not run. It knows nothing of what the inputs are.

How to use it in a task: build the base as `self.front = KeptFeatures(body)` and the modules behind it,
and let `forward` call `self.front(inputs)`, one tensor with a row for each example. Two rows of the
same bytes are the same input. Layers of `body` are not compared by Eq. 3 and cannot be moved
(`closed_to_moves`). A run's phases are `kept_in` its folder already.

Features belong to a hash of the weights they were made with, never to a module or a file name: copies
and private views of a base share them, and a base that was changed has others. While `body` is in
train mode, or a gradient of its weights is asked for, nothing is kept and nothing is looked up.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ocd.base import digest_of
from ocd.data import read_tensors, write_tensors

MOST_BYTES = 2**31
"""Of features in memory; those that were not asked for longest leave."""
MOST_ON_DISK = 2**28
"""Bytes of a file of features; larger ones are computed again."""
MOST_KNOWN = 8
"""Sets of weights whose hash is remembered."""
_FOLDER: ContextVar[Path | None] = ContextVar("kept_features_folder", default=None)


@dataclass
class _Features:
    """Those of one body: row numbers by the hash of an input, and the rows. `folder`: the one that was
    named when they were asked for last."""

    places: dict[bytes, int] = field(default_factory=dict)
    rows: list[Tensor] = field(default_factory=list)
    num_saved: int = 0
    folder: Path | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(row.numel() * row.element_size() for row in self.rows)


_FEATURES: OrderedDict[str, _Features] = OrderedDict()
"""By the hash of the body's weights, those that were asked for last at the end."""
_KNOWN: list[tuple[list[Tensor], list[int], str]] = []
"""Weights, their versions when they were hashed, and the hash. The weights are held, so that no others
can come to lie where they lie."""


class KeptFeatures(nn.Module):
    """`body(inputs)`, each input once. `body`: inputs (B, ...) -> (B, ...), an example's answer is its
    own. `chunk`: examples that it is given at a time."""

    closed_to_moves = True
    """Read by ocd.base: no layer inside is compared or moved."""

    def __init__(self, body: nn.Module, chunk: int = 256) -> None:
        super().__init__()
        self.body = body
        self.chunk = chunk

    def forward(self, inputs: Tensor) -> Tensor:
        weights = list(self.body.parameters())
        asked = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        if self.body.training or asked:
            answer: Tensor = self.body(inputs)
            return answer
        looked_up: Tensor = _Looked.apply(inputs, self)
        return looked_up

    def looked_up(self, inputs: Tensor) -> Tensor:
        """The features of inputs (B, ...), computed where they are not there yet."""
        kept = _features_of(_digest(self.body))
        keys = input_digests(inputs)
        new = {key: place for place, key in enumerate(keys) if key not in kept.places}
        index = torch.tensor(list(new.values()), dtype=torch.long)
        for part in index.split(self.chunk) if new else ():
            with torch.no_grad():
                found = self.body(inputs[part.to(inputs.device)]).detach().cpu()
            for place, row in zip(part.tolist(), found, strict=True):
                kept.places[keys[place]] = len(kept.rows)
                kept.rows.append(row.clone())
        if new:
            _make_room()
        rows = torch.stack([kept.rows[kept.places[key]] for key in keys])
        return rows.to(inputs.device)


class _Looked(torch.autograd.Function):
    """A look-up, which has no gradient, and under `vmap` takes all rows at once."""

    @staticmethod
    def forward(inputs: Tensor, front: KeptFeatures) -> Tensor:
        return front.looked_up(inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is needed behind a look-up: what was looked up has no gradient."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """There is none: the weights in front are frozen, and inputs are no parameters."""
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, inputs: Tensor, front: KeptFeatures) -> tuple[Tensor, int]:
        """All rows of a batched call at once, so that `vmap` over examples looks up as a loop would."""
        many = inputs.movedim(in_dims[0], 0)
        rows = _Looked.apply(many.flatten(0, 1), front)
        return rows.unflatten(0, many.shape[:2]), 0


def input_digests(inputs: Tensor) -> list[bytes]:
    """A hash of each row's bytes and shape."""
    flat = inputs.detach().cpu().contiguous().reshape(len(inputs), -1)
    start = hashlib.blake2b(f"{inputs.dtype}{tuple(inputs.shape[1:])}".encode(), digest_size=16)
    found = []
    for row in flat.view(torch.uint8).numpy() if flat.numel() else flat.numpy():
        digest = start.copy()
        digest.update(row.tobytes())
        found.append(digest.digest())
    return found


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Features are read from files of this folder in the block, and new ones written at its end, also
    where it ends by an exception."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)
        for digest, kept in _FEATURES.items():
            if kept.folder != folder or len(kept.rows) <= kept.num_saved:
                continue
            if kept.size <= MOST_ON_DISK:
                _write(folder / f"{digest}.safetensors", kept)


def _write(path: Path, kept: _Features) -> None:
    """The hashes of the inputs, and their rows in the same order, as safetensors."""
    by_shape = {row.shape for row in kept.rows}
    if len(by_shape) != 1:  # of inputs of several lengths: not worth a format
        return
    names = b"".join(kept.places)
    keys = torch.frombuffer(bytearray(names), dtype=torch.uint8).view(len(kept.places), -1)
    write_tensors(path, {"keys": keys, "rows": torch.stack(kept.rows)})
    kept.num_saved = len(kept.rows)


def _features_of(digest: str) -> _Features:
    """Those of the body with this hash, from the folder that is named where memory has none."""
    if digest not in _FEATURES:
        _FEATURES[digest] = _Features()
    kept = _FEATURES[digest]
    _FEATURES.move_to_end(digest)
    folder = _FOLDER.get()
    if folder is None:
        return kept
    path, kept.folder = folder / f"{digest}.safetensors", folder
    if not kept.rows and path.exists():
        saved = read_tensors(path)
        kept.rows = list(saved["rows"])
        kept.places = {bytes(key.tolist()): n for n, key in enumerate(saved["keys"])}
        kept.num_saved = len(kept.rows)
    return kept


def _make_room() -> None:
    """Forget what was not asked for longest, until the rest is below the limit."""
    while len(_FEATURES) > 1 and sum(kept.size for kept in _FEATURES.values()) > MOST_BYTES:
        _FEATURES.popitem(last=False)


def _digest(body: nn.Module) -> str:
    """The hash of a module's weights and form. That of the parameters is looked up where these very
    tensors were hashed before and nothing was written into them since; buffers, of which views have
    copies, are hashed anew."""
    weights = [parameter.detach() for parameter in body.parameters()]
    digest = hashlib.sha256(_digest_of_weights(weights, body).encode())
    for name, buffer in body.named_buffers():
        digest.update(name.encode())
        digest.update(buffer.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest_of_weights(weights: list[Tensor], body: nn.Module) -> str:
    """The hash of the form and of the parameters; to read a hundred megabytes takes as long as the rest
    of a small pass, so that it is done once for each set of weights."""
    form = hashlib.sha256(repr(body).encode()).hexdigest()
    for known, versions, digest in _KNOWN:
        same = digest.startswith(form) and all(
            one.data_ptr() == other.data_ptr() and one.shape == other.shape and one._version == version
            for one, other, version in zip(known, weights, versions, strict=True)
        )
        if same:
            return digest
    _KNOWN.append((weights, [one._version for one in weights], form + digest_of(weights)))
    del _KNOWN[:-MOST_KNOWN]
    return _KNOWN[-1][2]
