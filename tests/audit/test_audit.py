"""The leak audit: each check finds what it is for, passes the honest, and says what it cannot see."""

from __future__ import annotations

import ast
import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import ocd.audit
from helpers import LOSS, PCA, digits, digits_base, fitted, test_digits
from ocd import OCD, Examples, OCDError
from ocd._version import __version__
from ocd.audit import (
    Audit,
    Finding,
    check_copying,
    check_labels,
    check_manifest,
    check_overlap,
    data_digest,
    generated_deltas,
    training_deltas,
    write_manifest,
)
from ocd.audit.labels import exchange_labels
from ocd.audit.overlap import example_digests
from ocd.base import DenseDelta, FrozenBase, RankOneDelta
from ocd.base.probe import probe
from ocd.baselines import NearestNeighbor, OverfitTest
from ocd.data import read_json, write_json
from ocd.lessons import OverfitConfig
from ocd.prediction import Prediction

TEST = test_digits(40)
OVERFIT = OverfitConfig(lr=0.02, form="rank_one")


def strict(finding: Finding) -> Finding:
    """A finding that can be written as JSON that everybody reads, and whose text is one line."""
    json.dumps(finding.details, allow_nan=False)
    assert "\n" not in finding.text
    return finding


# Labels


class Base:
    """f(x; θ) and a change of it."""

    def __init__(self, change=lambda outputs: outputs, mean_change=None) -> None:
        self.change, self.mean_change = change, mean_change or change

    @torch.no_grad()
    def predict(self, inputs, draws=5, seed=0):
        outputs = digits_base()(inputs)
        return Prediction(self.change(outputs).expand(draws, -1, -1), self.mean_change(outputs))


def frozen() -> FrozenBase:
    found = FrozenBase(digits_base(), "fc1")
    probe(found, TEST.inputs[:3])
    return found


def honest(targets: Tensor | None):
    layer = frozen()
    methods = {
        "base": Base(),
        "ocd": fitted(),
        "nearest_neighbor": NearestNeighbor(layer, LOSS, OVERFIT, digits(50)),
    }
    if targets is not None:
        methods["overfit_test"] = OverfitTest(layer, LOSS, OVERFIT, targets)
    return methods


def labels_of(build, uses_label=("overfit_test",), examples: Examples = TEST) -> Finding:
    return strict(check_labels(build, examples.inputs, examples.targets, uses_label, draws=3))


def beside_the_honest(**made):
    """Methods by name, each made of the labels, beside the honest ones."""

    def build(targets):
        return honest(targets) | {name: make(targets) for name, make in made.items()}

    return build


def test_honest_methods_pass_and_the_bound_shows_that_the_check_sees():
    found = labels_of(honest)
    assert found.passed is True
    assert "3 methods predict bit for bit the same for 40 test examples" in found.text
    assert "`overfit_test` (" in found.text
    assert found.details["shuffled"]["overfit_test"] > 0
    for name in ("base", "ocd", "nearest_neighbor"):
        assert found.details["shuffled"][name] == found.details["absent"][name] == 0
    assert "no method that uses the label was there" in labels_of(lambda _: {"base": Base()}).text


def test_a_bound_that_is_not_declared_is_found():
    found = labels_of(honest, uses_label=())
    assert found.passed is False
    assert "`overfit_test` sees the test labels" in found.text
    assert "`ocd`" not in found.text
    assert found.details["leaks"] == ["overfit_test"]


@pytest.mark.parametrize("where", ["outputs", "mean_network"])
def test_a_baseline_that_peeks_a_little_is_found_and_named(where):
    """One unit in the last place, for one example, by nothing but its label."""

    def peeking(targets):
        def peek(outputs):
            peeked = outputs.clone()
            if targets is not None and targets[7] == TEST.targets[7]:
                peeked[7] = torch.nextafter(outputs[7], outputs[7] + 1)
            return peeked

        return Base(*((peek, lambda x: x) if where == "outputs" else (lambda x: x, peek)))

    found = labels_of(beside_the_honest(peeking=peeking))
    assert found.passed is False
    assert "`peeking` sees the test labels: it moves by up to" in found.text
    assert found.details["leaks"] == ["peeking"]
    assert 0 < found.details["shuffled"]["peeking"] < 1e-4
    assert found.text.count("`") == 2  # nobody else is named


