"""OCD as a user meets it: fit, predict, save, load, on digits and on networks it does not know."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import ocd as package
from helpers import (
    LOSS,
    PCA,
    STORED,
    config,
    contents,
    digits,
    digits_base,
    fitted,
    prepared,
    same_state,
    state_of,
    test_digits,
    trainer_of,
)
from ocd import OCD, Examples, OCDConfig, OCDError, overfit, select_layer
from ocd.base import base_digest
from ocd.data import file_digest, read_json, read_tensors, write_json, write_tensors
from ocd.generator import HyperNetwork
from ocd.hub import FORMAT_VERSION
from ocd.lessons import Workdir
from ocd.lessons.sources import FreshLessons
from ocd.prediction import DrawRequest, apply_deltas
from ocd.tasks.images.encoder import ImageEncoder
from ocd.training.batches import split_indices

KINDS: dict[str, tuple[dict, str]] = {
    "rank one": ({"scale.kind": "log"}, "fast"),
    "joint": ({"scale.kind": "joint"}, "fast"),
    "pca": (PCA, "fast"),
    "dpm": ({"diffusion.solver": "dpm", "diffusion.num_sampling_steps": 5}, "fast"),
    "paper": ({"overfit.lr": None}, "paper"),
    "released": ({"overfit.lr": 5e-4}, "released"),
}
INPUTS = test_digits(10).inputs


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """To 1e-5, or where outputs are larger than one to that share of the largest."""
    return bool((one - other).abs().max() <= 1e-5 * other.abs().max().clamp_min(1))


# Draws


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fits_and_predicts(kind):
    ocd = fitted(*KINDS[kind])
    p = ocd.predict(INPUTS, draws=3)
    assert p.outputs.shape == (3, 10, 10)
    assert p.mean.shape == p.std.shape == p.mean_network.shape == p.base.shape == (10, 10)
    assert p.scale.shape == (3, 10)
    assert len(p) == 10
    assert p.outputs.isfinite().all()
    assert (p.scale > 0).all()
    assert (p.std > 0).any()
    with torch.no_grad():
        assert close(p.base, digits_base()(INPUTS))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_follow_the_seed_and_the_example_alone(kind):
    ocd = fitted(*KINDS[kind])
    whole = ocd.predict(INPUTS, draws=3, seed=4).outputs
    torch.manual_seed(123)  # nobody's business
    assert torch.equal(whole, ocd.predict(INPUTS, draws=3, seed=4).outputs)
    assert not close(whole, ocd.predict(INPUTS, draws=3, seed=5).outputs)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert close(whole[:, order], ocd.predict(INPUTS[order], draws=3, seed=4).outputs)
    few = torch.tensor([9, 3, 3])
    assert close(whole[:, few], ocd.predict(INPUTS[few], draws=3, seed=4).outputs)
    for chunk_size in (1, 7, 10):
        chunked = ocd.predict(INPUTS, draws=3, seed=4, chunk_size=chunk_size).outputs
        assert close(whole, chunked), chunk_size


@pytest.mark.parametrize("kind", KINDS)
def test_one_draw_is_no_ensemble_and_the_first_of_many(kind):
    ocd = fitted(*KINDS[kind])
    one, five = ocd.predict(INPUTS, draws=1), ocd.predict(INPUTS, draws=5)
    assert close(one.outputs[0], five.outputs[0])
    assert torch.equal(one.mean, one.outputs[0])
    assert torch.equal(one.mean_network, one.outputs[0])
    assert not one.std.any()
    assert not close(five.outputs[0], five.outputs[1])
    assert close(five.mean, sum(five.outputs) / 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draws", [1, 2])
def test_a_single_input(kind, draws):
    ocd = fitted(*KINDS[kind])
    p = ocd.predict(INPUTS[:1], draws=draws)
    assert p.outputs.shape == (draws, 1, 10)
    assert close(p.outputs, ocd.predict(INPUTS, draws=draws).outputs[:, :1])


def test_outputs_are_those_of_the_base_with_the_delta_added(monkeypatch):
    """A slow check of Eq. 2: the drawn delta of each example written into a copy of the base."""
    deltas, decode = [], HyperNetwork.decode

    def remember(*given):
        deltas.append(decode(*given))
        return deltas[-1]

    monkeypatch.setattr(HyperNetwork, "decode", remember)
    p = fitted(*KINDS["rank one"]).predict(INPUTS[:4], draws=2)
    dense = deltas[0].dense()
    assert close(p.scale, dense.flatten(2).norm(dim=2).T)
    for b in range(4):
        for name, delta in [(0, dense[b, 0]), (1, dense[b, 1]), ("mean", dense[b].mean(dim=0))]:
            moved = digits_base().requires_grad_(False)
            moved.fc1.weight += delta
            expected = p.mean_network[b] if name == "mean" else p.outputs[name, b]
            assert torch.allclose(moved(INPUTS[b : b + 1])[0], expected, atol=1e-4)


def test_a_prediction_is_what_its_five_steps_give():
    """Capture, embed, draw, decode, apply: as another program would take them."""
    ocd = fitted(*KINDS["rank one"])
    generator = ocd.generator()
    with torch.no_grad():
        capture = generator.capture(INPUTS)
        embedding = generator.embed(INPUTS, capture)
        codes = generator.draw(INPUTS, embedding, DrawRequest(3, seed=4))
        delta = generator.decode(codes, capture)
        p = apply_deltas(generator.frozen, capture, delta)
    whole = ocd.predict(INPUTS, draws=3, seed=4)
    for name in ("outputs", "mean_network", "base", "scale"):
        assert close(getattr(p, name), getattr(whole, name)), name


def test_mean_of_the_networks_is_the_mean_of_the_outputs_only_at_the_last_layer():
    as_the_paper = {"sampling.spread": 1.0, "sampling.scale_factor": 1.0}
    last, inner = fitted({"layer": "fc2", **as_the_paper}), fitted(as_the_paper)
    p = last.predict(INPUTS, draws=4)
    assert torch.allclose(p.mean_network, p.mean, atol=1e-4)
    p = inner.predict(INPUTS, draws=4)
    assert not torch.allclose(p.mean_network, p.mean, atol=1e-4)


def test_mean_mode_is_one_draw_that_knows_no_seed():
    ocd = fitted(*KINDS["rank one"])
    p = ocd.predict(INPUTS, draws=5, mode="mean", seed=0)
    assert p.outputs.shape == (1, 10, 10)
    assert torch.equal(p.outputs, ocd.predict(INPUTS, mode="mean", seed=9).outputs)
    assert close(p.mean, ocd.predict(INPUTS, mode="mean", chunk_size=5).mean)


@pytest.mark.parametrize("kind", ["paper", "released"])
def test_mean_mode_needs_x0_prediction(kind):
    with pytest.raises(OCDError, match="mode='mean' needs diffusion.prediction = 'x0'"):
        fitted(*KINDS[kind]).predict(INPUTS, mode="mean")


def test_no_scale_changes_the_length_of_the_deltas_alone():
    ocd = fitted(*KINDS["released"])
    usual = ocd.predict(INPUTS, draws=3)
    without = ocd.predict(INPUTS, draws=3, use_mean_scale=True)
    ratio = usual.scale / without.scale  # (K, B): ρ over its mean, one number an example
    assert torch.allclose(ratio, ratio[:1].expand(3, -1), rtol=1e-4)
    assert (ratio - 1).abs().min() > 1e-3
    assert not close(usual.outputs, without.outputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "median"}, "mode is 'median': use one of"),
        ({"draws": 0}, "draws is 0: it must be a whole number, at least 1"),
        ({"inputs": INPUTS[:0]}, "at least one input"),
    ],
)
def test_wrong_calls_are_one_line(arguments, message):
    with pytest.raises(OCDError, match=message):
        fitted(*KINDS["rank one"]).predict(**{"inputs": INPUTS, **arguments})


def test_unfitted():
    ocd = OCD(digits_base(), loss=LOSS)
    with pytest.raises(OCDError, match="not fitted: call fit, or OCD.from_pretrained"):
        ocd.predict(INPUTS)
    with pytest.raises(OCDError, match="not fitted"):
        ocd.save_pretrained("never")


# The base is never changed


class Moody(nn.Module):
    """A base with everything that a careless library would disturb."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Dropout(0.5))
        self.fc1, self.fc2 = nn.Linear(12, 8), nn.Linear(8, 10)
        self.fails_after = None
        self.num_calls = 0

    def forward(self, images):
        self.num_calls += 1
        hidden = self.fc1(self.body(images)).relu()
        if self.fails_after is not None and self.num_calls > self.fails_after:
            raise RuntimeError("the base gives up")
        return self.fc2(hidden)


