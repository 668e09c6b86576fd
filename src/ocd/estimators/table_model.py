"""What both estimators share: their parameters, the base, and the fit of OCD on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ocd.config import OCDConfig
from ocd.data import Examples, dataset_size, fetch_rows
from ocd.errors import OCDError, install
from ocd.model import OCD
from ocd.prediction import Prediction
from ocd.tasks import TableData, Task, get_task

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise OCDError(f"the estimators need scikit-learn ({error}): {install('tabular')}") from None

PART = 64
"""Rows that are answered at once."""
FEWEST = 4
"""Examples that can be parted into folds at all."""
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scaler:
    """Brings features to mean 0 and deviation 1; constant ones to 0."""

    mean: Array
    std: Array

    @classmethod
    def of(cls, features: Array) -> Scaler:
        std = features.std(axis=0, dtype=np.float64)
        return cls(features.mean(axis=0, dtype=np.float64), np.where(std > 0, std, 1.0))

    def __call__(self, features: Array) -> Tensor:
        return torch.from_numpy(((features - self.mean) / self.std).astype(np.float32))


class TableModel(BaseEstimator):
    """The parameters of OCDRegressor and OCDClassifier.

    `network`, `width`, `blocks`, `dropout`, `epochs`, `learning_rate`, `weight_decay`: of the base, mlp
    or resnet (Gorishniy et al., 2021), trained on standardised features. `draws`: of each prediction;
    None for the task's own number. `config`: differences from the task's settings of OCD, by dotted
    name ({"training.num_steps": 500}). `folds`: bases of cross-fitting, each trained without a part of
    the examples. `random_state`: of everything random. `device`: cpu, cuda, or auto. `verbose`: print
    the decisions of the fit.
    """

    _kind = "regression"

    def __init__(
        self,
        *,
        network: str = "mlp",
        width: int = 384,
        blocks: int = 3,
        dropout: float = 0.15,
        epochs: int = 50,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        draws: int | None = None,
        config: dict[str, Any] | None = None,
        folds: int = 5,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.width = width
        self.blocks = blocks
        self.dropout = dropout
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.draws = draws
        self.config = config
        self.folds = folds
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # What a fit leaves, by scikit-learn's habit with an underscore behind.
    base_: nn.Module
    """The base, as it was trained on all examples."""
    ocd_: OCD
    """The fitted OCD on it."""
    notes_: list[str]
    """What the fit decided, and why."""

    @property
    def answers_as_base_(self) -> bool:
        """Whether no move gained on held-out examples, so that OCD answers as its base does."""
        check_is_fitted(self, "ocd_")
        network, frozen = self.ocd_.fitted()
        return bool(network.scale_factor == 0) and frozen.start is None

    def _fit(self, features: Array, targets: Tensor, num_classes: int, groups: Any) -> Self:
        """Train the base and OCD on it. `targets`: (N, 1) numbers, or (N,) classes."""
        self._check(count := len(features))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._scaler = Scaler.of(features)
        examples = Examples(self._scaler(features), targets)
        options = self._options(count)
        task = _task(options)
        data = TableData(examples, examples, num_classes=num_classes)
        train = partial(_trained, task, options, data, seed, self._torch_device())
        self.base_ = train(examples)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = task.make_encoder(options, data)
        ocd = OCD(
            self.base_,
            loss=task.loss,
            config=self._settings(task, options, count, seed),
            encoder=encoder,
            join=task.join_draws,
        )
        self.ocd_ = ocd.fit(
            examples, progress=self.verbose, seen=True, fit_base=train, groups=groups,
            verbose=self.verbose,
        )  # fmt: skip
        self.notes_ = list(self.ocd_.notes)
        self._join = task.join_draws
        own = int(str(task.run_settings.get("num_draws", 5)))
        self._draws = own if self.draws is None else int(self.draws)
        return self

    def _check(self, count: int) -> None:
        """Raises OCDError for too few rows, and for numbers of draws and folds that cannot be."""
        if count < FEWEST:
            raise OCDError(f"n_samples={count}: at least {FEWEST} are needed, to hold some of them out")
        if self.draws is not None and not _is_count(self.draws, 1):
            raise OCDError(
                f"draws is {self.draws!r}: it must be a whole number, at least 1, or None for the "
                "task's own"
            )
        if not _is_count(self.folds, 2):
            raise OCDError(
                f"folds is {self.folds!r}: it must be a whole number, at least 2 (each base is trained "
                "without one fold)"
            )

    def _options(self, count: int) -> Any:
        """Those of the task `table`, for as few examples as there may be."""
        return get_task("table").options(
            network=self.network, width=self.width, blocks=self.blocks, dropout=self.dropout,
            base_epochs=self.epochs, base_lr=self.learning_rate, base_weight_decay=self.weight_decay,
            kind=self._kind, folds=max(2, min(5, count // 2)),
        )  # fmt: skip

    def _settings(self, task: Task, options: Any, count: int, seed: int) -> OCDConfig:
        folds = {
            "cross_fitting.num_folds": min(int(self.folds), count // 2),
            "cross_fitting.stratify": self._kind == "classification",
        }
        last = _task(replace(options, kind="regression")).layer  # it has one name, whatever the kind
        given = {"layer": last, "seed": seed, **task.settings, **folds, **(self.config or {})}
        return OCDConfig.preset("fast").replace(given)

    def _torch_device(self) -> str:
        if self.device not in ("auto", "cpu", "cuda"):
            raise OCDError(f"device is {self.device!r}: use auto, cpu or cuda")
        seen = torch.cuda.is_available()
        if self.device == "cuda" and not seen:
            raise OCDError("device is 'cuda', but this PyTorch sees none: use auto or cpu")
        return "cuda" if seen and self.device != "cpu" else "cpu"

    def _predict(self, X: Any, draws: int | None = None) -> Prediction:
        """Draws for each row. The same seed every time: a row has one answer."""
        check_is_fitted(self, "ocd_")
        features = self._scaler(validate_data(self, X, reset=False, dtype=np.float64))
        # In parts of one size, filled up: products of matrices round by their size, and an answer must
        # not depend on what else is asked for.
        count = len(features)
        filled = torch.cat([features, features[-1:].expand(-count % PART, -1)])
        found = self.ocd_.predict(filled, draws=draws or self._draws, chunk_size=PART)
        return replace(
            found,
            outputs=found.outputs[:, :count],
            mean_network=found.mean_network[:count],
            base=None if found.base is None else found.base[:count],
            scale=None if found.scale is None else found.scale[:, :count],
        )


def _is_count(value: Any, least: int) -> bool:
    """Whether a parameter is a whole number, NumPy's too, of at least so much."""
    return isinstance(value, Integral) and int(value) >= least


def _task(options: Any) -> Task:
    """The task `table`, as its options have it."""
    task = get_task("table")
    assert task.specialise is not None
    return task.specialise(options)


def _trained(
    task: Task, options: Any, data: TableData, seed: int, device: str, dataset: Dataset[Any]
) -> nn.Module:
    """A base trained on other examples of the same table, from the same seed."""
    rows = fetch_rows(dataset, torch.arange(dataset_size(dataset)))
    of_fold = replace(data, train=Examples(*rows))
    smaller = replace(options, folds=max(2, min(options.folds, len(of_fold.train) // 2)))
    with torch.random.fork_rng():
        base = task.make_base(smaller, of_fold).to(device)  # its weights are those of the seed
    task.train_base(base, of_fold, smaller, seed, _say_nothing)
    return base.eval()


def _say_nothing(line: str) -> None:
    """Progress of a base, which nobody watches."""
