"""The trained baselines: what each can learn, what it starts from, and that it resumes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reference
from helpers import (
    FAST,
    LOSS,
    PCA,
    STORED,
    TINY,
    UNET,
    config,
    digits,
    digits_base,
    fitted,
    same_state,
    state_of,
    trainer_of,
)
from nets import state_of as everything_of
from ocd import OCD, Examples, OCDConfig, OCDError
from ocd.base import DenseDelta, run_without_delta
from ocd.baselines import (
    TRAINED,
    MainFit,
    OverfitTest,
    TrainedBaseline,
    fit_baseline,
    load_baseline,
    mean_delta,
    reason_unavailable,
)
from ocd.baselines.trained.examples import LabelledExamples
from ocd.baselines.trained.networks import make_network
from ocd.baselines.trained.objectives import OBJECTIVES
from ocd.data import read_tensors, seeded
from ocd.lessons import LessonBatch, OverfitConfig, Workdir
from ocd.tasks.images.augmentation import image_transform
from ocd.tasks.images.encoder import ImageEncoder
from ocd.training import Trainer

FEW = digits(40)
QUICK = {"training.num_steps": 30, "training.lr": 1e-2, "training.validate_every": 30}
"""Enough to learn something about forty digits."""


class Stop(Exception):
    """Stands for a kill between two steps."""


Fit = Callable[..., tuple[OCD, Workdir]]


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> Fit:
    """An OCD with an encoder of x, beside which baselines can be trained; the same one for the same
    settings, so no test may change it."""
    made: dict[str, tuple[OCD, Workdir]] = {}

    def fit(settings: dict | None = None, moved: bool = True) -> tuple[OCD, Workdir]:
        key = f"{settings} {moved}"
        if key not in made:
            transform = image_transform(1, 0.5) if moved else None
            ocd = OCD(digits_base(), loss=LOSS, config=config(settings), encoder=encoder(),
                      transform=transform)  # fmt: skip
            work = Workdir(tmp_path_factory.mktemp("fit"), "main")
            made[key] = ocd.fit(FEW, work, progress=False), work
        return made[key]

    return fit


def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return ImageEncoder(1, 8, widths=(4, 4, 4), num_features=5)


def trained(
    kind: str, ocd: OCD, main: Workdir, root: Path, examples: Examples = FEW, name: str = ""
) -> TrainedBaseline:
    own = Workdir(root, name or kind)
    fit_baseline(kind, MainFit(ocd, main, examples), own, progress=False)
    return load_baseline(kind, ocd, examples.rows(slice(0, 2))[0], own)


def untrained(kind: str, ocd: OCD) -> TrainedBaseline:
    return TrainedBaseline(kind, ocd, make_network(kind, ocd, FEW.inputs[:2]).eval())


# What each of them learns


def known_deltas(steps: int = 150) -> tuple[OCD, Examples, Examples]:
    """y = W x, and targets that differ by an even function of x.

    Each delta follows from x, and the mean of the deltas is zero.
    """
    torch.manual_seed(0)
    base = nn.Linear(3, 2)

    def examples(count: int, seed: int) -> Examples:
        inputs = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return Examples(inputs, base(inputs) + 3 * inputs[:, :1].square() - 3)

    settings = {**FAST, "layer": "", "overfit.lr": 0.05, "training.num_steps": steps,
                "training.batch_size": 32, "training.lr": 1e-2}  # fmt: skip
    ocd = OCD(base, loss=squared, config=OCDConfig().replace(settings))
    return ocd, examples(256, 1), examples(100, 2)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=1)


def test_delta_regression_learns_a_delta_that_follows_from_the_input(tmp_path):
    ocd, training, test = known_deltas()
    main = Workdir(tmp_path, "main")
    ocd.fit(training, main, progress=False)
    frozen, rule = ocd.fitted()[1], OverfitConfig(lr=0.05)
    oracle = OverfitTest(frozen, squared, rule, test.targets).predict(test.inputs)
    mean = mean_delta(frozen, squared, rule, training).predict(test.inputs)
    found = trained("delta_regression", ocd, main, tmp_path, training).predict(test.inputs)

    def distance(outputs: Tensor) -> float:
        """Squared distance from the oracle's outputs, as a share of its own moves."""
        moves = (oracle.mean - oracle.base).square().sum()
        return ((outputs - oracle.mean).square().sum() / moves).item()

    assert distance(mean.mean) > 0.8
    assert distance(found.mean) < 0.05
    assert squared(found.mean, test.targets).mean() < 0.5 * squared(found.base, test.targets).mean()
    assert torch.allclose(found.scale, oracle.scale, atol=0.2 * oracle.scale.max().item())


