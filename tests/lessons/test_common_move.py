"""The common move: found by fine-tuning, taken where it gains on lessons that it was not fitted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig, OCDError
from ocd.base import DenseDelta, FrozenBase, probe
from ocd.fitting import steps
from ocd.lessons import Overfitter, Problem, Workdir, common_move, find_common_move, groups_of

UNBOUNDED = 2**62
TRIAL, CONFIDENCE = steps.TRIAL_STEPS, common_move.CONFIDENCE


@pytest.fixture(autouse=True)
def _fits_are_no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in the tests no common move is looked for (small_run.py)."""
    monkeypatch.setattr(steps, "TRIAL_STEPS", TRIAL)
    monkeypatch.setattr(common_move, "CONFIDENCE", CONFIDENCE)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).eval()


def labelled(count: int, seed: int, factor: float = 3.0) -> Examples:
    """Inputs, and labels drawn from what a fixed network says, times `factor`."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 6, generator=generator)
    with torch.no_grad():
        probabilities = (factor * network(7)(inputs)).softmax(dim=1)
    return Examples(inputs, torch.multinomial(probabilities, 1, generator=generator)[:, 0])


def problem_of(base: nn.Module, examples: Examples, layer: str = "2") -> tuple[Problem, FrozenBase]:
    problem = Problem(base, loss, examples)
    frozen = problem.frozen_at(layer)
    probe(frozen, examples.inputs)
    return problem, frozen


def found(base: nn.Module, examples: Examples, use: str = "auto", layer: str = "2"):
    problem, frozen = problem_of(base, examples, layer)
    groups = groups_of(problem, frozen, 3, seed=0)
    return find_common_move(groups, use, 0, 0, UNBOUNDED, progress=False), groups


@pytest.mark.parametrize("layer", ["0", "2"])
def test_a_base_with_much_to_learn_has_one_and_it_helps_on_new_examples(layer: str) -> None:
    base, new = network(1), labelled(1000, seed=2)
    move, groups = found(base, labelled(1500, seed=1), layer=layer)
    assert move.delta is not None and move.of_others is not None
    assert move.delta.shape == groups[0].frozen.weight_shape
    assert move.of_others.shape == (3, *move.delta.shape)
    moved = FrozenBase(base, layer, groups[0].frozen.way, start=move.delta)
    before, after = (
        loss(answer, new.targets).mean() for answer in (base(new.inputs), moved.answer(new.inputs))
    )
    assert after < 0.95 * before
    assert move.note.startswith("common move: taken")


def test_too_few_groups_are_named_as_the_reason() -> None:
    """A large gain on many examples of a few groups says nothing beyond doubt, and the note why."""
    examples = labelled(1500, seed=1)
    problem = replace(Problem(network(1), loss, examples), belongs=torch.arange(1500) // 150)
    frozen = problem.frozen_at("2")
    probe(frozen, examples.inputs)
    groups = groups_of(problem, frozen, 3, seed=0)
    move = find_common_move(groups, "auto", 0, 0, UNBOUNDED, progress=False)
    assert move.delta is None
    assert move.note.endswith("; they are 10 groups, and 16 are needed to say")


def test_a_base_that_answers_by_the_rule_has_none() -> None:
    rule = nn.Sequential(*network(7), Times(3.0)).eval()
    move, _ = found(rule, labelled(300, seed=1))
    assert move.delta is None and move.note.startswith("common move: none")


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_the_moves_of_others_do_not_know_their_own_group() -> None:
    """Other labels of one group change the moves of all groups but its own."""
    base, examples = network(1), labelled(90, seed=1)
    one, groups = found(base, examples, "always")
    changed = examples.targets.clone()
    changed[groups[1].index] = (changed[groups[1].index] + 1) % 4
    problem, frozen = problem_of(base, Examples(examples.inputs, changed))
    search = common_move._Search(groups_of(problem, frozen, 3, seed=0), 0, 0)
    own, frozen = problem_of(base, examples)
    like = common_move._Search(groups_of(own, frozen, 3, seed=0), 0, 0)
    for step in (1, 2, 3):
        search._step(step)
        like._step(step)
    for own, other in zip(like.moves, search.moves, strict=True):
        same = [torch.equal(a, b) for a, b in zip(own, other, strict=True)]
        assert same == [False, True, False, False]
    assert one.of_others is not None


def test_every_move_is_that_of_plain_fine_tuning() -> None:
    """All moves at once, as draws of one batch, against a copy of the layer for each."""
    base, examples = network(1), labelled(60, seed=1)
    problem, frozen = problem_of(base, examples)
    groups = groups_of(problem, frozen, 3, seed=0)
    search = common_move._Search(groups, 0, 0)
    drawn = []
    captured = search._captured

    def watched(group, index, generator, augmented):
        drawn[-1].append((group, index))
        return captured(group, index, generator, augmented)

    search._captured = watched
    for step in (1, 2, 3, 4):
        drawn.append([])
        search._step(step)
    for rate, moves in zip(common_move.RATES, search.moves, strict=True):
        size = float(base[2].weight.square().mean().sqrt())
        for number in range(4):
            weight = base[2].weight.detach().clone().requires_grad_()
            plain = torch.optim.Adam([weight], lr=rate * size)
            for batch in drawn:
                total = 0.0
                for group, index in batch:
                    if number < 3 and group is groups[number]:
                        continue
                    hidden = base[1](base[0](examples.inputs[index])).detach()
                    outputs = F.linear(hidden, weight, base[2].bias.detach())
                    total = total + loss(outputs, examples.targets[index]).sum() / search.batch
                plain.zero_grad()
                total.backward()
                plain.step()
            expected = weight.detach() - base[2].weight.detach()
            assert torch.allclose(moves[number].detach(), expected, rtol=1e-3, atol=1e-6)


def fit(examples: Examples, folder: Path | None = None, **settings) -> OCD:
    values = {"layer": "2", "training.num_steps": 30, "denoiser.width": 32} | settings
    ocd = OCD(network(1), loss=loss, config=OCDConfig().replace(values))
    return ocd.fit(examples, folder, progress=False)


def test_the_generator_starts_from_it_and_the_base_stays(tmp_path: Path) -> None:
    examples = labelled(300, seed=1)
    ocd = fit(examples, tmp_path, **{"sampling.scale_factor": 1.0})
    assert ocd.frozen is not None and ocd.frozen.start is not None
    start = ocd.frozen.start
    new = labelled(50, seed=2).inputs
    p = ocd.predict(new, draws=3)
    assert torch.allclose(p.base, ocd.base(new), atol=1e-5)
    capture, embedding = ocd.embed(new)
    fitted = ocd.generator()
    codes = fitted.network.draw_codes(embedding, fitted.noise(new, 0, 3))
    own = fitted.decode(codes, capture).dense()
    hidden = ocd.base[1](ocd.base[0](new))
    weights = ocd.base[2].weight + start + own
    expected = torch.einsum("bi,bkoi->kbo", hidden, weights) + ocd.base[2].bias
    assert torch.allclose(p.outputs, expected, atol=1e-4)
    loaded = OCD.from_pretrained(tmp_path / "checkpoint", network(1))
    assert torch.equal(loaded.predict(new, draws=3).outputs, p.outputs)


def test_lessons_of_a_group_start_from_the_move_of_the_others(tmp_path: Path) -> None:
    examples = labelled(90, seed=1)
    ocd = fit(examples, tmp_path, common_move="always")
    _, source = ocd.lessons(examples, Workdir(tmp_path, context={"seed": 0}))
    lessons = source.rows(torch.arange(len(source.examples)), torch.Generator())
    index = source.examples
    assert sorted(index.tolist()) == list(range(90))
    for where, overfitter, part in lessons.by_base(source.overfitter):
        start = overfitter.problem.start
        assert start is not None
        copy = network(1)
        copy[2].weight.data += start
        frozen = FrozenBase(copy, "2")
        probe(frozen, part.inputs)
        plain = Overfitter(Problem(copy, loss, examples), frozen, overfitter.config)
        own = plain.overfit(part.inputs, part.targets).dense()
        assert part.delta is not None and lessons.delta is not None
        assert torch.allclose(part.delta.dense(), own, atol=1e-5)
        assert torch.allclose(lessons.delta.dense()[where], own, atol=1e-5)
        assert torch.equal(lessons.targets[where], part.targets)


@pytest.mark.parametrize("tied", [False, True])
def test_a_start_moves_the_layer_wherever_it_is_used(tied: bool) -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)).eval()
    if tied:
        base[2].weight = base[0].weight
    start, x = torch.randn(5, 5), torch.randn(7, 5)
    frozen = FrozenBase(base, "0", start=start)
    probe(frozen, x)
    before = base[0].weight.detach().clone()
    copy = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)).eval()
    copy.load_state_dict(base.state_dict())
    for place in (0, 2) if tied else (0,):
        copy[place].weight.data += start
    assert torch.allclose(frozen.answer(x), copy(x), atol=1e-6)
    capture = frozen.capture(x)
    assert torch.allclose(frozen.own_output(capture), base(x), atol=1e-5)
    delta = torch.randn(7, 2, 5, 5)
    expected = []
    for row, deltas in zip(x, delta, strict=True):
        for one in deltas:
            moved = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)).eval()
            moved.load_state_dict(copy.state_dict())
            for place in (0, 2) if tied else (0,):
                moved[place].weight.data += one
            expected.append(moved(row[None]))
    outputs = frozen.run(capture, DenseDelta(delta))
    assert torch.allclose(outputs.flatten(0, 1), torch.cat(expected), atol=1e-4)
    assert torch.equal(base[0].weight, before)


def test_an_interrupted_fit_keeps_its_move(tmp_path: Path, monkeypatch) -> None:
    examples = labelled(300, seed=1)
    whole = fit(examples, tmp_path / "whole")

    def stop(self, progress=True):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ocd.lessons.curriculum.Curriculum.collect", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(examples, tmp_path / "part")
    with monkeypatch.context() as patch:  # it is read, not looked for again
        patch.setattr("ocd.lessons.curriculum.find_common_move", None)
        again = fit(examples, tmp_path / "part")
    x = labelled(20, seed=3).inputs
    assert torch.equal(whole.predict(x).outputs, again.predict(x).outputs)


def test_settings_say_whether_it_is_looked_for() -> None:
    examples = labelled(300, seed=1)
    assert fit(examples, common_move="never").frozen.start is None
    assert fit(examples, **{"training.num_steps": 3}).frozen.start is None  # a trial
    with pytest.raises(OCDError, match="common_move is 'no': use one of auto, always, never"):
        OCDConfig(common_move="no")


def test_a_dear_search_is_not_begun(monkeypatch) -> None:
    monkeypatch.setattr(common_move, "FLOPS", 1e-9)
    ocd = fit(labelled(300, seed=1))
    assert any("not looked for" in note for note in ocd.notes) and ocd.frozen.start is None


def test_losses_that_are_not_finite_do_not_decide() -> None:
    examples = labelled(300, seed=1)
    inputs = examples.inputs.clone()
    inputs[5] = torch.nan
    move, _ = found(network(1), Examples(inputs, examples.targets))
    assert move.delta is not None and move.delta.isfinite().all()


def test_groups_are_all_examples_once() -> None:
    problem, frozen = problem_of(network(1), labelled(50, seed=1))
    groups = groups_of(problem, frozen, 3, seed=0)
    assert sorted(torch.cat([group.index for group in groups]).tolist()) == list(range(50))
