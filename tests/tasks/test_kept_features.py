"""Features of a frozen body: computed once for each input, for these weights and no others."""

from __future__ import annotations

import copy
import sys
import threading
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from ocd.base import answers_anew, find_layer, keeps_answers, list_layers, private_view
from ocd.errors import OCDError
from ocd.lessons import select_layer
from ocd.tasks import body_digest, kept_features
from ocd.tasks.kept_features import KeptFeatures, kept_in


class Body(nn.Module):
    """Counts the rows that it is asked for."""

    rows = 0

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Body.rows += len(x)
        return self.fc(x).tanh()


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = KeptFeatures(Body())
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.front(x))


@pytest.fixture(autouse=True)
def nothing_kept():
    kept_features._FEATURES.clear()
    body_digest._KNOWN.clear()
    Body.rows = 0


@pytest.fixture
def base():
    torch.manual_seed(0)
    return Base().eval().requires_grad_(False)


def test_each_row_is_computed_once_also_on_views_and_copies(base):
    x = torch.randn(10, 3)
    wanted = base.head(base.front.body(x))
    Body.rows = 0
    for network in (base, private_view(base), copy.deepcopy(base)):
        assert torch.allclose(network(x), wanted)
        assert torch.allclose(network(x[3:5]), wanted[3:5])
    assert Body.rows == 10


def test_other_weights_have_other_features(base):
    x = torch.randn(4, 3)
    before = base(x)
    with torch.no_grad():
        base.front.body.fc.weight.mul_(2)
    after = base(x)
    assert not torch.allclose(before, after)
    assert torch.allclose(after, base.head(base.front.body(x)))


def test_gradients_and_train_mode_go_through_the_body(base):
    x = torch.randn(4, 3)
    base.front.requires_grad_(True)
    base(x).sum().backward()
    assert base.front.body.fc.weight.grad is not None
    base.requires_grad_(False).train()
    Body.rows = 0
    base(x), base(x)
    assert Body.rows == 8


def test_vmap_over_weights_behind_it(base):
    x, weights = torch.randn(5, 3), torch.randn(5, 2, 4)

    def answer(weight, row):
        return functional_call(base, {"head.weight": weight}, (row[None],))[0]

    found = vmap(answer)(weights, x)
    wanted = torch.stack([answer(*pair) for pair in zip(weights, x, strict=True)])
    assert torch.allclose(found, wanted, atol=1e-6)


def test_they_are_read_again_from_the_folder(base, tmp_path):
    x = torch.randn(6, 3)
    with kept_in(tmp_path):
        first = base(x)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    kept_features._FEATURES.clear()
    Body.rows = 0
    with kept_in(tmp_path):
        assert torch.equal(base(x), first)
    assert Body.rows == 0


def test_layers_inside_are_not_compared_and_cannot_be_named(base):
    assert list_layers(base) == ["head"]
    loss = nn.CrossEntropyLoss(reduction="none")
    x, y = torch.randn(8, 3), torch.randint(2, (8,))
    assert select_layer(base, loss, x, y).names == ["head"]
    with pytest.raises(OCDError, match="computed once for each input.*head"):
        find_layer(base, "front.body.fc")


