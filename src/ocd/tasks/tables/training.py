"""Train the base of a table, and the networks of its folds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.base import run_without_delta
from ocd.data import Examples, GlobalRandom, ResumableLoop, State, in_parts
from ocd.errors import OCDError
from ocd.tasks.one_cycle import one_cycle
from ocd.tasks.tables.networks import make_base
from ocd.tasks.tables.options import NetworkOptions, TableData
from ocd.tasks.task import Progress, TaskData, unless_loaded

TableLoss = Callable[[Tensor, Tensor], Tensor]


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(f(x) − y)², summed over an example's outputs: (B, ...) -> (B,)."""
    return (outputs - targets).square().flatten(1).sum(dim=1)


def make_folds(data: TableData, options: NetworkOptions) -> list[Tensor]:
    """Which rows each fold holds: the same for all seeds. The base holds out the first."""
    count, num_folds = len(data.train), max(2, options.folds)
    if count < 2 * num_folds:
        raise OCDError(f"{count} training examples are too few for {num_folds} folds")
    if data.in_order:
        order = torch.arange(count)
        return list(order.tensor_split(num_folds))
    folds = in_parts(count, num_folds, torch.Generator().manual_seed(0), data.groups)
    if len(folds) < num_folds:
        raise OCDError(
            f"rows that belong together make {len(folds)} folds, where {num_folds} are needed"
        )
    return folds


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: NetworkOptions, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains on all folds but the first, which says
    when to stop."""
    assert isinstance(data, TableData)
    train_without(base, data, make_folds(data, options)[0], options, seed, progress)


def train_without(
    base: nn.Module,
    data: TableData,
    held_out: Tensor,
    options: NetworkOptions,
    seed: int,
    progress: Progress,
) -> None:
    """Train on the rows that are not held out (AdamW, one cycle), and keep the weights of the epoch
    that has the lowest loss on those that are."""
    if not held_out.numel() or len(held_out) == len(data.train):
        raise OCDError("a base needs examples to train on, and others that say when to stop")
    rest = torch.ones(len(data.train), dtype=torch.bool)
    rest[held_out] = False
    device = next(base.parameters()).device
    inputs, targets = data.train.rows(rest.nonzero()[:, 0])
    assert isinstance(inputs, Tensor)
    inputs, targets = inputs.to(device), targets.to(device)
    loss = _loss_of(base, data)
    generator = torch.Generator().manual_seed(seed)
    size = 256
    num_batches = -(-len(targets) // size)
    optimizer, schedule = _optimizer(base, options, options.base_epochs * num_batches)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # of dropout, and of the first weights
        _initialise(base)
        loop = ResumableLoop(
            "table", base=base, optimizer=optimizer, schedule=schedule, order=generator,
            random=GlobalRandom(device),
        )  # fmt: skip
        state = loop.values
        for step in loop.steps(options.base_epochs * num_batches):
            epoch, batch = divmod(step, num_batches)
            if batch == 0:
                state["rows"] = torch.randperm(len(targets), generator=generator)
            base.train()
            rows = state["rows"][batch * size :][:size]
            optimizer.zero_grad(set_to_none=True)
            if len(rows) > 1:  # batch norm, which the ResNet has, cannot take one row
                loss(base(inputs[rows]), targets[rows]).mean().backward()
                optimizer.step()
            schedule.step()
            if batch == num_batches - 1:
                base.eval()
                value = _mean_loss(base, data.train, held_out, loss)
                _keep_best(base, value, state)
                progress(f"epoch {epoch + 1} of {options.base_epochs}: held-out loss {value:.4g}")
    if "kept" not in state:
        raise OCDError("the base's held-out loss is not finite: lower base_lr, or look at the data")
    base.load_state_dict(state["kept"])


def _optimizer(
    base: nn.Module, options: NetworkOptions, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW and its one cycle."""
    optimizer = torch.optim.AdamW(
        base.parameters(), lr=options.base_lr, weight_decay=options.base_weight_decay, fused=True
    )
    return optimizer, one_cycle(optimizer, options.base_lr, steps)


def _keep_best(base: nn.Module, value: float, state: State) -> None:
    """Keep these weights where `value`, their loss, is the lowest so far."""
    if value < state.get("best", float("inf")):
        state["best"] = value
        state["kept"] = {name: tensor.clone() for name, tensor in base.state_dict().items()}


def _initialise(base: nn.Module) -> None:
    """New first weights, so that a seed gives the same base wherever it was made."""
    for module in base.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


def _loss_of(base: nn.Module, data: TableData) -> TableLoss:
    """What a base is trained on: cross entropy, or the squared error in standard deviations."""
    if data.num_classes:
        return lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none")
    variance = float(data.train.targets.double().var(unbiased=False)) or 1.0  # of a fold: all alike
    return lambda outputs, targets: squared_error(outputs, targets) / variance


def _mean_loss(base: nn.Module, examples: Examples, index: Tensor, loss: TableLoss) -> float:
    total = 0.0
    for rows in index.split(8192):
        outputs, targets = _outputs(base, examples, rows)
        total += float(loss(outputs, targets).double().sum())
    return total / len(index)


def _outputs(base: nn.Module, examples: Examples, index: Tensor) -> tuple[Tensor, Tensor]:
    device = next(base.parameters()).device
    inputs, targets = examples.rows(index)
    assert isinstance(inputs, Tensor)
    return run_without_delta(base, inputs.to(device)), targets.to(device)


def out_of_fold_targets(
    base: nn.Module,
    data: TaskData,
    options: NetworkOptions,
    seed: int,
    progress: Progress,
    make: Callable[[Any, TaskData], nn.Module] = make_base,
) -> Tensor | None:
    """f_θ(x) + (y − f_fold(x)): the residual of a network that has not seen the example, carried onto
    the base. None with one fold, and for classes, which have no residual to carry.

    A base fits the examples that it was trained on better than those to come, so that their own
    residuals are too small to learn a distribution from. The first fold's network is the base itself,
    whose training it said when to stop; the other folds have networks of their own, made by `make` and
    trained alike.
    (N, 1), in the order of the training examples.
    """
    assert isinstance(data, TableData)
    if options.folds < 2 or data.num_classes:
        return None
    targets = torch.empty_like(data.train.targets)
    device = next(base.parameters()).device
    for number, fold in enumerate(make_folds(data, options)):
        network = base
        if number > 0 or options.base is not None:
            options_of_fold = replace(options, base=None)
            network = make(options_of_fold, data).to(device)
            own_seed = 1000 * (seed + 1) + 500 + number
            train_without(network, data, fold, options_of_fold, own_seed, progress)
            network.eval()
            progress(f"fold {number + 1} of {options.folds}")
        for rows in fold.split(8192):
            there, labels = _outputs(network, data.train, rows)
            here, _ = _outputs(base, data.train, rows)
            targets[rows] = (here + labels - there).cpu()
    return targets
