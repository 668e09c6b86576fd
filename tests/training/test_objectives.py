"""What the trainer minimises: the paper's objective, and the base's own loss beside it."""

from __future__ import annotations

import pytest
import torch

import reference
from helpers import LOSS, PCA, STORED, prepared, state_of, trainer_of
from ocd.data import seeded
from ocd.generator import HyperNetwork
from ocd.lessons import LessonBatch
from ocd.training import Trainer
from ocd.training.objectives import DiffusionObjective


def make(root, settings: dict | None = None, num_levels: int = 3, weight: float = 0.0):
    """A trainer, an objective of its own, and some rows."""
    ocd, work, examples = prepared(root, {"training.batch_size": 8, **(settings or {})})
    trainer = trainer_of(ocd, examples, work)
    return trainer, DiffusionObjective(trainer.overfitter, num_levels, weight), trainer._batch()


def expected(
    trainer: Trainer, rows: LessonBatch, num_levels: int, seed: int
) -> dict[str, torch.Tensor]:
    """Eq. 7 and Eq. 8 with noise from the same generator: levels first, then the noise."""
    network, generator = trainer.network, seeded(seed)
    codes = network.codec.encode(rows.delta)[:, 0]
    t = torch.randint(0, 1000, (len(codes), num_levels), generator=generator)
    noise = torch.randn(len(codes), num_levels, *network.diffused_shape, generator=generator)
    return network.losses(network.embed(rows.features, rows.inputs), codes, t, noise)


@pytest.mark.parametrize("settings", [{}, {"scale.kind": "joint"}, STORED | PCA], ids=str)
def test_it_is_the_networks_own_losses_at_random_levels(tmp_path, settings):
    trainer, objective, rows = make(tmp_path, settings)
    trainer.network.eval()
    found = objective.losses(trainer.network, rows, seeded(4))
    wanted = expected(trainer, rows, 3, 4)
    assert found.keys() == wanted.keys() >= {"loss", "denoise_loss"}
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name
    assert not torch.equal(found["loss"], objective.losses(trainer.network, rows, seeded(5))["loss"])


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_held_out_examples_are_judged_by_the_papers_objective_alone(tmp_path, weight):
    trainer, objective, rows = make(tmp_path, weight=weight)
    trainer.network.eval()
    found = objective.held_out(trainer.network, rows, seeded(4))
    assert torch.equal(found, expected(trainer, rows, 8, 4)["loss"])  # at eight levels


@pytest.mark.parametrize("settings", [{}, PCA], ids=str)
def test_task_loss_is_that_of_the_mean_delta_in_a_copy_of_the_base(tmp_path, settings):
    trainer, objective, rows = make(tmp_path, settings, weight=2.0)
    network, frozen = trainer.network.eval(), trainer.overfitter.frozen
    losses = objective.losses(network, rows, seeded(4))
    assert losses.keys() == expected(trainer, rows, 3, 4).keys() | {"task_loss"}
    with torch.no_grad():
        capture = frozen.capture(rows.inputs)
        codes = network.mean_codes(network.embed(rows.features, rows.inputs))
        delta = network.decode(codes, capture.positions).dense()
    outputs = reference.run(frozen.base, frozen.name, rows.inputs, delta)[:, 0]
    assert losses["task_loss"].item() == pytest.approx(
        LOSS(outputs, rows.targets).mean().item(), rel=1e-4
    )
    total = expected(trainer, rows, 3, 4)["loss"] + 2 * losses["task_loss"]
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-6)


def test_gradients_reach_the_whole_generator_and_never_the_base(tmp_path):
    trainer, objective, rows = make(tmp_path, weight=1.0)
    network, base = trainer.network, trainer.overfitter.frozen.base
    assert isinstance(network, HyperNetwork)
    before = state_of(base)
    objective.losses(network, rows, seeded(0))["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad is None for p in base.parameters())
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
