"""The student of one step: it learns where the teacher's steps lead, and everything else stays."""

from __future__ import annotations

import json

import pytest
import torch

from helpers import LOSS, config, digits, digits_base, fitted
from helpers import test_digits as some_digits
from ocd import OCD, OCDConfig, OCDError
from ocd.generator import example_keys, example_noise

INPUTS = some_digits(40).inputs
STUDENT = {"distillation.num_steps": 60, "training.batch_size": 32, "training.num_steps": 60}


def one_pass_and_all_steps(ocd):
    """Ω_0 by the student and by the teacher's steps, from the same noise."""
    network, _ = ocd.fitted()
    with torch.no_grad():
        _, embedding = ocd.embed(INPUTS)
        start = example_noise(example_keys(INPUTS), 0, 8, (1, *network.diffused_shape))[:, :, 0]
        level = network.level(network.diffusion.last_step)
        passes = [
            part(start, level, embedding.denoiser) for part in (network.student, network.denoiser)
        ]
        return *passes, network.steps_of_draw(embedding, start)


def test_the_student_comes_nearer_to_the_end_of_all_steps():
    ocd = fitted(STUDENT)
    student, first_pass, end = one_pass_and_all_steps(ocd)
    assert (student - end).norm() < 0.8 * (first_pass - end).norm()


def test_a_student_changes_the_draws_and_not_the_mean():
    plain, with_student = fitted({**STUDENT, "distillation.num_steps": 0}), fitted(STUDENT)
    means = [ocd.predict(INPUTS, mode="mean").outputs for ocd in (plain, with_student)]
    draws = [ocd.predict(INPUTS, draws=2).outputs for ocd in (plain, with_student)]
    assert torch.allclose(*means, atol=1e-6) or plain.hypernetwork.scale_factor != 1
    assert not torch.equal(*draws)


def test_a_draw_of_the_student_is_one_pass():
    ocd = fitted(STUDENT)
    network, _ = ocd.fitted()
    calls = []
    handles = [
        part.register_forward_hook(lambda m, a, o, name=name: calls.append(name))
        for name, part in (("student", network.student), ("denoiser", network.denoiser))
    ]
    network.set_sampling(spread=1.0)
    ocd.predict(INPUTS, draws=3)
    for handle in handles:
        handle.remove()
    assert calls == ["student"]


def test_saved_and_loaded_it_draws_the_same(tmp_path):
    ocd = fitted(STUDENT)
    ocd.save_pretrained(tmp_path)
    again = OCD.from_pretrained(tmp_path, ocd.base)
    assert torch.equal(again.predict(INPUTS).outputs, ocd.predict(INPUTS).outputs)


def test_it_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """Stopped in the middle of the student's steps: the same weights in the end."""
    from ocd.training import Trainer

    settings = config({**STUDENT, "training.num_steps": 10, "distillation.num_steps": 12})
    whole = OCD(digits_base(), loss=LOSS, config=settings)
    whole.fit(digits(), tmp_path / "whole", progress=False)
    step = Trainer._train_step

    def stops(self):
        if self.checkpoint.name == "student.pt" and self.step == 7:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stops)
        with pytest.raises(KeyboardInterrupt):
            OCD(digits_base(), loss=LOSS, config=settings).fit(
                digits(), tmp_path / "stopped", progress=False
            )
    again = OCD(digits_base(), loss=LOSS, config=settings)
    again.fit(digits(), tmp_path / "stopped", progress=False)
    one, other = (ocd.hypernetwork.state_dict() for ocd in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = map(json.loads, (tmp_path / "whole/metrics.jsonl").read_text().splitlines())
    assert {line["role"] for line in lines} == {"main", "student"}


def test_noise_on_the_way_and_bad_numbers_are_refused():
    with pytest.raises(OCDError, match=r"diffusion\.eta is 1"):
        OCDConfig().replace({"distillation.num_steps": 5, "diffusion.eta": 1.0})
    with pytest.raises(OCDError, match=r"distillation\.num_steps is -1"):
        OCDConfig().replace({"distillation.num_steps": -1})
    with pytest.raises(OCDError, match=r"distillation\.lr is 0"):
        OCDConfig().replace({"distillation.lr": 0.0})
