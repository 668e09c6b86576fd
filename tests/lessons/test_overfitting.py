"""Overfitting: a batch at a time gives what one example at a time gives, and says what it left out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import reference
from nets import (
    Adds,
    AddsInPlace,
    Case,
    NotReached,
    Tied,
    cross_entropy,
    every_case,
    get_case,
    state_of,
    targets,
)
from ocd.base import DenseDelta, FrozenBase, RankOneDelta
from ocd.errors import OCDError
from ocd.lessons import OverfitConfig, overfit
from ocd.lessons.learning_rate import choose_lr, default_chunk_size
from ocd.lessons.overfitting import overfit_capture, resolve_form
from ocd.lessons.per_example import check_skipped


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


REFERENCE_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}
every_optimizer = pytest.mark.parametrize("optimizer", sorted(REFERENCE_OPTIMIZERS))


def loop(
    base: nn.Module, layer: str, inputs: object, labels: Tensor, optimizer: str, lr: float, steps: int
) -> Tensor:
    make = partial(REFERENCE_OPTIMIZERS[optimizer], lr=lr)
    return reference.overfit(base, layer, cross_entropy, inputs, labels, make, steps)


def relative_error(one: Tensor, other: Tensor) -> float:
    """The largest over examples of ‖difference‖ / ‖delta‖."""
    difference = (one - other).flatten(1).norm(dim=1)
    return float((difference / other.flatten(1).norm(dim=1).clamp_min(1e-12)).max())


def squared_error(outputs: Tensor, values: Tensor) -> Tensor:
    return (outputs - values).square().mean(1)


# The loop over examples


@every_case
@every_optimizer
def test_a_batch_equals_the_loop(case: Case, optimizer: str) -> None:
    base, inputs = case.build().train(), case.inputs(4)
    trainable = base
    if case.make is AddsInPlace:
        trainable = Adds().double()
        trainable.load_state_dict(base.state_dict())
    expected = loop(trainable, case.layer, inputs, targets(4), optimizer, lr=0.1, steps=3)
    deltas = overfit(base, case.layer, cross_entropy, inputs, targets(4), lr=0.1, optimizer=optimizer)
    assert deltas.dense().shape == expected.shape
    assert (expected.flatten(1).norm(dim=1) > 1e-4).all()
    assert relative_error(deltas.dense(), expected) < 1e-6


@pytest.mark.parametrize("name", ["linear, positions", "conv1d", "batch norm, dropout: conv2"])
def test_a_batch_equals_the_loop_in_float32(name: str) -> None:
    case = get_case(name)
    base, inputs = case.build().float(), case.inputs(4).float()
    expected = loop(base, case.layer, inputs, targets(4), "sgd", lr=0.5, steps=3)
    deltas = overfit(base, case.layer, cross_entropy, inputs, targets(4), lr=0.5)
    assert deltas.dense().dtype == torch.float32
    assert relative_error(deltas.dense(), expected) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4),
    positions=st.lists(st.integers(1, 3), max_size=2),
    fan_in=st.integers(1, 5),
    out=st.integers(1, 4),
    steps=st.integers(1, 4),
    optimizer=st.sampled_from(sorted(REFERENCE_OPTIMIZERS)),
    seed=st.integers(0, 99),
)
def test_a_batch_equals_the_loop_for_any_shape(
    batch: int, positions: list[int], fan_in: int, out: int, steps: int, optimizer: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    base = nn.Sequential(nn.Linear(fan_in, out), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
    inputs, labels = normal(batch, *positions, fan_in), targets(batch)
    base(inputs)
    for parameter in base.parameters():
        parameter.data = normal(*parameter.shape)
    deltas = overfit(
        base, "0", cross_entropy, inputs, labels, lr=0.05, steps=steps, optimizer=optimizer
    ).dense()
    expected = loop(base, "0", inputs, labels, optimizer, lr=0.05, steps=steps)
    torch.testing.assert_close(deltas, expected, rtol=1e-5, atol=1e-9)


def test_targets_may_be_anything_that_the_loss_takes() -> None:
    case = get_case("conv2d, one row")
    base, inputs, wanted = case.build(), case.inputs(4), torch.randn(4, 3).double()
    make = partial(torch.optim.SGD, lr=0.1)
    expected = reference.overfit(base, case.layer, squared_error, inputs, wanted, make, 3)
    deltas = overfit(base, case.layer, squared_error, inputs, wanted, lr=0.1)
    assert relative_error(deltas.dense(), expected) < 1e-6


def test_what_is_reported_of_each_example() -> None:
    case = get_case("batch norm, dropout: fc")
    base, inputs = case.build(), case.inputs(5)
    deltas = overfit(base, case.layer, cross_entropy, inputs, targets(5), lr=0.2)
    with torch.no_grad():
        before = cross_entropy(copy.deepcopy(base).eval()(inputs), targets(5))
    after = reference.run(base, case.layer, inputs, deltas.dense()[:, None])[:, 0]
    assert len(deltas) == 5 and deltas.indices.tolist() == [0, 1, 2, 3, 4] and deltas.skipped == []
    torch.testing.assert_close(deltas.loss_before, before)
    torch.testing.assert_close(deltas.loss_after, cross_entropy(after, targets(5)))
    torch.testing.assert_close(deltas.norms(), deltas.dense().flatten(1).norm(dim=1))
    assert not deltas.dense().requires_grad and not deltas.loss_after.requires_grad


# Rank one


@pytest.mark.parametrize("name", ["last of two linear", "batch norm, dropout: fc", "conv2d, one row"])
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_rank_one_equals_dense(name: str, steps: int) -> None:
    case = get_case(name)
    base, inputs = case.build().float(), case.inputs(4).float()
    make = partial(overfit, base, case.layer, cross_entropy, inputs, targets(4), lr=0.1, steps=steps)
    short, long = make(form="rank_one"), make(form="dense")
    assert isinstance(short.delta, RankOneDelta) and isinstance(long.delta, DenseDelta)
    assert relative_error(short.dense(), long.dense()) < 1e-5
    torch.testing.assert_close(short.loss_after, long.loss_after)
    expected = loop(base, case.layer, inputs, targets(4), "sgd", lr=0.1, steps=steps)
    assert relative_error(short.dense(), expected) < 1e-5


def test_auto_takes_rank_one_where_it_is_exact() -> None:
    for name, optimizer, expected in [
        ("first of two linear", "sgd", RankOneDelta),
        ("first of two linear", "polyak", RankOneDelta),
        ("first of two linear", "adam", DenseDelta),
        ("conv2d, one row", "sgd", RankOneDelta),
        ("conv1d", "sgd", DenseDelta),
        ("linear, positions", "sgd", DenseDelta),
        ("linear, flat positions", "sgd", DenseDelta),
    ]:
        case = get_case(name)
        deltas = overfit(
            case.build(),
            case.layer,
            cross_entropy,
            case.inputs(3),
            targets(3),
            lr=0.1,
            optimizer=optimizer,
        )
        assert type(deltas.delta) is expected, (name, optimizer)


def test_groups_are_not_rank_one() -> None:
    """Each group has a vector of its own, even where there is one row."""
    base = nn.Sequential(nn.Conv1d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(4, 3))
    capture = FrozenBase(base, "0").capture(torch.randn(3, 4, 3))
    assert resolve_form(capture, OverfitConfig()) == "dense"
    with pytest.raises(OCDError, match="2 groups"):
        resolve_form(capture, OverfitConfig(form="rank_one"))


@pytest.mark.parametrize(
    ("name", "optimizer", "reason"),
    [("first of two linear", "adam", "Adam"), ("linear, positions", "sgd", "7 positions an example")],
)
def test_rank_one_is_refused_where_it_is_not_exact(name: str, optimizer: str, reason: str) -> None:
    case = get_case(name)
    with pytest.raises(OCDError, match=f"'rank_one', but .*{reason}.*'dense' or 'auto'"):
        overfit(
            case.build(),
            case.layer,
            cross_entropy,
            case.inputs(3),
            targets(3),
            lr=0.1,
            optimizer=optimizer,
            form="rank_one",
        )


# What stays as it was


@every_case
def test_nothing_of_the_base_is_changed(case: Case) -> None:
    base, inputs = case.build().train(), case.inputs(4)
    own = copy.deepcopy(inputs)
    before = state_of(base)
    for optimizer in REFERENCE_OPTIMIZERS:
        overfit(base, case.layer, cross_entropy, inputs, targets(4), lr=0.1, optimizer=optimizer)
    assert state_of(base) == before
    torch.testing.assert_close(inputs, own, rtol=0, atol=0)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("name", ["first of two linear", "residual transformer"])
def test_nothing_is_changed_by_a_loss_that_raises(name: str, call: int) -> None:
    case = get_case(name)
    base, calls = case.build().train(), []
    before = state_of(base)

    def fails(outputs: Tensor, labels: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == call:
            raise KeyError("the loss gave up")
        return cross_entropy(outputs, labels)

    with pytest.raises(KeyError, match="gave up"):
        overfit(base, case.layer, fails, case.inputs(4), targets(4), lr=0.1)
    assert state_of(base) == before


# The loss


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        lambda outputs, labels: F.cross_entropy(outputs, labels, reduction="none")[:, None],
        lambda outputs, labels: F.cross_entropy(outputs, labels, reduction="none")[:2],
        lambda outputs, labels: F.cross_entropy(outputs, labels).item(),
    ],
    ids=["reduces", "a column", "too short", "no tensor"],
)
@pytest.mark.parametrize("lr", [0.1, None])
def test_a_loss_that_does_not_give_one_value_an_example(loss: object, lr: float | None) -> None:
    case = get_case("first of two linear")
    with pytest.raises(OCDError, match=r"one value an example, shape \(3,\) \(reduction='none'\)"):
        overfit(case.build(), case.layer, loss, case.inputs(4), targets(4), lr=lr)


# The learning rate


@pytest.mark.parametrize("name", ["last of two linear", "batch norm, dropout: conv2", "residual"])
@every_optimizer
def test_a_learning_rate_is_chosen_that_makes_the_mean_loss_fall(name: str, optimizer: str) -> None:
    case = get_case(name)
    deltas = overfit(
        case.build(), case.layer, cross_entropy, case.inputs(20), targets(20), optimizer=optimizer
    )
    before, after = deltas.loss_before, deltas.loss_after
    assert after.mean() < 0.95 * before.mean()
    assert (after <= before).float().mean() >= 0.99


@every_optimizer
def test_the_smallest_rate_that_takes_nine_tenths_of_the_best_fall(optimizer: str) -> None:
    case = get_case("last of two linear")
    base, inputs, labels = case.build(), case.inputs(12), torch.randn(12, 3).double()
    falls: dict[float, float] = {}
    for power in range(-60, 30):
        lr = 10 ** (power / 10)
        deltas = overfit(base, case.layer, squared_error, inputs, labels, lr=lr, optimizer=optimizer)
        if (deltas.loss_after > deltas.loss_before * 1.0001 + 1e-6).any():
            break
        falls[lr] = float((deltas.loss_before - deltas.loss_after).mean())
    assert 3 < len(falls) < 90
    expected = min(lr for lr, fall in falls.items() if fall >= 0.9 * max(falls.values()))
    frozen = FrozenBase(base, case.layer)
    config = OverfitConfig(optimizer=optimizer)
    lr, text = choose_lr(frozen, frozen.capture(inputs), squared_error, labels, config)
    assert expected / 1.6 < lr < 1.3 * expected
    assert f"lr {lr:g}" in text and "3 " + optimizer in text


def test_an_example_without_a_finite_loss_does_not_choose_the_rate() -> None:
    case = get_case("last of two linear")
    base, inputs = case.build(), case.inputs(8)
    frozen, config = FrozenBase(base, case.layer), OverfitConfig()
    keep = torch.tensor([0, 1, 3, 4, 5, 6, 7])
    without = choose_lr(frozen, frozen.capture(inputs[keep]), cross_entropy, targets(8)[keep], config)
    inputs[2] = torch.nan
    spoiled = choose_lr(frozen, frozen.capture(inputs), cross_entropy, targets(8), config)
    assert spoiled == without and "of 7 examples" in spoiled[1]


def test_no_rate_makes_a_constant_loss_fall() -> None:
    case = get_case("last of two linear")
    with pytest.raises(OCDError, match="no learning rate from 1e-06 to 1000 .* layer '2'"):
        overfit(
            case.build(), case.layer, lambda outputs, _: 0 * outputs.sum(1), case.inputs(4), targets(4)
        )


def test_a_capture_is_not_overfitted_without_a_rate() -> None:
    case = get_case("last of two linear")
    frozen = FrozenBase(case.build(), case.layer)
    with pytest.raises(OCDError, match="choose_lr first"):
        overfit_capture(
            frozen, frozen.capture(case.inputs(2)), cross_entropy, targets(2), OverfitConfig()
        )


# Examples that are not finite


@pytest.mark.parametrize(
    "name", ["last of two linear", "conv2d, groups, strides", "residual transformer", "adds in place"]
)
@pytest.mark.parametrize("spoiled", [0, 2])
@pytest.mark.parametrize("chunk_size", [None, 2])
def test_an_example_that_is_not_finite_is_left_out(
    name: str, spoiled: int, chunk_size: int | None
) -> None:
    case = get_case(name)
    base, inputs = case.build(), case.inputs(6)
    options = {"lr": 0.1, "max_skipped": 0.2, "chunk_size": chunk_size}
    expected = overfit(base, case.layer, cross_entropy, inputs, targets(6), **options)
    inputs[spoiled].view(-1)[0] = torch.nan
    deltas = overfit(base, case.layer, cross_entropy, inputs, targets(6), **options)
    kept = [index for index in range(6) if index != spoiled]
    assert deltas.skipped == [spoiled] and deltas.indices.tolist() == kept and len(deltas) == 5
    torch.testing.assert_close(deltas.dense(), expected.dense()[kept], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(deltas.loss_after, expected.loss_after[kept])


def test_an_example_whose_delta_runs_away_is_left_out() -> None:
    case = get_case("last of two linear")
    inputs = case.inputs(5)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.square().sum(1) * 1e200 ** labels.double()

    labels = torch.tensor([0, 0, 1, 0, 0])
    deltas = overfit(case.build(), case.layer, loss, inputs, labels, lr=0.01, max_skipped=0.2)
    assert deltas.skipped == [2]


def test_too_many_that_are_not_finite() -> None:
    case = get_case("last of two linear")
    inputs = case.inputs(10)
    inputs[[3, 7]] = torch.inf
    run = partial(overfit, case.build(), case.layer, cross_entropy, inputs, targets(10), lr=0.1)
    assert run(max_skipped=0.2).skipped == [3, 7]
    with pytest.raises(OCDError, match=r"2 of 10 examples .*\(examples 3, 7\).*more than 10 % of them"):
        run(max_skipped=0.1)
    with pytest.raises(OCDError, match=r"examples 0, 1, 2, 3, 4, \.\.\."):
        check_skipped(list(range(9)), 10, 0.5)


# Chunks


@pytest.mark.parametrize("form", ["dense", "rank_one"])
def test_chunks_change_nothing(form: str) -> None:
    case = get_case("last of two linear")
    run = partial(
        overfit, case.build(), case.layer, cross_entropy, case.inputs(7), targets(7), lr=0.1, form=form
    )
    expected = run()
    for chunk_size in (1, 3, 7, 100):
        deltas = run(chunk_size=chunk_size)
        torch.testing.assert_close(deltas.dense(), expected.dense(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(deltas.loss_before, expected.loss_before)
        assert deltas.indices.tolist() == list(range(7))


def limit_rows(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> list[int]:
    """Let captures of more than `most` rows fail; gives the sizes that were tried."""
    tried, original = [], FrozenBase.capture

    def capture(self: FrozenBase, inputs: Tensor) -> object:
        tried.append(len(inputs))
        if len(inputs) > most:
            raise error
        return original(self, inputs)

    monkeypatch.setattr(FrozenBase, "capture", capture)
    return tried


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("not enough memory")],
)
def test_chunks_halve_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    case = get_case("conv1d")
    run = partial(overfit, case.build(), case.layer, cross_entropy, case.inputs(9), targets(9), lr=0.1)
    expected = run()
    tried = limit_rows(monkeypatch, 3, error)
    deltas = run(chunk_size=8)
    assert tried == [3, 3, 8, 4, 2, 2, 2, 2, 1]  # the first two are the probe
    torch.testing.assert_close(deltas.dense(), expected.dense(), rtol=1e-9, atol=1e-12)
    assert deltas.indices.tolist() == list(range(9))


def test_an_error_that_is_not_about_memory_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case = get_case("conv1d")
    tried = limit_rows(monkeypatch, 3, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        overfit(case.build(), case.layer, cross_entropy, case.inputs(9), targets(9), lr=0.1)
    assert tried == [3, 3, 9]


def test_the_first_chunk_size_shrinks_with_the_weight() -> None:
    assert (
        default_chunk_size((84, 120), "rank_one") == default_chunk_size((4096, 84), "rank_one") == 512
    )
    assert default_chunk_size((10, 10), "dense") == 1024
    assert default_chunk_size((4096, 4096), "dense") == 3
    assert default_chunk_size((50_000, 50_000), "dense") == 1


# What the caller got wrong


@pytest.mark.parametrize(
    ("make", "layer", "message"),
    [
        (NotReached, "b", "does not depend on 'b.weight'"),
        (Tied, "bb", "did you mean 'b'"),
    ],
)
def test_a_layer_that_cannot_be_moved(make: Callable[[], nn.Module], layer: str, message: str) -> None:
    with pytest.raises(OCDError, match=message):
        overfit(make(), layer, cross_entropy, torch.randn(3, 5), targets(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lbfgs"}, "overfit.optimizer is 'lbfgs'"),
        ({"form": "pca"}, "form is 'pca'"),
        ({"num_steps": 0}, "overfit.num_steps is 0"),
    ],
)
def test_a_configuration_that_means_nothing(options: dict[str, object], message: str) -> None:
    with pytest.raises(OCDError, match=message):
        OverfitConfig(**options)


def test_no_inputs() -> None:
    with pytest.raises(OCDError, match="at least one example"):
        overfit(nn.Linear(5, 3), "", cross_entropy, torch.ones(0, 5), targets(0))


# Polyak's steps


def polyak_loop(base: nn.Module, layer: str, inputs: Tensor, values: Tensor, lr: float) -> Tensor:
    """One example at a time, the step written out: loss / ‖∇‖² times the gradient."""
    weight = base.get_submodule(layer).weight
    start, deltas = weight.detach().clone(), []
    for index in range(len(inputs)):
        for _ in range(3):
            loss = squared_error(base(inputs[index : index + 1]), values[index : index + 1]).sum()
            (gradient,) = torch.autograd.grad(loss, weight)
            with torch.no_grad():
                weight -= lr * loss / gradient.square().sum() * gradient
        deltas.append(weight.detach() - start)
        weight.data.copy_(start)
    return torch.stack(deltas)


@pytest.mark.parametrize("form", ["rank_one", "dense"])
def test_polyak_equals_the_loop(form: str) -> None:
    base = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()
    inputs, values = torch.randn(6, 5).double(), torch.randn(6, 2).double()
    deltas = overfit(base, "0", squared_error, inputs, values, lr=0.7, optimizer="polyak", form=form)
    assert relative_error(deltas.dense(), polyak_loop(base, "0", inputs, values, 0.7)) < 1e-8


def test_polyak_meets_the_target_of_a_linear_layer() -> None:
    base = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1)).double()
    inputs, values = torch.randn(6, 5).double(), 10 * torch.randn(6, 1).double()
    with torch.no_grad():
        values[0] = base(inputs[:1])[0]  # nothing to learn: no step, and nothing divided by 0
    deltas = overfit(base, "2", squared_error, inputs, values, lr=2.0, steps=1, optimizer="polyak")
    assert deltas.loss_before[1:].min() > 1e-3
    assert deltas.loss_after.max() < 1e-20
    assert deltas.norms()[0] < 1e-12
