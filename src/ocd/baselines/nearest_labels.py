"""The classes of the nearest training examples (Cover & Hart 1967), in features of the base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ocd.baselines.nearest_neighbor import flat_inputs
from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.prediction import Prediction

MOST_NEIGHBOURS = 3
"""Training examples that are asked; one where a class has fewer."""


@dataclass(frozen=True)
class NearestLabels:
    """Logits: the log of the share that each class has among the nearest training examples, each class
    counted once more than it is there, so that none has a probability of zero.

    `features`: inputs -> (B, F). `training` (N, F) and `labels` (N,): of the training examples.
    """

    features: Callable[[Inputs], Tensor]
    training: Tensor
    labels: Tensor
    num_classes: int
    num_neighbours: int

    # The distance is that of the features as they are: of embeddings of unit length it is the angle's.
    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        """Logits: the log of the neighbours' label shares.

        Each class is counted once more, so that none is impossible. Draws and seed change nothing.
        """
        queries = flat_inputs(self.features(inputs))
        nearest = torch.cdist(queries, self.training).topk(self.num_neighbours, largest=False).indices
        votes = F.one_hot(self.labels[nearest], self.num_classes).sum(dim=1) + 1.0
        outputs = (votes / votes.sum(dim=1, keepdim=True)).log()
        return Prediction(outputs[None], outputs, outputs)


def fit_nearest_labels(
    features: Callable[[Inputs], Tensor], examples: Examples, num_classes: int
) -> NearestLabels:
    """Of examples with their labels, whose features are kept. Raises OCDError for labels that are no
    classes."""
    labels = examples.targets
    if labels.dim() != 1 or labels.is_floating_point():
        raise OCDError("nearest labels are for targets that are classes")
    training = flat_inputs(features(examples.inputs))
    fewest = int(labels.bincount(minlength=num_classes).min())
    count = MOST_NEIGHBOURS if fewest >= MOST_NEIGHBOURS else 1
    return NearestLabels(features, training, labels.to(training.device), num_classes, count)
