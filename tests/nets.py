"""Small bases of every form that the layers, rows, replay and overfitting must get right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_CLASSES = 3


class Pooled(nn.Module):
    """`body`, mean over the positions named by `dims`, linear head."""

    def __init__(self, body: nn.Module, width: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.dims = dims
        self.head = nn.Linear(width, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)).mean(self.dims))


class FlatPositions(nn.Module):
    """The layer sees (B·P, ...): all positions of all examples as one batch.

    `by_batch`: it goes back by B, not by P, so that more rows would pass as more positions.
    """

    def __init__(self, layer: nn.Module, width: int, by_batch: bool = False) -> None:
        super().__init__()
        self.by_batch = by_batch
        self.layer = layer
        self.head = nn.Linear(width, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.tanh(self.layer(x.flatten(0, 1)))
        sizes = (len(x), -1) if self.by_batch else (-1, x.shape[1])
        features = flat.unflatten(0, sizes)  # (B, P, O, ...)
        return self.head(features.mean((1, *range(3, features.dim()))))


class Noisy(nn.Module):
    """Batch norm with statistics of its own and dropout: only eval mode gives one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.conv2 = nn.Conv2d(4, 3, 2, stride=2)
        self.norm2 = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 5)
        self.head = nn.Linear(5, NUM_CLASSES)
        for norm in (self.norm, self.norm2):
            nn.init.normal_(norm.running_mean, std=0.2)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.relu(self.norm(self.conv(x))))
        x = self.relu(self.norm2(self.conv2(x))).mean((2, 3))
        return self.head(self.drop(self.relu(self.fc(x))))


class Three(nn.Module):
    """Parts for the nets below: linear layers a, b, c and an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(5, 6)
        self.b = nn.Linear(6, 6)
        self.c = nn.Linear(6, NUM_CLASSES)
        self.relu = nn.ReLU(inplace=True)


class Plain(Three):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.relu(self.b(self.relu(self.a(x)))))


class Adds(Three):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(x + self.b(x))


class AddsInPlace(Three):
    """The layer's own input is changed behind the layer (so autograd itself cannot train `b`)."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x += self.b(x)
        return self.c(x)


class UsedBeforeInPlace(Three):
    """The value in front of an in-place module is needed again behind the layer."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        gate = torch.sigmoid(x)
        return self.c(self.b(self.relu(x)) * gate)


class InPlaceForItsEffect(Three):
    """The in-place module's answer is thrown away; its effect is used behind the layer."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        self.relu(x)
        return self.c(self.b(x) + x)


class OperatorsInPlace(Three):
    """Operators, not modules, change what a module gave; and a module runs after them."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        gate = torch.sigmoid(x)
        x.mul_(2.0)
        x.relu_()
        x = self.relu(x)
        return self.c(self.b(x) * gate)


class ReluOf(nn.Module):
    """Works in place on what it is given and does not say so."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu_()


class SilentlyInPlace(Three):
    def __init__(self, on_an_operators_result: bool = False) -> None:
        super().__init__()
        self.silent = ReluOf()
        self.on_an_operators_result = on_an_operators_result

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = 2 * x if self.on_an_operators_result else x
        gate = torch.sigmoid(x)
        y = self.silent(x)
        return self.c(self.b(y) * gate + x)


class SpoilsInputs(Three):
    """Works in place on the user's own tensor."""

    def forward(self, x: Tensor) -> Tensor:
        first = torch.tanh(x).mean(1, keepdim=True)
        x -= 0.5
        return self.c(self.b(self.a(x)) * first)


class Nested(nn.Module):
    """A base inside a wrapper, as `Wrapped(backbone)` is."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x * 1.0)


class Residual(Three):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.a(x))
        return self.c(x + self.b(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(1))


class Recurrent(nn.Module):
    """A module in front of the layer answers a tuple of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.layer = nn.Linear(5, 6)
        self.head = nn.Linear(6, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(x)
        return self.head(torch.tanh(self.layer(hidden[-1])))


class SharedReLU(nn.Module):
    """One module is called twice in front of the layer and once behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.layer = nn.Linear(5, 6), nn.Linear(6, 7), nn.Linear(7, 6)
        self.head = nn.Linear(6, NUM_CLASSES)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.b(self.act(self.a(x))))
        return self.head(self.act(self.layer(x)))


class TwoInputs(nn.Module):
    """Takes `left` and `right`, as a tuple or as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)
        self.layer = nn.Linear(6, 5)
        self.head = nn.Linear(5, NUM_CLASSES)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        x = torch.tanh(self.left(left)) * self.right(right)
        return self.head(torch.tanh(self.layer(x)))


