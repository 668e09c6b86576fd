"""Cross-fitting: lessons on bases that have not seen them; a generator judged on a base of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ocd import OCD, Examples, OCDConfig, OCDError
from ocd.base import FrozenBase, probe
from ocd.data import fetch_rows
from ocd.fitting import steps
from ocd.lessons import FoldedLessons, Overfitter, Problem, Workdir

COUNT = 60


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def examples(count: int = COUNT, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 5, generator=generator)
    return Examples(inputs, (inputs[:, 0] > inputs[:, 1]).long() + (inputs[:, 2] > 1).long())


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).eval()


SEEN: list[Tensor] = []
"""Inputs of the datasets that bases were trained on, one after another."""
STOPS_AT: list[int] = []
"""How many bases are trained before the process is interrupted."""


TRIAL = steps.TRIAL_STEPS


@pytest.fixture(autouse=True)
def _fits_are_no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in the tests no common move is looked for (small_run.py)."""
    monkeypatch.setattr(steps, "TRIAL_STEPS", TRIAL)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()
    STOPS_AT.clear()


def train(dataset: Dataset) -> nn.Module:
    """A `fit_base`."""
    if STOPS_AT and len(SEEN) == STOPS_AT[0]:
        raise KeyboardInterrupt
    base = network()
    inputs, targets = fetch_rows(dataset, torch.arange(len(dataset)))
    SEEN.append(inputs)
    optimizer = torch.optim.Adam(base.parameters(), lr=0.02)
    for _ in range(20):
        optimizer.zero_grad()
        loss(base(inputs), targets).mean().backward()
        optimizer.step()
    return base


class Listed(Dataset):
    """A map-style dataset that is read one by one."""

    def __init__(self, whole: Examples) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int):
        return self.whole[index]


def fit(folder: Path | None = None, dataset: Dataset | None = None, fit_base=None, **settings) -> OCD:
    values = {
        "layer": "2",
        "common_move": "never",
        "cross_fitting.num_folds": 3,
        "training.num_steps": 12,
        "denoiser.width": 32,
    }
    ocd = OCD(network(), loss=loss, config=OCDConfig().replace(values | settings))
    return ocd.fit(dataset or examples(), folder, progress=False, fit_base=fit_base or train)


def source_of(ocd: OCD, folder: Path) -> FoldedLessons:
    _, source = ocd.lessons(examples(), Workdir(folder, context={"seed": 0}))
    assert isinstance(source, FoldedLessons)
    return source


@pytest.mark.parametrize("dataset", [examples(), Listed(examples())])
@pytest.mark.parametrize("move", ["never", "always"])
def test_each_lesson_is_of_a_base_that_has_not_seen_it(tmp_path: Path, dataset, move) -> None:
    ocd = fit(tmp_path, dataset, common_move=move)
    seen = list(SEEN)
    assert len(seen) == 3
    source = source_of(ocd, tmp_path)
    lessons = source.rows(torch.arange(COUNT), torch.Generator())
    inputs = examples().inputs
    for number, (_, overfitter, part) in enumerate(lessons.by_base(source.overfitter)):
        trained = seen[number]
        for row in part.inputs:
            assert not (trained == row).all(dim=1).any() and (inputs == row).all(dim=1).any()
        own = trained_base(trained, overfitter.problem.start)
        assert torch.allclose(overfitter.frozen.answer(part.inputs), own(part.inputs), atol=1e-5)
        frozen = FrozenBase(own, "2")
        probe(frozen, part.inputs)
        plain = Overfitter(Problem(own, loss, examples()), frozen, overfitter.config)
        expected = plain.overfit(part.inputs, part.targets).dense()
        assert part.delta is not None
        assert torch.allclose(part.delta.dense(), expected, atol=1e-5)
        outputs = own(part.inputs)
        assert torch.allclose(part.features["output"], outputs, atol=1e-4)
    p = ocd.predict(inputs[:4])
    assert torch.allclose(p.base, ocd.base(inputs[:4]), atol=1e-5)


def trained_base(seen: Tensor, start: Tensor | None) -> nn.Module:
    """The base of a fold, trained again."""
    every = examples()
    places = [int((every.inputs == row).all(dim=1).nonzero()[0]) for row in seen]
    base = train(Examples(seen, every.targets[places]))
    if start is not None:
        base[2].weight.data += start
    return base


def test_the_last_fold_is_kept_from_the_generator(tmp_path: Path) -> None:
    ocd = fit(tmp_path)
    source = source_of(ocd, tmp_path)
    reserved = source.reserved
    assert reserved is not None and len(reserved) == COUNT // 3
    kept = source.examples[reserved]
    assert set(kept.tolist()) == set(source.folds[-1][0].index.tolist())
    assert any(
        "40 lessons train the generator; 10 others choose its best weights" in note
        for note in ocd.notes
    )
    assert any("on 10 examples of a fold that neither has seen" in note for note in ocd.notes)


def test_other_labels_of_the_last_fold_change_no_weight_of_the_generator(tmp_path: Path) -> None:
    reserved = source_of(fit(tmp_path / "one"), tmp_path / "one").folds[-1][0].index
    changed = examples().targets.clone()
    changed[reserved] = (changed[reserved] + 1) % 3
    settings = {"training.keep_best": False, "overfit.lr": 0.1}  # both see what is held out
    states = []
    for name, labels in (("a", examples().targets), ("b", changed)):
        whole = Examples(examples().inputs, labels)
        ocd = fit(tmp_path / name, whole, train_on_first_labels, **settings)
        states.append(ocd.fitted()[0].state_dict())
    for name, value in states[0].items():
        if name not in ("spread", "scale_factor"):
            assert torch.equal(value, states[1][name]), name


