"""What holds for every baseline: shapes, independence of the batch, a base that does not change."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers import LOSS, TINY, Tiny, part_of
from nets import get_case, state_of
from ocd import OCD, Examples, OCDError
from ocd.base import run_without_delta
from ocd.baselines import (
    TRAINED,
    DeepEnsemble,
    MainFit,
    NearestNeighbor,
    OCDVariant,
    OverfitTest,
    OverfitTestAllLayers,
    RandomDirection,
    Tent,
    UnchangedBase,
    fit_baseline,
    fit_laplace,
    fit_temperature,
    load_baseline,
    mean_delta,
)
from ocd.baselines.temperature import TemperatureScaled
from ocd.data import take_rows
from ocd.lessons import OverfitConfig, Workdir
from ocd.prediction import Predictor

CONFIG = OverfitConfig(lr=0.1)
DRAWS = 3
MANY = 300  # more than one chunk of 256
ORACLES = ("overfit_test", "overfit_test_all_layers")
NUM_OUTPUTS = {"draws": DRAWS, "no_scale": DRAWS, "random_direction": DRAWS, "laplace": DRAWS,
               "deep_ensemble": 2}  # fmt: skip
"""Draws where there is not just one."""
NAMES = (
    "base", "draws", "mean", "no_scale", "nearest_neighbor", "mean_delta", "random_direction", *TRAINED,
    "tent", "temperature", "laplace", "deep_ensemble", *ORACLES,
)  # fmt: skip
WITHOUT_SCALE = {"base", "label_head", "label_network", "tent", "temperature", "deep_ensemble"}
WITHOUT_BASE = {"label_network", "tent"}


@dataclass(frozen=True)
class Case:
    """Every baseline beside one OCD."""

    tiny: Tiny
    ocd: OCD
    test: Examples
    baselines: dict[str, Predictor]

    def baseline(self, name: str, targets: torch.Tensor) -> Predictor:
        """The baseline; the oracles are given these labels."""
        baseline: Any = self.baselines[name]
        return replace(baseline, targets=targets) if name in ORACLES else baseline

    @property
    def state(self) -> list[dict]:
        return [state_of(base) for base in (self.ocd.base, *self.baselines["deep_ensemble"].bases)]


def make_case(kind: str, root: Path) -> Case:
    tiny = TINY[kind]
    training, work = tiny.examples(60), Workdir(root / kind)
    ocd = tiny.ocd()
    ocd.fit(training, work, progress=False)
    few = take_rows(training.inputs, slice(0, 2))
    trained, fit = {}, MainFit(ocd, work, training)
    for name in TRAINED:
        own = Workdir(root / kind, name)
        fit_baseline(name, fit, own, progress=False)
        trained[name] = load_baseline(name, ocd, few, own)
    base, frozen = ocd.base, ocd.fitted()[1]
    temperature = fit_temperature(base, LOSS, training)
    baselines = trained | {
        "base": UnchangedBase(base),
        "draws": OCDVariant(ocd),
        "mean": OCDVariant(ocd, "mean"),
        "no_scale": OCDVariant(ocd, use_mean_scale=True),
        "nearest_neighbor": NearestNeighbor(frozen, LOSS, CONFIG, training),
        "mean_delta": mean_delta(frozen, LOSS, CONFIG, training),
        "random_direction": RandomDirection(ocd),
        "tent": Tent(base, frozen.name, 3),
        "temperature": temperature,
        "laplace": fit_laplace(base, LOSS, training),
        "deep_ensemble": DeepEnsemble([base, tiny.base(1)]),
        "overfit_test": OverfitTest(frozen, LOSS, CONFIG, None),
        "overfit_test_all_layers": OverfitTestAllLayers(base, LOSS, CONFIG, None),
    }
    assert set(baselines) == set(NAMES)
    return Case(tiny, ocd, tiny.examples(MANY, seed=5), baselines)


@pytest.fixture(scope="module", params=TINY)
def case(request, tmp_path_factory) -> Case:
    return make_case(request.param, tmp_path_factory.mktemp("baselines"))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_their_shapes_and_the_base_does_not_change(case, name):
    before, few = case.state, part_of(case.test, 0, 9)
    # state_of looks at weights, buffers, modes, hooks, gradients and the global random state.
    p = case.baseline(name, few.targets).predict(few.inputs, draws=DRAWS, seed=1)
    assert case.state == before
    draws = NUM_OUTPUTS.get(name, 1)
    assert p.outputs.shape == (draws, 9, 3)
    assert p.mean_network.shape == p.mean.shape == (9, 3)
    assert len(p) == 9
    assert p.outputs.isfinite().all() and p.mean_network.isfinite().all()
    assert not p.outputs.requires_grad
    if draws == 1:
        assert torch.equal(p.mean_network, p.outputs[0])
    assert (p.scale is None) is (name in WITHOUT_SCALE)
    if p.scale is not None:
        assert p.scale.shape == (draws, 9)
        # No move at all is one of the choices of a layer that is fine-tuned with care.
        assert (p.scale >= 0).all() and (p.scale.any() or name == "fine_tuned_layer")
    assert (p.base is None) is (name in WITHOUT_BASE)
    if p.base is not None:
        assert torch.allclose(p.base, run_without_delta(case.ocd.base, few.inputs), atol=1e-6)


@pytest.mark.parametrize("name", sorted({*NAMES} - {"base", "fine_tuned_layer"}))
def test_every_baseline_predicts_something_else_than_the_base(case, name):
    p = case.baseline(name, case.test.targets).predict(case.test.inputs, draws=DRAWS)
    assert (p.outputs - run_without_delta(case.ocd.base, case.test.inputs)).abs().max() > 1e-4


@pytest.mark.parametrize("name", sorted({*NAMES} - {"tent"}))
def test_a_prediction_depends_on_its_own_input_alone(case, name):
    test = case.test
    whole = case.baseline(name, test.targets).predict(test.inputs, DRAWS, seed=2)
    order = torch.randperm(MANY, generator=torch.Generator().manual_seed(0))
    pieces = [torch.tensor([4]), torch.tensor([9, 3]), torch.arange(250, 260), order]
    for index in pieces:
        inputs, targets = test.rows(index)
        p = case.baseline(name, targets).predict(inputs, DRAWS, seed=2)
        assert torch.allclose(p.outputs, whole.outputs[:, index], atol=1e-5), len(index)
        assert torch.allclose(p.mean_network, whole.mean_network[index], atol=1e-5)
        if p.scale is not None:
            assert torch.allclose(p.scale, whole.scale[:, index], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_draws_follow_from_the_seed(case, name):
    few = part_of(case.test, 0, 9)
    baseline = case.baseline(name, few.targets)
    first = baseline.predict(few.inputs, DRAWS, seed=3).outputs
    torch.manual_seed(123)  # the global seed does not matter
    assert torch.equal(first, baseline.predict(few.inputs, DRAWS, seed=3).outputs)
    has_draws = NUM_OUTPUTS.get(name, 1) > 1 and name != "deep_ensemble"
    other = baseline.predict(few.inputs, DRAWS, seed=4).outputs
    assert torch.equal(first, other) is not has_draws
    if has_draws:
        assert not torch.allclose(first[0], first[1], atol=1e-5)
    if has_draws and name != "laplace":  # all its draws come from one generator
        assert torch.allclose(baseline.predict(few.inputs, 1, seed=3).outputs, first[:1], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_input_at_all_raises_one_clear_line(case, name):
    nothing = part_of(case.test, 0, 0)
    with pytest.raises(OCDError, match="at least one.* input") as caught:
        case.baseline(name, nothing.targets).predict(nothing.inputs, DRAWS)
    assert "\n" not in str(caught.value)


def without_capture(base: nn.Module, layer: str, targets: torch.Tensor) -> dict[str, Predictor]:
    """The baselines that run the base without a capture."""
    return {
        "base": UnchangedBase(base),
        "tent": Tent(base, layer, 2),
        "temperature": TemperatureScaled(base, 2.0),
        "deep_ensemble": DeepEnsemble([base]),
        "overfit_test_all_layers": OverfitTestAllLayers(base, LOSS, CONFIG, targets),
    }


@pytest.mark.parametrize("name", without_capture(None, "", None))
def test_inputs_do_not_change_if_the_base_works_in_place_on_them(name):
    spoils = get_case("spoils its inputs")
    base, inputs = spoils.build(), spoils.inputs(6)
    expected = run_without_delta(base, inputs.clone())
    before = inputs.clone()
    baselines = without_capture(base, spoils.layer, torch.arange(6) % 3)
    first = baselines[name].predict(inputs)
    assert torch.equal(inputs, before)
    assert torch.equal(first.outputs, baselines[name].predict(inputs).outputs)
    if name in ("base", "deep_ensemble"):
        assert torch.allclose(first.outputs[0], expected)


@pytest.mark.parametrize("name", [*TRAINED, "mean_delta", "nearest_neighbor", "temperature", "laplace"])
def test_a_training_example_that_is_not_finite_is_left_out(tmp_path, name):
    tiny = TINY["linear"]
    clean, work = tiny.examples(60), Workdir(tmp_path)
    inputs = clean.inputs.clone()
    inputs[3] = torch.nan
    training = Examples(inputs, clean.targets)
    ocd = tiny.ocd().fit(training, work, progress=False)
    base, frozen = ocd.base, ocd.fitted()[1]

    def trained() -> Predictor:
        own = Workdir(tmp_path, name)
        fit_baseline(name, MainFit(ocd, work, training), own, progress=False)
        return load_baseline(name, ocd, inputs[:2], own)

    make = {
        "mean_delta": lambda: mean_delta(frozen, LOSS, CONFIG, training),
        "nearest_neighbor": lambda: NearestNeighbor(frozen, LOSS, CONFIG, training),
        "temperature": lambda: fit_temperature(base, LOSS, training),
        "laplace": lambda: fit_laplace(base, LOSS, training),
    }
    p = make.get(name, trained)().predict(clean.inputs, DRAWS)
    assert p.outputs.isfinite().all()


# The base, several bases, variants of OCD


def test_the_unchanged_base_predicts_as_the_base():
    tiny = TINY["norms"]
    base, inputs = tiny.base(), tiny.inputs(MANY)
    p = UnchangedBase(base).predict(inputs)
    with torch.no_grad():
        assert torch.allclose(p.outputs[0], copy.deepcopy(base).eval()(inputs), atol=1e-6)
    assert torch.equal(p.base, p.outputs[0])


def test_a_deep_ensemble_has_one_draw_for_each_base():
    tiny = TINY["norms"]
    bases, inputs = [tiny.base(seed) for seed in range(3)], tiny.inputs(20)
    p = DeepEnsemble(bases).predict(inputs, draws=7, seed=9)  # it has as many draws as bases
    for number, base in enumerate(bases):
        with torch.no_grad():
            assert torch.allclose(p.outputs[number], copy.deepcopy(base).eval()(inputs), atol=1e-6)
    assert torch.equal(p.base, p.outputs[0])
    assert torch.allclose(p.mean_network, sum(p.outputs) / 3)
    with pytest.raises(OCDError, match="at least one base"):
        DeepEnsemble([])


@pytest.mark.parametrize("mean_scale", [False, True])
@pytest.mark.parametrize("mode", ["draws", "mean"])
def test_an_ocd_variant_is_predict_with_its_mode_fixed(case, mode, mean_scale):
    inputs = case.test.inputs
    p = OCDVariant(case.ocd, mode, mean_scale).predict(inputs, 4, seed=6)
    expected = case.ocd.predict(inputs, 4, mode, seed=6, use_mean_scale=mean_scale)
    assert torch.equal(p.outputs, expected.outputs)
    assert torch.equal(p.mean_network, expected.mean_network)
    assert torch.equal(p.scale, expected.scale)
