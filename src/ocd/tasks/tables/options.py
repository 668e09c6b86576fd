"""What all tables share: the options of their base, and their data."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocd.errors import OCDError
from ocd.tasks.task import TaskData, check_least

NETWORKS = ("mlp", "resnet")
KINDS = ("regression", "classification")


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
        check_least(self, width=1, blocks=1, base_epochs=1, folds=1)
        if not 0 <= self.dropout < 1:
            raise OCDError(f"dropout is {self.dropout:g}: it must be a share, from 0 to below 1")


@dataclass(frozen=True)
class TableData(TaskData):
    """A table's examples. `in_order`: neighbouring rows belong together (documents of a query), so
    that folds are stretches of rows, not random ones. `num_classes`: 0 for regression."""

    in_order: bool = False
    num_classes: int = 0


@dataclass(frozen=True)
class TableOptions(NetworkOptions):
    """What `--set` can change in this task."""

    path: str | None = field(default=None, metadata={"help": "the file: csv, csv.gz, tsv or parquet"})
    target: str | None = field(default=None, metadata={"help": "the column to predict"})
    kind: str = field(default="regression", metadata={"help": "regression or classification"})
    test_path: str | None = field(
        default=None, metadata={"help": "a file of rows to test on; else a share is held out"}
    )
    test_share: float = field(default=0.2, metadata={"help": "share of the rows held out to test on"})
    split_seed: int = field(default=0, metadata={"help": "seed of that split"})
    drop: str | None = field(
        default=None,
        metadata={"help": "columns to leave out, separated by commas; a name that has one in quotes"},
    )
    categories: str | None = field(
        default=None,
        metadata={"help": "columns that are categories although they look like numbers or dates"},
    )
    group: str | None = field(
        default=None,
        metadata={
            "help": "a column whose value rows that belong together share (a patient, a place): they "
            "are never on both sides of a split, and the column is no feature"
        },
    )
    max_categories: int = field(
        default=32, metadata={"help": "columns of a categorical feature; rarer values go together"}
    )
    module: str | None = field(
        default=None,
        metadata={
            "help": "your own network, FILE.py:function or package.module:function, which is executed; "
            "function(num_features, num_outputs) "
            "gives a module. With `base` it is loaded and answers in the target's own unit; without, "
            "it is trained on standardised targets"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise OCDError(f"kind is {self.kind!r}: use regression or classification")
        if not 0 < self.test_share < 1:
            raise OCDError(f"test_share is {self.test_share:g}: it must be between 0 and 1")
        if not 0 <= self.split_seed < 2**32:
            raise OCDError(f"split_seed is {self.split_seed}: it must be from 0 to below 2**32")
        if self.max_categories < 2:
            raise OCDError(f"max_categories is {self.max_categories}: it must be at least 2")