def test_what_the_labels_are_together_is_seen_without_them():
    """Their mean does not move when they change places; it moves when they are gone."""

    def build(targets):
        mean = 0.0 if targets is None else float(targets.double().mean())
        return honest(targets) | {"by_the_mean": Base(lambda outputs: outputs + mean)}

    found = labels_of(build)
    assert found.passed is False
    assert found.details["leaks"] == ["by_the_mean"]
    assert found.details["shuffled"]["by_the_mean"] == 0
    assert "without labels" in found.text


def test_a_method_that_does_without_labels_but_heeds_them_is_found():
    """The same with the true labels as with none: only other labels tell."""

    def heeding(targets):
        wrong = targets is not None and not torch.equal(targets, TEST.targets)
        return Base(lambda outputs: outputs + 1e-3 * wrong)

    found = labels_of(beside_the_honest(heeding=heeding))
    assert found.passed is False
    assert found.details["leaks"] == ["heeding"]
    assert found.details["absent"]["heeding"] == 0


class Demanding(Base):
    def __init__(self, targets):
        super().__init__()
        self.targets = targets

    def predict(self, inputs, draws=5, seed=0):
        len(self.targets)  # a TypeError where there are none
        return super().predict(inputs, draws, seed)


def test_a_method_that_cannot_do_without_labels_is_found():
    found = labels_of(beside_the_honest(demanding=Demanding))
    assert found.passed is False
    assert "`demanding` sees the test labels: it cannot predict without labels (TypeError" in found.text
    assert found.details["refused_without_labels"] == ["demanding"]

    def missing(targets):
        return honest(targets) | ({} if targets is None else {"demanding": Base()})

    assert "`demanding` sees the test labels" in labels_of(missing).text
    assert labels_of(missing).passed is False

    def nothing_without(targets):
        if targets is None:
            raise OCDError("labels, please")
        return {"base": Base()}

    found = labels_of(nothing_without)
    assert found.passed is False
    assert "OCDError: labels, please" in found.text


def test_a_method_that_uses_the_label_may_be_missing_or_raise_without_it():
    def raising(targets):
        return {"base": Base(), "overfit_test": OverfitTest(frozen(), LOSS, OVERFIT, targets)}

    assert labels_of(raising).passed is True
    assert labels_of(honest).passed is True


def test_a_method_that_cannot_predict_at_all_is_left_out_and_named():
    unfitted = OCD(digits_base(), loss=LOSS)
    found = labels_of(beside_the_honest(unfitted=lambda targets: unfitted))
    assert found.passed is True
    assert found.details["unable"] == ["unfitted"]
    assert "left out, as they cannot predict at all: `unfitted`" in found.text
    assert "3 methods" in found.text


def test_a_check_that_sees_nothing_does_not_pass():
    """A oracle that does not move: the labels do not reach the methods that `build` makes."""
    found = labels_of(lambda targets: honest(TEST.targets))
    assert found.passed is False
    assert "blind" in found.text
    assert found.details["blind"] == ["overfit_test"]


def test_a_method_that_does_not_repeat_itself_is_no_leak_but_no_pass():
    restless = Base(lambda outputs: outputs + torch.rand(()))
    found = labels_of(beside_the_honest(restless=lambda targets: restless))
    assert found.passed is False
    assert found.details["leaks"] == []
    assert found.details["not_repeatable"] == ["restless"]
    assert "sees" not in found.text


def test_nan_equals_nan_and_nothing_else():
    spoiled = Base(lambda outputs: outputs.index_fill(0, torch.tensor([3]), torch.nan))
    assert labels_of(beside_the_honest(spoiled=lambda targets: spoiled)).passed is True

    def hiding(targets):
        """The label decides where NaN is."""
        place = torch.tensor([3 if targets is None else int(targets[0])])
        return Base(lambda outputs: outputs.index_fill(0, place, torch.nan))

    found = labels_of(beside_the_honest(hiding=hiding))
    assert found.details["leaks"] == ["hiding"]
    assert found.details["shuffled"]["hiding"] is None