def train_on_first_labels(dataset: Dataset) -> nn.Module:
    """A base that has not seen which labels were changed."""
    return train(Examples(examples().inputs[:30], examples().targets[:30]))


def test_an_interrupted_fit_trains_the_missing_bases_only(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    SEEN.clear()
    STOPS_AT.append(2)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "part")
    assert len(list((tmp_path / "part" / "bases").rglob("*.pt"))) == 2
    SEEN.clear()
    STOPS_AT.clear()
    again = fit(tmp_path / "part")
    assert len(SEEN) == 1
    x = examples(20, seed=4).inputs
    assert torch.equal(whole.predict(x).outputs, again.predict(x).outputs)


def test_another_fit_base_is_another_fit(tmp_path: Path) -> None:
    fit(tmp_path, fit_base=lambda dataset: train(dataset))
    with pytest.raises(OCDError, match="belongs to"):
        fit(tmp_path, fit_base=lambda dataset: network())


def test_bases_are_trained_in_processes(tmp_path: Path) -> None:
    one = fit(tmp_path / "one", fit_base=train)
    several = fit(tmp_path / "two", fit_base=train, **{"cross_fitting.num_processes": 2})
    x = examples(20, seed=4).inputs
    assert torch.equal(one.predict(x).outputs, several.predict(x).outputs)


@pytest.mark.parametrize(
    ("fit_base", "message"),
    [
        (lambda dataset: None, "fit_base gave a NoneType: it must return the trained module"),
        (lambda dataset: nn.Linear(5, 3), "fit_base gave a base with other parameters"),
        (
            lambda dataset: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)),
            "fit_base gave a base that answers otherwise",
        ),
    ],
)
def test_what_is_no_such_base_is_refused(fit_base, message: str) -> None:
    with pytest.raises(OCDError, match=message):
        fit(fit_base=fit_base)


def test_the_served_base_is_never_trained() -> None:
    base = network()
    before = {name: value.clone() for name, value in base.state_dict().items()}

    def in_place(dataset: Dataset) -> nn.Module:
        with torch.no_grad():
            base[2].weight += 1.0
        return base

    config = OCDConfig(layer="2").replace({"training.num_steps": 12, "denoiser.width": 32})
    ocd = OCD(base, loss=loss, config=config)
    with pytest.raises(OCDError, match="fit_base"):
        ocd.fit(examples(), progress=False, fit_base=in_place)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    with pytest.raises(OCDError, match="the weights of the one that is served"):
        ocd.fit(examples(), progress=False, fit_base=lambda dataset: base)
    shared = network()

    def same(dataset: Dataset) -> nn.Module:
        with torch.no_grad():
            shared[2].weight += 1.0
        return shared

    with pytest.raises(OCDError, match="the same module twice"):
        ocd.fit(examples(), progress=False, fit_base=same)


def test_a_base_whose_forward_is_a_function_over_itself_has_bases_of_its_own(tmp_path: Path) -> None:
    def patched() -> nn.Module:
        base = nn.Module()
        inner = network()
        base.add_module("inner", inner)
        base.forward = lambda x: base.inner(x)
        return base.eval()

    def train_patched(dataset: Dataset) -> nn.Module:
        base = patched()
        base.inner.load_state_dict(train(dataset).state_dict())
        return base

    config = OCDConfig(layer="inner.2", common_move="never").replace(
        {"cross_fitting.num_folds": 3, "training.num_steps": 12, "denoiser.width": 32}
    )
    ocd = OCD(patched(), loss=loss, config=config)
    ocd.fit(examples(), tmp_path, progress=False, fit_base=train_patched)
    ocd.fit_base = train_patched
    rows = source_of(ocd, tmp_path).rows(torch.arange(COUNT), torch.Generator())
    plain = fit(tmp_path / "plain")
    expected = source_of(plain, tmp_path / "plain").rows(torch.arange(COUNT), torch.Generator())
    assert torch.allclose(rows.features["output"], expected.features["output"], atol=1e-5)


def test_fit_base_is_given_the_users_own_kind_of_dataset() -> None:
    kinds = []

    def spying(dataset: Dataset) -> nn.Module:
        kinds.append(type(dataset))
        return train(dataset)

    whole = examples()
    fit(dataset=TensorDataset(whole.inputs, whole.targets), fit_base=spying)
    assert kinds == [TensorDataset] * 3


def test_too_few_examples_make_no_folds() -> None:
    message = (
        "5 examples make no 3 folds: give 6 at least, set cross_fitting.num_folds to 2 at most, or"
    )
    with pytest.raises(OCDError, match=message):
        fit(dataset=examples(5))
    with pytest.raises(OCDError, match="3 examples make no 3 folds: give 6 at least, or fit without"):
        fit(dataset=examples(3))
    with pytest.raises(OCDError, match=r"cross_fitting\.num_folds is 1: it must be at least 2"):
        OCDConfig().replace({"cross_fitting.num_folds": 1})


def test_a_base_that_has_seen_the_lessons_is_said() -> None:
    config = OCDConfig(layer="2").replace({"training.num_steps": 12, "denoiser.width": 32})
    ocd = OCD(network(), loss=loss, config=config)
    ocd.fit(examples(), progress=False, seen=True)
    assert any("the base was fitted on the lessons (seen=True)" in note for note in ocd.notes)
    ocd.fit(examples(), progress=False)
    assert not any("seen=True" in note for note in ocd.notes)
