"""Examples that belong together are never parted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ocd import OCDError
from ocd.data import (
    as_groups,
    every_second,
    in_parts,
    in_stratified_parts,
    of_other_groups,
    seeded,
    some_of,
)

BELONGS = torch.tensor([number // 3 for number in range(40)])[torch.randperm(40, generator=seeded(1))]


@pytest.mark.parametrize("number", [2, 3, 5])
def test_parts_hold_every_example_once_and_no_group_twice(number: int) -> None:
    parts = in_parts(40, number, seeded(0), BELONGS)
    assert len(parts) == number and torch.cat(parts).sort().values.tolist() == list(range(40))
    seen: set[int] = set()
    for part in parts:
        groups = {*BELONGS[part].tolist()}
        assert not groups & seen and abs(len(part) - 40 / number) <= 3
        seen |= groups
    assert len(in_parts(40, 20, seeded(0), BELONGS)) <= 14  # as many as there are groups


def test_without_groups_parts_are_what_chance_gives() -> None:
    parts = in_parts(10, 3, seeded(0))
    assert [len(part) for part in parts] == [4, 3, 3]
    assert torch.equal(torch.cat(parts), torch.randperm(10, generator=seeded(0)))


@pytest.mark.parametrize("number", [2, 3, 4])
def test_parts_with_a_share_of_each_class(number: int) -> None:
    classes = torch.tensor([3] * 24 + [7] * 12)
    parts = in_stratified_parts(classes, number, seeded(0))
    assert torch.cat(parts).sort().values.tolist() == list(range(36))
    for part in parts:
        assert (classes[part] == 3).sum() == 24 / number and (classes[part] == 7).sum() == 12 / number
    assert not torch.equal(parts[0], in_stratified_parts(classes, number, seeded(1))[0])


@pytest.mark.parametrize("number", [2, 3, 4])
def test_parts_with_a_share_of_each_class_and_no_group_twice(number: int) -> None:
    """Copies: every group is of one class."""
    classes = torch.tensor([3] * 48 + [7] * 24)
    belongs = torch.arange(72) // 2
    parts = in_stratified_parts(classes, number, seeded(0), belongs)
    assert torch.cat(parts).sort().values.tolist() == list(range(72))
    for part in parts:
        assert (classes[part] == 3).sum() == 48 / number and (classes[part] == 7).sum() == 24 / number
        assert all((belongs[part] == group).sum() == 2 for group in belongs[part].unique())


def test_parts_of_groups_with_several_classes() -> None:
    """Patients with visits of both kinds, of very different number: shares are met nearly."""
    chance = seeded(2)
    belongs = torch.randint(60, (2000,), generator=chance).square() // 60
    classes = (torch.rand(2000, generator=chance) < 0.2).long()
    parts = in_stratified_parts(classes, 5, seeded(0), belongs)
    assert torch.cat(parts).sort().values.tolist() == list(range(2000))
    for part in parts:
        assert 0.15 < classes[part].float().mean() < 0.25 and 320 < len(part) < 480
        assert not torch.isin(belongs[part], belongs[~torch.isin(torch.arange(2000), part)]).any()
    few = in_stratified_parts(torch.tensor([0, 1, 1]), 3, seeded(0), torch.tensor([0, 0, 1]))
    assert len(few) == 2  # as many as there are groups


@pytest.mark.parametrize("count", [1, 7, 20, 39])
def test_whole_groups_are_taken_and_some_are_left(count: int) -> None:
    names = torch.arange(40)[torch.arange(40) % 5 != 0]  # some were skipped
    taken = some_of(names, count, seeded(0), BELONGS)
    assert 0 < len(taken) <= max(3, count) and torch.isin(taken, names).all()
    left = names[~torch.isin(names, taken)]
    assert len(left) and not {*BELONGS[taken].tolist()} & {*BELONGS[left].tolist()}


def test_two_halves_share_no_group() -> None:
    names = torch.arange(0, 40, 2)
    first = every_second(names, BELONGS)
    assert first.any() and not first.all()
    assert not {*BELONGS[names[first]].tolist()} & {*BELONGS[names[~first]].tolist()}
    assert every_second(names).tolist() == [True, False] * 10


@pytest.mark.parametrize("labels", [["a", "b", "a"], np.array([5, 7, 5]), torch.tensor([1, 0, 1])])
def test_labels_of_any_kind_are_numbered(labels: object) -> None:
    assert as_groups(labels, 3).tolist() == [0, 1, 0]


def test_labels_that_say_nothing_are_refused() -> None:
    assert as_groups(None, 3) is None
    with pytest.raises(OCDError, match="groups has 2 labels for 3 examples"):
        as_groups([1, 2], 3)
    with pytest.raises(OCDError, match="one label for all examples"):
        as_groups([1, 1, 1], 3)


def test_others_are_of_other_groups_and_all_of_them_as_often() -> None:
    belongs = torch.cat([BELONGS, torch.full((60,), 99)])  # most are of one group
    others = of_other_groups(belongs, 2000, seeded(0))
    assert others.shape == (100, 2000)
    assert not (belongs[others] == belongs[:, None]).any()
    for row in (0, 17, 99):
        counts = others[row].bincount(minlength=100)[belongs != belongs[row]]
        expected = 2000 / len(counts)
        assert int(counts.min()) > expected - 5 * expected**0.5
        assert int(counts.max()) < expected + 5 * expected**0.5
    with pytest.raises(OCDError, match="all examples are of one group"):
        of_other_groups(torch.zeros(5), 3, seeded(0))
