"""What an evaluation needs to know of a task: how its outputs are judged, and which methods fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor, nn

from ocd.base import Loss
from ocd.data import Inputs
from ocd.evaluation.metric import Metric
from ocd.prediction import Join


class Criteria(Protocol):
    """How outputs are judged. Any object with these attributes will do; `ocd.tasks.Task` has them."""

    @property
    def loss(self) -> Loss:
        """(outputs (B, ...), targets (B, ...)) -> (B,), the L of Eq. 1."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Metrics by name."""

    @property
    def join_draws(self) -> Join:
        """Outputs of K draws (K, B, ...) -> (B, ...): the prediction of an ensemble."""

    @property
    def classifies(self) -> bool:
        """Whether outputs are logits (B, C), which have an entropy and can be right or wrong."""

    @property
    def is_table(self) -> bool:
        """Whether inputs are features (B, D), for which there are baselines without a network."""

    @property
    def has_distribution(self) -> bool:
        """Whether targets are continuous, so that draws are judged as their distribution too."""

    @property
    def compose(self) -> Callable[[Inputs, Tensor], Tensor] | None:
        """(inputs, answers (B, ...)) -> the whole of which an answer is a part, (B, C, H, W) from 0 to
        1 or (B, T), where draws of answers are judged as wholes; None where they are not."""

    @property
    def neighbours(self) -> Callable[[nn.Module, Inputs], Tensor] | None:
        """(base, inputs): features (B, F) in which inputs are near each other; None: the inputs."""

    @property
    def has_views(self) -> bool:
        """Whether outputs are images (B, 3, H, W) with pixels from 0 to 1, for the report to show."""
