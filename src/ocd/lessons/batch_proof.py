"""The proof that what the base says of an example does not depend on the rest of its batch.

    proof = BatchProof(fetch, total)
    proof.holds(frozen, front, kept, index, inputs)   # of the examples that were asked for now

What is kept of examples of one batch is used in others. A base may look at the whole batch and answer
each example alike all the same: it scales by the largest activation, or trims what is padded in all of
it. So some examples are asked for again, alone and in another batch, and must have the same rows. Those
that are most unlike tell: a first few, and later each that is more extreme than all before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ocd.base import Front, FrozenBase, agree, capture_rows, finite_rows, is_quantised
from ocd.data import Inputs, example_shapes, num_rows, take_rows, tensors

MOST_TOGETHER = 4
"""Examples that are asked for again in one batch, with one that was asked for before."""

Rows = dict[str, Tensor]


class BatchProof:
    """Proves rows as they are kept. `fetch(index)`: inputs of dataset examples, `total` in all."""

    def __init__(self, fetch: Callable[[Tensor], Inputs], total: int) -> None:
        self.fetch, self.total = fetch, total
        self._seen: dict[str, tuple[float, float]] = {}

    def holds(
        self, frozen: FrozenBase, front: Front | None, kept: Rows, index: Tensor, inputs: Inputs
    ) -> bool:
        """Whether the rows in `kept` of the examples `index`, which were asked for in one batch, are
        the same in others. `inputs`: of these examples. Says nothing of those that are not finite."""
        finite = finite_rows(kept["output"][index]).nonzero()[:, 0]
        extremes = index[finite[self._extremes(take_rows(inputs, finite))]]
        rough = is_quantised(frozen) or frozen.device.type == "cuda"  # there, by TF32
        for batch, known in self._batches(extremes, index):
            again = self.fetch(batch)
            if example_shapes(again) != example_shapes(inputs):
                continue  # padded to another length: whoever keeps the rows looks at that
            rows = capture_rows(frozen, frozen.capture(again), front)
            if rows is None or rows.keys() != kept.keys():
                return False
            if not all(_same(kept[n][batch[:known]], rows[n][:known].cpu(), rough) for n in rows):
                return False
        return True

    def _batches(self, extremes: Tensor, index: Tensor) -> list[tuple[Tensor, int]]:
        """Other batches with these examples, and how many of each are to be compared: alone, and with
        an example of another batch."""
        if not len(extremes):
            return []
        few = extremes[:MOST_TOGETHER]
        others = torch.arange(min(self.total, len(index) + 1))
        others = others[~torch.isin(others, index)][:1]
        alone = [(one[None], 1) for one in extremes] if len(index) > 1 else []
        return [*alone, (torch.cat([few, others]), len(few))]

    def _extremes(self, inputs: Inputs) -> Tensor:
        """The examples with a smaller or larger sum, or number of zeros, than any before."""
        found: list[Tensor] = []
        for name, values in _measures(inputs).items():
            low, high = self._seen.get(name, (float("inf"), -float("inf")))
            found += [values.argmin()[None]] if float(values.min()) < low else []
            found += [values.argmax()[None]] if float(values.max()) > high else []
            self._seen[name] = min(low, float(values.min())), max(high, float(values.max()))
        return torch.cat(found).unique() if found else torch.zeros(0, dtype=torch.int64)


def _measures(inputs: Inputs) -> dict[str, Tensor]:
    """Numbers by which examples can be told to be unlike, (B,) each."""
    found: dict[str, Tensor] = {}
    for place, part in enumerate(tensors(inputs) if num_rows(inputs) else []):
        flat = part.reshape(len(part), -1)
        found[f"{place}.sum"] = flat.double().nan_to_num().sum(dim=1).cpu()
        found[f"{place}.zeros"] = (flat == 0).sum(dim=1).cpu()
    return found


def _same(kept: Tensor, fresh: Tensor, rough: bool) -> bool:
    """Whether rows are the same but for the rounding of kernels of other batch sizes."""
    if kept.shape != fresh.shape or kept.dtype != fresh.dtype:
        return False
    if not kept.is_floating_point():
        return torch.equal(kept, fresh)
    return agree(kept, fresh, loose=True, rough=rough)
