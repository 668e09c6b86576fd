"""The base is asked once for each example of a fit that does not augment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ocd import OCD, Examples, OCDConfig
from ocd.base import DenseDelta, FrozenBase, probe
from ocd.lessons import memory as memory_module
from ocd.lessons.batch_proof import BatchProof
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


def test_large_examples_are_asked_for_in_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = data(30)
    frozen = FrozenBase(base(), "b")
    probe(frozen, examples.inputs)
    frozen.front(examples.inputs)
    monkeypatch.setattr(memory_module, "MOST_ANSWERED", 7 * 8)  # the layer answers eight numbers
    memory = BaseMemory(30, lambda index: examples.inputs[index])
    ASKED.clear()
    found = memory.capture(frozen, torch.arange(30))
    assert max(len(rows) for rows in ASKED) == 7 and memory.asked == 30
    torch.testing.assert_close(found.output, base()(examples.inputs))


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
    found = not_kept.capture(frozen, index).output
    assert torch.allclose(found, inside.output, atol=1e-6)
    not_kept.capture(frozen, index)
    assert not_kept.note() == (
        "base passes: 46 examples asked of 40: what the base says is too large to be kept"
    )


class Scaling(nn.Module):
    """Brings a batch into the range of half precision, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.e(x)
        largest = hidden.abs().amax()
        return self.c(torch.tanh(self.b(hidden / largest) * largest))


class Trimming(nn.Module):
    """Leaves out positions that are padded in the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.b, self.c = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, : int((x > 0).sum(dim=1).max())]
        mask = (x > 0)[..., None]
        return self.c((torch.tanh(self.b(self.e(x))) * mask).sum(dim=1))


def numbers(count: int) -> Tensor:
    return torch.randn(count, 4)


def padded(count: int) -> Tensor:
    """Of eight tokens at first, then shorter; never all of a few as long as all of them."""
    lengths = torch.cat([torch.full((20,), 8), 1 + torch.arange(count - 20) % 6])
    return torch.randint(1, 20, (count, 8)) * (torch.arange(8) < lengths[:, None])


@pytest.mark.parametrize("size", [5, 20, 40])
@pytest.mark.parametrize(
    ("build", "layer", "inputs"),
    [(Scaling, "b", numbers), (Trimming, "b", padded), (Trimming, "c", padded)],
)
def test_what_depends_on_the_rest_of_the_batch_is_not_kept(
    build: type[nn.Module], layer: str, inputs: Any, size: int
) -> None:
    """Asked for in batches of `size`, then in others: each capture is as a new one."""
    torch.manual_seed(0)
    frozen, x = FrozenBase(build(), layer), inputs(40)
    probe(frozen, x)
    memory = kept(frozen, Examples(x, torch.zeros(40)))
    for part in torch.arange(40).split(size):
        memory.capture(frozen, part)
    delta = DenseDelta(0.1 * torch.randn(6, 1, *frozen.weight_shape))
    for part in torch.randperm(40)[:36].view(-1, 6):
        found, fresh = memory.capture(frozen, part), frozen.capture(x[part])
        for name in ("layer_input", "layer_output", "output"):
            torch.testing.assert_close(getattr(found, name), getattr(fresh, name))
        wanted = frozen.run_full(x[part], delta)
        torch.testing.assert_close(frozen.run(found, delta), wanted, rtol=1e-4, atol=1e-5)
    assert memory.note().endswith("what it computes of an example depends on the rest of the batch")


def test_rows_of_another_shape_are_not_kept() -> None:
    """Whatever the proof says: batches that differ in form never meet."""
    frozen, x = FrozenBase(Trimming(), "b"), padded(40)
    probe(frozen, x)
    memory = kept(frozen, Examples(x, torch.zeros(40)))
    memory._proof = BatchProof(memory.fetch, 40)
    memory._proof._extremes = lambda inputs: torch.zeros(0, dtype=torch.int64)  # type: ignore[method-assign]
    for part in torch.arange(40).split(20):
        assert (
            memory.capture(frozen, part).layer_input.shape == frozen.capture(x[part]).layer_input.shape
        )
    assert memory.note().endswith("depends on the rest of the batch")


def test_examples_that_are_not_finite_prove_nothing_and_are_kept() -> None:
    examples = data(40)
    examples.inputs[:3] = torch.nan  # type: ignore[index]
    frozen = FrozenBase(base(), "b")
    probe(frozen, examples.inputs)  # type: ignore[arg-type]
    memory = kept(frozen, examples)
    for index in (torch.arange(6), torch.arange(40), torch.tensor([9, 1, 30])):
        found = memory.capture(frozen, index)
        fresh = frozen.capture(examples.inputs[index])  # type: ignore[index]
        torch.testing.assert_close(found.output, fresh.output, equal_nan=True)
    assert memory.note() == "base passes: 40 examples asked of 40, each once"


def test_another_layer_starts_anew() -> None:
    examples = data(10)
    one, other = FrozenBase(base(), "b"), FrozenBase(base(), "a")
    memory = kept(one, examples)
    first = memory.capture(one, torch.arange(4))
    second = memory.capture(other, torch.arange(4))
    assert first.layer_output.shape == second.layer_output.shape
    assert not torch.allclose(first.layer_output, second.layer_output)
