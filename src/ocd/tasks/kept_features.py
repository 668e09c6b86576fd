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

Features belong to a hash of the values and the form of the body that made them (ocd.tasks.body_digest
says what is in it), never to a module or a file name: copies and private views of a base share them,
and a base that was changed has others. While something in `body` is in train mode or runs code of its
own (hooks), or a gradient is asked for, nothing is kept and nothing is looked up.

Several threads may ask at once: each gets the features of its own inputs, whatever others keep or drop.
There is room for `MOST_BYTES`; beyond it, bodies that were not asked for longest are forgotten first,
then the oldest rows, which are computed again where they are asked for. In a block of
`ocd.base.answers_anew`, as where methods are timed, all is as if nothing had been kept before it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ocd.base import anew_block
from ocd.data import read_tensors, write_tensors
from ocd.tasks.body_digest import body_digest, may_be_kept

MOST_BYTES = 2**31
"""Of features in memory, of all bodies together."""
MOST_ON_DISK = 2**28
"""Bytes of a file of features; larger ones are computed again."""
_FOLDER: ContextVar[Path | None] = ContextVar("kept_features_folder", default=None)


@dataclass
class _Features:
    """Those of one body: rows by the hash of an input, the oldest first, and their bytes. `has_new`:
    whether some are not in a file yet. `folder`: the one that was named when they were asked for
    last."""

    rows: OrderedDict[bytes, Tensor] = field(default_factory=OrderedDict)
    size: int = 0
    has_new: bool = False
    folder: Path | None = None

    def add(self, rows: dict[bytes, Tensor]) -> None:
        for key, row in rows.items():
            if key not in self.rows:  # another thread may have been faster
                self.rows[key] = row
                self.size += _bytes(row)

    def drop_oldest(self) -> None:
        self.size -= _bytes(self.rows.popitem(last=False)[1])


_FEATURES: dict[str, _Features] = {}
"""By the hash of a body, those that were asked for last at the end."""
_LOCK = threading.RLock()
"""Held where these are read or changed, never while a body runs."""


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
        asked = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (inputs, *self.body.parameters())
        )
        if asked or not may_be_kept(self.body):
            answer: Tensor = self.body(inputs)
            return answer
        looked_up: Tensor = _Looked.apply(inputs, self)
        return looked_up

    def looked_up(self, inputs: Tensor) -> Tensor:
        """The features of inputs (B, ...), computed where they are not there yet."""
        digest, keys = body_digest(self.body), input_digests(inputs)
        found = _known(digest, keys)  # held here, so that nobody can drop them under our hands
        new = {key: place for place, key in enumerate(keys) if key not in found}
        index = torch.tensor(list(new.values()), dtype=torch.long)
        for part in index.split(self.chunk) if new else ():
            rows = self._computed(inputs[part.to(inputs.device)])
            pairs = zip(part.tolist(), rows, strict=True)
            made = {keys[place]: row.clone() for place, row in pairs}
            found |= made
            _keep(digest, made)
        return torch.stack([found[key] for key in keys]).to(inputs.device)

    def _computed(self, inputs: Tensor) -> Tensor:
        start = time.perf_counter()
        with torch.no_grad():
            rows: Tensor = self.body(inputs).detach().cpu()
        if (anew := anew_block()) is not None:
            anew.computed(self.body, len(inputs), time.perf_counter() - start)
        return rows


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
        with _LOCK:
            here = {digest: kept for digest, kept in _FEATURES.items() if kept.folder == folder}
            new = {digest: dict(kept.rows) for digest, kept in here.items() if _is_worth(kept)}
            for digest in new:
                here[digest].has_new = False
        for digest, rows in new.items():
            _write(folder / f"{digest}.safetensors", rows)


def _is_worth(kept: _Features) -> bool:
    """A file: something is new, and of one shape (inputs of several lengths are not worth a format)."""
    return (
        kept.has_new and kept.size <= MOST_ON_DISK and len({r.shape for r in kept.rows.values()}) == 1
    )


def _write(path: Path, rows: dict[bytes, Tensor]) -> None:
    """The hashes of the inputs, and their rows in the same order, as safetensors."""
    keys = torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8).view(len(rows), -1)
    write_tensors(path, {"keys": keys, "rows": torch.stack(list(rows.values()))})


def _store() -> dict[str, _Features]:
    """Where features are kept: in memory for all, or for a block of `answers_anew` alone."""
    anew = anew_block()
    return _FEATURES if anew is None else anew.store.setdefault(__name__, {})


def _features_of(store: dict[str, _Features], digest: str) -> _Features:
    """Those of the body with this hash, from the folder that is named where memory has none."""
    kept = store[digest] = store.pop(digest) if digest in store else _Features()
    folder = _FOLDER.get()
    if folder is None or store is not _FEATURES:
        return kept
    path, kept.folder = folder / f"{digest}.safetensors", folder
    if not kept.rows and path.exists():
        saved = read_tensors(path)
        keys = [bytes(key.tolist()) for key in saved["keys"]]
        kept.add(dict(zip(keys, saved["rows"], strict=True)))
    return kept


def _known(digest: str, keys: list[bytes]) -> dict[bytes, Tensor]:
    """The rows of these inputs that are kept."""
    with _LOCK:
        store = _store()
        rows = _features_of(store, digest).rows
        found = {key: rows[key] for key in keys if key in rows}
        _make_room(store)
        return found


def _keep(digest: str, rows: dict[bytes, Tensor]) -> None:
    """Keep new rows, as far as there is room."""
    with _LOCK:
        store = _store()
        kept = _features_of(store, digest)
        kept.add(rows)
        kept.has_new = True
        _make_room(store)


def _make_room(store: dict[str, _Features]) -> None:
    """Forget bodies that were not asked for longest, then the oldest rows of the last one, until the
    rest is below the limit."""
    while len(store) > 1 and sum(kept.size for kept in store.values()) > MOST_BYTES:
        del store[next(iter(store))]
    (last,) = [*store.values()][-1:]
    while last.size > MOST_BYTES:
        last.drop_oldest()


def _bytes(row: Tensor) -> int:
    return row.numel() * row.element_size()
