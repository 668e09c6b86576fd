"""What draws are for: the user's loss says whether outputs are the target itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helpers import config
from ocd import OCD, Examples, OCDError
from ocd.fitting.goal import settled_goal
from ocd.lessons import Problem


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


INPUTS = normal(120, 4)
NUMBERS = torch.stack([INPUTS[:, 0] * INPUTS[:, 1], 2 * INPUTS[:, 2], INPUTS[:, 3].abs()], dim=1)
NUMBERS = NUMBERS + 0.3 * normal(120, 3, seed=1)
LABELS = (NUMBERS > 0).float()
SOFT = NUMBERS.softmax(dim=1)
COUNTS = NUMBERS.exp().floor()
HOLES = NUMBERS.masked_fill(normal(120, 3, seed=2) > 1, torch.nan)


def network(num_outputs: int = 3) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, num_outputs))


def learnt(loss, targets: Tensor) -> nn.Module:
    base = network()
    optimizer = torch.optim.Adam(base.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss(base(INPUTS), targets).mean().backward()
        optimizer.step()
    return base


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(dim=1)


def masked(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets.nan_to_num()) * (~targets.isnan())).square().mean(dim=1)


def penalised(outputs: Tensor, targets: Tensor) -> Tensor:
    return squared(outputs, targets) + 1e-4 * outputs.square().mean(dim=1)


def logits(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none").mean(dim=1)


def probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy(outputs, targets, reduction="none").mean(dim=1)


def classes(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def log_rate(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.poisson_nll_loss(outputs, targets, reduction="none").mean(dim=1)


def standardised(outputs: Tensor, targets: Tensor) -> Tensor:
    return (3 * outputs + 1 - targets).abs().mean(dim=1)


def cosine(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(outputs, targets, dim=1)


def differences(outputs: Tensor, targets: Tensor) -> Tensor:
    return squared(outputs.diff(dim=1), targets.diff(dim=1))


def best_order(outputs: Tensor, targets: Tensor) -> Tensor:
    orders = ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    return torch.stack([squared(outputs[:, order], targets) for order in orders]).amin(dim=0)


def of_two_columns(outputs: Tensor, targets: Tensor) -> Tensor:
    return squared(outputs[:, :2], targets[:, :2])


def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
    error = targets - outputs
    return torch.maximum(0.7 * error, -0.3 * error).mean(dim=1)


IS_TARGET = {
    "numbers": (squared, NUMBERS), "numbers with holes": (masked, HOLES),
    "a small penalty": (penalised, NUMBERS), "a pinball": (pinball, NUMBERS),
    "a column that does not vary": (squared, NUMBERS * torch.tensor([1.0, 1.0, 0.0])),
}  # fmt: skip
IS_NOT = {
    "logits of labels": (logits, LABELS), "logits of soft labels": (classes, SOFT),
    "log rates of counts": (log_rate, COUNTS), "numbers in another unit": (standardised, NUMBERS),
    "directions": (cosine, NUMBERS), "differences": (differences, NUMBERS),
    "numbers in any order": (best_order, NUMBERS), "two of three numbers": (of_two_columns, NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize(("loss", "targets"), IS_TARGET.values(), ids=list(IS_TARGET))
def test_auto_takes_a_distribution_of_outputs_that_are_the_target(loss, targets, is_trained):
    base = learnt(loss, targets) if is_trained else network()
    kind, note = settled_goal("auto", Problem(base, loss, Examples(INPUTS, targets)), "2")
    assert kind == "distribution"
    assert note == "goal: distribution (auto), since by the loss outputs are the target"


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize(("loss", "targets"), IS_NOT.values(), ids=list(IS_NOT))
def test_auto_takes_the_answer_of_outputs_that_only_have_its_shape(loss, targets, is_trained):
    base = learnt(loss, targets) if is_trained else network()
    problem = Problem(base, loss, Examples(INPUTS, targets))
    kind, note = settled_goal("auto", problem, "2")
    assert kind == "answer"
    assert note is not None and note.startswith("goal: answer (auto), since outputs may not be")
    kind, note = settled_goal("distribution", problem, "2")  # it is asked for
    assert kind == "distribution"
    assert note is not None and "draws are compared with what they are not" in note
    assert settled_goal("answer", problem, "2") == ("answer", None)


def test_outputs_that_are_probabilities_are_tried_as_such_alone():
    base = nn.Sequential(network(), nn.Sigmoid())
    kind, _ = settled_goal("auto", Problem(base, probabilities, Examples(INPUTS, LABELS)), "0.2")
    assert kind == "distribution"


class TwoAnswers(nn.Module):
    """An answer `z` that no loss looks at, before the one that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.z, self.mu = nn.Linear(4, 16), nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.first(inputs).tanh()
        return {"z": self.z(hidden), "mu": self.mu(hidden)}