def test_another_shape_is_another_prediction():
    def build(targets):
        return {"base": Base(lambda outputs: outputs[:, : 5 if targets is None else 10])}

    assert labels_of(build).details["leaks"] == ["base"]


def test_labels_that_are_all_equal_cannot_be_checked():
    ones = Examples(TEST.inputs, torch.ones(40).long())
    found = labels_of(honest, examples=ones)
    assert found.passed is None
    assert "all equal" in found.text
    assert labels_of(honest, examples=Examples(*TEST.rows(slice(0, 1)))).passed is None
    assert labels_of(lambda _: {}).passed is None


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (TEST.targets, 40),
        (torch.tensor([0, 0, 0, 1, 1, 2]), 6),
        (torch.tensor([0] * 9 + [1]), 2),
        (torch.tensor([0, 1]), 2),
        (torch.linspace(0, 1, 21), 21),
        (torch.arange(12.0).reshape(6, 2) // 4, 6),
        (torch.ones(4), 0),
        (torch.zeros(0), 0),
    ],
)
def test_exchanged_labels_are_the_same_labels_elsewhere(targets, expected, seed):
    exchanged = exchange_labels(targets, seed)
    assert exchanged.dtype == targets.dtype
    assert sorted(exchanged.tolist()) == sorted(targets.tolist())
    moved = (exchanged != targets).reshape(len(targets), -1).any(dim=1) if len(targets) else targets
    assert int(moved.sum()) == expected
    if targets.is_floating_point() and targets.dim() == 1 and expected:
        assert (exchanged - targets).abs().min() > 0.4  # and not to the next value


# Overlap


def test_an_example_on_both_sides_is_found_by_its_bytes():
    train, test = digits(30).inputs, test_digits(12).inputs.clone()
    assert strict(check_overlap(train, test)).passed is True
    test[4], test[9] = train[17], train[2]
    found = strict(check_overlap(train, test))
    assert found.passed is False
    assert found.details["overlapping"] == 2
    assert found.details["pairs"] == [[4, 17], [9, 2]]
    assert "2 of 12 test examples" in found.text
    assert "test 4 = training 17, test 9 = training 2" in found.text
    test[4, 0, 0, 0] += 1e-6
    assert check_overlap(train, test).details["pairs"] == [[9, 2]]


def test_all_tensors_of_an_example_count():
    x, y = torch.arange(8.0).reshape(4, 2), torch.arange(4)
    train = {"x": x, "y": y}
    assert check_overlap(train, {"x": x[:2], "y": y[2:]}).passed is True
    assert check_overlap(train, {"y": y[3:], "x": x[3:]}).details["pairs"] == [[0, 3]]
    assert check_overlap((x, y), (x[1:], y[1:])).details["overlapping"] == 3
    # The border between two tensors is part of the example.
    assert check_overlap((x[:, :1], x), (x[:, :1].repeat(1, 2), x[:, :1])).passed is None


def test_a_digest_is_of_type_and_shape_too():
    x = torch.rand(3, 4)
    several = [x, x.view(torch.int32), x.reshape(3, 2, 2), (x[:, :2], x[:, 2:])]
    assert len({example_digests(inputs)[0] for inputs in several}) == 4


def test_repeated_test_examples_are_told_and_are_no_overlap():
    train, test = digits(30).inputs, test_digits(12).inputs
    found = check_overlap(train, torch.cat([test, test[:3]]))
    assert found.passed is True
    assert found.details["repeated_in_test"] == 3
    assert "3 test examples repeat an earlier one" in found.text


def test_bytes_of_another_type_cannot_be_compared():
    train = digits(30).inputs
    found = strict(check_overlap(train, train.double()))
    assert found.passed is None
    assert "float32 1×8×8" in found.text and "float64 1×8×8" in found.text
    assert check_overlap(train, train[:, :, :4]).passed is None


def test_views_hash_as_their_numbers():
    images = torch.rand(20, 3, 4)
    assert check_overlap(images, images.transpose(1, 2).contiguous().transpose(1, 2)).passed is False
    assert check_overlap(images[::2], images[1::2]).passed is True


