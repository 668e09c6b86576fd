"""The base is asked once for each example of a fit that does not augment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig
from ocd.base import FrozenBase
from ocd.lessons import memory as memory_module
from ocd.lessons.memory import BaseMemory

ASKED: list[Tensor] = []


class Front(nn.Module):
    """Writes down what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        ASKED.append(x.detach().clone())
        return torch.tanh(self.fc(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front, self.a, self.b, self.head = (
            Front(),
            nn.Linear(8, 8),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.front(x)
        return self.head(hidden + self.b(torch.relu(self.a(hidden))))


LOSS = nn.CrossEntropyLoss(reduction="none")


def data(count: int) -> Examples:
    torch.manual_seed(1)
    return Examples(torch.randn(count, 4), torch.arange(count) % 3)


def base() -> Block:
    torch.manual_seed(0)
    return Block()


def fit(layer: str, count: int = 120, folder: Path | None = None, **settings: Any) -> OCD:
    config = OCDConfig(layer=layer).replace({"training.num_steps": 30, **settings})
    return OCD(base(), loss=LOSS, config=config).fit(data(count), folder, progress=False)


def rows_asked(examples: Examples) -> list[int]:
    """How often each example was asked for in a batch of more than six: trials on two draws of three
    examples do not count."""
    seen = torch.cat([x for x in ASKED if len(x) > 6])
    return [int((seen == row).all(1).sum()) for row in examples.inputs]


@pytest.mark.parametrize("layer", ["head", "b", "a"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_every_example_is_asked_for_once(layer: str, weight: float) -> None:
    ASKED.clear()
    ocd = fit(layer, **{"training.task_loss_weight": weight})
    assert set(rows_asked(data(120))) == {1}
    assert ocd.notes[-1] == "base passes: 120 examples asked of 120, each once"
    assert "deltas kept in a store: examples are not augmented" in "\n".join(ocd.notes)


def test_the_number_of_steps_does_not_matter() -> None:
    counts = []
    for steps in (10, 40):
        ASKED.clear()
        fit("b", **{"training.num_steps": steps, "training.task_loss_weight": 1.0})
        counts.append(sum(len(x) for x in ASKED))
    assert counts[0] == counts[1]


def test_an_interrupted_fit_goes_on_with_what_the_store_holds(tmp_path: Path) -> None:
    whole = fit("b", folder=tmp_path / "whole")
    fit("b", folder=tmp_path / "part")
    (tmp_path / "part" / "checkpoint" / "training.pt").unlink()
    (tmp_path / "part" / "checkpoint" / "config.json").unlink()
    ASKED.clear()
    again = fit("b", folder=tmp_path / "part")
    inputs = data(10).inputs
    assert torch.equal(again.predict(inputs).outputs, whole.predict(inputs).outputs)


def kept(frozen: FrozenBase, examples: Examples) -> BaseMemory:
    def fetch(index: Tensor) -> Tensor:
        return examples.inputs[index]  # type: ignore[index, return-value]

    return BaseMemory(len(examples), fetch)


def test_what_does_not_fit_into_memory_is_kept_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = data(40)
    frozen = FrozenBase(base(), "b")
    index = torch.tensor([7, 3, 20])
    inside = kept(frozen, examples).capture(frozen, index)
    monkeypatch.setattr(memory_module, "free_memory", lambda: 0)
    in_files = kept(frozen, examples)
    assert torch.equal(in_files.capture(frozen, index).output, inside.output)
    assert in_files._folder is not None and list(Path(in_files._folder.name).iterdir())
    monkeypatch.setattr(memory_module, "free_disk", lambda: 0)
    not_kept = kept(frozen, examples)
    assert torch.equal(not_kept.capture(frozen, index).output, inside.output)
    not_kept.capture(frozen, index)
    assert not_kept.note() == (
        "base passes: 9 examples asked of 40: what the base says is too large to be kept"
    )


def test_another_layer_starts_anew() -> None:
    examples = data(10)
    one, other = FrozenBase(base(), "b"), FrozenBase(base(), "a")
    memory = kept(one, examples)
    first = memory.capture(one, torch.arange(4))
    second = memory.capture(other, torch.arange(4))
    assert first.layer_output.shape == second.layer_output.shape
    assert not torch.allclose(first.layer_output, second.layer_output)
