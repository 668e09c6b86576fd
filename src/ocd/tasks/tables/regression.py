"""Regression of a table as a task: what California housing, rankings and a user's file share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from ocd.evaluation import REGRESSION_METRICS, Metric
from ocd.prediction import join_by_mean
from ocd.tasks.catalog import CATALOG
from ocd.tasks.published import Published
from ocd.tasks.tables import networks, settings, training
from ocd.tasks.tables.options import NetworkOptions
from ocd.tasks.task import Task


def regression_task(
    name: str,
    load: Callable[..., Any],
    make_encoder: Callable[..., nn.Module],
    own_settings: dict[str, object],
    published: Published | None = None,
    more_metrics: Mapping[str, Metric] | None = None,
) -> Task:
    """The task of one table, by its name in the catalog; its base is an MLP or a ResNet."""

    def specialise(options: NetworkOptions) -> Task:
        """The last layer is called otherwise in an MLP and in a ResNet."""
        return replace(task, layer=networks.last_layer(options))

    task = Task(
        **asdict(CATALOG[name]),
        options=NetworkOptions,
        load=load,
        make_base=networks.make_base,
        train_base=training.train_base,
        make_targets=training.out_of_fold_targets,
        loss=training.squared_error,
        metrics=REGRESSION_METRICS | dict(more_metrics or {}),
        join_draws=join_by_mean,
        make_encoder=make_encoder,
        make_transform=settings.nothing,
        other_bases={"resnet": {"network": "resnet"}},
        is_table=True,
        has_distribution=True,
        published=published,
        specialise=specialise,
        settings=own_settings,
        run_settings=settings.RUN_SETTINGS,
    )
    return task
