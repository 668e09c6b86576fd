"""The training loop: the same weights however often it was stopped, and each of its parts."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers import (
    LOSS,
    PCA,
    STORED,
    config,
    contents,
    digits,
    digits_base,
    prepared,
    same_state,
    state_of,
    trainer_of,
)
from ocd import OCD, Examples, OCDError
from ocd.data import read_tensors, seeded, shuffled_places
from ocd.lessons import Workdir
from ocd.tasks.images.augmentation import image_transform
from ocd.tasks.images.encoder import ImageEncoder
from ocd.training import Trainer, TrainingConfig, TrainingFiles
from ocd.training.batches import batch_indices, choosing_among, split_indices
from ocd.training.config import rate_factor, shortened

# One noise level, at which nothing is noise: the loss is a function of the examples alone.
NOISELESS = {
    "diffusion.num_train_steps": 1,
    "diffusion.num_sampling_steps": 1,
    "diffusion.beta_start": 0.0,
    "diffusion.beta_end": 0.0,
    "training.num_noise_levels": 1,
}


class Stop(Exception):
    """Stands for a kill between two steps."""


def make_trainer(root: Path, settings=None, preset: str = "fast") -> Trainer:
    """As OCD.train makes it."""
    ocd, work, examples = prepared(root, settings, preset)
    return trainer_of(ocd, examples, work)


def events(root: Path, kind: str) -> list[dict]:
    lines = (root / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


# Which examples, which rate


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_held_out_examples_are_apart_from_all_their_copies(share):
    examples = torch.arange(50).repeat(3)
    train, held_out = split_indices(examples, share, seed=0)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(150))
    assert len(held_out) == 3 * int(50 * share)
    assert not set(examples[train].tolist()) & set(examples[held_out].tolist())
    assert share == 0 or not torch.equal(held_out, split_indices(examples, share, seed=1)[1])


def test_at_most_2048_examples_are_held_out():
    assert len(split_indices(torch.arange(100_000), 0.5, seed=0)[1]) == 2048


@pytest.mark.parametrize(
    ("total", "held", "choosing"),
    [(100, 25, 13), (150, 50, 0), (190, 63, 0), (200, 66, 16), (300, 75, 25), (400, 100, 50)],
)
def test_few_examples_leave_enough_to_judge(
    total: int, held: int, choosing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty are needed to show a gain of moves; those that choose the best weights come second."""
    monkeypatch.setattr("ocd.training.batches.ENOUGH_TO_JUDGE", 512)
    _, held_out = split_indices(torch.arange(total), 0.05, seed=0, new=True)
    assert (len(held_out), int(choosing_among(held_out, new=True).sum())) == (held, choosing)
    _, known = split_indices(torch.arange(total), 0.05, seed=0)  # the base may have seen them
    assert len(known) == total // 4
    assert int(choosing_among(known).sum()) == (total // 4 + 1) // 2


@pytest.mark.parametrize(("num_groups", "judging"), [(40, 5), (140, 17), (160, 53), (200, 50)])
def test_few_groups_leave_enough_to_judge(
    num_groups: int, judging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What belongs together is one piece of evidence: no more are held out than can show a gain."""
    monkeypatch.setattr("ocd.training.batches.ENOUGH_TO_JUDGE", 512)
    belongs = torch.arange(2 * num_groups) % num_groups
    _, held_out = split_indices(torch.arange(2 * num_groups), 0.05, 0, belongs=belongs, new=True)
    chooses = choosing_among(held_out, belongs, new=True)
    assert len(belongs[held_out[~chooses]].unique()) == judging


@pytest.mark.parametrize("num_groups", [1, 12, 60, 130])
def test_those_that_choose_and_those_that_judge_share_nothing(num_groups: int) -> None:
    """Neither copies nor groups, also where the held-out examples are an odd number."""
    examples = torch.arange(3 * num_groups + 1).repeat(2)
    for belongs in (None, torch.arange(3 * num_groups + 1) % num_groups):
        chooses = choosing_among(examples, belongs, new=True)
        pieces = examples if belongs is None else belongs[examples]
        assert not set(pieces[chooses].tolist()) & set(pieces[~chooses].tolist())
        judging, every = len(pieces[~chooses].unique()), len(pieces.unique())
        assert judging >= min(every, 50) or judging >= every // 2
    assert not choosing_among(examples, torch.zeros(len(examples), dtype=torch.long)).any()


def test_nothing_left_to_train_on_is_said(tmp_path, monkeypatch):
    nothing = torch.arange(0)
    monkeypatch.setattr("ocd.training.trainer.split_lessons", lambda *_: (nothing, nothing, nothing))
    with pytest.raises(OCDError, match="no example is left to train on"):
        make_trainer(tmp_path)


@pytest.mark.parametrize(("batch_size", "size"), [(4, 12), (5, 12), (30, 12)])
def test_batches_are_shuffled_epochs(batch_size, size):
    stream = torch.cat([batch_indices(n, batch_size, size, seed=3) for n in range(12)])
    epochs = [epoch.tolist() for epoch in stream.split(size) if len(epoch) == size]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    halves = [batch_indices(n, batch_size, size, seed=3) for n in (6, 7)]
    assert torch.equal(torch.cat(halves), batch_indices(3, 2 * batch_size, size, seed=3))


@pytest.mark.parametrize("size", [1, 2, 5, 64, 65, 1000])
def test_an_order_of_many_is_a_permutation_whose_parts_need_not_the_rest(size):
    order = shuffled_places(torch.arange(size), size, seeded(3))
    assert sorted(order.tolist()) == list(range(size))
    some = torch.arange(0, size, 3)
    assert torch.equal(shuffled_places(some, size, seeded(3)), order[some])
    assert size < 64 or not torch.equal(shuffled_places(torch.arange(size), size, seeded(4)), order)


def test_an_order_of_many_is_as_random_as_another():
    """Neighbours come from everywhere: the mean distance of two places is a third of the size."""
    size = 10_000
    order = shuffled_places(torch.arange(size), size, seeded(0)).double()
    assert abs(float((order[1:] - order[:-1]).abs().mean()) / size - 1 / 3) < 0.02
    assert abs(float(torch.corrcoef(torch.stack([order, torch.arange(size)]))[0, 1])) < 0.05


def test_batches_of_many_examples_are_shuffled_epochs_too(monkeypatch):
    monkeypatch.setattr("ocd.training.batches.MOST_IN_AN_ORDER", 4)
    test_batches_are_shuffled_epochs(5, 12)
    assert int(batch_indices(10**6, 256, 10**9, seed=0).max()) < 10**9  # no order of all is made


def test_rate_rises_over_three_tenths_and_falls_to_nothing():
    rates = [rate_factor(step, 100, "one_cycle") for step in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[30] == 1 == max(rates)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[100] == pytest.approx(0)
    assert {rate_factor(step, 100, "constant") for step in range(101)} == {1.0}
    assert math.isfinite(rate_factor(0, 1, "one_cycle"))


# Steps


def test_averaged_weights_are_the_running_average(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, {"training.ema_decay": 0.7})
    expected = None
    for number in range(12):
        trainer._train_step()
        current = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
        if expected is None:
            expected = current
        else:
            decay = min(0.7, (1 + number) / (10 + number))  # the start is soon forgotten
            for name, value in current.items():
                expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in trainer.average.module.named_parameters():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    moved = dict(trainer.network.named_parameters())
    assert any(not torch.allclose(moved[name], value, atol=1e-4) for name, value in expected.items())


def test_the_averaged_network_is_the_one_that_predicts(tmp_path):
    trainer = make_trainer(tmp_path)
    assert trainer.run() is trainer.average.module
    assert not trainer.average.module.training


def test_the_gradient_of_a_batch_is_the_mean_of_its_parts(tmp_path):
    """So that eight accumulated batches of one, as the authors have them, are a batch of eight."""
    whole, halves = (
        make_trainer(tmp_path / str(size), NOISELESS | {"training.batch_size": size})
        for size in (16, 8)
    )
    whole._train_step()
    moments = whole.optimizer.state_dict()["state"]
    # Of a first step Adam's first moment is a tenth of the gradient.
    expected = torch.cat([10 * moments[i]["exp_avg"].flatten() for i in sorted(moments)])
    for halves.step in (0, 1):
        (halves._losses(halves._batch(), seeded(0), 0)["loss"] / 2).backward()
    halves._clip()
    parameters = [p for group in halves.optimizer.param_groups for p in group["params"]]
    gradient = torch.cat([parameter.grad.flatten() for parameter in parameters])
    assert expected.norm() > 1e-2
    assert torch.allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_gradients_are_clipped(tmp_path, monkeypatch, limit):
    monkeypatch.setattr("ocd.training.trainer.CLIP_NORM", limit)
    trainer, norms = make_trainer(tmp_path), []

    def observe(*_):
        grads = [p.grad for p in trainer.network.parameters() if p.grad is not None]
        norms.append(torch.cat([grad.flatten() for grad in grads]).norm().item())

    trainer.optimizer.register_step_pre_hook(observe)
    trainer._train_step()
    assert norms[0] <= limit * 1.01
    assert (norms[0] > 0.99 * limit) is (limit < 1)


def test_a_scale_network_with_its_own_encoders_is_clipped_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.training.trainer.CLIP_NORM", 1e-3)
    trainer, norms = make_trainer(tmp_path, preset="released"), []

    def observe(*_):
        for group in trainer.optimizer.param_groups:
            grads = [p.grad.flatten() for p in group["params"] if p.grad is not None]
            norms.append(torch.cat(grads).norm().item())

    trainer.optimizer.register_step_pre_hook(observe)
    trainer._train_step()
    assert norms == pytest.approx([1e-3, 1e-3], rel=0.01)


def test_scale_network_has_its_own_rate(tmp_path):
    trainer = make_trainer(tmp_path, preset="released")
    trainer._train_step()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates == pytest.approx([1e-4, 5e-4])
    scale = {id(p) for p in trainer.network.scale.parameters()}
    scale |= {id(p) for p in trainer.network.scale_conditioning.parameters()}
    assert {id(p) for p in trainer.optimizer.param_groups[1]["params"]} == scale
    everything = [id(p) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert sorted(everything) == sorted(id(p) for p in trainer.network.parameters())


def test_loss_falls(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.training.trainer.LOG_EVERY", 1)
    make_trainer(tmp_path, {"training.num_steps": 60}).run()
    losses = [event["loss"] for event in events(tmp_path, "train")]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_log_says_what_is_needed(tmp_path):
    make_trainer(tmp_path, {"training.num_steps": 12, "training.validate_every": 6}).run()
    steps = events(tmp_path, "train")
    assert [event["step"] for event in steps] == [5, 10, 12]
    assert {"seed", "role", "loss", "denoise_loss", "lr"} <= steps[0].keys()
    assert [event["step"] for event in events(tmp_path, "validate")] == [6, 12]


# Held-out examples


def test_validation_changes_nothing_and_is_the_same_each_time(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer._train_step()
    before = state_of(trainer.average)
    trainer._validate()
    trainer._validate()
    first, second = events(tmp_path, "validate")
    assert first["loss"] == second["loss"]
    assert same_state(before, state_of(trainer.average))


# Examples that are not finite


def broken_trainer(root: Path, indices: list[int], settings: dict) -> Trainer:
    """Of a hundred examples, of which those at `indices` are not finite: at most five."""
    ocd, work, examples = prepared(root, settings)
    trainer = trainer_of(ocd, examples, work)
    inputs = examples.inputs.clone()
    inputs[indices] = torch.nan
    broken = Examples(inputs, examples.targets)
    trainer.overfitter.problem = dataclasses.replace(trainer.overfitter.problem, dataset=broken)
    trainer.source = dataclasses.replace(trainer.source)  # which knows nothing of them yet
    return trainer


def test_a_batch_without_finite_examples_is_no_step(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.training.trainer.LOG_EVERY", 1)
    settings = {"training.batch_size": 1, "training.validation_share": 0.0}
    place = int(batch_indices(2, 1, 100, 0))  # the third batch is this example alone
    trainer = broken_trainer(tmp_path, [place], settings)
    assert trainer._train_step()
    before = state_of(trainer.average)
    trainer.step = 2
    assert trainer._train_step() == {}
    assert same_state(before, state_of(trainer.average))
    trainer.step = 0
    trainer.run()
    assert trainer.step == 20
    assert [event["step"] for event in events(tmp_path, "train")] == [1, 2, *range(4, 21)]
    (skipped,) = events(tmp_path, "skipped")
    assert (skipped["step"], skipped["examples"]) == (2, [place])


def test_validation_leaves_out_what_is_not_finite(tmp_path):
    settings = {"training.batch_size": 2}
    whole = make_trainer(tmp_path / "whole", settings)
    held_out = whole.held_out.tolist()
    assert len(held_out) == 5
    trainer = broken_trainer(tmp_path / "some", held_out[:2], settings)  # a whole chunk
    trainer._validate()
    assert math.isfinite(trainer.best)
    trainer = broken_trainer(tmp_path / "all", held_out, settings)
    trainer._validate()
    trainer._validate()
    assert not events(tmp_path / "all", "validate")
    assert trainer.best is None and trainer.best_weights is None
    told = [event["examples"] for event in events(tmp_path / "all", "skipped")]
    assert [place for indices in told for place in indices] == held_out  # once each


# Stopping and going on

ROUTES: dict[str, tuple[dict, str]] = {
    "on the fly": ({}, "fast"),
    "store": (STORED, "fast"),
    "pca": (STORED | PCA, "fast"),
    "log scale": ({"scale.kind": "log"}, "fast"),
    "joint scale": ({"scale.kind": "joint"}, "fast"),
    "released": ({"overfit.optimizer": "sgd"}, "released"),
}


@pytest.mark.parametrize("encoder", [False, True], ids=["", "encoder"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch, route, encoder):
    """Bit for bit: optimiser, average, dropout, batch norm and augmentation go on as they were."""
    settings, preset = ROUTES[route]
    every = 2 if preset == "released" else 5
    monkeypatch.setattr("ocd.training.trainer.CHECKPOINT_EVERY", every)
    base = digits_base()

    def run(folder, stop_after=None):
        torch.manual_seed(5)  # the user's network, not OCD's
        ocd = OCD(
            base, loss=LOSS, config=config(settings, preset),
            encoder=ImageEncoder(1, 8, widths=(4, 4, 4), num_features=5) if encoder else None,
            transform=image_transform(1, 0) if encoder else None,
        )  # fmt: skip
        torch.seed()  # another process has another random state
        if stop_after is None:
            return ocd.fit(digits(60), folder, progress=False)
        take = Trainer._train_step

        def step(self):
            if self.step >= stop_after:
                raise Stop
            return take(self)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_train_step", step)
            return ocd.fit(digits(60), folder, progress=False)

    whole = run(tmp_path / "whole")
    stops = (1, 3) if preset == "released" else (3, 13)  # one of them before, one behind a checkpoint
    for stop in stops:
        with pytest.raises(Stop):
            run(tmp_path / "stopped", stop)
    resumed = run(tmp_path / "stopped")
    assert same_state(whole.hypernetwork.state_dict(), resumed.hypernetwork.state_dict())
    files = [
        read_tensors(tmp_path / name / "checkpoint/model.safetensors") for name in ("whole", "stopped")
    ]
    assert same_state(*files)


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    trainer, calls = make_trainer(tmp_path), []
    monkeypatch.setattr("os.fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr("os.replace", lambda *_: calls.append("replace"))
    trainer.save()
    assert calls == ["fsync", "replace"]


def test_a_checkpoint_is_read_to_the_device_of_the_base(tmp_path, monkeypatch):
    trainer, indices = make_trainer(tmp_path), []
    trainer.save()
    load = torch.load

    def observe(*args, **kwargs):
        indices.append(kwargs["map_location"])
        return load(*args, **kwargs)

    monkeypatch.setattr("torch.load", observe)
    assert trainer.resume()
    assert indices == [trainer.overfitter.frozen.device]


def test_fit_leaves_the_global_random_state(tmp_path):
    before = torch.get_rng_state()
    OCD(digits_base(), loss=LOSS, config=config()).fit(digits(40), tmp_path, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fit_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    ocd = OCD(digits_base(), loss=LOSS, config=config())
    first = state_of(ocd.fit(digits(40), tmp_path, progress=False).hypernetwork)
    monkeypatch.setattr(Trainer, "_train_step", lambda self: pytest.fail("it trained again"))
    again = ocd.fit(digits(40), tmp_path, progress=False)
    assert same_state(first, state_of(again.hypernetwork))


def test_checkpoint_of_another_run_or_damaged_is_refused(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.run()
    other = make_trainer(tmp_path)
    other.files = dataclasses.replace(other.files, key="another")
    path = trainer.files.checkpoint
    before = contents(tmp_path)
    with pytest.raises(OCDError, match="training.pt belongs to a run with other settings"):
        other.resume()
    assert contents(tmp_path) == before
    path.write_bytes(path.read_bytes()[:1000])
    before = contents(tmp_path)
    with pytest.raises(OCDError, match="training.pt cannot be read") as caught:
        make_trainer(tmp_path).resume()
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("config", "configuration"),
        ("data", "dataset"),
        ("base", "base"),
        ("transform", "loss, transform, encoder, fit_base or groups"),
    ],
)
def test_a_workdir_of_another_run_is_refused_and_kept(tmp_path, change, what):
    OCD(digits_base(), loss=LOSS, config=config()).fit(digits(40), tmp_path, progress=False)
    base, examples, settings, transform = digits_base(), digits(40), {}, None
    if change == "config":
        settings = {"training.lr": 1e-3}
    elif change == "data":
        examples = digits(41)
    elif change == "transform":
        transform = image_transform(1, 0)
    else:
        base.fc2.bias.data += 1
    before = contents(tmp_path)
    with pytest.raises(OCDError, match=f"belongs to a run with another {what}") as caught:
        ocd = OCD(base, loss=LOSS, config=config(settings), transform=transform)
        ocd.fit(examples, tmp_path, progress=False)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, monkeypatch, where):
    trainer = make_trainer(tmp_path)
    losses = trainer._losses

    def broken(rows, generator, number):
        values = losses(rows, generator, number)
        if number == 12:
            loss = values["loss"]  # the root of zero is finite, its gradient is not
            values["loss"] = loss * torch.nan if where == "loss" else loss + (0 * loss).sqrt()
        return values

    monkeypatch.setattr(trainer, "_losses", broken)
    with pytest.raises(OCDError, match="not finite at step 12: lower training.lr"):
        trainer.run()
    assert all(value.isfinite().all() for value in trainer.average.state_dict().values())
    again = make_trainer(tmp_path)
    assert again.resume()
    assert again.step == 10
    again.run()  # and it can go on from there
    assert again.step == 20


# Other objectives than the generator's


class Fit:
    """An objective of its own: squared error of a linear layer to targets that it knows."""

    def losses(self, network, rows, generator):
        error = network(rows.inputs.flatten(1)) - rows.targets[:, None].float()
        return {"loss": error.square().mean(), "largest": error.abs().max()}

    def held_out(self, network, rows, generator):
        return self.losses(network, rows, generator)["loss"]

    def judge(self, network, rows, generator):
        return self.held_out(network, rows, generator)[None]


def linear_trainer(root: Path, objective, **settings) -> Trainer:
    plain = make_trainer(root)
    torch.manual_seed(0)
    network = nn.Linear(64, 1)
    changed = dataclasses.replace(plain.config, **settings)
    files = TrainingFiles(plain.files.log, root / "linear.pt", "linear")
    return Trainer(network, plain.source, objective, changed, 0, files)


def test_any_network_is_trained_by_any_objective(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.training.trainer.LOG_EVERY", 1)
    trainer = linear_trainer(tmp_path, Fit(), num_steps=60, lr=0.02, validate_every=20, keep_best=False)
    found = trainer.run()
    assert isinstance(found, nn.Linear) and found is trainer.average.module
    steps = events(tmp_path, "train")
    assert {"loss", "largest", "lr"} <= steps[0].keys()
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    held_out = [event["loss"] for event in events(tmp_path, "validate")]
    assert held_out[-1] < held_out[0]
    rows = trainer._rows(trainer.held_out, seeded(0))
    with torch.no_grad():
        assert held_out[-1] == pytest.approx(Fit().held_out(found, rows, seeded(0)).item(), rel=1e-5)


def test_a_held_out_loss_is_the_objectives_own(tmp_path):
    """Weighted by how many examples are in a batch; training's own loss is not asked."""

    class Counted(Fit):
        def held_out(self, network, rows, generator):
            return torch.tensor(float(len(rows)))

    trainer = linear_trainer(tmp_path, Counted(), validation_share=0.25, batch_size=10)
    trainer._validate()  # 25 held out: two batches of 10 and one of 5
    assert events(tmp_path, "validate")[0]["loss"] == pytest.approx((2 * 10 * 10 + 5 * 5) / 25)


def test_only_a_generators_scale_network_has_a_rate_of_its_own(tmp_path):
    trainer = linear_trainer(tmp_path, Fit(), scale_lr_factor=5.0)
    assert len(trainer.optimizer.param_groups) == 1
    trainer._train_step()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(trainer.config.lr * 0.04)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    linear_trainer(tmp_path, Fit(), num_steps=2).run()
    trainer = make_trainer(tmp_path)
    trainer.files = dataclasses.replace(trainer.files, checkpoint=tmp_path / "linear.pt")
    with pytest.raises(OCDError, match="linear.pt belongs to a run with other settings"):
        trainer.resume()


# The named extension


def test_task_loss_lowers_the_loss_of_the_base_under_the_mean_delta(tmp_path):
    examples, means = digits(100), {}
    for weight in (0.0, 1.0):
        settings = {
            "training.task_loss_weight": weight,
            "training.num_steps": 100,
            "training.batch_size": 48,
            "training.lr": 5e-3,
        }
        ocd = OCD(digits_base(), loss=LOSS, config=config(settings))
        ocd.fit(examples, tmp_path / str(weight), progress=False)
        predicted = ocd.predict(examples.inputs, mode="mean")
        means[weight] = LOSS(predicted.mean, examples.targets).mean().item()
        base = LOSS(predicted.base, examples.targets).mean().item()
    assert "task_loss" in events(tmp_path / "1.0", "train")[0]
    assert "task_loss" not in events(tmp_path / "0.0", "train")[0]
    assert means[1.0] < 0.8 * base
    assert means[1.0] < 0.9 * means[0.0]


def test_task_loss_follows_the_loss_under_the_mean_delta(tmp_path):
    trainer = make_trainer(tmp_path, {"training.task_loss_weight": 2.0})
    rows = trainer._batch()
    losses = trainer._losses(rows, seeded(1), 1)
    embedding = trainer.network.embed(rows.features, rows.inputs)
    codes = trainer.network.mean_codes(embedding)
    delta = trainer.network.decode(codes, rows.capture.positions).dense()[:, 0]
    total = 0.0
    for i in range(len(rows.targets)):
        base = digits_base().requires_grad_(False)
        base.fc1.weight += delta[i].detach()
        total += LOSS(base(rows.inputs[i : i + 1]), rows.targets[i : i + 1]).item()
    assert losses["task_loss"].item() == pytest.approx(total / len(rows.targets), rel=1e-4)
    expected = losses["denoise_loss"] + losses.get("scale_loss", 0) + 2 * losses["task_loss"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("transform", [None, image_transform(1, 0)], ids=["plain", "shifted"])
def test_task_loss_of_stored_deltas_is_that_of_their_own_images(tmp_path, transform):
    settings = STORED | {"training.task_loss_weight": 1.0, "training.num_steps": 2}
    ocd = OCD(digits_base(), loss=LOSS, config=config(settings), transform=transform)
    work, examples = Workdir(tmp_path), digits(40)
    ocd.fit(examples, work, progress=False)
    trainer = trainer_of(ocd, examples, work)
    rows = trainer.source.rows(torch.arange(40), seeded(0))
    assert torch.equal(rows.inputs, examples.inputs) is (transform is None)
    assert torch.equal(rows.targets, examples.targets)
    seen = trainer.overfitter.frozen.capture(rows.inputs)
    assert torch.allclose(seen.output, rows.features["output"], atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "linear"},
        {"num_steps": 0},
        {"batch_size": 0},
        {"num_noise_levels": 0},
        {"validate_every": 0},
        {"validation_share": 1.0},
        {"validation_share": -0.1},
        {"lr": 0.0},
        {"lr": math.nan},
        {"ema_decay": 1.0},
        {"task_loss_weight": -1.0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(OCDError, match=f"training.{name} is") as caught:
        TrainingConfig(**wrong)
    assert "\n" not in str(caught.value)


def test_a_second_fit_starts_from_the_users_encoder_again(tmp_path):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    ocd = OCD(digits_base(), loss=LOSS, config=config(), encoder=encoder)
    before, states = state_of(encoder), []
    for number in range(2):
        ocd.fit(digits(40), tmp_path / str(number), progress=False)
        states.append(state_of(ocd.hypernetwork))
    assert same_state(before, state_of(encoder))
    assert same_state(*states)
    assert not torch.equal(states[0]["encoder.1.weight"], before["1.weight"])


def test_few_examples_end_the_training_sooner() -> None:
    config = TrainingConfig(num_steps=100, batch_size=16, max_epochs=0)
    assert shortened(config, 40) is config
    for epochs, examples, steps in ((10, 40, 25), (1, 3, 1), (50, 400, 100)):
        limited = dataclasses.replace(config, max_epochs=epochs)
        assert shortened(limited, examples).num_steps == steps
    with pytest.raises(OCDError, match="training.max_epochs is -1: it must be at least 0"):
        TrainingConfig(max_epochs=-1)


@dataclasses.dataclass
class Scripted:
    """The objective of a trainer, with held-out losses as they are told."""

    trainer: Trainer
    held_out_losses: dict[int, float]

    def __post_init__(self) -> None:
        self.losses = self.trainer.objective.losses

    def held_out(self, network, rows, generator):
        return torch.tensor(self.held_out_losses[self.trainer.step])

    def judge(self, network, rows, generator):
        return self.held_out(network, rows, generator)[None]


def test_the_best_weights_are_kept_also_over_a_stop(tmp_path):
    settings = {
        "training.num_steps": 12, "training.validate_every": 3, "training.validation_share": 0.3,
        "training.keep_best": True,
    }  # fmt: skip

    def make(name: str, **changes: object) -> Trainer:
        trainer = make_trainer(tmp_path / name, settings | changes)
        trainer.objective = Scripted(trainer, {3: 5.0, 6: 1.0, 9: 2.0, 12: 4.0})
        return trainer

    def go_on(trainer: Trainer, to: int) -> None:
        while trainer.step < to:
            losses = trainer._train_step()
            trainer.step += 1
            trainer._after_step(losses)

    sixth = make("sixth")
    go_on(sixth, 6)
    expected = state_of(sixth._averaged())
    assert same_state(expected, state_of(make("whole").run()))
    assert not same_state(expected, state_of(make("last", **{"training.keep_best": False}).run()))

    stopped = make("stopped")
    go_on(stopped, 8)
    stopped.save()
    again = make("stopped")
    assert again.resume() and again.step == 8
    assert same_state(expected, state_of(again.run()))


def test_weights_are_chosen_on_all_examples_set_aside_for_it(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, {"training.validation_share": 0.5, "training.batch_size": 8})
    judge, judged = trainer.objective.judge, []

    def counted(network, rows, generator):
        judged.append((len(rows), judge(network, rows, generator)))
        return judged[-1][1]

    monkeypatch.setattr(type(trainer.objective), "judge", lambda _, *given: counted(*given))
    found = trainer._judge(trainer.network.eval())
    assert sum(count for count, _ in judged) == len(trainer.choosing) > 2 * 8
    mean = sum(count * losses for count, losses in judged) / len(trainer.choosing)
    assert found == pytest.approx(float(mean.min()), rel=1e-5)
