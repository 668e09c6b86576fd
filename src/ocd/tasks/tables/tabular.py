"""What the tables share: bases of Gorishniy et al. (2021), their training, folds, and their metrics.

Features are numbers, (B, D), brought to a normal distribution where a task says so; a base answers
in the target's own unit, (B, 1), or with logits (B, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.base import run_without_delta
from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.tasks.task import Progress, TaskData, load_base

NETWORKS = ("mlp", "resnet")
TableLoss = Callable[[Tensor, Tensor], Tensor]


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """(f(x) − y)², summed over an example's outputs: (B, ...) -> (B,)."""
    return (outputs - targets).square().flatten(1).sum(dim=1)


@dataclass(frozen=True)
class NetworkOptions:
    """What `--set` can change of a table's base."""

    base: str | None = field(
        default=None, metadata={"help": "a .safetensors with the base's weights, not to train one"}
    )
    network: str = field(
        default="mlp", metadata={"help": "mlp or resnet, those of Gorishniy et al. (2021)"}
    )
    width: int = field(default=384, metadata={"help": "width of the base's hidden layers"})
    blocks: int = field(default=3, metadata={"help": "blocks of the base"})
    dropout: float = field(default=0.15, metadata={"help": "dropout of the base"})
    base_epochs: int = field(
        default=50,
        metadata={"help": "epochs of the base; the best on a fifth of its examples is kept"},
    )
    base_lr: float = field(default=2e-3, metadata={"help": "largest learning rate of the base"})
    base_weight_decay: float = field(default=0.1, metadata={"help": "weight decay of the base"})
    folds: int = field(
        default=5,
        metadata={
            "help": "OCD learns from residuals of bases that have not seen the example: this many "
            "folds; 1 learns from the examples as they are"
        },
    )
    train_size: int | None = field(
        default=None, metadata={"help": "training examples to use; all if not set"}
    )
    test_size: int | None = field(
        default=None, metadata={"help": "test examples to use; all if not set"}
    )

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise OCDError(f"network is {self.network!r}: use one of {', '.join(NETWORKS)}")
        for name in ("width", "blocks", "base_epochs", "folds"):
            if getattr(self, name) < 1:
                raise OCDError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise OCDError(f"dropout is {self.dropout:g}: it must be a share, from 0 to below 1")


@dataclass(frozen=True)
class TableData(TaskData):
    """A table's examples. `in_order`: neighbouring rows belong together (documents of a query), so
    that folds are stretches of rows, not random ones. `num_classes`: 0 for regression."""

    in_order: bool = False
    num_classes: int = 0


class TableNet(nn.Module):
    """A network of rtdl_revisiting_models on features (B, D), answering in the target's own unit.

    Inside it works on standardised targets; `mean` and `std` are those of the training targets.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, features: Tensor) -> Tensor:
        answer: Tensor = self.network(features)
        return answer * self.std + self.mean


def make_base(options: NetworkOptions, data: TaskData) -> nn.Module:
    """The configured network for these features and targets, not trained yet."""
    assert isinstance(data, TableData) and isinstance(data.train.inputs, Tensor)
    network = make_network(options, data.train.inputs.shape[1], data.num_classes or 1)
    return TableNet(network) if data.num_classes else standardised(network, data)


def standardised(network: nn.Module, data: TableData) -> TableNet:
    """A network that works on standardised targets, answering in their own unit."""
    targets = data.train.targets.double()
    return TableNet(network, float(targets.mean()), float(targets.std(unbiased=False)))


def last_layer(options: NetworkOptions) -> str:
    """The linear layer with which a network of `make_network` ends."""
    return "network.output" if options.network == "mlp" else "network.output.linear"


def make_network(options: NetworkOptions, num_features: int, num_outputs: int) -> nn.Module:
    """An MLP or ResNet of Gorishniy et al. (NeurIPS 2021)."""
    try:
        import rtdl_revisiting_models as rtdl
    except ImportError as error:
        raise OCDError(
            "tables need rtdl_revisiting_models: pip install 'ocd-torch[tabular]'"
        ) from error
    network: nn.Module
    if options.network == "mlp":
        network = rtdl.MLP(
            d_in=num_features,
            d_out=num_outputs,
            n_blocks=options.blocks,
            d_block=options.width,
            dropout=options.dropout,
        )
    else:
        network = rtdl.ResNet(
            d_in=num_features,
            d_out=num_outputs,
            n_blocks=options.blocks,
            d_block=options.width,
            d_hidden=None,
            d_hidden_multiplier=2.0,
            dropout1=options.dropout,
            dropout2=0.0,
        )
    return network


def fit_quantiles(
    features: NDArray[np.float32],
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Quantile normalisation of each feature (N, D), fitted on these rows, as Gorishniy et al. (2021)
    have it: to a normal distribution, with a little noise so that equal values do not pile up."""
    from sklearn.preprocessing import QuantileTransformer

    most = 100_000  # rows that quantiles are taken from: a thousand quantiles need no more
    draw = np.random.default_rng(0)
    few = features
    if len(features) > most:
        few = features[np.sort(draw.choice(len(features), most, replace=False))]
    few = few + draw.normal(0, 1e-5, few.shape).astype(np.float32) * np.maximum(few.std(axis=0), 1e-3)
    fitted = QuantileTransformer(
        n_quantiles=max(min(len(few) // 30, 1000), 10),
        output_distribution="normal",
        subsample=None,
        random_state=0,
    ).fit(few)

    def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        made = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), 50_000):  # scikit-learn works on copies
            stretch = slice(start, start + 50_000)
            made[stretch] = fitted.transform(rows[stretch])
        return made

    return normalise