def test_label_head_starts_as_the_base_and_training_lowers_the_loss(tmp_path, fit):
    ocd, main = fit(QUICK, moved=False)
    start = untrained("label_head", ocd).predict(FEW.inputs)
    assert torch.equal(start.outputs[0], run_without_delta(ocd.base, FEW.inputs))
    p = trained("label_head", ocd, main, tmp_path).predict(FEW.inputs)
    assert LOSS(p.mean, FEW.targets).mean() < 0.97 * LOSS(p.base, FEW.targets).mean()
    assert p.scale is None


def test_label_network_never_runs_the_base(tmp_path, fit):
    ocd, main = fit(QUICK, moved=False)
    baseline = trained("label_network", ocd, main, tmp_path)
    outputs = baseline.predict(FEW.inputs).outputs
    assert (
        LOSS(outputs[0], FEW.targets).mean()
        < 0.9 * LOSS(untrained("label_network", ocd).predict(FEW.inputs).mean, FEW.targets).mean()
    )
    before = state_of(ocd.base)
    try:
        for parameter in ocd.base.parameters():
            parameter.data.fill_(torch.nan)
        assert torch.equal(baseline.predict(FEW.inputs).outputs, outputs)
    finally:
        ocd.base.load_state_dict(before)


@pytest.mark.parametrize("layer", ["fc1", "conv2"])
def test_fine_tuned_layer_starts_as_the_base_and_lowers_the_mean_loss(tmp_path, fit, layer):
    ocd, main = fit(QUICK if layer == "fc1" else QUICK | {"layer": layer}, moved=False)
    start = untrained("fine_tuned_layer", ocd).predict(FEW.inputs)
    assert torch.equal(start.outputs[0], start.base)
    baseline = trained("fine_tuned_layer", ocd, main, tmp_path)
    p = baseline.predict(FEW.inputs)
    assert LOSS(p.mean, FEW.targets).mean() < 0.97 * LOSS(p.base, FEW.targets).mean()
    moved = copy.deepcopy(ocd.base).requires_grad_(False)
    moved.get_submodule(layer).weight.data += baseline.network.weight.data  # and nothing else
    assert torch.allclose(p.outputs[0], moved(FEW.inputs), atol=1e-4)
    assert (p.scale == baseline.network.weight.norm()).all()


# What they minimise


BY_TRAINER = tuple(kind for kind in TRAINED if kind != "fine_tuned_layer")
"""The baselines that OCD's own training loop trains."""


@pytest.mark.parametrize("kind", BY_TRAINER)
def test_the_objective_is_what_it_says(fit, kind):
    """Against a loop over the examples, with a network whose weights have changed."""
    ocd, main = fit()
    network = make_network(kind, ocd, FEW.inputs[:2]).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    _, source = ocd.lessons(FEW, main)
    overfitter = source.overfitter
    indices = torch.tensor([3, 1, 8])
    if kind == "delta_regression":
        rows = source.rows(indices, seeded(0))
        answer = network(rows.features, rows.inputs)
        codes = rows.delta.left[:, 0] * rows.delta.right.norm(dim=1, keepdim=True)
        unit = ocd.fitted()[0].mean_scale
        expected = (((answer - codes) / unit) ** 2).mean().item()
    else:
        rows = LabelledExamples(overfitter, with_condition=kind != "label_network").rows(
            indices, seeded(0)
        )
        outputs = [TrainedBaseline(kind, ocd, network).predict(x[None]).mean for x in rows.inputs]
        expected = LOSS(torch.cat(outputs), FEW.targets[indices]).mean().item()
    objective = OBJECTIVES[kind](overfitter, ocd.fitted()[0].codec)
    losses = objective.losses(network, rows, seeded(1))
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-4)
    assert objective.held_out(network, rows, seeded(2)).item() == pytest.approx(expected, rel=1e-4)
    losses["loss"].backward()
    assert any(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in ocd.base.parameters())


def test_labelled_examples_have_no_delta_and_are_augmented_by_the_transform(fit):
    ocd, main = fit()
    _, source = ocd.lessons(FEW, main)
    overfitter = source.overfitter
    labelled = LabelledExamples(overfitter, with_condition=True)
    assert torch.equal(labelled.examples, source.examples)
    indices = torch.tensor([5, 2])
    one, other = labelled.rows(indices, seeded(1)), source.rows(indices, seeded(1))
    assert isinstance(one, LessonBatch) and one.delta is None
    assert torch.equal(one.inputs, other.inputs)  # the very same batch that OCD is trained on
    assert not torch.equal(one.inputs, FEW.inputs[indices])
    assert torch.equal(one.targets, FEW.targets[indices])
    for name, values in other.features.items():
        assert torch.equal(one.features[name], values)
    without_condition = LabelledExamples(overfitter, with_condition=False).rows(indices, seeded(1))
    assert torch.equal(without_condition.inputs, other.inputs)
    assert not without_condition.features and without_condition.capture is None


