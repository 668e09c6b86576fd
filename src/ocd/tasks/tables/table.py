"""Any table: `ocd run table --set path=FILE --set target=COLUMN`, for whoever has data and no code."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from ocd.evaluation import CLASSIFIER_METRICS
from ocd.tasks.images.classification import cross_entropy_per_example, log_mean_softmax
from ocd.tasks.own_network import make_own_network
from ocd.tasks.tables import networks, training
from ocd.tasks.tables.kept import load_kept
from ocd.tasks.tables.loading import load
from ocd.tasks.tables.networks import PeriodicEncoder
from ocd.tasks.tables.options import TableData, TableOptions
from ocd.tasks.tables.regression import regression_task
from ocd.tasks.tables.settings import SETTINGS_OF_SMALL, as_features
from ocd.tasks.task import Task, TaskData

# ---- base -----------------------------------------------------------------------------


def make_base(options: TableOptions, data: TaskData) -> nn.Module:
    """The configured network, or the user's own."""
    if options.module is None:
        return networks.make_base(options, data)
    assert isinstance(data, TableData)
    features = as_features(data.train.inputs)
    outputs = data.num_classes or 1
    network = make_own_network(options.module, features[:2], outputs, features.shape[1], outputs)
    if options.base is not None or data.num_classes:
        return network
    return networks.standardised(network, data)


def make_encoder(options: TableOptions, data: TaskData) -> nn.Module:
    """The encoder of x: features (B, D) -> (B, 256)."""
    return PeriodicEncoder(as_features(data.train.inputs).shape[1])


# ---- the task, as its options have it ---------------------------------------------------


def specialise(options: TableOptions) -> Task:
    """The task for a user's options: regression of numbers, or classification."""
    if options.kind == "regression":
        # Of a user's network the last layer is not known: Eq. 3 chooses.
        return replace(TASK, layer="auto" if options.module else networks.last_layer(options))
    return replace(
        TASK,
        loss=cross_entropy_per_example,
        metrics=CLASSIFIER_METRICS,
        classifies=True,
        has_distribution=False,
        make_targets=None,
        join_draws=log_mean_softmax,
        settings={
            "collection.storage": "on_the_fly",
            "scale.kind": "joint",
            "training.task_loss_weight": 1.0,
            "training.weight_decay": 0.1,
        },
        run_settings={"augment": False, "cross_fit": True},
    )


TASK = replace(
    regression_task("table", load, make_encoder, SETTINGS_OF_SMALL),
    options=TableOptions,
    load_kept=load_kept,
    make_base=make_base,
    train_base=training.train_base,
    make_targets=partial(training.out_of_fold_targets, make=make_base),
    other_bases={},
    specialise=specialise,
    finds_copies=True,  # as the file has them, before categories are numbers
)

TASKS = {TASK.name: TASK}