def snapshot(base: nn.Module) -> dict:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "digest": base_digest(base),
        "training": [module.training for module in base.modules()],
        "requires_grad": [p.requires_grad for p in base.parameters()],
        "grads": [p.grad for p in base.parameters()],
        "own": [sorted(vars(module)) for module in base.modules()],
        "hooks": [len(getattr(module, name)) for module in base.modules() for name in hooks],
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "grad mode": torch.is_grad_enabled(),
    }


def moody() -> Moody:
    base = Moody().train()
    base.body[2].eval()  # mixed modes, as in a network that is tuned in part
    base.body[1].weight.requires_grad_(False)
    return base


@pytest.mark.parametrize("settings", [{}, {"layer": "body.1"}, {"codec.kind": "pca"}, STORED])
def test_fit_and_predict_leave_the_base_as_it_was(tmp_path, settings):
    base = moody()
    before = snapshot(base)
    ocd = OCD(base, loss=LOSS, config=config(settings)).fit(digits(60), tmp_path, progress=False)
    assert snapshot(base) == before
    ocd.predict(INPUTS, draws=3)
    ocd.predict(INPUTS, mode="mean")
    assert snapshot(base) == before


@pytest.mark.parametrize("fails_after", [0, 1])  # the capture, and the pass of draws and mean
def test_an_exception_in_the_base_leaves_it_as_it_was(tmp_path, fails_after):
    base = moody()
    ocd = OCD(base, loss=LOSS, config=config()).fit(digits(60), tmp_path, progress=False)
    expected = ocd.predict(INPUTS, draws=3).outputs
    before = snapshot(base)
    base.num_calls, base.fails_after = 0, fails_after
    with pytest.raises(RuntimeError, match="gives up"):
        ocd.predict(INPUTS, draws=3)
    assert snapshot(base) == before
    base.fails_after = None
    assert torch.equal(ocd.predict(INPUTS, draws=3).outputs, expected)