def fourth_batch(trainer: Trainer) -> Tensor:
    trainer.step = 3
    return trainer._batch().inputs


def test_all_of_them_see_the_same_batches_and_hold_out_the_same_examples(tmp_path, fit, monkeypatch):
    ocd, main = fit()
    seen = [trainer_of(ocd, FEW, main)]
    monkeypatch.setattr(Trainer, "_train_step", lambda self: {})
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, *a: seen.append(self) or run(self, *a))
    for kind in BY_TRAINER:
        trained(kind, ocd, main, tmp_path)
    assert len(seen) == 4
    for trainer in seen[1:]:
        assert torch.equal(trainer.held_out, seen[0].held_out)
        assert torch.equal(fourth_batch(trainer), fourth_batch(seen[0]))
        assert trainer.config == seen[0].config


# Sizes


def size_of(*modules: nn.Module | None) -> int:
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


def test_a_baseline_has_the_size_of_the_generator(fit):
    ocd, _ = fit()
    network = ocd.fitted()[0]
    generator = size_of(network) - size_of(network.scale)
    assert untrained("delta_regression", ocd).num_parameters == generator
    # From 48 numbers (the rank-one code of fc1) to 10 logits, at both ends of the MLP.
    width = ocd.config.denoiser.width
    head = generator - 38 * width - 38 * (width + 1)
    assert untrained("label_head", ocd).num_parameters == head
    for kind in ("delta_regression", "label_head"):  # and the same statistics of the features
        own = untrained(kind, ocd).network.conditioning.standardize
        assert same_state(state_of(own), state_of(network.conditioning.standardize))
    alone = size_of(*network.conditioning.encoders.values(), network.conditioning.mix)
    assert untrained("label_network", ocd).num_parameters == head - alone
    assert untrained("fine_tuned_layer", ocd).num_parameters == ocd.base.fc1.weight.numel()


# Interrupted trainings, seeds

ROUTES = {"on the fly": {}, "store": STORED, "pca": STORED | PCA}
STOPPED = [(kind, "on the fly") for kind in BY_TRAINER]
STOPPED += [("delta_regression", "store"), ("delta_regression", "pca")]


@pytest.mark.parametrize(("kind", "route"), STOPPED)
def test_a_baseline_that_was_stopped_ends_with_the_same_weights(
    tmp_path, fit, monkeypatch, kind, route
):
    """Bit for bit, with batch norm in the encoder, and augmentation."""
    ocd, main = fit(ROUTES[route])
    before = everything_of(ocd.base)
    whole = trained(kind, ocd, main, tmp_path, name="whole")
    take, taken = Trainer._train_step, []

    def step(self):
        if len(taken) in stops:
            stops.remove(len(taken))
            raise Stop
        taken.append(self.step)
        return take(self)

    stops = [3, 14]  # before the first checkpoint, and after one
    with monkeypatch.context() as patch:
        patch.setattr("ocd.training.trainer.CHECKPOINT_EVERY", 10)
        patch.setattr(Trainer, "_train_step", step)
        for _ in range(2):
            torch.seed()  # another process has another random state
            with pytest.raises(Stop):
                trained(kind, ocd, main, tmp_path, name="stopped")
            assert not Workdir(tmp_path, "stopped").is_finished
        resumed = trained(kind, ocd, main, tmp_path, name="stopped")
    assert taken == [0, 1, 2, *range(11), *range(10, 20)]  # a checkpoint every ten steps
    assert same_state(whole.network.state_dict(), resumed.network.state_dict())
    files = [tmp_path / f"checkpoint/{name}/model.safetensors" for name in ("whole", "stopped")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert everything_of(ocd.base) | {"random state": 0} == before | {"random state": 0}


def test_equal_seeds_equal_weights(tmp_path):
    tiny, states = TINY["tuple"], []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)  # the global seed does not matter
        ocd, main, training = tiny.ocd(seed=seed), Workdir(tmp_path / str(number)), tiny.examples(40)
        ocd.fit(training, main, progress=False)
        before = torch.get_rng_state()
        states.append(
            {
                kind: state_of(trained(kind, ocd, main, main.root, training).network)
                for kind in BY_TRAINER
            }
        )
        assert torch.equal(torch.get_rng_state(), before)
    for kind in BY_TRAINER:
        assert same_state(states[0][kind], states[1][kind])
        assert not same_state(states[0][kind], states[2][kind])


