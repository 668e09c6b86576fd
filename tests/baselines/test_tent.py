"""Tent against one step of Adam written out by hand; no batch depends on an earlier one."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import digits_base, joined, same_state, state_of, test_digits
from nets import GivesDict, Noisy, get_case
from ocd import OCDError
from ocd.baselines import Tent
from ocd.data import take_rows

LR = 1e-3  # as in the authors' code


def random(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def mean_entropy(logits: Tensor) -> Tensor:
    p = logits.softmax(dim=1)
    return -(p * p.log()).sum(dim=1).mean()


def adam_once(parameters: list[Tensor], logits: Tensor) -> list[Tensor]:
    """Bias-corrected, the first step is lr · g / (|g| + ε) whatever the decays."""
    gradients = torch.autograd.grad(mean_entropy(logits), parameters)
    return [p - LR * g / (g.abs() + 1e-8) for p, g in zip(parameters, gradients, strict=True)]


def noisy_forward(base: Noisy, x: Tensor, norms: list[Tensor]) -> Tensor:
    """Noisy's pass by hand: batch norm with the batch's own statistics, no dropout."""
    scale, shift, scale2, shift2 = norms

    def norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        standard = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return standard * scale[:, None, None] + shift[:, None, None]

    x = F.relu(norm(F.conv2d(x, base.conv.weight, base.conv.bias), scale, shift))
    x = F.conv2d(x, base.conv2.weight, base.conv2.bias, stride=2)
    x = F.relu(norm(x, scale2, shift2)).mean((2, 3))
    return F.linear(F.relu(F.linear(x, base.fc.weight, base.fc.bias)), base.head.weight, base.head.bias)


def test_one_iteration_on_batch_norms_is_one_step_on_their_scales_and_shifts():
    case = get_case("batch norm, dropout: fc")
    base, inputs = case.build().train(), case.inputs(16)
    norms = [base.norm.weight, base.norm.bias, base.norm2.weight, base.norm2.bias]
    moved = adam_once(norms, noisy_forward(base, inputs, norms))
    expected = noisy_forward(base, inputs, moved).detach()
    found = Tent(base, "fc", 1).predict(inputs).outputs[0]
    assert torch.allclose(found, expected, atol=1e-9)
    unmoved = Tent(base, "fc", 0).predict(inputs).outputs[0]  # the batch's statistics alone
    assert torch.allclose(unmoved, noisy_forward(base, inputs, norms).detach(), atol=1e-9)
    assert not torch.allclose(found, unmoved, atol=1e-6)
    with torch.no_grad():
        assert not torch.allclose(unmoved, copy.deepcopy(base).eval()(inputs), atol=1e-2)


def test_one_iteration_without_norms_is_one_step_on_the_layers_weight():
    base = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs = random(16, 5)

    def forward(weight: Tensor) -> Tensor:
        return base[2](torch.tanh(F.linear(inputs, weight, base[0].bias)))

    (moved,) = adam_once([base[0].weight], forward(base[0].weight))
    found = Tent(base, "0", 1).predict(inputs).outputs[0]
    assert torch.allclose(found, forward(moved).detach(), atol=1e-10)
    assert not torch.allclose(found, base(inputs), atol=1e-6)


def test_other_norms_move_and_keep_their_own_statistics():
    base = nn.Sequential(nn.Linear(5, 6), nn.GroupNorm(2, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs = random(16, 5)

    def forward(weight: Tensor, bias: Tensor) -> Tensor:
        return base[3](torch.tanh(F.group_norm(base[0](inputs), 2, weight, bias)))

    moved = adam_once([base[1].weight, base[1].bias], forward(base[1].weight, base[1].bias))
    found = Tent(base, "0", 1).predict(inputs).outputs[0]
    assert torch.allclose(found, forward(*moved).detach(), atol=1e-10)


def test_norms_without_scale_and_shift_leave_the_layer_to_move():
    base = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 3))
    line = "Tent moves the weight of 0: the base has no normalisation layer"
    assert Tent(base, "0").what_moves() == line
    assert Tent(Noisy(), "fc").what_moves() == "Tent moves the normalisation layers, by Adam"
    moved = Tent(base, "0", 1).predict(random(8, 5).float()).outputs[0]
    with torch.no_grad():
        assert not torch.equal(moved, base(random(8, 5).float()))


@pytest.mark.parametrize("name", ["batch norm, dropout: fc", "last of two linear", "dict"])
def test_every_batch_starts_from_the_base(name):
    case = get_case(name)
    base = case.build()
    batches = [case.inputs(8, seed=seed) for seed in (1, 2, 3)]
    tent = Tent(base, case.layer, 5, batch_size=8)
    whole = tent.predict(joined(*batches)).outputs[0]
    for number, batch in enumerate(batches):
        assert torch.equal(whole[8 * number : 8 * number + 8], tent.predict(batch).outputs[0])
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    mixed = tent.predict(take_rows(joined(*batches), shuffled)).outputs[0]
    assert not torch.allclose(mixed, whole[shuffled], atol=1e-6)  # a prediction depends on its batch


@pytest.mark.parametrize(
    "name", ["batch norm, dropout: fc", "last of two linear", "transformer's last linear"]
)
def test_entropy_falls(name):
    case = get_case(name)
    base, inputs = case.build(), case.inputs(64)
    entropies = [
        mean_entropy(Tent(base, case.layer, n).predict(inputs).outputs[0]).item()
        for n in (0, 1, 10, 30)
    ]
    assert entropies == sorted(entropies, reverse=True)
    assert entropies[-1] < entropies[0] - 1e-3


def test_the_base_does_not_change():
    base = digits_base().train()
    before = state_of(base)
    Tent(base, "fc1", 3).predict(test_digits(20).inputs)
    assert same_state(before, state_of(base))
    assert base.training
    assert all(p.requires_grad and p.grad is None for p in base.parameters())


def test_a_last_batch_of_one_row_does_not_crash():
    """256 rows and one more, with a batch norm whose statistics are over rows alone."""
    base = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    try:
        p = Tent(base, "0", 1).predict(random(257, 4).float())
    except OCDError as error:
        assert "\n" not in str(error)
    else:
        assert p.outputs.shape == (1, 257, 3)


@pytest.mark.parametrize(
    "base",
    [
        nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (2, 3))),
        nn.Sequential(nn.Linear(5, 1), nn.Flatten(0)),
        GivesDict(),
    ],
    ids=["positions", "numbers", "dict"],
)
def test_outputs_that_are_no_logits_are_refused(base):
    layer = "a" if isinstance(base, GivesDict) else "0"
    with pytest.raises(OCDError, match=r"entropy of classes: the base must give \(B, C\)"):
        Tent(base, layer, 1).predict(random(6, 5).float())


def test_layer_norms_alone_are_moved_by_sgd_with_a_rate_of_the_batch() -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)).double()
    inputs = random(16, 6)
    norms = [base[1].weight, base[1].bias]
    gradients = torch.autograd.grad(mean_entropy(base(inputs)), norms)
    # The first step of momentum is a plain one: lr = 1e-3 / 64 x batch (Niu et al. 2023).
    weight, bias = (p - 1e-3 / 64 * 16 * g for p, g in zip(norms, gradients, strict=True))
    hidden = F.layer_norm(base[0](inputs), (8,), weight, bias)
    expected = base[3](F.relu(hidden)).detach()
    tent = Tent(base, "3", 1)
    assert torch.allclose(tent.predict(inputs).outputs[0], expected, atol=1e-12)
    assert tent.what_moves() == "Tent moves the normalisation layers, by SGD"
