"""Answers of any form: packed into one tensor for the engine, and given back whole to the loss."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig, overfit
from ocd.base import FrozenBase, Outputs, probe
from ocd.errors import OCDError


class Pair(NamedTuple):
    scores: Tensor
    boxes: Tensor


@dataclass
class Answer:
    scores: Tensor
    boxes: Tensor
    name: str = "kept"


FORMS = {
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
    "named tuple": Pair,
    "dict": lambda a, b: {"scores": a, "boxes": b},
    "ordered dict": lambda a, b: OrderedDict(scores=a, boxes=b),
    "dataclass": Answer,
    "nested": lambda a, b: {"heads": (a, {"box": b})},
}


def parts_of(answer: Any) -> tuple[Tensor, Tensor]:
    """Scores and boxes of an answer in any of these forms."""
    if isinstance(answer, Answer):
        return answer.scores, answer.boxes
    if isinstance(answer, dict):
        if "heads" in answer:
            return answer["heads"][0], answer["heads"][1]["box"]
        return answer["scores"], answer["boxes"]
    return answer[0], answer[1]


class Detector(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.body, self.head, self.box = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 4)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        hidden = torch.tanh(self.body(x))
        return FORMS[self.form](self.head(hidden), self.box(hidden).view(-1, 2, 2))


def loss(answer: Any, target: dict[str, Tensor]) -> Tensor:
    scores, boxes = parts_of(answer)
    classes = nn.functional.cross_entropy(scores, target["label"], reduction="none")
    return classes + (boxes - target["box"]).square().mean((1, 2))


def examples(count: int) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    box = torch.randn(count, 2, 2)
    return torch.randn(count, 5), {"label": torch.arange(count) % 3, "box": box}


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_is_rebuilt_as_it_was(form: str) -> None:
    scores, boxes = torch.randn(4, 3), torch.randn(4, 2, 2)
    answer, outputs = FORMS[form](scores, boxes), Outputs()
    packed = outputs.pack(answer, rows=4)
    assert packed.shape == (4, 7)
    again = outputs.unpack(packed)
    assert type(again) is type(answer)
    assert all(torch.equal(one, two) for one, two in zip(parts_of(again), (scores, boxes), strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_deltas_are_those_of_a_loop_over_copies(form: str) -> None:
    inputs, targets = examples(5)
    base = Detector(form)
    deltas = overfit(base, "body", loss, inputs, targets, steps=2, lr=0.1)
    for i in range(5):
        moved = copy.deepcopy(base)
        optimizer = torch.optim.SGD([moved.body.weight], lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            one = {name: part[i : i + 1] for name, part in targets.items()}
            loss(moved(inputs[i : i + 1]), one).sum().backward()
            optimizer.step()
        expected = (moved.body.weight - base.body.weight).detach()
        torch.testing.assert_close(deltas.dense()[i], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "shape"),
    [(None, (3,)), ("boxes", (2, 2)), ("scores", (3,)), (lambda answer: answer["boxes"][:, 0], (2,))],
    ids=["first", "boxes", "scores", "function"],
)
def test_predictions_hold_what_is_named(output: Any, shape: tuple[int, ...]) -> None:
    inputs, targets = examples(30)
    base = Detector("dict")
    config = OCDConfig(layer="body").replace({"training.num_steps": 3})
    ocd = OCD(base, loss=loss, config=config, output=output)
    ocd.fit(Examples(inputs, targets), progress=False)
    said = [
        note for note in ocd.notes if note.startswith("output: predictions hold 'scores', the first")
    ]
    assert len(said) == (output is None) and all("names another (boxes)" in note for note in said)
    prediction = ocd.predict(inputs[:4], draws=3)
    assert prediction.outputs.shape == (3, 4, *shape)
    own = base(inputs[:4])
    expected = output(own) if callable(output) else own[output or "scores"]
    assert prediction.base is not None
    torch.testing.assert_close(prediction.base, expected.detach(), rtol=1e-5, atol=1e-6)


def test_of_one_tensor_nothing_has_to_be_said() -> None:
    outputs = Outputs()
    outputs.pack({"scores": torch.randn(4, 3), "steps": torch.arange(4)}, rows=4)
    assert outputs.note() is None
    outputs.pack(torch.randn(4, 3), rows=4)
    assert outputs.note() is None


def test_augmented_targets_of_several_tensors_survive_the_store() -> None:
    inputs, targets = examples(20)
    config = OCDConfig(layer="body").replace(
        {"training.num_steps": 3, "collection.storage": "store", "overfit.lr": 0.1}
    )

    def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    ocd = OCD(Detector("tuple"), loss=loss, config=config, transform=noisy)
    ocd.fit(Examples(inputs, targets), progress=False)
    assert ocd.predict(inputs[:2], draws=2).outputs.isfinite().all()


class Extras(nn.Module):
    """Answers with a weight that has as many rows as a batch may have, whole numbers, and others."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        logits = self.fc(x)
        best, wide = logits.argmax(1), logits.argmax(1) + 2**20
        others = {"mean": logits.mean(), "none": None, "version": 3, "weight": self.fc.weight}
        return {"logits": logits, "best": best, "wide": wide, "mask": best > 0} | others


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_only_what_has_a_row_for_each_example_is_an_examples(batch: int) -> None:
    base = Extras()
    frozen, inputs = FrozenBase(base, "fc"), torch.randn(batch, 4)
    answer = frozen.outputs.unpack(frozen.answer(inputs))
    own = base(inputs)
    for name in ("logits", "best", "wide", "mask"):
        assert torch.equal(answer[name], own[name]) and answer[name].dtype == own[name].dtype
    assert answer["weight"] is None and answer["mean"] is None and answer["version"] == 3