@pytest.mark.parametrize("fails_after", [1, 5, 40])
def test_an_exception_while_fitting_leaves_the_base_as_it_was(tmp_path, fails_after):
    base = moody()
    base.fails_after = fails_after
    before = snapshot(base)
    with pytest.raises(RuntimeError, match="gives up"):
        OCD(base, loss=LOSS, config=config()).fit(digits(60), tmp_path, progress=False)
    assert snapshot(base) == before


# Save and load


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_predicts_the_same(tmp_path, kind):
    ocd = fitted(*KINDS[kind])
    ocd.save_pretrained(tmp_path / "dir")
    again = OCD.from_pretrained(tmp_path / "dir", base=digits_base())
    assert torch.equal(ocd.predict(INPUTS, draws=2).outputs, again.predict(INPUTS, draws=2).outputs)
    assert again.config == ocd.config
    assert again.notes == ocd.notes
    assert again.frozen.name == ocd.frozen.name
    assert sorted(path.name for path in (tmp_path / "dir").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    names = read_tensors(tmp_path / "dir/model.safetensors").keys()
    assert not any(name.startswith(("conv", "fc", "base")) for name in names)  # the base stays home


def encoder() -> nn.Module:
    return ImageEncoder(1, 8, widths=(4, 4, 4), num_features=5)


def test_an_encoder_is_saved_with_the_generator(tmp_path):
    ocd = OCD(digits_base(), loss=LOSS, config=config(), encoder=encoder())
    ocd.fit(digits(60), tmp_path, progress=False)
    saved = tmp_path / "checkpoint"
    again = OCD.from_pretrained(saved, digits_base(), encoder=encoder())
    assert torch.equal(ocd.predict(INPUTS).outputs, again.predict(INPUTS).outputs)
    with pytest.raises(OCDError, match="with an encoder of x: pass the same `encoder`"):
        OCD.from_pretrained(saved, digits_base())
    wrong = ImageEncoder(1, 8, widths=(4, 4, 4), num_features=6)
    with pytest.raises(OCDError, match="has shape"):
        OCD.from_pretrained(saved, digits_base(), encoder=wrong)
    fitted().save_pretrained(tmp_path / "plain")
    with pytest.raises(OCDError, match="without an encoder of x"):
        OCD.from_pretrained(tmp_path / "plain", digits_base(), encoder=encoder())


def test_an_encoder_that_is_no_vector_is_refused(tmp_path):
    ocd = OCD(digits_base(), loss=LOSS, config=config(), encoder=nn.Identity())
    with pytest.raises(OCDError, match="the encoder of x returned .*: it must return"):
        ocd.fit(digits(60), tmp_path, progress=False)


@pytest.mark.parametrize("kind", ["weights", "double", "half"])
def test_a_base_that_was_changed_after_the_fit_overwrites_nothing(tmp_path, kind):
    base = digits_base()
    ocd = OCD(base, loss=LOSS, config=config()).fit(digits(60), progress=False)
    ocd.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = OCD.from_pretrained(tmp_path, base)  # as much bound to its base
    if kind == "weights":
        base.fc1.weight.data.add_(0.5)
    else:
        getattr(base, kind)()
    for one in (ocd, again):
        with pytest.raises(OCDError, match="the base was changed since it was fitted"):
            one.save_pretrained(tmp_path)
        with pytest.raises(OCDError, match="the base was changed since it was fitted"):
            one.save_pretrained(tmp_path / "new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    OCD.from_pretrained(tmp_path, digits_base())


def test_another_base_is_refused(tmp_path):
    fitted().save_pretrained(tmp_path)
    base = digits_base()
    base.conv1.bias.data[0] += 1e-3  # in front of the layer: it counts too
    with pytest.raises(OCDError, match="made for another base") as caught:
        OCD.from_pretrained(tmp_path, base)
    assert "\n" not in str(caught.value)


def test_hash_of_a_base_sees_names_values_shapes_types_and_buffers():
    base = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    digests = {base_digest(base)}
    assert base_digest(copy.deepcopy(base)) in digests
    for change in (
        lambda b: b[0].weight.data.neg_(),
        lambda b: b[1].running_mean.add_(1),
        lambda b: b.double(),
        lambda b: b.append(nn.Linear(1, 1)),
    ):
        other = copy.deepcopy(base)
        change(other)
        digests.add(base_digest(other))
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, name: tensors.pop(name), "has no '{}'"),
        (lambda tensors, name: tensors.update(extra=torch.zeros(1)), "has 'extra', which the network"),
        (lambda tensors, name: tensors.update({name: torch.zeros(3)}), r"'{}' has shape \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    fitted().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = read_tensors(path)
    name = "denoiser.enter.weight"
    change(tensors, name)
    write_tensors(path, tensors)
    saved = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", saved | {"weights": file_digest(path)})
    with pytest.raises(OCDError, match=message.format(name)):
        OCD.from_pretrained(tmp_path, digits_base())


def test_weights_of_another_save_are_refused(tmp_path):
    fitted().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = read_tensors(path)
    write_tensors(path, tensors | {"mean_scale": tensors["mean_scale"] + 1})
    with pytest.raises(OCDError, match="belongs to another save .*: save again") as caught:
        OCD.from_pretrained(tmp_path, digits_base())
    assert "\n" not in str(caught.value)


def test_examples_predicted_at_once_follow_what_memory_holds():
    plain, unet = fitted().generator(), fitted(*KINDS["paper"]).generator()

    def one():
        return INPUTS[:1]

    assert plain.chunk_size(5, one) == 256
    assert unet.chunk_size(1000, one) == 2**26 // (1000 * 8 * 10**2)  # 8 channels, 10x10
    assert unet.chunk_size(2**26, one) == 1


def test_folders_that_are_no_generator_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fitted().save_pretrained(tmp_path)
    saved = read_json(tmp_path / "config.json")
    cases = [(tmp_path / "nowhere", "is missing")]
    for number, (change, message) in enumerate([({"layer": "fc9"}, "no layer 'fc9'")]):
        fitted().save_pretrained(tmp_path / str(number))
        write_json(tmp_path / f"{number}/config.json", saved | change)
        cases.append((tmp_path / str(number), message))
    fitted().save_pretrained(tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    cases.append((tmp_path / "cut", "cannot be read as safetensors"))
    for folder, message in cases:
        with pytest.raises(OCDError, match=message) as caught:
            OCD.from_pretrained(folder, digits_base())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [3, 9, None])
def test_a_generator_of_another_version_is_one_line_that_names_it(tmp_path, version):
    """Format 3 is that of version 0.1, which had other settings."""
    fitted().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    saved = read_json(path)
    assert saved["format_version"] == FORMAT_VERSION != version
    saved["config"]["collection"]["num_copies"] = 1  # one that is gone: it is not read
    write_json(path, saved | {"format_version": version})
    message = f"saved by another version \\(format {version}, this version reads {FORMAT_VERSION}\\)"
    with pytest.raises(OCDError, match=f"{message}: fit again, or install") as caught:
        OCD.from_pretrained(tmp_path, digits_base())
    assert "\n" not in str(caught.value)


def test_a_repository_that_does_not_answer_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no network\nand a second line")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(OCDError, match="'someone/something' is neither a folder here") as caught:
        OCD.from_pretrained("someone/something", digits_base())
    assert "\n" not in str(caught.value)


# What a fit refuses


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


class Pairs(Dataset):
    """A plain map-style dataset, read one by one."""

    def __init__(self, examples: Examples, width: int = 2) -> None:
        self.examples, self.width = examples, width

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index):
        return (*self.examples[index], 0)[: self.width]


@pytest.mark.parametrize(
    ("arguments", "dataset", "message"),
    [
        ({"loss": F.cross_entropy}, digits(30), r"returned \(\) for .* it must return one value"),
        ({"loss": None}, digits(30), "fit needs a loss"),
        ({}, Examples(INPUTS[:0], torch.zeros(0).long()), "the dataset is empty"),
        ({}, Stream(), "Stream is an IterableDataset"),
        ({}, Pairs(digits(30), width=1), "pairs"),
        ({"layer": "fc9"}, digits(30), "no layer 'fc9'; did you mean 'fc"),
        ({"layer": "relu1"}, digits(30), "'relu1' is a ReLU"),
        ({"codec.kind": "rank_one", "layer": "conv2"}, digits(30), "codec.kind is 'rank_one', but"),
        ({"denoiser.kind": "unet"}, digits(30), "set codec.kind to 'dense'"),
    ],
)
def test_a_fit_that_cannot_work_is_one_line(tmp_path, arguments, dataset, message):
    settings = {key: value for key, value in arguments.items() if key != "loss"}
    ocd = OCD(digits_base(), loss=arguments.get("loss", LOSS), config=config(settings))
    with pytest.raises(OCDError, match=message) as caught:
        ocd.fit(dataset, tmp_path, progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "checkpoint/config.json").exists()


def test_an_unknown_layer_writes_nothing(tmp_path):
    ocd = OCD(digits_base(), loss=LOSS, config=config({"layer": "fc9"}))
    with pytest.raises(OCDError, match="fc9"):
        ocd.fit(digits(30), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_training_before_overfitting_is_refused(tmp_path):
    ocd = OCD(digits_base(), loss=LOSS, config=config())
    with pytest.raises(OCDError, match="overfit first"):
        ocd.train(digits(30), Workdir(tmp_path), progress=False)


def test_any_map_style_dataset_gives_the_same_fit(tmp_path):
    examples, states = digits(40), []
    for dataset in (examples, TensorDataset(examples.inputs, examples.targets), Pairs(examples)):
        ocd = OCD(digits_base(), loss=LOSS, config=config())
        states.append(state_of(ocd.fit(dataset, progress=False).hypernetwork))
    assert same_state(states[0], states[1])
    assert same_state(states[0], states[2])


@pytest.mark.parametrize("moved", [False, True])
def test_a_fit_that_holds_nothing_out(tmp_path, moved):
    """No held-out example is ever asked for, nor given to the user's transform."""

    def transform(inputs, generator):
        assert len(inputs)
        return inputs

    settings = config({"training.validation_share": 0.0})
    ocd = OCD(digits_base(), loss=LOSS, config=settings, transform=transform if moved else None)
    ocd.fit(Pairs(digits(12)), tmp_path, progress=False)
    assert ocd.predict(INPUTS).outputs.isfinite().all()


def test_a_held_out_example_that_is_not_finite_does_not_choose_how_draws_are_taken():
    training = digits(60)
    inputs = training.inputs.clone()
    inputs[split_indices(torch.arange(60), 0.05, seed=0)[1][0]] = torch.nan
    ocd = OCD(digits_base(), loss=LOSS, config=config())
    ocd.fit(Examples(inputs, training.targets), progress=False)
    (text,) = [note for note in ocd.notes if note.startswith("sampling")]
    assert "nan" not in text


def test_a_fit_says_what_it_decided(tmp_path):
    settings = {"layer": "auto", "overfit.lr": None, "collection.storage": "auto",
                "selection.num_draws": 10, "selection.num_examples": 4}  # fmt: skip
    ocd = OCD(digits_base(), loss=LOSS, config=config(settings))
    ocd.fit(digits(40), tmp_path, progress=False)
    text = "\n".join(ocd.notes)
    for part in ("Eq. 3", "overfit lr", "code ", "moves by a shift", "deltas kept in a store"):
        assert part in text
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [event["text"] for event in logged if event["event"] == "note"] == ocd.notes


def test_a_plan_is_made_once(tmp_path):
    """What was measured is remembered, since it would not come out alike twice."""
    prepared(tmp_path, {"overfit.lr": None, "collection.storage": "auto"})
    path = tmp_path / "checkpoint/plan.json"
    record = read_json(path)
    record["plan"] |= {"lr": 0.0123, "storage": "on_the_fly"}
    write_json(path, record)
    before = contents(tmp_path)
    ocd, work, examples = prepared(tmp_path, {"overfit.lr": None, "collection.storage": "auto"})
    assert contents(tmp_path) == before
    trainer = trainer_of(ocd, examples, work)
    assert trainer.overfitter.config.lr == 0.0123
    assert isinstance(trainer.source, FreshLessons)


# Networks that the project does not know, by "The public face" of the design


class Waves(nn.Module):
    """A small 1-D convolutional classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(2, 6, 5, padding=2)
        self.back = nn.Conv1d(6, 8, 3, stride=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.back(self.front(x).relu()).relu().mean(dim=2))


class Words(nn.Module):
    """Two layers of nn.TransformerEncoder over a sequence of vectors."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x).mean(dim=1))


QUICK = {
    "selection.num_draws": 20,
    "selection.num_examples": 8,
    "training.num_steps": 30,
    "training.batch_size": 16,
    "denoiser.width": 32,
}


@pytest.mark.parametrize(("network", "shape"), [(Waves, (2, 16)), (Words, (5, 8))])
def test_the_public_face_on_an_unknown_network(tmp_path, network, shape):
    torch.manual_seed(0)
    base, inputs = network(), torch.randn(64, *shape)
    targets = inputs.flatten(1)[:, :3].argmax(dim=1)
    dataset = TensorDataset(inputs, targets)

    def loss(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction="none")

    ocd = OCD(base, loss=loss, config=OCDConfig(layer="auto").replace(QUICK))
    ocd.fit(dataset, workdir=tmp_path / "runs/mine")
    p = ocd.predict(inputs, draws=5, mode="draws", seed=0)
    assert p.outputs.shape == (5, 64, 3)
    assert p.mean.shape == p.std.shape == p.mean_network.shape == (64, 3)
    assert p.outputs.isfinite().all()
    assert (p.outputs - p.base).abs().max() > 1e-4
    assert ocd.predict(inputs, mode="mean").outputs.shape == (1, 64, 3)
    order = torch.randperm(64)
    assert torch.allclose(ocd.predict(inputs[order]).outputs, p.outputs[:, order], atol=1e-5)
    ocd.save_pretrained(tmp_path / "dir")
    again = OCD.from_pretrained(tmp_path / "dir", base=base)
    assert torch.equal(again.predict(inputs, draws=5, mode="draws", seed=0).outputs, p.outputs)

    scores = select_layer(base, loss, inputs[:16], targets[:16])
    assert len(scores.names) == len(scores.scores) == len(scores.standard_errors) >= 3
    for layer in scores.names:
        deltas = overfit(base, layer, loss, inputs, targets, steps=3, lr=5e-3, optimizer="sgd")
        weight = dict(base.named_modules())[layer].weight
        assert deltas.dense().shape == (64, *weight.shape)
        assert (deltas.loss_after < deltas.loss_before).all()
    assert base.training  # as the user left it


def test_every_public_name_is_there():
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


def test_a_dataset_that_augments_by_itself_is_refused(tmp_path):
    class Restless(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return torch.rand(1, 8, 8), torch.tensor(index)

    with pytest.raises(OCDError, match="pass it as OCD"):
        OCD(digits_base(), loss=LOSS, config=config()).fit(Restless(), tmp_path)
    assert not contents(tmp_path)


@pytest.mark.parametrize("mode", ["draws", "mean"])
def test_mixed_precision_moves_the_generator_alone(mode):
    kind = {"scale.kind": "joint"}
    made = {wanted: fitted(kind | {"sampling.mixed_precision": wanted}) for wanted in (False, True)}
    exact, rough = (made[wanted].predict(INPUTS, draws=3, mode=mode) for wanted in made)
    assert rough.outputs.dtype == torch.float32
    assert torch.equal(exact.base, rough.base)
    moves = [p.outputs - p.base for p in (exact, rough)]
    assert not torch.equal(*moves)
    assert (moves[1] - moves[0]).norm() < 0.05 * moves[0].norm()
    again = made[True].predict(INPUTS, draws=3, mode=mode)
    assert torch.equal(again.outputs, rough.outputs)


@pytest.mark.parametrize("mode", ["draws", "mean"])
def test_the_generator_keeps_its_precision_in_the_callers_autocast(mode):
    ocd = fitted({"scale.kind": "joint"})
    base_output = ocd.embed(INPUTS)[0].output
    with torch.autocast("cpu", torch.bfloat16), ocd.generator()._precision():
        assert not torch.is_autocast_enabled("cpu")
        assert torch.equal(ocd.base(INPUTS), base_output)


@pytest.mark.parametrize(("mode", "draws"), [("draws", 3), ("draws", 1), ("mean", 1)])
def test_what_is_predicted_has_memory_of_its_own(mode, draws):
    prediction = fitted().predict(INPUTS, draws=draws, mode=mode)
    values = [getattr(prediction, name.name) for name in dataclasses.fields(prediction)]
    values = [value for value in values if isinstance(value, torch.Tensor)]
    assert len(values) == 4 and all(value.is_contiguous() for value in values)
    assert len({value.data_ptr() for value in values}) == len(values)


def test_a_part_of_the_generator_in_training_mode_is_set_right():
    ocd = fitted()
    network, _ = ocd.fitted()
    network.denoiser.train()
    assert not network.training
    ocd.predict(INPUTS, draws=1)
    assert not any(module.training for module in network.modules())