def test_as_many_images_as_mnist_take_seconds():
    images = torch.rand(70_000, 1, 28, 28)
    start = time.perf_counter()
    assert check_overlap(images[:60_000], images[60_000:]).passed is True
    assert time.perf_counter() - start < 10


# Copying


def rank_one(count: int, seed: int, spread: float = 1.0, draws: int = 1) -> RankOneDelta:
    """Directions around a few centres, as overfitted deltas lie; sizes over three decades."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 12, generator=torch.Generator().manual_seed(99))
    kinds = torch.randint(5, (count, draws), generator=generator)
    left = centres[kinds] + spread * torch.randn(count, draws, 12, generator=generator)
    sizes = 10 ** (3 * torch.rand(count, draws, 1, generator=generator) - 4)
    right = torch.randn(count, 20, generator=generator).relu() + 0.1
    return RankOneDelta(left * sizes, right, (12, 20))


def dense(delta: RankOneDelta) -> DenseDelta:
    return DenseDelta(delta.dense())


def copying(generated, training, seed: int = 0) -> Finding:
    return strict(check_copying(generated, training, seed))


TRAINING = rank_one(300, seed=0)


@pytest.mark.parametrize("form", [lambda d: d, dense], ids=["rank one", "dense"])
@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 1e-2])
def test_copies_of_training_deltas_are_found(form, noise):
    """Each of another size than its model, some with a little noise."""
    generator = torch.Generator().manual_seed(5)
    places = torch.randperm(300, generator=generator)[:100]
    copied = TRAINING.take(places).scaled(torch.rand(100, 1, generator=generator) + 0.5)
    left = copied.left * (1 + noise * torch.randn(copied.left.shape, generator=generator))
    found = copying(form(replace(copied, left=left)), form(TRAINING))
    assert found.passed is False
    assert "repeat training deltas" in found.text
    weights = found.details["weights"]
    assert weights["ratio"] < 0.1
    assert weights["exact_training"] == 0
    if noise != 1e-3:  # about as much as is still called exact
        assert weights["exact_generated"] == (1 if noise < 1e-3 else 0)


@pytest.mark.parametrize("form", [lambda d: d, dense], ids=["rank one", "dense"])
def test_deltas_of_their_own_pass(form):
    found = copying(form(rank_one(100, seed=1, draws=3)), form(TRAINING))
    assert found.passed is True
    assert found.details["generated"] == 300
    assert 0.8 < found.details["weights"]["ratio"] < 1.25
    assert "300 generated deltas are their own (against 300 training deltas)" in found.text


def test_a_few_exact_copies_are_enough():
    own, share = rank_one(200, seed=1), 3  # 1.5 %
    left, right = own.left.clone(), own.right.clone()
    left[:share], right[:share] = TRAINING.left[:share], TRAINING.right[:share]
    found = copying(RankOneDelta(left, right, (12, 20)), TRAINING)
    assert found.passed is False
    assert found.details["weights"]["ratio"] > 0.8
    assert found.details["weights"]["exact_generated"] == pytest.approx(0.015)


def test_copies_are_no_matter_where_training_deltas_repeat_each_other_as_often():
    """A tenth of the training deltas come twice; so do the generated ones."""
    twice = RankOneDelta(
        torch.cat([TRAINING.left, TRAINING.left[:30]]),
        torch.cat([TRAINING.right, TRAINING.right[:30]]),
        (12, 20),
    )
    own = rank_one(100, seed=1)
    mixed = RankOneDelta(
        torch.cat([own.left, TRAINING.left[:10]]), torch.cat([own.right, TRAINING.right[:10]]), (12, 20)
    )
    assert copying(mixed, twice).passed is True
    assert copying(mixed, TRAINING).passed is False


def test_a_generator_that_repeats_u_is_found_though_a_is_the_inputs_own():
    own = rank_one(100, seed=1)
    repeating = replace(own, left=TRAINING.left[:100] * 0.7)
    found = copying(repeating, TRAINING)
    assert found.details["weights"]["ratio"] > 0.25  # the weights alone would not tell
    assert found.details["u"]["exact_generated"] == 1
    assert found.passed is False


def test_rank_one_distances_are_those_of_the_weights():
    generated = rank_one(50, seed=1, draws=2)
    one, other = copying(generated, TRAINING), copying(dense(generated), dense(TRAINING))
    for name, value in other.details["weights"].items():
        assert one.details["weights"][name] == pytest.approx(value, rel=1e-6), name
    mixed = copying(generated, dense(TRAINING)).details["weights"]
    assert mixed["median_generated"] == pytest.approx(
        other.details["weights"]["median_generated"], rel=1e-6
    )

    directions = [delta.dense().flatten(0, 1).flatten(1).double() for delta in (generated, TRAINING)]
    units = [values / values.norm(dim=1, keepdim=True) for values in directions]
    distances = torch.cdist(*units).min(dim=1).values
    assert one.details["weights"]["median_generated"] == pytest.approx(
        float(distances.median()), rel=1e-6
    )
    among = torch.cdist(units[1], units[1]).fill_diagonal_(torch.inf).min(dim=1).values
    assert one.details["weights"]["median_training"] == pytest.approx(float(among.median()), rel=1e-6)


def test_chunks_do_not_matter(monkeypatch):
    whole = copying(rank_one(60, seed=1), TRAINING)
    monkeypatch.setattr("ocd.audit.copying._ELEMENTS", 32 * 7)
    chunked = copying(rank_one(60, seed=1), TRAINING)
    assert chunked.text == whole.text
    for name in ("weights", "u"):
        assert chunked.details[name] == pytest.approx(whole.details[name])


def test_many_training_deltas_are_judged_by_some_of_them(monkeypatch):
    monkeypatch.setattr("ocd.audit.copying.MAX_REFERENCE", 50)
    own = rank_one(60, seed=1)
    few = [copying(own, TRAINING, seed).details["weights"] for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert few[0]["median_generated"] == few[2]["median_generated"]  # all are looked through
    assert copying(TRAINING.take(slice(0, 60)), TRAINING).passed is False


def test_deltas_without_a_direction_are_left_out_and_counted():
    own, training = rank_one(50, seed=1), rank_one(100, seed=2)
    own.left[3] = 0
    own.left[4] = torch.nan
    training.right[5] = 0
    training.left[6] *= 1e-30  # its square is zero in float32, and it has a direction
    found = copying(own, training)
    assert found.passed is True
    assert (found.details["generated"], found.details["generated_without_direction"]) == (48, 2)
    assert (found.details["training"], found.details["training_without_direction"]) == (99, 1)
    assert "2 generated and 1 training deltas" in found.text


@pytest.mark.parametrize(
    ("generated", "training", "message"),
    [
        (rank_one(0, 1), TRAINING, "0 generated deltas"),
        (rank_one(5, 1).scaled(torch.zeros(5, 1)), TRAINING, "zero or not finite: 5 generated"),
        (rank_one(5, 1), TRAINING.take(slice(0, 1)), "1 training delta with"),
        (rank_one(5, 1), TRAINING.take(torch.zeros(40).long()), "alike"),
        (rank_one(5, 1), dense(TRAINING.take(torch.zeros(40).long())), "alike"),
    ],
)
def test_too_few_or_like_deltas_cannot_be_checked(generated, training, message):
    found = copying(generated, training)
    assert found.passed is None
    assert message in found.text


def test_one_output_has_no_u_to_compare_but_weights():
    """A layer of one output: every u is 1 or -1, so that the weights alone are judged."""
    one, other = (RankOneDelta(torch.ones(n, 1, 1), rank_one(n, n).right, (1, 20)) for n in (60, 200))
    assert copying(one, other).passed is True
    assert copying(other.take(slice(0, 60)), other).passed is False


@pytest.mark.parametrize("settings", [{}, PCA], ids=["rank one", "dense"])
def test_a_fitted_generator_does_not_copy_and_its_training_deltas_would_be_found(settings):
    ocd, examples = fitted(settings), digits()
    overfit = replace(OVERFIT, form="dense" if settings else "rank_one")
    training = training_deltas(ocd, overfit, examples)
    generated = generated_deltas(ocd, TEST.inputs, draws=2)
    assert copying(generated, training).passed is True
    # The true deltas of the test examples are what a perfect generator gives: no copies.
    assert copying(training_deltas(ocd, overfit, TEST), training).passed is True
    assert copying(training.take(slice(0, 40)), training).passed is False


@pytest.mark.parametrize("settings", [{}, PCA], ids=["rank one", "dense"])
def test_generated_deltas_are_those_of_predict(settings):
    ocd = fitted(settings)
    delta = generated_deltas(ocd, TEST.inputs, draws=2, seed=3)
    p = ocd.predict(TEST.inputs, draws=2, seed=3)
    assert torch.allclose(delta.norms().T, p.scale, rtol=1e-4)
    with torch.no_grad():
        for b, k in ((0, 0), (39, 1)):
            moved = digits_base()
            moved.get_submodule(ocd.config.layer).weight += delta.dense()[b, k]
            assert torch.allclose(moved(TEST.inputs[b : b + 1])[0], p.outputs[k, b], atol=1e-4)
    parts = [generated_deltas(ocd, TEST.inputs[i : i + 20], draws=2, seed=3).dense() for i in (0, 20)]
    assert torch.allclose(torch.cat(parts), delta.dense(), atol=1e-6)


def test_training_deltas_too_large_to_hold_are_some_of_them():
    ocd = fitted(PCA)
    overfit, numbers = replace(OVERFIT, form="dense"), ocd.frozen.weight.numel()
    some = training_deltas(ocd, overfit, digits(), max_elements=10 * numbers).dense()
    every = training_deltas(ocd, overfit, digits()).dense()
    assert len(some) == 10
    found = [int((every - one).flatten(1).norm(dim=1).argmin()) for one in some]
    assert torch.allclose(every[found], some, atol=1e-6)
    assert len(set(found)) == 10 and found != list(range(10))


# Manifest

SETTINGS = {"task": "digits", "preset": "fast", "options": {"shift": 1, "sizes": (1, 2)}}
TRAIN = digits(20)
DATA = {"train": data_digest(TRAIN), "test": data_digest(TEST)}
FILES = (
    "base/seed-0.safetensors",
    "selection/seed-0.json",
    "checkpoint/seed-0/config.json",
    "checkpoint/seed-0/model.safetensors",
    "checkpoint/seed-0-alternative/config.json",
    "predictions/seed-0.json",
    "predictions/seed-0.safetensors",
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run folder as the verbs leave it, each file entered when it was written."""
    write_manifest(tmp_path, SETTINGS, DATA)
    for name in FILES:
        make(tmp_path, name)
        write_manifest(tmp_path, SETTINGS, DATA, [tmp_path / name])
    for name in ("metrics.jsonl", "checkpoint/seed-0/training.pt", "predictions/seed-0.json.part"):
        make(tmp_path, name)
    return tmp_path


