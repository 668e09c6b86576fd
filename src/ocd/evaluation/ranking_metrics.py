"""NDCG of rankings: documents (N, 1) of several queries, ordered within each by their output."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation.metric import Metric

DEPTH = 10


def ndcg(outputs: Tensor, targets: Tensor, queries: Tensor) -> float:
    """NDCG@10 (Järvelin & Kekäläinen 2002) with gains 2^grade - 1 and discounts log2(1 + place), mean
    over the queries in per cent. `queries` (N,): a number for the rows of each.

    Queries without a relevant document have no order to find, and are left out; nan where none has one.
    """
    outputs, targets = (values.double().reshape(len(values), -1)[:, 0] for values in (outputs, targets))
    if not len(outputs) == len(targets) == len(queries):
        raise OCDError(
            f"NDCG takes an output, a grade and a query for each document: got {len(outputs)}, "
            f"{len(targets)} and {len(queries)}"
        )
    found = []
    for query in queries.unique():
        of = queries == query
        gains = 2 ** targets[of] - 1
        best = _discounted(gains.sort(descending=True).values)
        if best > 0:
            found.append(_discounted(gains[outputs[of].argsort(descending=True, stable=True)]) / best)
    return 100 * sum(found) / len(found) if found else math.nan


def expected_ranks(draws: Tensor, queries: Tensor) -> Tensor:
    """Outputs (N, 1) that order documents by their mean place over draws (K, N, 1): a document that is
    first in most draws comes before one that is second in all of them."""
    scores = draws.reshape(len(draws), len(queries), -1)[..., 0]
    places = torch.empty_like(scores, dtype=torch.float64)
    for query in queries.unique():
        of = (queries == query).nonzero()[:, 0]
        order = scores[:, of].argsort(dim=1, descending=True, stable=True)
        places[:, of] = order.argsort(dim=1).double()
    return -places.mean(dim=0)[:, None]


def _discounted(gains: Tensor) -> float:
    first = gains[:DEPTH]
    places = torch.arange(len(first), dtype=torch.float64, device=gains.device)
    return float((first / (places + 2).log2()).sum())


def _as_one_query(outputs: Tensor, targets: Tensor) -> float:
    return ndcg(outputs, targets, torch.zeros(len(targets), dtype=torch.long))


RANKING_METRICS: dict[str, Metric] = {
    "ndcg_10": Metric(_as_one_query, higher_is_better=True, unit="%", by_query=ndcg)
}
