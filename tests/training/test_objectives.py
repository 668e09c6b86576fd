"""What the trainer minimises: the paper's objective, and the base's own loss beside it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import reference
from helpers import LOSS, PCA, STORED, prepared, state_of, trainer_of
from ocd import OCDError
from ocd.data import seeded
from ocd.generator import HyperNetwork
from ocd.lessons import LessonBatch
from ocd.training import Trainer
from ocd.training.objectives import SCORED_DRAWS, DiffusionObjective


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


@pytest.mark.parametrize("solver", ["ddim", "one_step"])
def test_the_score_is_that_of_draws_through_a_copy_of_the_base(tmp_path, solver):
    """Of classes: minus the log of the draws' mean probability, with noise from the same generator."""
    settings = {"diffusion.solver": solver, "training.score_weight": 2.0}
    trainer, plain, rows = make(tmp_path, settings)
    network, frozen = trainer.network.eval(), trainer.overfitter.frozen
    objective = dataclasses.replace(plain, score_weight=2.0)
    generator = seeded(4)
    losses = objective.losses(network, rows, generator)
    again = seeded(4)
    without = plain.losses(network, rows, again)  # the same levels and noise first
    noise = torch.randn(len(rows), SCORED_DRAWS, *network.diffused_shape, generator=again)
    embedding = network.embed(rows.features, rows.inputs)
    delta = network.decode(network.raw_codes(embedding, noise), frozen.capture(rows.inputs).positions)
    with torch.no_grad():
        answers = reference.run(frozen.base, frozen.name, rows.inputs, delta.dense())  # (B, K, C)
    chances = answers.softmax(dim=-1).transpose(0, 1)
    wanted = -chances.mean(dim=0)[torch.arange(len(rows)), rows.targets].log().mean()
    assert torch.allclose(losses["score"], wanted, atol=1e-5)
    assert torch.allclose(losses["loss"], without["loss"] + 2 * wanted, atol=1e-5)
    losses["loss"].backward()
    assert float(network.denoiser.enter.weight.grad.norm()) > 0


def test_targets_without_a_score_are_refused(tmp_path):
    trainer, plain, rows = make(tmp_path)
    rows = dataclasses.replace(rows, targets=rows.targets[:, None].float())
    with pytest.raises(OCDError, match="training.score_weight needs targets that draws can be scored"):
        dataclasses.replace(plain, score_weight=1.0).losses(trainer.network, rows, seeded(4))


def test_parts_of_large_examples_are_not_scored(tmp_path):
    trainer, plain, rows = make(tmp_path)
    problem = dataclasses.replace(trainer.overfitter.problem, excerpt=lambda *given: given)
    objective = dataclasses.replace(
        plain, score_weight=1.0, overfitter=dataclasses.replace(trainer.overfitter, problem=problem)
    )
    with pytest.raises(OCDError, match="scored as whole answers, and these examples are too large"):
        objective.losses(trainer.network, rows, seeded(4))