def make(root: Path, name: str, text: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or name)
    return path


def manifest_of(root: Path, settings=SETTINGS, data=DATA) -> Finding:
    return strict(check_manifest(root, settings, data))


def test_a_run_as_it_was_made_passes(folder):
    found = manifest_of(folder)
    assert found.passed is True
    assert f"settings, data and 7 files match (made with ocd {__version__}, torch " in found.text
    saved = read_json(folder / "manifest.json")
    assert saved["format_version"] == 1
    (made,) = saved["made_with"]
    assert len(made.pop("sources")) == 16
    assert made == {"ocd": __version__, "torch": torch.__version__}
    assert saved["files"].keys() == set(FILES)
    digest = hashlib.sha256(b"predictions/seed-0.json").hexdigest()
    assert saved["files"]["predictions/seed-0.json"] == {"sha256": digest, "seen": "written"}
    # The settings as JSON gives them back.
    assert manifest_of(folder, json.loads(json.dumps(SETTINGS))).passed is True


@pytest.mark.parametrize("name", FILES)
def test_a_tampered_file_is_named(folder, name):
    make(folder, name, "another")
    found = manifest_of(folder)
    assert found.passed is False
    assert found.details["changed"] == [name]
    assert f"changed since it was written: {name}" in found.text


def test_a_later_verb_does_not_bless_a_tampered_file(folder):
    make(folder, FILES[0], "another")
    new = make(folder, "predictions/seed-1.json")
    write_manifest(folder, SETTINGS, DATA, [new])
    assert manifest_of(folder).details["changed"] == [FILES[0]]
    assert "predictions/seed-1.json" in read_json(folder / "manifest.json")["files"]
    write_manifest(folder, SETTINGS, DATA, [folder / FILES[0]])  # written anew by its own verb
    assert manifest_of(folder).passed is True