class CalledByKeyword(Three):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.tanh(self.b(input=self.a(x))))


class WholeImage(nn.Module):
    """A convolution as large as its input: one row an example, so rank one is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 5, (3, 4))
        self.head = nn.Linear(5, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.conv(x)).flatten(1))


# Layers that are used several times in one pass.


class UsedTwice(Three):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.relu(self.b(self.a(x)))))


class InChunks(nn.Module):
    """Works through an example in chunks of its positions, the last one shorter."""

    def __init__(self, layer: nn.Module, num_features: int, dim: int) -> None:
        super().__init__()
        self.front = nn.Tanh()
        self.layer = layer
        self.dim = dim
        self.head = nn.Linear(num_features, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.layer(self.front(part)).relu() for part in x.split(2, dim=self.dim)]
        features = torch.cat([part.sum(dim=self.dim, keepdim=True) for part in parts], dim=self.dim)
        return self.head(features.mean(dim=self.dim))


class ComesBack(nn.Module):
    """A recurrent cell written by hand: what the layer sees depends on what it answered before."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(4, 6)
        self.cell = nn.Linear(6, 6)
        self.head = nn.Linear(6, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 6)
        for step in self.enter(x).unbind(dim=1):
            if len(hidden) > len(step):  # widened behind the cell
                step = step.repeat_interleave(len(hidden) // len(step), dim=0)
            hidden = self.cell(step + hidden).tanh()
        return self.head(hidden)


# What a delta cannot sit on.


class TwoScales(Three):
    """One convolution on two resolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Conv1d(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.b(x[:, None]).mean(2), self.b(x[:, None, ::2]).mean(2)], 1))


class Tied(Three):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(6, 6, bias=False)
        self.decoder.weight = self.b.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.decoder(self.b(self.a(x))))


class NotReached(Three):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.a(x))


class SequenceFirst(nn.Module):
    """(B, T, F) in, but the layer works on (T, B, F)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)
        self.head = nn.Linear(5, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(x.transpose(0, 1))).mean(0))


class MixesRows(Three):
    """Each output depends on the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        return self.c(x - x.mean(0))


class GivesDict(Three):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.c(self.b(self.a(x)))}


class GivesScalar(Three):
    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x))).sum()


@dataclass(frozen=True)
class Case:
    """A base, a layer of it and the shape of one example's inputs.

    `widens`: whether K draws can share the pass in front of the layer. `reuses`: whether that part
    can be answered from memory.
    """

    name: str
    make: Callable[[], nn.Module]
    layer: str
    shape: Any
    widens: bool = True
    reuses: bool = True

    def build(self, seed: int = 0) -> nn.Module:
        """A new base, in float64 so that two ways to one number can be told from two numbers."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make().double()

    def inputs(self, batch: int, seed: int = 1) -> Any:
        generator = torch.Generator().manual_seed(seed)

        def draw(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

        if isinstance(self.shape, dict):
            return {key: draw(shape) for key, shape in self.shape.items()}
        if isinstance(self.shape, list):
            return tuple(draw(shape) for shape in self.shape)
        return draw(self.shape)

    def deltas(self, batch: int, draws: int, size: float = 0.3, seed: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        weight = self.build().get_submodule(self.layer).weight
        shape = (batch, draws, *weight.shape)
        return size * torch.randn(*shape, generator=generator, dtype=torch.float64)


def _conv1d(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        return Pooled(nn.Sequential(nn.Tanh(), nn.Conv1d(4, 6, **options)), 6, (2,))

    return make


def _conv2d(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        return Pooled(nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, **options)), 4, (2, 3))

    return make


def _positions() -> nn.Module:
    return Pooled(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6)), 6, (1,))


_IMAGE, _SOUND, _VECTOR = (2, 6, 5), (4, 9), (5,)

