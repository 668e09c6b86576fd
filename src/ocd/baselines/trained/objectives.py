"""What each trained baseline minimises: one number a batch, the same in training and when held out.

`Trainer` takes any `Objective` (ocd.training.objectives). A network is the one in training, or its
average.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.base import example_losses
from ocd.baselines.trained.conditioned import ConditionedNetwork
from ocd.baselines.trained.drawn import GaussianHead, OutputDiffusion, QuantileHead
from ocd.baselines.trained.kinds import network_kind
from ocd.generator import Codec
from ocd.lessons import LessonBatch, Overfitter
from ocd.model import OCD
from ocd.training import JUDGED_DRAWS, Objective, energy_scores


@dataclass(frozen=True)
class _SingleLoss(ABC):
    """An objective that is one scalar."""

    overfitter: Overfitter
    codec: Codec

    def losses(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.held_out(network, rows, generator)}

    def judge(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        return self.held_out(network, rows, generator)[None]

    @abstractmethod
    def held_out(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        """The scalar of a batch."""


class RegressDelta(_SingleLoss):
    """Mean squared error of the code, in units of the training codes' mean scale."""

    def held_out(
        self, network: ConditionedNetwork, rows: LessonBatch, generator: torch.Generator
    ) -> Tensor:
        assert rows.delta is not None
        codes = self.codec.encode(rows.delta)[:, 0]
        return ((network(rows.features, rows.inputs) - codes) / network.unit).square().mean()


class _LossOfOutput(_SingleLoss):
    """The base's own loss, the mean over the batch in the plan's unit, of an output that a subclass
    makes."""

    @abstractmethod
    def output(self, network: Any, rows: LessonBatch) -> Tensor:
        """Outputs (B, ...), in the shape of f(x)."""

    def held_out(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        assert rows.targets is not None
        losses = example_losses(self.overfitter.loss, self.output(network, rows), rows.targets)
        return losses.mean() / self.overfitter.config.unit


class CorrectOutput(_LossOfOutput):
    """The loss of f(x) plus the network's output."""

    def output(self, network: ConditionedNetwork, rows: LessonBatch) -> Tensor:
        assert rows.capture is not None
        correction: Tensor = network(rows.features, rows.inputs)
        return rows.capture.output + correction


class PredictLabel(_LossOfOutput):
    """The loss of the network's output itself."""

    def output(self, network: ConditionedNetwork, rows: LessonBatch) -> Tensor:
        output: Tensor = network({}, rows.inputs)
        return output


class FitMarginals(_SingleLoss):
    """What a head of normal distributions or quantiles minimises."""

    def held_out(
        self, network: GaussianHead | QuantileHead, rows: LessonBatch, generator: torch.Generator
    ) -> Tensor:
        assert isinstance(rows.targets, Tensor)
        return network.loss(rows.features, rows.inputs, rows.base_outputs, rows.targets)


class DiffuseOutput(_SingleLoss):
    """Eq. 7 of target - f(x); its best weights are those of the best draws, as OCD's are."""

    def held_out(
        self, network: OutputDiffusion, rows: LessonBatch, generator: torch.Generator
    ) -> Tensor:
        assert isinstance(rows.targets, Tensor)
        residuals = rows.targets - rows.base_outputs
        return network.losses(rows.features, rows.inputs, residuals, generator)

    def judge(self, network: OutputDiffusion, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        assert isinstance(rows.targets, Tensor)
        draws = network.draws(rows.features, rows.inputs, rows.base_outputs, JUDGED_DRAWS, 0)
        return energy_scores(draws, rows.targets).mean()[None]


OBJECTIVES: dict[str, type[_SingleLoss]] = {
    "delta_regression": RegressDelta,
    "label_head": CorrectOutput,
    "label_network": PredictLabel,
    "gaussian_head": FitMarginals,
    "quantile_head": FitMarginals,
    "output_diffusion": DiffuseOutput,
}
"""Kind of network -> what it minimises."""


def make_objective(kind: str, overfitter: Overfitter, ocd: OCD) -> Objective:
    """The objective of a baseline beside a fitted OCD."""
    return OBJECTIVES[network_kind(kind)](overfitter, ocd.fitted()[0].codec)
