"""Datasets with named columns, and what predict takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ocd import OCD, Columns, Examples, OCDConfig
from ocd.data import Unseen, as_dataset, as_inputs, fetch_rows
from ocd.errors import OCDError

ROWS = [{"x": [float(i), 1.0], "mask": [1, 0], "y": i % 3, "text": "word"} for i in range(8)]
INDEX = torch.tensor([5, 2])


def hub_dataset(rows: list[dict[str, Any]] = ROWS) -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(rows)


@pytest.mark.parametrize("make", [lambda: ROWS, hub_dataset], ids=["list of dicts", "datasets.Dataset"])
def test_columns_by_name(make: Any) -> None:
    one = Columns(make(), inputs="x", target="y")
    inputs, targets = fetch_rows(one, INDEX)
    assert inputs.tolist() == [[5.0, 1.0], [2.0, 1.0]] and inputs.dtype == torch.float32
    assert targets.tolist() == [2, 2] and targets.dtype == torch.int64
    several = Columns(make(), inputs=["x", "mask"], target=["y", "mask"])
    inputs, targets = fetch_rows(several, INDEX)
    assert set(inputs) == {"x", "mask"} and set(targets) == {"y", "mask"}
    assert len(one) == 8


def test_columns_in_pytorch_format() -> None:
    dataset = hub_dataset().with_format("torch")
    inputs, _ = fetch_rows(Columns(dataset, inputs="x", target="y"), INDEX)
    assert torch.equal(inputs, torch.tensor([[5.0, 1.0], [2.0, 1.0]]))


def padded(pairs: list[tuple[list[int], int]]) -> tuple[dict[str, Tensor], Tensor]:
    lengths = torch.tensor([len(tokens) for tokens, _ in pairs])
    tokens = nn.utils.rnn.pad_sequence([torch.tensor(t) for t, _ in pairs], batch_first=True)
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    return {"tokens": tokens, "mask": mask}, torch.tensor([label for _, label in pairs])


TEXTS = [{"tokens": list(range(1, 2 + i % 4)), "label": i % 3} for i in range(30)]


def test_columns_of_uneven_length() -> None:
    with pytest.raises(OCDError, match="'tokens' holds no numbers of one shape.* pad uneven lengths"):
        fetch_rows(Columns(TEXTS, "tokens", "label"), INDEX)
    inputs, targets = fetch_rows(Columns(TEXTS, "tokens", "label", padded), INDEX)
    assert inputs["mask"].tolist() == [[1, 1, 0], [1, 1, 1]] and targets.tolist() == [2, 2]


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(OCDError, match="no column 'tokenz'; did you mean 'tokens'"):
        Columns(TEXTS, "tokenz", "label")
    with pytest.raises(OCDError, match="'text' holds no numbers"):
        fetch_rows(Columns(ROWS, "text", "y"), INDEX)


def test_a_dataset_with_columns_says_what_to_do() -> None:
    with pytest.raises(OCDError, match="columns x, mask, y, text .* use Columns"):
        as_dataset(hub_dataset())


def test_frames_and_arrays_become_tensors() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "t": [0, 1]})
    examples = Examples(frame[["a", "b"]], frame["t"])
    assert examples.inputs.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert examples.inputs.dtype == torch.float32 and examples.targets.dtype == torch.int64
    assert as_inputs(np.ones((2, 3))).dtype == torch.float32
    assert as_inputs(torch.ones(2, 3).double()).dtype == torch.float64  # as it was given
    with pytest.raises(OCDError, match="inputs are a DataFrame"):
        as_inputs(pd.DataFrame({"a": ["x", "y"]}))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        weights = mask[..., None] / mask.sum(1)[:, None, None]
        return self.head((self.embed(tokens) * weights).sum(1))


def test_texts_of_uneven_length_from_fit_to_predict() -> None:
    torch.manual_seed(0)
    config = OCDConfig(layer="head").replace({"training.num_steps": 3})
    base = Words()
    loss = nn.CrossEntropyLoss(reduction="none")
    pairs = [(row["tokens"], row["label"]) for row in TEXTS]
    fits = {
        "columns": lambda ocd: ocd.fit(Columns(TEXTS, "tokens", "label", padded), progress=False),
        "collate": lambda ocd: ocd.fit(pairs, progress=False, collate=padded),
        "loader": lambda ocd: ocd.fit(DataLoader(pairs, collate_fn=padded), progress=False),
    }
    unseen = {
        "columns": lambda ocd: ocd.predict(Columns(TEXTS, "tokens", None, padded), draws=2),
        "collate": lambda ocd: ocd.predict(pairs, draws=2, collate=padded),
        "loader": lambda ocd: ocd.predict(DataLoader(pairs, collate_fn=padded), draws=2),
    }
    found = {}
    for name, fit in fits.items():
        ocd = fit(OCD(base, loss=loss, config=config))
        found[name] = unseen[name](ocd)
    alone = [base(**padded([pair])[0])[0] for pair in pairs]
    assert found["columns"].base is not None
    torch.testing.assert_close(found["columns"].base, torch.stack(alone).detach(), rtol=1e-4, atol=1e-6)
    for other in ("collate", "loader"):
        torch.testing.assert_close(found[other].outputs, found["columns"].outputs)


INPUTS = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    "data",
    [
        INPUTS,
        INPUTS.numpy(),
        pd.DataFrame(INPUTS.numpy()),
        TensorDataset(INPUTS),
        TensorDataset(INPUTS, torch.zeros(6)),
        Examples(INPUTS, torch.zeros(6)),
        [(row, 0) for row in INPUTS],
        DataLoader(TensorDataset(INPUTS, torch.zeros(6)), batch_size=4, shuffle=True),
        Columns([{"x": row, "y": 0} for row in INPUTS], "x"),
    ],
    ids=["tensor", "array", "frame", "inputs alone", "pairs", "examples", "list", "loader", "columns"],
)
def test_what_is_predicted_for_comes_in_order(data: Any) -> None:
    unseen = Unseen(data)
    assert len(unseen) == 6
    rows = torch.cat([unseen.rows(slice(start, start + 4)) for start in (0, 4)])
    assert torch.equal(rows, INPUTS)


def test_a_label_is_not_even_looked_at() -> None:
    class Guarded(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index)[0], Untouchable()

    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError("the label was looked at")

    def inputs_alone(rows: list[Any]) -> Tensor:
        return torch.stack([row for row, _ in rows])

    unseen = Unseen(Guarded(INPUTS, torch.zeros(6)), inputs_alone)
    assert torch.equal(unseen.rows(slice(0, 6)), INPUTS)