def test_whole_numbers_that_single_precision_cannot_hold_are_refused() -> None:
    outputs = Outputs()
    packed = outputs.pack((torch.ones(2, 1), torch.tensor([2**24 + 1, 1])), rows=2)
    with pytest.raises(OCDError, match="'1' of the base's answer has whole numbers"):
        outputs.unpack(packed)


def test_draws_are_joined_part_by_part() -> None:
    outputs = Outputs("a")
    a, n = torch.randn(3, 2, 4), torch.tensor([[1, 2], [5, 6], [7, 8]])
    packed = torch.stack(
        [outputs.pack({"b": a[k] + 1, "a": a[k], "n": n[k]}, rows=2) for k in range(3)]
    )
    joined = outputs.unpack(outputs.joined(packed, lambda draws: draws.amax(0)))
    assert torch.equal(joined["a"], a.amax(0))
    torch.testing.assert_close(joined["b"], (a + 1).mean(0))
    assert torch.equal(joined["n"], n[0])


class Lines(nn.Module):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.fc, self.answer = nn.Linear(2, 2), answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.fc(x))


@pytest.mark.parametrize(
    ("answer", "output", "message"),
    [
        (lambda y: {"logits": y}, "logit", "no floating tensor 'logit'; did you mean 'logits'"),
        (
            lambda y: {"best": y.argmax(1)},
            None,
            "returns a dict that has no tensor with a row for each",
        ),
        (lambda y: "text", None, "returns a str that has no tensor"),
        (lambda y: {"logits": y}, lambda answer: answer["logits"].sum(), "it must give a row for each"),
        (
            lambda y: {"logits": y},
            lambda answer: answer["logits"].argmax(1),
            "must give floating numbers",
        ),
        (lambda y: y.sum(), None, "shape \\(\\) for 3 examples"),
    ],
)
def test_an_answer_of_no_use_is_refused_in_one_line(answer: Any, output: Any, message: str) -> None:
    frozen = FrozenBase(Lines(answer), "fc", outputs=Outputs(output))
    with pytest.raises(OCDError, match=message) as error:
        probe(frozen, torch.randn(3, 2))
    assert "\n" not in str(error.value)


def test_an_output_that_is_neither_name_nor_function() -> None:
    with pytest.raises(OCDError, match="output is a int"):
        OCD(nn.Linear(2, 2), output=3)  # type: ignore[arg-type]