CASES = [
    Case(
        "first of two linear",
        lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
        "0",
        _VECTOR,
    ),
    Case(
        "last of two linear",
        lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
        "2",
        _VECTOR,
    ),
    Case("the base is the layer", lambda: nn.Linear(5, 3), "", _VECTOR),
    Case("in-place ReLUs", Plain, "b", _VECTOR),
    Case("linear, positions", _positions, "body.2", (7, 4)),
    Case(
        "linear, two axes of positions", lambda: Pooled(nn.Linear(4, 6), 6, (1, 2)), "body", (2, 3, 4)
    ),
    Case("linear, flat positions", lambda: FlatPositions(nn.Linear(4, 6), 6), "layer", (7, 4)),
    Case(
        "linear, flat positions, by batch",
        lambda: FlatPositions(nn.Linear(4, 6), 6, by_batch=True),
        "layer",
        (7, 4),
        widens=False,
    ),
    Case("conv1d", _conv1d(kernel_size=3), "body.1", _SOUND),
    Case("conv1d, stride and padding", _conv1d(kernel_size=4, stride=2, padding=1), "body.1", _SOUND),
    Case("conv1d, dilation", _conv1d(kernel_size=3, dilation=2, bias=False), "body.1", _SOUND),
    Case(
        "conv1d, circular", _conv1d(kernel_size=3, padding=2, padding_mode="circular"), "body.1", _SOUND
    ),
    Case("conv1d, groups", _conv1d(kernel_size=3, padding=1, groups=2), "body.1", _SOUND),
    Case("conv1d, flat positions", lambda: FlatPositions(nn.Conv1d(2, 6, 3), 6), "layer", (3, 2, 5)),
    Case("conv2d, same, even kernel", _conv2d(kernel_size=(2, 4), padding="same"), "body.1", _IMAGE),
    Case(
        "conv2d, same, reflect",
        _conv2d(kernel_size=3, padding="same", padding_mode="reflect"),
        "body.1",
        _IMAGE,
    ),
    Case("conv2d, depthwise", _conv2d(kernel_size=3, padding=1, groups=4), "body.1", _IMAGE),
    Case(
        "conv2d, groups, strides",
        _conv2d(kernel_size=(3, 2), stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2),
        "body.1",
        _IMAGE,
    ),
    Case("conv2d, one row", WholeImage, "conv", (2, 3, 4)),
    Case("batch norm, dropout: conv2", Noisy, "conv2", (2, 7, 6)),
    Case("batch norm, dropout: fc", Noisy, "fc", (2, 7, 6)),
    Case("lstm in front", Recurrent, "layer", (6, 4)),
    Case("shared ReLU", SharedReLU, "layer", _VECTOR),
    Case("tuple", TwoInputs, "layer", [(4,), (3,)]),
    Case("dict", TwoInputs, "layer", {"right": (3,), "left": (4,)}),
    Case("called by keyword", CalledByKeyword, "b", _VECTOR),
    Case("residual", Residual, "b", _VECTOR, widens=False),
    Case("residual transformer", Transformer, "encoder.layers.0.linear1", (6, 8), widens=False),
    Case("transformer's last linear", Transformer, "head", (6, 8)),
    Case("used twice", UsedTwice, "b", _VECTOR),
    Case("in chunks", lambda: InChunks(nn.Linear(4, 6), 6, 1), "layer", (7, 4)),
    Case("in chunks, conv1d", lambda: InChunks(nn.Conv1d(4, 6, 1), 6, 2), "layer", (4, 6)),
    Case("comes back", ComesBack, "cell", (3, 4)),
    Case("adds in place", AddsInPlace, "b", _VECTOR, widens=False, reuses=False),
    Case("used before in-place", UsedBeforeInPlace, "b", _VECTOR, widens=False),
    Case("in-place for its effect", InPlaceForItsEffect, "b", _VECTOR, widens=False),
    Case("operators in place", OperatorsInPlace, "b", _VECTOR, widens=False, reuses=False),
    Case(
        "operators in place, nested",
        lambda: Nested(OperatorsInPlace()),
        "inner.b",
        _VECTOR,
        widens=False,
        reuses=False,
    ),
    Case(
        "silently in place, on an operator's result",
        lambda: SilentlyInPlace(True),
        "b",
        _VECTOR,
        widens=False,
        reuses=False,
    ),
    Case("silently in place", SilentlyInPlace, "b", _VECTOR, widens=False, reuses=False),
    Case("spoils its inputs", SpoilsInputs, "b", _VECTOR, widens=False, reuses=False),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def get_case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def targets(batch: int) -> Tensor:
    return torch.arange(batch) % NUM_CLASSES


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def state_of(base: nn.Module) -> dict[str, Any]:
    """All of a base that leaving a context must have put back."""
    digest = hashlib.sha256()
    for name, tensor in base.state_dict().items():
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    modules = dict(base.named_modules())
    return {
        "state": digest.hexdigest(),
        "training": {name: module.training for name, module in modules.items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "hooks": {
            name: [len(value) for key, value in sorted(vars(module).items()) if "hooks" in key]
            for name, module in modules.items()
        },
        "requires_grad": {name: p.requires_grad for name, p in base.named_parameters()},
        "gradients": {name: p.grad is None for name, p in base.named_parameters()},
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "random state": torch.get_rng_state().tolist(),
    }