def test_the_log_names_the_baseline_and_the_main_fit_does_not_change(tmp_path, fit):
    ocd, main = fit()
    files = {path: path.read_bytes() for path in main.checkpoint.iterdir()}
    work = Workdir(tmp_path, "own", {"seed": 0, "role": "delta_regression"})
    fit_baseline("delta_regression", MainFit(ocd, main, FEW), work, progress=False)
    assert {path: path.read_bytes() for path in main.checkpoint.iterdir()} == files
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "train" and line["role"] != "main"]
    assert steps == [5, 10, 15, 20]
    assert all("loss" in line for line in lines if line["event"] == "train")
    assert work.is_finished
    assert same_state(
        read_tensors(work.checkpoint / "model.safetensors"),
        state_of(load_baseline("delta_regression", ocd, FEW.inputs[:2], work).network),
    )


def test_a_checkpoint_of_another_baseline_is_refused(tmp_path, fit):
    ocd, main = fit()
    trained("label_head", ocd, main, tmp_path, name="one")
    with pytest.raises(OCDError, match="belongs to a run with other settings"):
        trained("delta_regression", ocd, main, tmp_path, name="one")
    with pytest.raises(OCDError, match="which the network has not|has no "):
        load_baseline("fine_tuned_layer", ocd, FEW.inputs[:2], Workdir(tmp_path, "one"))


def test_a_baseline_can_be_trained_beside_a_loaded_generator(tmp_path, fit):
    """As in a run: the generator is the one that was saved."""
    ocd, main = fit(ROUTES["store"])
    again = OCD.from_pretrained(main.checkpoint, ocd.base, loss=LOSS, encoder=encoder())
    again.transform = ocd.transform
    one = trained("delta_regression", ocd, main, tmp_path, name="one")
    other = trained("delta_regression", again, main, tmp_path, name="other")
    assert same_state(one.network.state_dict(), other.network.state_dict())


# Where there is no such baseline


def test_reasons_why_there_is_no_such_baseline():
    plain, unet = fitted(), fitted({"overfit.lr": 5e-4}, "released")
    assert unet.config.denoiser.kind == "unet" and UNET["layer"] == unet.config.layer
    for kind in TRAINED:
        reason = reason_unavailable(kind, plain)
        assert (reason is None) is (kind != "label_network")
        with_unet = reason_unavailable(kind, unet)
        assert (with_unet is None) is (kind == "fine_tuned_layer")
        for ocd, why in ((plain, reason), (unet, with_unet)):
            if why is None:
                make_network(kind, ocd, FEW.inputs[:2])
                continue
            with pytest.raises(OCDError, match=f"there is no baseline {kind} here: ") as caught:
                make_network(kind, ocd, FEW.inputs[:2])
            assert str(caught.value).endswith(why) and "\n" not in str(caught.value)
    assert "this OCD has no encoder of x" in reason_unavailable("label_network", plain)
    assert "size of an MLP denoiser" in reason_unavailable("label_head", unet)
    assert reason_unavailable("label_network", TINY["dict"].ocd()) is None


def test_a_baseline_needs_a_fitted_ocd():
    ocd = OCD(digits_base(), loss=LOSS, config=config())
    with pytest.raises(OCDError, match="not fitted"):
        make_network("fine_tuned_layer", ocd, FEW.inputs[:2])


@pytest.mark.parametrize("kind", TINY)
def test_regressed_deltas_are_decoded_as_ocds_are(tmp_path, kind):
    """A rank-one or PCA code of the network's output, put into a copy of the base."""
    tiny = TINY[kind]
    ocd, main, training = tiny.ocd(), Workdir(tmp_path, "main"), tiny.examples(40)
    ocd.fit(training, main, progress=False)
    baseline = trained("delta_regression", ocd, main, tmp_path, training)
    inputs = tiny.inputs(3, seed=8)
    seen = []
    frozen = ocd.fitted()[1]
    run = frozen.run
    frozen.run = lambda capture, delta: seen.append(delta) or run(capture, delta)
    p = baseline.predict(inputs)
    weights = seen[0].dense()
    assert torch.allclose(
        p.outputs[0], reference.run(ocd.base, tiny.layer, inputs, weights)[:, 0], atol=1e-5
    )
    assert torch.allclose(p.scale[0], DenseDelta(weights).norms()[:, 0], rtol=1e-4)
    assert F.mse_loss(p.mean, p.base) > 0
