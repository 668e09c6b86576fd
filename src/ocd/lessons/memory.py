"""What the frozen base says of an example is asked once in a fit, and kept.

    memory = BaseMemory(dataset_size(dataset), fetch)
    capture = memory.capture(frozen, index)   # of dataset examples that are not augmented

Kept of each example are the layer's input and output, f(x), and what the part behind the layer needs of
the part in front (ocd.base.front). They lie in memory where they fit into a quarter of what is free,
and in a file that is mapped into memory where they do not. Where a base cannot be taken apart in this
way, or what it computes of an example depends on the rest of its batch (ocd.lessons.batch_proof), it is
asked each time, and `note` says so.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ocd.base import Capture, Front, FrozenBase, capture_rows, restored_capture
from ocd.data import Inputs, example_shapes, in_chunks, num_rows, take_rows, to_device
from ocd.lessons.batch_proof import BatchProof

CHUNK = 256
"""Examples that the base is asked for at once, at most."""
MOST_ANSWERED = 2**24
"""Numbers that the layer may answer at once: an example that is seconds of sound has a million."""
ASKED_IN_BLOCKS = 4096
"""Examples of a dataset up to which the base is asked in fixed blocks."""
MOST_IN_MEMORY = 2**28
"""Bytes: what would be larger goes into a file. The system keeps it in memory as long as nobody else
needs that, so little time is lost."""
LARGEST_FILE = 2**36
"""Bytes: what would be larger is not kept."""
MIXED = "what it computes of an example depends on the rest of the batch"


@dataclass
class BaseMemory:
    """Captures of a dataset's examples at one layer. `total`: examples. `fetch(index)`: their inputs,
    not augmented, on the base's device. `asked`: rows that the base was asked for."""

    total: int
    fetch: Callable[[Tensor], Inputs]
    layer: str | None = None
    asked: int = 0
    needless: int = 0
    _like: Capture | None = None
    _front: Front | None = None
    _proof: BatchProof | None = None
    _known: Tensor = field(default_factory=lambda: torch.empty(0))
    _fixed: Tensor = field(default_factory=lambda: torch.empty(0))
    _rows: dict[str, Tensor] = field(default_factory=dict)
    _folder: tempfile.TemporaryDirectory[str] | None = None
    _keeps: bool = True
    _reason: str = ""
    _shapes: tuple[tuple[int, ...], ...] | None = None
    _chunk: int = 0

    def capture(
        self, frozen: FrozenBase, index: Tensor, inputs: Inputs | None = None, fixed: bool = False
    ) -> Capture:
        """I(x) of these examples and what is needed to run them again: as `frozen.capture` gives it.
        `inputs`: of these examples, if they were read already. `fixed`: as asked for in batches that
        depend on `index` alone, whatever was asked before: a base rounds by the size of a batch."""
        index = index.cpu()
        inputs = self.fetch(index) if inputs is None else inputs
        if self.layer != frozen.name:
            self._forget(frozen.name)
        shapes = example_shapes(inputs)
        self._shapes = shapes if self._shapes is None else self._shapes
        if self._keeps and shapes != self._shapes:
            self._stop("examples are of uneven length")
        if not self._keeps:
            return self._ask(frozen, index, inputs)
        if not self._learn(frozen, index, inputs, fixed):
            return self._ask(frozen, index, inputs)
        like = self._template(frozen)
        if self._front is not None and not self._front.fits(like):
            self._stop(MIXED)
            return self._ask(frozen, index, inputs)
        rows = {name: to_device(values[index], frozen.device) for name, values in self._rows.items()}
        return restored_capture(frozen, like, inputs, rows, self._front)

    def remember(self, frozen: FrozenBase, index: Tensor, capture: Capture) -> None:
        """Keep what the base said of these examples before."""
        self._forget(frozen.name)
        self._shapes = example_shapes(capture.inputs)
        self.asked += len(index)
        self._keep(frozen, index, capture)

    def _learn(self, frozen: FrozenBase, index: Tensor, inputs: Inputs, fixed: bool) -> bool:
        """Ask for those of the examples that the base was not asked for; False where nothing is kept.

        Of few examples whole blocks are asked for, always the same ones: a base rounds by the size of
        a batch, and a fit that resumes asks in another order. `fixed`: those that were asked for in
        part are asked for again.
        """
        size = self._chunk = self._chunk or _chunk_size(frozen, inputs)
        known = self._fixed if fixed else self._known
        if self.total <= ASKED_IN_BLOCKS:
            for block in (index // size)[~known[index]].unique().tolist():
                whole = torch.arange(block * size, min(self.total, (block + 1) * size))
                new = whole if fixed else whole[~self._known[whole]]
                rows = self.fetch(new)
                if example_shapes(rows) != self._shapes:
                    return self._stop("examples are of uneven length")
                if not self._keep(frozen, new, self._ask(frozen, new, rows)):
                    return False
                self._fixed[whole] = len(new) == len(whole)
            return True
        new = self._unknown(index)
        if fixed and not bool(known[index].all()):
            new = torch.arange(len(index))
        for chunk, capture in in_chunks(
            len(new),
            size,
            lambda part: self._ask(frozen, index[new[part]], take_rows(inputs, new[part])),
        ):
            if not self._keep(frozen, index[new[chunk]], capture):
                return False
        if fixed:
            self._fixed[index] = True
        return True

    def _unknown(self, index: Tensor) -> Tensor:
        """Where in `index` the examples are that the base was not asked for, each once."""
        places = {example: place for place, example in enumerate(index.tolist())}
        examples = torch.tensor(sorted(places), dtype=torch.int64)
        new = examples[~self._known[examples]]
        return torch.tensor([places[example] for example in new.tolist()], dtype=torch.int64)

    def note(self) -> str:
        """A line on how often the base was asked."""
        if not self._keeps:
            return f"base passes: {self.asked} examples asked of {self.total}: {self._reason}"
        needed = self.asked - self.needless
        again = "each once" if not self.needless else f"{needed} of them needed"
        return f"base passes: {self.asked} examples asked of {self.total}, {again}"

    def _ask(self, frozen: FrozenBase, index: Tensor, inputs: Inputs) -> Capture:
        self.asked += num_rows(inputs)
        self.needless += int(self._known[index].sum())
        return frozen.capture(inputs)

    def _template(self, frozen: FrozenBase) -> Capture:
        """A capture on the modules of the view that passes run on now."""
        assert self._like is not None
        if self._like.module is not frozen.module:
            first = torch.zeros(1, dtype=torch.int64)
            self._like = self._ask(frozen, first, self.fetch(first))
        return self._like

    def _keep(self, frozen: FrozenBase, index: Tensor, capture: Capture) -> bool:
        if not self._rows:
            self._front = frozen.front(capture.inputs)
        rows = capture_rows(frozen, capture, self._front)
        if rows is None and self._front is not None and not self._front.fits(capture):
            return self._stop(MIXED)
        if rows is None:
            return self._stop("the part in front of the layer cannot be taken apart")
        if not self._rows and not self._make_room(rows):
            return self._stop("what the base says is too large to be kept")
        if any(values.shape[1:] != self._rows[name].shape[1:] for name, values in rows.items()):
            return self._stop(MIXED)
        for name, values in rows.items():
            self._rows[name][index] = values.to(self._rows[name].device)
        self._known[index] = True
        if self._like is None:
            self._like = capture
        self._proof = self._proof or BatchProof(self.fetch, self.total)
        if not self._proof.holds(frozen, self._front, self._rows, index, capture.inputs):
            return self._stop(MIXED)
        return True

    def _stop(self, reason: str) -> bool:
        """Ask the base each time from here on."""
        self._keeps, self._reason = False, reason
        self._rows, self._like, self._folder = {}, None, None
        return False

    def _make_room(self, rows: dict[str, Tensor]) -> bool:
        """Tensors for all examples, in memory or in mapped files; False where that is too large."""
        shapes = {name: (self.total, *values.shape[1:]) for name, values in rows.items()}
        sizes = {name: math.prod(shape) * rows[name].element_size() for name, shape in shapes.items()}
        whole = sum(sizes.values())
        if whole <= min(MOST_IN_MEMORY, free_memory() // 4):
            self._rows = {n: torch.empty(shapes[n], dtype=rows[n].dtype) for n in rows}
            return True
        if whole > min(LARGEST_FILE, free_disk() // 2):  # a full disk would end the process
            return False
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        for name, shape in shapes.items():
            path = str(Path(self._folder.name) / f"{len(self._rows)}.bin")
            flat = torch.from_file(path, shared=True, size=math.prod(shape), dtype=rows[name].dtype)
            self._rows[name] = flat.view(shape)
        return True

    def _forget(self, layer: str) -> None:
        self.layer, self._like, self._rows, self._keeps = layer, None, {}, True
        self._shapes, self._front, self._proof, self._chunk = None, None, None, 0
        self._known = torch.zeros(self.total, dtype=torch.bool)
        self._fixed = torch.zeros(self.total, dtype=torch.bool)


def _chunk_size(frozen: FrozenBase, inputs: Inputs) -> int:
    """Examples that the base is asked for at once: the same for all that are of one shape."""
    if not frozen.is_shifted:
        return CHUNK
    if frozen.layer_size is None:  # of a fit that goes on, which need not probe the layer again
        frozen.capture(take_rows(inputs, slice(0, 1)))
    return max(1, min(CHUNK, MOST_ANSWERED // max(1, frozen.layer_size or 1)))


def free_memory() -> int:
    """Bytes of memory that are free now; two gigabytes where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**31


def free_disk() -> int:
    """Bytes that are free where temporary files lie."""
    return shutil.disk_usage(tempfile.gettempdir()).free