@pytest.mark.parametrize(("output", "wanted"), [(None, "answer"), ("mu", "distribution")])
def test_of_several_answers_that_one_is_tried_which_predictions_hold(output, wanted):
    torch.manual_seed(0)
    made = OCD(
        TwoAnswers(),
        loss=lambda outputs, targets: squared(outputs["mu"], targets),
        config=config({"layer": "first", "goal": "auto", "training.num_steps": 20}),
        output=output,
    )
    made.fit(Examples(INPUTS, NUMBERS), progress=False)
    (note,) = [note for note in made.notes if note.startswith("goal")]
    assert note.startswith(f"goal: {wanted} (auto)")
    (sampling,) = [note for note in made.notes if note.startswith("sampling")]
    assert ("draws are a distribution" in sampling) == (wanted == "distribution")


def test_a_loss_that_does_not_take_targets_in_the_outputs_place_asks_for_the_answer():
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if torch.equal(outputs, targets):
            raise RuntimeError("no such outputs")
        return squared(outputs, targets)

    kind, note = settled_goal("auto", Problem(network(), loss, Examples(INPUTS, NUMBERS)), "2")
    assert kind == "answer"
    assert note is not None and "does not take targets in their place (RuntimeError)" in note


def fit(base: nn.Module, loss, targets: Tensor) -> OCD:
    settings = {"layer": "2", "goal": "distribution", "overfit.lr": 0.05, "training.num_steps": 20}
    return OCD(base, loss=loss, config=config(settings)).fit(Examples(INPUTS, targets), progress=False)


@pytest.mark.parametrize("dtype", [torch.long, torch.bool])
def test_one_column_of_outputs_is_no_classes(dtype, monkeypatch):
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return logits(outputs, targets.float()[:, None])

    monkeypatch.setattr("ocd.lessons.curriculum.collect_lessons", None)  # it ends before long work
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(OCDError, match=rf"no score is known for these targets, {name} \(B,\)"):
        fit(network(1), loss, LABELS[:, 0].to(dtype))


def test_numbers_beyond_the_columns_are_no_classes():
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:  # mean and log variance
        return F.gaussian_nll_loss(
            outputs[:, 0], targets.float(), outputs[:, 1].exp(), reduction="none"
        )

    with pytest.raises(OCDError, match=r"none of 120 targets \(7 to 9\) is a class of the 2 columns"):
        fit(network(2), loss, 7 + torch.arange(120) % 3)


def test_booleans_are_classes_of_two_columns():
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return classes(outputs, targets.long())

    truths, numbers = (fit(network(2), loss, LABELS[:, 0].to(t)) for t in (torch.bool, torch.long))
    assert any("by the log score" in note for note in truths.notes)
    assert torch.equal(truths.predict(INPUTS).outputs, numbers.predict(INPUTS).outputs)


def test_ignored_classes_are_not_scored_and_counted():
    targets = torch.arange(120) % 3
    targets[::2] = -100
    made = fit(network(), classes, targets)
    (note,) = [note for note in made.notes if note.startswith("sampling")]
    assert "by the log score" in note and "of which nothing is known" in note
    assert "nan" not in note and "inf" not in note
