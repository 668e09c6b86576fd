"""Predict with a trained baseline.

How a network's output becomes a prediction depends on the kind: it is the label, a correction of f(x),
or the code of a delta.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ocd.baselines.trained.drawn import Drawn, OutputDiffusion
from ocd.baselines.trained.kinds import DRAWN, network_kind
from ocd.baselines.trained.networks import SharedWeight
from ocd.data import Inputs
from ocd.model import OCD
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks


@dataclass(frozen=True)
class TrainedBaseline:
    """A trained network beside the fitted OCD that it is compared with. It has one output an
    example, or draws where it is one of `DRAWN`.

    `kind`: one of `TRAINED`, or `EQUAL_TIME`. `network`: in eval mode. A prediction has no `base` where
    the base is not run (label network), and no `scale` where no delta is made (label head too).
    """

    kind: str
    ocd: OCD
    network: nn.Module

    @property
    def num_parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        frozen = self.ocd.fitted()[1]
        with torch.no_grad():
            if self.kind in DRAWN:
                work = partial(self._draw, draws=draws, seed=seed)
                return predict_in_chunks(inputs, frozen.device, work)
            return predict_in_chunks(inputs, frozen.device, self._predict)

    def _draw(self, inputs: Inputs, where: slice, draws: int, seed: int) -> Prediction:
        frozen, condition = self.ocd.fitted()[1], self.ocd.condition
        capture = frozen.capture(inputs, keep_positions=condition.needs_positions)
        features = condition.features(frozen, inputs, capture)
        assert isinstance(self.network, Drawn)
        outputs = self.network.draws(features, inputs, capture.output, draws, seed).transpose(0, 1)
        balanced = isinstance(self.network, OutputDiffusion) and self.network.placement.balances(draws)
        return Prediction(outputs, outputs.mean(dim=0), capture.output, balanced=balanced)

    def _predict(self, inputs: Inputs, where: slice) -> Prediction:
        kind = network_kind(self.kind)
        if kind == "label_network":  # it never runs the base
            outputs = self.network({}, inputs)
            return Prediction(outputs[None], outputs)
        generator, frozen = self.ocd.fitted()
        if kind == "fine_tuned_layer":
            assert isinstance(self.network, SharedWeight)
            capture = frozen.capture(inputs, keep_positions=False)
            return apply_deltas(frozen, capture, self.network.delta(frozen.start))
        condition = self.ocd.condition
        capture = frozen.capture(inputs, keep_positions=condition.needs_positions)
        features = condition.features(frozen, inputs, capture)
        if kind == "label_head":
            outputs = capture.output + self.network(features, inputs)
            return Prediction(outputs[None], outputs, capture.output)
        code = self.network(features, inputs)[:, None]
        return apply_deltas(frozen, capture, generator.codec.decode(code, capture.positions))