def test_missing_and_unlisted_files_are_named(folder):
    (folder / FILES[1]).unlink()
    make(folder, "checkpoint/seed-7/model.safetensors")
    found = manifest_of(folder)
    assert found.passed is False
    assert found.details["missing"] == [FILES[1]]
    assert found.details["unlisted"] == ["checkpoint/seed-7/model.safetensors"]
    assert "missing: selection/seed-0.json" in found.text
    assert "not in the manifest: checkpoint/seed-7/model.safetensors" in found.text


def test_a_file_of_unknown_origin_is_entered_but_does_not_pass(folder):
    make(folder, "predictions/seed-7.json")
    write_manifest(folder, SETTINGS, DATA)
    found = manifest_of(folder)
    assert found.passed is None
    assert found.details["found"] == ["predictions/seed-7.json"]
    assert "unknown origin" in found.text and "predictions/seed-7.json" in found.text
    make(folder, "predictions/seed-7.json", "another")
    assert manifest_of(folder).passed is False


def test_a_folder_stands_for_its_files(folder):
    paths = [make(folder, f"checkpoint/seed-1/{name}") for name in ("config.json", "model.safetensors")]
    make(folder, "checkpoint/seed-1/training.pt")
    write_manifest(folder, SETTINGS, DATA, [folder / "checkpoint/seed-1"])
    assert manifest_of(folder).passed is True
    assert manifest_of(folder).details["files"] == 9
    paths[0].write_text("another")
    assert manifest_of(folder).details["changed"] == ["checkpoint/seed-1/config.json"]