def test_several_threads_get_the_features_of_their_own_inputs(base):
    inputs = torch.randn(400, 3)
    wanted = base.front.body(inputs)
    found: dict[int, torch.Tensor] = {}

    def ask(part: int) -> None:
        rows = inputs[part::4]
        found[part] = torch.cat([base.front(rows[k : k + 5]) for k in range(0, 100, 5)])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            kept_features._FEATURES.clear()
            threads = [threading.Thread(target=ask, args=(part,)) for part in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(found) == 4
            for part, answer in found.items():
                assert torch.allclose(answer, wanted[part::4], atol=1e-6)
            found.clear()
    finally:
        sys.setswitchinterval(before)


class Pooled(Body):
    """A body whose answers depend on more than its weights and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.pooling = "mean"
        self.config = types.SimpleNamespace(heads=2, scales=[1.0, 2.0])
        self.shift = torch.zeros(4)  # not a buffer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        factor = self.config.scales[1] * self.config.heads + (self.pooling == "mean")
        return super().forward(x) * factor + self.shift


CHANGES = {
    "an attribute": lambda body: setattr(body, "pooling", "cls"),
    "a configuration": lambda body: setattr(body.config, "heads", 4),
    "a list inside it": lambda body: body.config.scales.append(body.config.scales.pop() + 1),
    "a tensor that is no buffer": lambda body: body.shift.add_(1),
    "all of a weight by .data": lambda body: body.fc.weight.data.mul_(3),
    "a row of a weight by .data": lambda body: body.fc.weight.data[2].add_(1),
    "a weight by NumPy": lambda body: np.copyto(body.fc.weight.numpy(), 0.5),
    "the tensor of a weight": lambda body: setattr(body.fc.weight, "data", torch.ones(4, 3)),
    "one number, counted": lambda body: body.fc.weight[1, 2].add_(1),
    "a forward of its own": lambda body: setattr(body, "forward", lambda x: x.repeat(1, 2)[:, :4]),
    "a hook": lambda body: body.register_forward_hook(lambda module, given, answer: answer + 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_body_that_answers_otherwise_has_other_features(change):
    front = KeptFeatures(Pooled()).eval().requires_grad_(False)
    x = torch.randn(6, 3)
    before = front(x)
    CHANGES[change](front.body)
    after = front(x)
    assert not torch.allclose(before, after)
    assert torch.allclose(after, front.body(x), atol=1e-6)


def test_autocast_has_features_of_its_own(base):
    x = torch.randn(6, 3)
    exact = base.front(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(base.front(x), exact)
    assert torch.equal(base.front(x), exact)


def test_a_part_in_train_mode_keeps_nothing(base):
    base.front.body.fc.train()
    x = torch.randn(4, 3)
    base.front(x), base.front(x)
    assert Body.rows == 8


def test_sentence_encoders_of_the_same_weights_and_another_form():
    pytest.importorskip("transformers")
    from ocd.tasks.text.network import SetFitNetwork
    from tiny_body import WORDS, body_facts

    facts = body_facts()
    others = [
        facts | {"pooling": "cls"},
        facts | {"normalize": False},
        facts | {"config": facts["config"] | {"num_attention_heads": 4}},
    ]
    first, *rest = (SetFitNetwork(of, 2).eval().requires_grad_(False) for of in (facts, *others))
    tokens = torch.randint(1, len(WORDS), (3, 6))
    served = first.embeddings(tokens)
    assert torch.equal(copy.deepcopy(first).embeddings(tokens), served)
    assert len(kept_features._FEATURES) == 1  # a copy is known again
    for other in rest:
        other.load_state_dict(first.state_dict())
        found = other.embeddings(tokens)
        assert not torch.equal(found, served)
        assert torch.equal(found, other.front.body(tokens))


ROW = 4 * 4
"""Bytes of a row of features."""


def test_one_body_has_no_more_room_than_all(base, monkeypatch):
    monkeypatch.setattr(kept_features, "MOST_BYTES", 10 * ROW)
    x = torch.randn(30, 3)
    wanted = base.front.body(x)
    for rows in (slice(0, 8), slice(4, 12), slice(0, 30), slice(25, 30)):
        assert torch.allclose(base.front(x[rows]), wanted[rows], atol=1e-6)
        (kept,) = kept_features._FEATURES.values()
        assert kept.size == sum(row.numel() * 4 for row in kept.rows.values()) <= 10 * ROW
    Body.rows = 0
    base.front(x[20:])  # the newest are there still
    assert Body.rows == 0


def test_bodies_that_were_not_asked_for_leave_first(base, monkeypatch):
    monkeypatch.setattr(kept_features, "MOST_BYTES", 10 * ROW)
    x, other = torch.randn(6, 3), copy.deepcopy(base)
    with torch.no_grad():
        other.front.body.fc.bias.add_(1)
    base.front(x), other.front(x)
    Body.rows = 0
    other.front(x)
    assert Body.rows == 0
    base.front(x)
    assert Body.rows == 6


def test_what_is_asked_anew_is_computed_again_and_forgotten(base, tmp_path):
    x = torch.randn(5, 3)
    wanted = base.front(x)
    for _ in range(2):
        Body.rows = 0
        with kept_in(tmp_path), answers_anew() as anew:
            assert torch.equal(base.front(x), wanted)
            base.front(x[2:])
        (passes,) = anew.passes.values()
        assert passes.examples == 5 and passes.seconds > 0
        assert Body.rows == 5  # each input once, as for whoever asks for the first time
    Body.rows = 0
    assert torch.equal(base.front(x), wanted)
    assert Body.rows == 0
    assert not list(tmp_path.iterdir())
    assert keeps_answers(base)
    assert not keeps_answers(base.head)
