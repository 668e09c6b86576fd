"""Copies are one piece of evidence; equal cases of a table of few values are not copies."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from helpers import config
from ocd import OCD, Examples
from ocd.fitting.copies import among_training, groups_of_copies


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


NUMBERS, TARGETS = torch.randn(60, 4, generator=chance()), torch.randn(60, 1, generator=chance(1))
BITS = torch.randint(0, 2, (3000, 4), generator=chance(2)).float()
COIN = torch.rand(3000, generator=chance(3))
PIXELS = torch.randint(0, 256, (90, 1, 6, 6), generator=chance(4)).float() / 255
CLASSES = torch.randint(0, 3, (90,), generator=chance(5))
AREA = torch.randint(0, 200, (3000,), generator=chance(6))
OF_AREA = torch.randn(200, 3, generator=chance(7))

COPIED = {
    "each ten times": (NUMBERS.repeat(10, 1), TARGETS.repeat(10, 1), 60),
    "a class oversampled": (
        torch.cat([NUMBERS, NUMBERS[:9].repeat(5, 1)]),
        torch.cat([torch.arange(60) < 9, torch.ones(45, dtype=torch.bool)]),
        60,
    ),
    "images": (PIXELS.repeat(2, 1, 1, 1), CLASSES.repeat(2), 90),
    "bits with numbers as targets": (BITS[:60].repeat(4, 1), TARGETS.repeat(4, 1), 60),
    "holes": (NUMBERS.repeat(3, 1), TARGETS.masked_fill(TARGETS > 1, torch.nan).repeat(3, 1), 60),
}
OF_THEIR_OWN = {
    "bits with noisy classes": (BITS, (BITS.mean(dim=1) > COIN).long()),
    "bits with classes by a rule": (BITS, BITS.sum(dim=1).long()),
    "columns of an area with noisy classes": (OF_AREA[AREA], (COIN < 0.3).long()),
}
FEW_EQUAL = {
    "numbers": (NUMBERS, TARGETS),
    "two of sixty": (torch.cat([NUMBERS, NUMBERS[:2]]), torch.cat([TARGETS, TARGETS[:2]])),
    "measured again": (NUMBERS.repeat(2, 1), torch.cat([TARGETS, TARGETS + 0.1])),
    "one example alone": (NUMBERS[:1].repeat(9, 1), TARGETS[:1].repeat(9, 1)),
}


@pytest.mark.parametrize("kind", [Examples, TensorDataset])
@pytest.mark.parametrize(("inputs", "targets", "distinct"), COPIED.values(), ids=list(COPIED))
def test_copies_are_one_group(inputs: Tensor, targets: Tensor, distinct: int, kind) -> None:
    found, note = groups_of_copies(kind(inputs, targets))
    assert found is not None and note is not None
    assert f"copies are one group, of which there are {distinct}," in note
    plain = torch.cat([inputs.flatten(1), targets.float().reshape(len(inputs), -1)], dim=1)
    plain = plain.nan_to_num(1e9)
    same = (plain[:, None] == plain).all(dim=2)
    assert torch.equal(found[:, None] == found, same)


@pytest.mark.parametrize(("inputs", "targets"), OF_THEIR_OWN.values(), ids=list(OF_THEIR_OWN))
def test_equal_cases_of_few_values_count_one_by_one_and_a_note_says_so(inputs, targets):
    found, note = groups_of_copies(Examples(inputs, targets))
    assert found is None
    assert note is not None and "count one by one; if they are copies, give groups=" in note


@pytest.mark.parametrize(("inputs", "targets"), FEW_EQUAL.values(), ids=list(FEW_EQUAL))
def test_nothing_is_said_where_few_are_equal(inputs, targets):
    assert groups_of_copies(Examples(inputs, targets)) == (None, None)


OTHER = torch.randn(30, 4, generator=chance(9))


@pytest.mark.parametrize("kind", [Examples, TensorDataset])
def test_test_examples_that_are_training_examples_are_counted(kind):
    test = torch.cat([OTHER, NUMBERS[:5]]), torch.cat([TARGETS[:30], TARGETS[:4], TARGETS[:1]])
    said = among_training(kind(NUMBERS, TARGETS), kind(*test))
    assert said is not None
    assert said.startswith("5 of 35 test examples are among the training examples, 4 of them with the")
    assert among_training(kind(NUMBERS, TARGETS), kind(OTHER, TARGETS[:30])) is None


@pytest.mark.parametrize(("inputs", "targets"), OF_THEIR_OWN.values(), ids=list(OF_THEIR_OWN))
def test_equal_cases_of_few_values_are_no_copies_of_training_examples(inputs, targets):
    parts = Examples(inputs[:2000], targets[:2000]), Examples(inputs[2000:], targets[2000:])
    assert among_training(*parts) is None


def fit(times: int, groups=None, validation=None) -> OCD:
    """A base that is right, and noise to learn."""
    torch.manual_seed(1)
    base = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).eval()
    with torch.no_grad():
        targets = base(NUMBERS) + TARGETS
    examples = Examples(NUMBERS.repeat(times, 1), targets.repeat(times, 1))
    ocd = OCD(
        base,
        loss=lambda outputs, targets: (outputs - targets).square().mean(dim=1),
        config=config({"layer": "2", "training.num_steps": 150, "overfit.lr": 0.1}),
    )
    return ocd.fit(examples, progress=False, groups=groups, validation=validation)


def test_a_fit_counts_copies_as_one_piece_of_evidence():
    def evidence(ocd: OCD) -> tuple[int, int]:
        """Held-out lessons, and groups of them."""
        (note,) = [note for note in ocd.notes if note.startswith("sampling")]
        found = re.search(r"on (\d+) held-out lessons of (\d+) group", note)
        assert found is not None, note
        return int(found[1]), int(found[2])

    copied = fit(10)
    assert any(note.startswith("examples: 600 of 600 are copies of others") for note in copied.notes)
    lessons, groups = evidence(copied)
    assert lessons == 10 * groups  # all copies of an example are on one side
    each = fit(10, groups=range(600))  # cases of their own, as a user may say
    assert not any("copies" in note for note in each.notes)
    lessons, groups = evidence(each)
    assert lessons == groups


def test_groups_of_the_lessons_are_not_those_of_validation_examples():
    other = torch.randn(700, 4, generator=chance(8))  # more than there are lessons
    ocd = fit(10, validation=Examples(other, torch.zeros(700, 1)))
    (note,) = [note for note in ocd.notes if note.startswith("sampling")]
    assert "700 validation examples" in note and "group" not in note
    copied = fit(1, validation=Examples(NUMBERS.repeat(3, 1), TARGETS.repeat(3, 1)))
    assert any(note.startswith("validation examples: 180 of 180") for note in copied.notes)
    assert any("180 validation examples of 60 groups" in note for note in copied.notes)