def test_relative_folders_do_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path("runs/mine")
    make(root, FILES[0])
    write_manifest(root, SETTINGS, DATA, [root / FILES[0]])
    assert manifest_of(root).passed is True
    assert manifest_of(tmp_path / "runs/mine").passed is True
    write_manifest(tmp_path / "runs/mine", SETTINGS, DATA, [root / FILES[0]])
    assert manifest_of(root).details["files"] == 1


def test_only_files_of_the_run_can_be_entered(folder, tmp_path_factory):
    outside = make(tmp_path_factory.mktemp("other"), FILES[0])
    for path in (outside, folder / "predictions/seed-9.json"):
        with pytest.raises(OCDError, match="is no file of"):
            write_manifest(folder, SETTINGS, DATA, [path])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SETTINGS | {"options": {"shift": 2, "sizes": (1, 2)}}, "settings (options)"),
        (SETTINGS | {"preset": "paper"}, "settings (preset)"),
        (SETTINGS | {"config": {}}, "settings (config)"),
        ({"task": "digits", "preset": "fast"}, "settings (options)"),
    ],
)
def test_changed_settings_are_named(folder, settings, name):
    found = manifest_of(folder, settings)
    assert found.passed is False
    assert found.details["differing"] == [name]
    with pytest.raises(OCDError, match="another folder") as caught:
        write_manifest(folder, settings, DATA)
    assert name in str(caught.value)
    assert manifest_of(folder).passed is True  # nothing was written


