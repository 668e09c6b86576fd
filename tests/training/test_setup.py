"""The untrained generator: its shapes and statistics are those of some overfitted examples."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from torch import nn

import reference
from helpers import LOSS, PCA, STORED, prepared, same_state, state_of
from ocd.data import seeded
from ocd.generator import HyperNetwork
from ocd.generator.scale import code_scale
from ocd.lessons import LessonSource
from ocd.training.setup import make_generator

CODES = {"rank_one": {}, "dense": {"codec.kind": "dense", "scale.kind": "log"}, "pca": STORED | PCA}


def made(root, code: str, **given: object) -> tuple[HyperNetwork, list[str], LessonSource]:
    """A new generator, the notes on it, and its lessons. `given`: what the user brings beside them."""
    ocd, work, examples = prepared(root, CODES[code], num_examples=60)
    record, source = ocd.lessons(examples, work)
    source.overfitter.problem = dataclasses.replace(source.overfitter.problem, **given)
    torch.manual_seed(3)
    new = make_generator(source, record.plan.code, ocd.config.generator, seed=0)
    return new.network, new.notes, source


@pytest.mark.parametrize("code", CODES)
def test_its_shapes_and_statistics_are_those_of_the_lessons(tmp_path, code):
    """Of all sixty, which are fewer than it calibrates on."""
    network, _, source = made(tmp_path, code)
    rows = source.rows(torch.arange(60), seeded(0))
    assert network.shapes.code == code == network.codec.name
    assert network.shapes.weight_shape == source.overfitter.frozen.weight_shape
    assert network.shapes.features == {name: v.shape[1] for name, v in rows.features.items()}
    codes = network.codec.encode(rows.delta)[:, 0]
    assert codes.shape[1:] == network.shapes.code_shape
    scale = code_scale(codes, network.scale_config.normalization)
    torch.testing.assert_close(network.mean_scale, scale.mean())
    torch.testing.assert_close(network.log_scale_mean, scale.log().mean())
    for name, values in rows.features.items():
        standard = network.conditioning.standardize[name]
        torch.testing.assert_close(standard.mean, values.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_it_asks_for_no_more_examples_than_it_calibrates_on(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.training.setup.NUM_CALIBRATION", 25)
    asked = []
    ocd, work, examples = prepared(tmp_path, num_examples=60)
    record, source = ocd.lessons(examples, work)
    rows = source.rows
    source.rows = lambda indices, generator: asked.append(indices) or rows(indices, generator)
    make_generator(source, record.plan.code, ocd.config.generator, seed=0)
    make_generator(source, record.plan.code, ocd.config.generator, seed=1)
    one, other = asked
    assert len(one.unique()) == len(other.unique()) == 25
    assert not torch.equal(one, other)  # drawn by the seed


def test_a_pca_code_says_what_it_costs(tmp_path):
    """The mean losses without, with the whole and with the cut delta, in copies of the base."""
    network, notes, source = made(tmp_path, "pca")
    assert [note.split(" of ")[0] for note in notes[:1]] == ["pca code"]
    text = notes[1]
    assert text.startswith("pca code: of 16 training examples the mean loss is ")
    shuffled = torch.randperm(60, generator=seeded(0, 8))
    rows = source.rows(shuffled[:16], seeded(0, 9))
    frozen = source.overfitter.frozen
    whole = rows.delta.dense()
    cut = network.codec.decode(network.codec.encode(rows.delta), None).dense()
    expected = []
    for delta in (torch.zeros_like(whole), whole, cut):
        outputs = reference.run(frozen.base, frozen.name, rows.inputs, delta)[:, 0]
        expected.append(LOSS(outputs, rows.targets).mean().item())
    found = [float(number) for number in re.findall(r"(\d\.\d+)", text)]
    assert found == pytest.approx(expected, rel=1e-3)
    assert expected[1] < expected[2] < expected[0]


def test_the_users_encoder_is_copied(tmp_path):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    before = state_of(encoder)
    network, _, _ = made(tmp_path, "rank_one", encoder=encoder)
    assert network.shapes.encoder_features == 5
    assert network.encoder is not encoder and same_state(before, state_of(network.encoder))
    with torch.no_grad():
        network.encoder[1].weight.zero_()
    assert same_state(before, state_of(encoder))


def test_the_seed_of_torch_decides_its_weights(tmp_path):
    one, other = (made(tmp_path / name, "rank_one")[0] for name in ("one", "other"))
    assert same_state(state_of(one), state_of(other))
