"""Are generated deltas copies of training deltas? A generator may memorise instead of generalise.

What is compared are directions, delta / ‖delta‖, by their L2 distance (0 alike, √2 orthogonal, 2
opposite): how near each generated delta is to its nearest training delta, against how near training
deltas are to each other. For rank-one deltas u·aᵀ a is the input's own, and only u is generated; so
u alone is looked at too, or a generator that repeats the training examples' u would not be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.audit.findings import Finding, counted
from ocd.base import Delta, DenseDelta, RankOneDelta, num_weights
from ocd.data import Examples, Inputs, in_chunks, num_rows, seeded, take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import example_keys, example_noise
from ocd.lessons import OverfitConfig, overfit_in_chunks
from ocd.model import OCD

EXACT = 1e-3
"""Directions nearer than this are one and the same, but for rounding."""
NEAR = 0.25
"""Generated deltas this many times nearer to training deltas than those to each other are copies."""
SHARE = 0.01
"""The share of exact copies that is too much, unless training deltas repeat each other as often."""
MAX_REFERENCE = 1024
"""Training deltas whose nearest other one is looked up."""
_ELEMENTS = 2**24
"""Numbers of a chunk, in float64."""


@torch.no_grad()
def check_copying(generated: Delta, training: Delta, seed: int = 0) -> Finding:
    """`generated`: deltas for test inputs, all draws count. `training`: the overfitted deltas.

    Deltas that are zero or not finite have no direction and are left out. `seed` chooses the training
    deltas that are measured against the others, where there are more than 1,024.
    """
    ranked = isinstance(generated, RankOneDelta) and isinstance(training, RankOneDelta)
    ours, num_left_out = _Directions.of(generated, ranked).usable()
    theirs, num_training_left_out = _Directions.of(training, ranked).usable()
    details: dict[str, Any] = {
        "generated": len(ours),
        "training": len(theirs),
        "generated_without_direction": num_left_out,
        "training_without_direction": num_training_left_out,
    }
    left_out = ""
    if num_left_out or num_training_left_out:
        left_out = (
            f"; left out, as they are zero or not finite: {num_left_out:,} generated and "
            f"{num_training_left_out:,} training deltas"
        )
    if len(ours) < 1 or len(theirs) < 2:
        sizes = f"{counted(len(ours), 'generated delta')} and {counted(len(theirs), 'training delta')}"
        text = f"{sizes} with a direction are too few to compare{left_out}"
        return Finding("copying", None, text, details)
    spaces = {"weights": _compare(ours, theirs, seed)}
    if ranked:
        spaces["u"] = _compare(ours.only(0), theirs.only(0), seed)
    details |= {name: space.as_dict() for name, space in spaces.items()}
    verdicts = [space.copied for space in spaces.values()]
    passed = False if True in verdicts else None if verdicts[0] is None else True
    start = {
        True: f"{counted(len(ours), 'generated delta')} are their own",
        False: f"{counted(len(ours), 'generated delta')} repeat training deltas",
        None: "training deltas are alike: copies cannot be told from others",
    }[passed]
    said = "; ".join(f"{_TITLES[name]}: {space.text()}" for name, space in spaces.items())
    against = f" (against {len(theirs):,} training deltas)"
    return Finding("copying", passed, f"{start}{against}; {said}{left_out}", details)


_TITLES = {"weights": "directions", "u": "u of u·aᵀ"}


@torch.no_grad()
def generated_deltas(ocd: OCD, inputs: Inputs, draws: int = 1, seed: int = 0) -> Delta:
    """The deltas that `ocd.predict` adds to the layer for these inputs (Alg. 2), on the CPU."""
    network, frozen = ocd.fitted()
    shape = network.diffused_shape

    def work(chunk: slice) -> Delta:
        rows = to_device(take_rows(inputs, chunk), frozen.device)
        capture, embedding = ocd.embed(rows)
        noise = example_noise(example_keys(rows), seed, draws, shape)
        codes = network.draw_codes(embedding, noise)
        return _on_cpu(network.decode(codes, capture.positions))

    return _joined([part for _, part in in_chunks(num_rows(inputs), 64, work)])


def training_deltas(
    ocd: OCD, overfit: OverfitConfig, examples: Examples, max_elements: int = 2**27
) -> Delta:
    """The deltas that the generator was trained on (Eq. 1), overfitted anew without augmentation.

    `overfit`: with the learning rate and the form of the fit. Where all of them would be more than
    `max_elements` numbers, as many examples are taken at random.
    """
    (_, frozen), loss = ocd.fitted(), ocd.loss
    if loss is None:
        raise OCDError("training deltas need the loss: OCD.from_pretrained(..., loss=loss)")
    inputs, targets = examples.inputs, examples.targets
    numbers = num_weights(frozen.weight_shape)
    if overfit.form == "rank_one":  # u and a
        numbers = frozen.weight_shape[0] + numbers // frozen.weight_shape[0]
    count = max(1, max_elements // numbers)
    if len(examples) > count:
        chosen = torch.randperm(len(examples), generator=seeded(0))[:count].sort().values
        inputs, targets = examples.rows(chosen)
    inputs, targets = to_device(inputs, frozen.device), targets.to(frozen.device)
    return _on_cpu(overfit_in_chunks(frozen, loss, inputs, targets, overfit, ocd.excerpt).delta)


@dataclass(frozen=True)
class _Directions:
    """N deltas as products of vectors: [(N, weights)], or [u (N, O), a (N, I)] for rank one."""

    parts: list[Tensor]

    @classmethod
    def of(cls, delta: Delta, ranked: bool) -> _Directions:
        """All draws of all examples, one after the other."""
        if ranked and isinstance(delta, RankOneDelta):
            return cls(
                [delta.left.flatten(0, 1), delta.right.repeat_interleave(delta.num_draws, dim=0)]
            )
        return cls([delta.dense().flatten(0, 1).flatten(1)])

    def __len__(self) -> int:
        return len(self.parts[0])

    def take(self, index: Tensor | slice) -> _Directions:
        return _Directions([part[index] for part in self.parts])

    def only(self, place: int) -> _Directions:
        return _Directions([self.parts[place]])

    def usable(self) -> tuple[_Directions, int]:
        """Those that have a direction, and how many have none."""
        good = torch.ones(len(self), dtype=torch.bool)
        for part in self.parts:
            # Not by norms: the square of a small number may be zero, and of a large one infinite.
            good &= part.isfinite().all(dim=1) & part.any(dim=1)
        return self if good.all() else self.take(good), int((~good).sum())

    def units(self) -> list[Tensor]:
        """Vectors of norm one, in float64: a distance below 1e-3 is lost in float32's rounding."""
        parts = [part.double() for part in self.parts]
        return [part / part.norm(dim=1, keepdim=True) for part in parts]

    @property
    def width(self) -> int:
        return sum(part.shape[1] for part in self.parts)


