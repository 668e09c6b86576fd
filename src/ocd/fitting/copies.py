"""Examples that are copies of others are one piece of evidence, and never on both sides of a split.

Sixty noisy examples, each ten times, say as much as sixty. Taken for six hundred, the noise that was
learnt from one copy is found again in another, and moves seem to gain that do harm.

Equal is not always copied: in a table of a few discrete columns distinct cases agree by chance. Whether
they do is seen in the table. Copies are what neither of two kinds of chance explains:

* columns with few values each: how often two examples would agree in all, were these independent;
* inputs that occur with several targets: how often two of these targets would agree.

A test example that is a copy of a training example is no test, by the same rule of what is a copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from ocd.data import (
    Examples,
    Inputs,
    as_groups,
    dataset_size,
    fetch_rows,
    seeded,
    shuffled_places,
    tensors,
)
from ocd.generator import example_keys

MANY = 0.05
"""Share of the examples that are equal to an earlier one, from which on it matters."""
BY_CHANCE = 0.05
"""Share of the equal pairs that chance has to explain, for equal examples to be taken for cases of
their own."""
REPEATED = 0.05
"""Share of the inputs that occur more than once which has several targets, from which on inputs are
taken for measured anew."""
MOST = 1000
"""Different examples on which chance is measured."""
COLUMNS = 256
"""Of them at once."""


def belonging(groups: Any, dataset: Dataset[Any]) -> tuple[Tensor | None, str | None]:
    """A group number (N,) for each example, by the labels `groups`, or by what is a copy of what; None
    where each is its own. And a note on copies."""
    if groups is not None:
        return as_groups(groups, dataset_size(dataset)), None
    return groups_of_copies(dataset)


def groups_of_copies(
    dataset: Dataset[Any], called: str = "examples"
) -> tuple[Tensor | None, str | None]:
    """A group number (N,) for each example, where many of a dataset in memory are copies of others, and
    a note that says so; None and None where few are equal, or nothing can be told. `called`: what they
    are to a person.

    Equal examples that chance explains are not grouped, and the note says that too. Costs one pass over
    the data, of which 64 bits an example are kept.
    """
    if type(dataset) not in (Examples, TensorDataset):
        return None, None
    total = dataset_size(dataset)
    inputs, both = _keys(dataset, total)
    _, first, group, sizes = _grouped(both)
    distinct = len(sizes)
    if total - distinct <= MANY * total or distinct < 2:
        return None, None
    count = f"{called}: {int(sizes[sizes > 1].sum()):,} of {total:,}"
    pairs = _pairs(sizes)
    few = first[shuffled_places(torch.arange(min(MOST, distinct)), distinct, seeded(0, 41))]
    rows, targets = fetch_rows(dataset, few)
    of_target = _agreement(targets)
    if _agreement(rows) * of_target * total * (total - 1) / 2 >= BY_CHANCE * pairs or (
        _share_with_several_targets(inputs, first) >= REPEATED
        and _pairs(_grouped(inputs)[3]) * of_target >= BY_CHANCE * pairs
    ):
        return None, (
            f"{count} are equal to others, input and target, as happens by chance where "
            "values are few or an input has several targets, and count one by one; if they are copies, "
            "give groups= (of a file: group)"
        )
    return group, (
        f"{count} are copies of others, input and target: copies are one group, of which "
        f"there are {distinct:,}, and one piece of evidence (if each is a case of its own, give "
        "groups=range(len(dataset)), of a file a group column that numbers its rows)"
    )


def among_training(train: Dataset[Any], test: Dataset[Any]) -> str | None:
    """A warning where test inputs are training inputs, of datasets in memory; None where none is, where
    chance explains it, or where nothing can be told. Costs a pass over both."""
    if not all(type(dataset) in (Examples, TensorDataset) for dataset in (train, test)):
        return None
    total, asked = dataset_size(train), dataset_size(test)
    (inputs, both), (new, new_both) = _keys(train, total), _keys(test, asked)
    same = torch.isin(new, inputs)
    if not same.any():
        return None
    names, times = inputs.unique(return_counts=True)
    pairs = float(times[torch.searchsorted(names, new[same])].sum())
    rows, targets = fetch_rows(
        train, shuffled_places(torch.arange(min(MOST, total)), total, seeded(0, 41))
    )
    repeated = bool((times > 1).any()) and (
        _share_with_several_targets(inputs, _grouped(both)[1]) >= REPEATED
    )
    told = torch.isin(new_both, both)
    if (total > 1 and _agreement(rows) * total * asked >= BY_CHANCE * pairs) or (
        repeated and _agreement(targets) * int(same.sum()) >= BY_CHANCE * int(told.sum())
    ):
        return None
    return (
        f"{int(same.sum()):,} of {asked:,} test examples are among the training examples, "
        f"{int(told.sum()):,} of them with the same target: the test knows what it should not, so "
        "leave them out of one of the two"
    )


def _keys(dataset: Dataset[Any], total: int) -> tuple[Tensor, Tensor]:
    """A hash of each example's input, and of its input and target, (N,) each."""
    inputs, both = [], []
    for index in torch.arange(total).split(1024):
        rows, targets = fetch_rows(dataset, index)
        inputs.append(example_keys(rows).cpu())
        both.append(example_keys((inputs[-1], example_keys(targets).cpu())))
    return torch.cat(inputs), torch.cat(both)


def _grouped(keys: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The different keys; the first place of each; which of them each place has; how many have it."""
    names, group, sizes = keys.unique(return_inverse=True, return_counts=True)
    first = torch.full((len(names),), len(keys)).scatter_reduce_(
        0, group, torch.arange(len(keys)), "amin"
    )
    return names, first, group, sizes


def _pairs(sizes: Tensor) -> float:
    """Of equal examples."""
    wide = sizes.double()
    return float((wide * (wide - 1) / 2).sum())


def _share_with_several_targets(inputs: Tensor, first: Tensor) -> float:
    """Of the inputs that occur more than once. `first`: places of the different examples, of which an
    input with two targets has two."""
    _, times = inputs.unique(return_counts=True)
    _, num_targets = inputs[first].unique(return_counts=True)
    return float((num_targets > 1).sum() / (times > 1).sum())


def _agreement(parts: Inputs) -> float:
    """How often two different examples would agree in all columns, were these independent: the product
    of how often they agree in each."""
    chance = 1.0
    for tensor in tensors(parts):
        for columns in tensor[..., None].flatten(1).split(COLUMNS, dim=1):
            ordered = columns.double().nan_to_num(torch.inf).sort(dim=0).values
            chance *= float(_equal_pairs(ordered).prod())
            if chance < 1e-18:
                return 0.0
    return chance


def _equal_pairs(ordered: Tensor) -> Tensor:
    """The share of all pairs of rows that are equal, of each of the sorted columns (R, F): (F,)."""
    count = len(ordered)
    place = torch.arange(count, device=ordered.device)[:, None].expand_as(ordered)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    begin = torch.where(starts, place, 0).cummax(dim=0).values
    return (place - begin).double().sum(dim=0) / (count * (count - 1) / 2)
