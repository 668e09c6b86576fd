"""Eq. 3 within the budget of a fit: a share of what its training takes (docs/selection.md)."""

from __future__ import annotations

import torch

from ocd.base import list_layers
from ocd.config import OCDConfig
from ocd.data import dataset_size, progress_bar
from ocd.lessons import LayerScores, Problem, select_layer, selection_excerpt
from ocd.training import shortened


def layer_scores(problem: Problem, config: OCDConfig, progress: bool) -> LayerScores:
    """The scores of the base's layers on the first examples of the problem."""
    selection, total = config.selection, dataset_size(problem.dataset)
    inputs, targets = problem.fetch(torch.arange(min(selection.num_examples, total)))
    training = shortened(config.training, total)
    budget = max(1, int(selection.budget * training.num_steps * training.batch_size))
    most = selection.num_examples * selection.num_draws * len(list_layers(problem.base))
    with progress_bar("select a layer", most, progress) as advance:
        return select_layer(
            problem.base, problem.loss, inputs, targets, selection, seed=config.seed,
            excerpt=problem.excerpt, excerpt_size=selection_excerpt(config.overfit.excerpt),
            outputs=problem.outputs, advance=advance, budget=budget,
        )  # fmt: skip