# ---- training ---------------------------------------------------------------------------


def make_folds(data: TableData, options: NetworkOptions) -> list[Tensor]:
    """Which rows each fold holds: the same for all seeds. The base holds out the first."""
    count, num_folds = len(data.train), max(2, options.folds)
    if count < 2 * num_folds:
        raise OCDError(f"{count} training examples are too few for {num_folds} folds")
    if data.in_order:
        order = torch.arange(count)
    else:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return list(order.tensor_split(num_folds))


def train_base(
    base: nn.Module, data: TaskData, options: NetworkOptions, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains on all folds but the first, which says
    when to stop."""
    if options.base is not None:
        load_base(base, options.base)
        return
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
    optimizer = torch.optim.AdamW(
        base.parameters(), lr=options.base_lr, weight_decay=options.base_weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.base_lr, total_steps=options.base_epochs * -(-len(targets) // size),
        pct_start=0.1,
    )  # fmt: skip
    best, kept = float("inf"), None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # of dropout, and of the first weights
        _initialise(base)
        for epoch in range(1, options.base_epochs + 1):
            base.train()
            for rows in torch.randperm(len(targets), generator=generator).split(size):
                optimizer.zero_grad(set_to_none=True)
                if len(rows) > 1:  # batch norm, which the ResNet has, cannot take one row
                    loss(base(inputs[rows]), targets[rows]).mean().backward()
                    optimizer.step()
                schedule.step()
            base.eval()
            value = _mean_loss(base, data.train, held_out, loss)
            if value < best:
                best = value
                kept = {name: tensor.clone() for name, tensor in base.state_dict().items()}
            progress(f"epoch {epoch} of {options.base_epochs}: held-out loss {value:.4g}")
    if kept is None:
        raise OCDError("the base's held-out loss is not finite: lower base_lr, or look at the data")
    base.load_state_dict(kept)


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
    variance = float(data.train.targets.double().var(unbiased=False))
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


# ---- what OCD learns from ---------------------------------------------------------------


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


class PeriodicEncoder(nn.Module):
    """Periodic embeddings of each feature (Gorishniy et al., 2022) and two layers: (B, D) -> (B, F).

    Much dropout: residuals are mostly noise, and what can be learnt of them is little.
    """

    def __init__(
        self,
        num_features: int,
        *,
        scale: float = 1.0,
        size: int = 12,
        frequencies: int = 24,
        width: int = 256,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        try:
            from rtdl_num_embeddings import PeriodicEmbeddings
        except ImportError as error:
            raise OCDError(
                "tables need rtdl_num_embeddings: pip install 'ocd-torch[tabular]'"
            ) from error
        self.embeddings = PeriodicEmbeddings(
            num_features, size, n_frequencies=frequencies, frequency_init_scale=scale, lite=False
        )
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(input_dropout),
            nn.Linear(num_features * size, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, features: Tensor) -> Tensor:
        encoded: Tensor = self.layers(self.embeddings(features))
        return encoded


def nothing(options: Any) -> None:
    """A table has no augmentation."""
    return None


def mean_of_draws(outputs: Tensor) -> Tensor:
    """How draws of a regression answer as one: (K, B, ...) -> (B, ...)."""
    return outputs.mean(dim=0)


def as_features(inputs: Inputs) -> Tensor:
    """The features (B, D) of a table. Raises OCDError for anything else."""
    if not isinstance(inputs, Tensor) or inputs.dim() != 2:
        raise OCDError("a table's inputs are one tensor of features (B, D)")
    return inputs


SETTINGS: dict[str, object] = {
    # Eq. 1 to its end: a residual is met to a hundredth (docs/experiments.md).
    "overfit.optimizer": "polyak",
    "overfit.lr": 1.0,
    "overfit.num_steps": 8,
    "collection.storage": "on_the_fly",
    # One draw is a sample of a distribution: how far goes with where to.
    "scale.kind": "joint",
    "condition.layer_input": False,
    "condition.layer_output": False,
    "denoiser.width": 128,
    "diffusion.num_sampling_steps": 20,
    "training.num_steps": 2400,
    "training.max_epochs": 85,  # a small table would be learnt by heart
    "training.batch_size": 512,
    "training.num_noise_levels": 4,
    "training.weight_decay": 0.5,
    "training.validation_share": 0.1,
    "training.validate_every": 200,
    "sampling.scale_factor": 1.0,
    "sampling.coverage": 0.9,
}
"""Differences from `fast` of a table's regression, chosen on held-out training examples."""

SETTINGS_OF_SMALL = SETTINGS | {"training.keep_best": True, "training.validate_every": 50}
"""Where a table may be small, and its residuals are learnt by heart before the training ends."""

RUN_SETTINGS: dict[str, object] = {
    "num_draws": 100,  # one is a sample: their mean is what settles
    "other_draws": (5, 20),
    "alternative": False,  # costs as much as all else, and was worse (docs/experiments.md)
    "augment": False,
}
