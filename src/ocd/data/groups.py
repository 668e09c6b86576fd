"""Examples that belong together (documents of a query, visits of a patient) are never parted.

What is learnt from one of them is known of the others, so that these cannot judge it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ocd.errors import OCDError


def as_groups(groups: Any, size: int, fewest: int = 2) -> Tensor | None:
    """Group numbers (N,) of labels of any kind, one an example; None for none. Raises OCDError for
    other numbers of labels, and for fewer than `fewest` groups."""
    if groups is None:
        return None
    labels = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if any(isinstance(label, list) for label in labels):
        raise OCDError("groups has several numbers for an example: one label an example is needed")
    if any(label is None or label != label for label in labels):
        raise OCDError("groups has examples without a label: give each example one")
    if len(labels) != size:
        raise OCDError(f"groups has {len(labels)} labels for {size} examples: one an example is needed")
    number: dict[Any, int] = {}
    found = torch.tensor([number.setdefault(label, len(number)) for label in labels])
    if len(number) < fewest:
        raise OCDError("groups has one label for all examples: at least two groups are needed")
    return found


def in_parts(
    total: int, number: int, generator: torch.Generator, belongs: Tensor | None = None
) -> list[Tensor]:
    """`total` examples by chance in some parts of about equal size; with `belongs` (total,) no group is
    in two of them."""
    order = torch.randperm(total, generator=generator)
    if belongs is None:
        return list(order.tensor_split(number))
    names, group = belongs.unique(return_inverse=True)
    rank = torch.empty(len(names), dtype=torch.long)
    rank[torch.randperm(len(names), generator=generator)] = torch.arange(len(names))
    sizes = torch.zeros(len(names), dtype=torch.long).index_add_(
        0, rank[group], torch.ones(total, dtype=torch.long)
    )
    middle = sizes.cumsum(0) - sizes / 2  # of each group, in the order of its rank
    part = (middle * number / total).long().clamp_max(number - 1)[rank[group]]
    parts = [order[part[order] == place] for place in range(number)]
    return [part for part in parts if len(part)]


def in_stratified_parts(
    classes: Tensor, number: int, generator: torch.Generator, belongs: Tensor | None = None
) -> list[Tensor]:
    """Examples of whole-number `classes` (N,) by chance in some parts, of which each has its share of
    every class; with `belongs` (N,) no group is in two of them."""
    order = torch.randperm(len(classes), generator=generator)
    if belongs is None:  # each class dealt in turn
        dealt = order[classes[order].argsort(stable=True)]
        return [dealt[place::number] for place in range(number)]
    groups, group = belongs[order].unique(return_inverse=True)
    names, label = classes[order].unique(return_inverse=True)
    made_of = torch.zeros(len(groups), len(names), dtype=torch.double)
    made_of.index_put_((group, label), torch.ones(len(order), dtype=torch.double), accumulate=True)
    shares = made_of / made_of.sum(dim=0)
    held = torch.zeros(number, len(names), dtype=torch.double)
    part = torch.zeros(len(groups), dtype=torch.long)
    by_chance = torch.randperm(len(groups), generator=generator)
    # The largest first, each to the part that holds least of what it is made of, and of all else.
    for place in by_chance[made_of[by_chance].sum(dim=1).argsort(descending=True, stable=True)]:
        part[place] = (held @ (shares[place] + 1e-6)).argmin()
        held[part[place]] += shares[place]
    parts = [order[part[group] == place] for place in range(number)]
    return [part for part in parts if len(part)]


def some_of(
    names: Tensor, count: int, generator: torch.Generator, belongs: Tensor | None = None
) -> Tensor:
    """About `count` of the examples `names` by chance; with `belongs` (of all) whole groups."""
    shuffled = names[torch.randperm(len(names), generator=generator)]
    if belongs is None or not count:
        return shuffled[:count]
    groups = belongs[names].unique()
    chosen = groups[torch.randperm(len(groups), generator=generator)]
    sizes = torch.stack([(belongs[names] == group).sum() for group in chosen]).cumsum(0)
    taken = chosen[: max(1, int((sizes <= count).sum()))]
    if len(taken) == len(groups):
        taken = taken[:-1]
    return shuffled[torch.isin(belongs[shuffled], taken)]


def every_second(names: Tensor, belongs: Tensor | None = None) -> Tensor:
    """Whether each of the examples `names` is in the first of two halves; no group is in both."""
    if belongs is None:
        return torch.arange(len(names)) % 2 == 0
    _, group = belongs[names].unique(return_inverse=True)
    return group % 2 == 0


def of_other_groups(belongs: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each of the examples (N,), `count` others by chance that are not of its group, (N, count).
    Raises OCDError for one group, which has none."""
    _, group, sizes = belongs.unique(return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise OCDError("all examples are of one group: none has others that are not of its own")
    order = group.argsort(stable=True)  # groups one after the other
    own, start = sizes[group], (sizes.cumsum(0) - sizes)[group]
    chance = torch.rand(len(belongs), count, generator=generator, dtype=torch.float64)
    place = (chance * (len(belongs) - own)[:, None]).long()
    return order[torch.where(place < start[:, None], place, place + own[:, None])]
