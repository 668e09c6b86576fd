"""A trained generator ready to draw: each of its steps, on codes of every kind."""

from __future__ import annotations

import pytest
import torch

from helpers import PCA, fitted
from helpers import test_digits as some_digits
from ocd import OCD, OCDError
from ocd.generator import example_keys, example_noise
from ocd.prediction import DrawRequest

INPUTS = some_digits(6).inputs
KINDS = {"rank one": ({}, "fast"), "pca": (PCA, "fast"), "released": ({"overfit.lr": 5e-4}, "released")}
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
def test_codes_are_the_networks_own_from_each_examples_noise(kind: str) -> None:
    generator = fitted(*KINDS[kind]).generator()
    network = generator.network
    with torch.no_grad():
        embedding = generator.embed(INPUTS, generator.capture(INPUTS))
        codes = generator.draw(INPUTS, embedding, DrawRequest(3, seed=7))
        noise = example_noise(example_keys(INPUTS), 7, 3, network.diffused_shape)
        assert torch.equal(codes, network.draw_codes(embedding, noise))
        assert codes.shape == (6, 3, *network.shapes.code_shape)
        delta = generator.decode(codes, generator.capture(INPUTS))
    assert delta.dense().shape == (6, 3, *network.shapes.weight_shape)


def test_the_mean_is_one_code_whatever_is_asked() -> None:
    generator = fitted().generator()
    with torch.no_grad():
        embedding = generator.embed(INPUTS, generator.capture(INPUTS))
        codes = generator.draw(INPUTS, embedding, DrawRequest(5, "mean"))
        assert torch.equal(codes, generator.network.mean_codes(embedding))
    assert codes.shape[1] == 1


@every_kind
def test_a_batch_is_embedded_as_its_examples_are_alone(kind: str) -> None:
    generator = fitted(*KINDS[kind]).generator()
    with torch.no_grad():
        whole = generator.embed(INPUTS, generator.capture(INPUTS)).denoiser
        for index in range(6):
            one = INPUTS[index : index + 1]
            alone = generator.embed(one, generator.capture(one)).denoiser
            torch.testing.assert_close(alone[0], whole[index], rtol=1e-4, atol=1e-5)


def test_positions_are_kept_where_a_code_or_the_condition_needs_them() -> None:
    def describe(frozen, inputs):
        return {"output": inputs.flatten(1)[:, :3]}

    made = fitted(*KINDS["pca"])
    ocd = OCD(made.base, loss=made.loss, config=made.config, describe=describe)
    ocd.hypernetwork, ocd.frozen = made.fitted()
    asked: list[bool] = []

    class Frozen:
        def capture(self, inputs, keep_positions):
            asked.append(keep_positions)

    for one in (fitted(), made, ocd):
        generator = one.generator()
        object.__setattr__(generator, "frozen", Frozen())
        generator.capture(INPUTS)
    assert asked == [True, True, False]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "median"}, "mode is 'median': use one of"),
        ({"num_draws": 0}, "it must be a whole number, at least 1"),
    ],
)
def test_impossible_requests_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(OCDError, match=message):
        DrawRequest(**wrong)
