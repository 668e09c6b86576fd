"""Trainings of bases that are interrupted end with the same weights, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers import LOSS, TINY, state_of
from ocd import OCDConfig
from ocd.base import FrozenBase
from ocd.baselines import fine_tune
from ocd.generator import Condition
from ocd.lessons import Problem, find_common_move, groups_of
from ocd.tasks.images.classification import train_classifier
from resuming import until_done

Work = Callable[[], dict[str, torch.Tensor]]


def classifier() -> dict[str, torch.Tensor]:
    """With dropout and batch norm."""
    tiny = TINY["norms"]
    base = tiny.base()
    train_classifier(
        base, tiny.examples(50), epochs=3, seed=2, progress=lambda line: None, batch_size=16
    )
    return state_of(base)


def whole_base() -> dict[str, torch.Tensor]:
    """Fine-tuned in all layers."""
    tiny = TINY["linear"]
    examples = tiny.examples(200)
    network = fine_tune(
        tiny.base(), LOSS, 200, lambda index, generator: examples.rows(index), 0, progress=False
    )
    return state_of(network)


def common_move() -> dict[str, torch.Tensor]:
    """The layer's own move, of all lessons and of all but a group."""
    tiny = TINY["linear"]
    base = tiny.base().eval()
    problem = Problem(base, LOSS, tiny.examples(90), Condition(OCDConfig().condition, None))
    frozen = FrozenBase(base, tiny.layer)
    frozen.capture(tiny.inputs(2))
    move = find_common_move(groups_of(problem, frozen, 3, 0), "always", 0, 0, 10**9, progress=False)
    assert move.delta is not None and move.of_others is not None
    return {"delta": move.delta, "of_others": move.of_others}


@pytest.mark.parametrize("work", [classifier, whole_base, common_move])
def test_a_training_that_is_interrupted_ends_with_the_same_weights(work: Work, tmp_path, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(4)
        whole = work()
        torch.manual_seed(5)  # another process has another random state
        found, stops = until_done(work, tmp_path / "states", monkeypatch, steps=8)
    assert stops > 0
    assert whole.keys() == found.keys()
    for name, value in whole.items():
        assert torch.equal(value, found[name]), name


def test_a_module_that_is_trained_is_left_in_eval_mode(tmp_path, monkeypatch):
    def work() -> nn.Module:
        base = TINY["norms"].base()
        train_classifier(
            base, TINY["norms"].examples(20), epochs=1, seed=0, progress=lambda line: None, batch_size=4
        )
        return base

    base, stops = until_done(work, tmp_path / "states", monkeypatch, steps=4)
    assert stops and not base.training