@dataclass(frozen=True)
class _Comparison:
    """Distances to the nearest training delta: medians, and the shares of distances below EXACT."""

    median_generated: float
    median_training: float
    exact_generated: float
    exact_training: float

    @property
    def copied(self) -> bool | None:
        """None where training deltas are so much alike that a copy is like any other."""
        if self.median_training < EXACT:
            return None
        repeats = self.exact_generated > SHARE and self.exact_training < self.exact_generated / 2
        return repeats or self.median_generated < NEAR * self.median_training

    @property
    def ratio(self) -> float | None:
        return self.median_generated / self.median_training if self.median_training else None

    def as_dict(self) -> dict[str, float | None]:
        return {
            "median_generated": self.median_generated,
            "median_training": self.median_training,
            "ratio": self.ratio,
            "exact_generated": self.exact_generated,
            "exact_training": self.exact_training,
        }

    def text(self) -> str:
        ratio = "" if self.ratio is None else f", ratio {self.ratio:.2f}"
        return (
            f"median distance {self.median_generated:.3g} to the nearest training delta, "
            f"{self.median_training:.3g} among training deltas{ratio}; exact copies "
            f"{100 * self.exact_generated:.1f} % and {100 * self.exact_training:.1f} %"
        )


def _compare(generated: _Directions, training: _Directions, seed: int) -> _Comparison:
    count = min(MAX_REFERENCE, len(training))
    chosen = torch.randperm(len(training), generator=torch.Generator().manual_seed(seed))[:count]
    ours = _nearest(generated, training)
    theirs = _nearest(training.take(chosen), training, chosen)
    return _Comparison(
        float(ours.median()),
        float(theirs.median()),
        float((ours < EXACT).double().mean()),
        float((theirs < EXACT).double().mean()),
    )


def _nearest(queries: _Directions, pool: _Directions, own: Tensor | None = None) -> Tensor:
    """Distance of each query's direction to the nearest in the pool: (Q,) float64.

    `own`: (Q,) the query's own place in the pool, which does not count.
    """
    size = max(1, min(4096, _ELEMENTS // pool.width))
    best = torch.full((len(queries),), -torch.inf, dtype=torch.float64)
    for p in range(0, len(pool), size):
        units = pool.take(slice(p, p + size)).units()
        for q in range(0, len(queries), size):
            rows = slice(q, q + size)
            # ⟨u aᵀ, v bᵀ⟩ = (u·v)(a·b): the weights need not be written out.
            alike = torch.stack(
                [x @ y.T for x, y in zip(queries.take(rows).units(), units, strict=True)]
            ).prod(dim=0)
            if own is not None:
                alike.masked_fill_(own[rows, None] == torch.arange(p, p + len(units[0])), -torch.inf)
            best[rows] = torch.maximum(best[rows], alike.max(dim=1).values)
    return (2 - 2 * best).clamp_min(0).sqrt()


def _on_cpu(delta: Delta) -> Delta:
    if isinstance(delta, RankOneDelta):
        return RankOneDelta(delta.left.cpu(), delta.right.cpu(), delta.weight_shape)
    return DenseDelta(delta.dense().cpu())


def _joined(parts: list[Delta]) -> Delta:
    first = parts[0]
    if isinstance(first, RankOneDelta):
        ranked = [part for part in parts if isinstance(part, RankOneDelta)]
        left, right = (torch.cat([getattr(one, side) for one in ranked]) for side in ("left", "right"))
        return RankOneDelta(left, right, first.weight_shape)
    return DenseDelta(torch.cat([part.dense() for part in parts]))