def test_changed_data_are_named(folder):
    inputs, targets = TRAIN.inputs.clone(), TRAIN.targets.clone()
    inputs[19, 0, 7, 7] += 1e-6
    targets[0] += 1
    changed = Examples(inputs, TRAIN.targets), Examples(TRAIN.inputs, targets)
    for examples, part in zip(changed, ("inputs", "targets"), strict=True):
        found = manifest_of(folder, data=DATA | {"train": data_digest(examples)})
        assert found.passed is False
        assert found.details["differing"] == [f"data (train {part})"]
    swapped = {"train": DATA["test"], "test": DATA["train"]}
    assert len(manifest_of(folder, data=swapped).details["differing"]) == 4
    with pytest.raises(OCDError, match="data \\(train inputs\\)"):
        write_manifest(folder, SETTINGS, DATA | {"train": data_digest(changed[0])})


def test_digests_of_data_follow_numbers_shapes_and_types():
    x, y = torch.arange(6.0).reshape(3, 2), torch.arange(3)
    several = [
        Examples(x, y),
        Examples(x.reshape(3, 1, 2), y),
        Examples(x.double(), y),
        Examples(x.flip(0), y),
        Examples((x, x), y),
        Examples(x[:2], y[:2]),
    ]
    digests = [data_digest(one)["inputs"] for one in several]
    assert len(set(digests)) == len(digests)
    assert data_digest(Examples(x.t().contiguous().t(), y)) == data_digest(Examples(x.clone(), y))


def test_a_run_made_before_manifests_cannot_be_checked(tmp_path):
    make(tmp_path, FILES[0])
    found = manifest_of(tmp_path)
    assert found.passed is None
    assert "before manifests" in found.text
    write_manifest(tmp_path, SETTINGS, DATA)  # a later verb begins one
    assert manifest_of(tmp_path).passed is None
    assert FILES[0] in manifest_of(tmp_path).text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda saved: saved.pop("files"), "damaged"),
        (lambda saved: saved["files"].update({FILES[0]: "abc"}), "damaged"),
        (lambda saved: saved.update(settings=[]), "damaged"),
        (lambda saved: saved.update(format_version=9), "has format 9, this version reads 1"),
        (lambda saved: saved.pop("format_version"), "no manifest of a run"),
    ],
)
def test_a_damaged_manifest_does_not_pass(folder, change, message):
    saved = read_json(folder / "manifest.json")
    change(saved)
    write_json(folder / "manifest.json", saved)
    found = manifest_of(folder)
    assert found.passed is False
    assert message in found.text
    with pytest.raises(OCDError, match=message):
        write_manifest(folder, SETTINGS, DATA)


def test_a_manifest_that_is_cut_short_does_not_pass(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])
    assert manifest_of(folder).passed is False
    assert "not valid JSON" in manifest_of(folder).text


def test_other_versions_are_remembered(folder, monkeypatch):
    monkeypatch.setattr("ocd.audit.manifest.__version__", "99.0")
    write_manifest(folder, SETTINGS, DATA)
    found = manifest_of(folder)
    assert found.passed is True
    assert [made["ocd"] for made in found.details["made_with"]] == [__version__, "99.0"]


# All of it


def test_an_audit_reads_well_and_passes_without_a_failure():
    findings = [
        Finding("labels", True, "all are the same", {"examples": 3}),
        Finding("manifest", None, "is not there"),
    ]
    audit = Audit(findings)
    assert audit.passed
    assert audit.lines() == [
        "ok    labels: all are the same",
        "note  manifest: is not there",
        "audit: 1 passed, 0 failed, 1 could not be checked",
    ]
    assert audit.as_dict() == {
        "passed": True,
        "findings": [
            {"name": "labels", "passed": True, "text": "all are the same", "details": {"examples": 3}},
            {"name": "manifest", "passed": None, "text": "is not there", "details": {}},
        ],
    }
    failed = Audit([*findings, Finding("overlap", False, "one of them")])
    assert not failed.passed
    assert failed.lines()[2:] == [
        "FAIL  overlap: one of them",
        "audit: 1 passed, 1 failed, 1 could not be checked",
    ]


def test_the_audit_knows_no_task_and_no_run():
    """Run calls the audit, so the audit may not import Run."""
    for path in Path(ocd.audit.__file__).parent.glob("*.py"):
        imported: list[str] = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported += [f"{node.module}.{alias.name}" for alias in node.names]
        assert imported
        assert not [name for name in imported if name.startswith(("ocd.tasks", "ocd.runs"))], path
