"""What is left of a network behind its frozen body: one linear layer, or two that are averaged.

They are trained as linear probes: the features stay, and a logistic regression with an L2 penalty is
all that is fitted. Features of bodies differ in size by orders of magnitude, so they are brought to
unit size while the probe is trained, and the weights are brought back behind it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.data import Examples, ResumableLoop
from ocd.tasks.task import Progress

DECAYS = (3e-4, 1e-3, 3e-3)
"""L2 penalties that are tried on a tenth of the examples."""
BATCH = 256
RATE = 0.036
"""Of Adam, for one feature of unit size; it falls with the root of their number."""


class Heads(nn.Module):
    """Features (B, D) of one head, or (B, heads, D), -> logits (B, classes), the mean of the heads'.

    A distilled DeiT has two, and answers with their mean. `names`: of the linear layers.
    """

    def __init__(self, names: tuple[str, ...], width: int, num_classes: int) -> None:
        super().__init__()
        self.names = names
        for name in names:
            setattr(self, name, nn.Linear(width, num_classes))

    def forward(self, features: Tensor) -> Tensor:
        found = self.each(features)
        return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)

    def each(self, features: Tensor) -> list[Tensor]:
        """Logits of each head, (B, classes)."""
        weight = getattr(self, self.names[0]).weight
        rows = features.to(weight.dtype)
        parts = [rows] if len(self.names) == 1 else list(rows.unbind(dim=1))
        return [getattr(self, name)(part) for name, part in zip(self.names, parts, strict=True)]


def train_probe(heads: Heads, examples: Examples, epochs: int, seed: int, progress: Progress) -> None:
    """Linear probes: each head is a logistic regression of its features, with the L2 penalty that is
    best for a tenth of the examples. From new weights; in place."""
    assert isinstance(examples.inputs, Tensor) and isinstance(examples.targets, Tensor)
    device = next(heads.parameters()).device
    features, classes = examples.inputs.to(device), examples.targets.to(device)
    chance = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(classes), generator=chance)
    apart, rest = order[: len(order) // 10], order[len(order) // 10 :]
    losses = []
    for decay in DECAYS if len(apart) else ():
        _fit(heads, features[rest], classes[rest], decay, epochs, seed)
        with torch.no_grad():
            losses.append(F.cross_entropy(heads(features[apart]), classes[apart]).item())
        progress(
            f"base: linear probe, L2 penalty {decay:g}, loss of a tenth kept apart {losses[-1]:.4f}"
        )
    best = DECAYS[losses.index(min(losses))] if losses else DECAYS[1]
    _fit(heads, features, classes, best, epochs, seed)
    heads.eval()


def _fit(heads: Heads, features: Tensor, classes: Tensor, decay: float, epochs: int, seed: int) -> None:
    """Adam with a falling rate on the mean cross-entropy of the heads plus decay/2 times the squared
    weights. Features are divided by their mean length, so that one rate serves all bodies."""
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [getattr(heads, name) for name in heads.names]
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        size = features.float().square().mean().sqrt().clamp_min(1e-12)
        optimizer = torch.optim.Adam(heads.parameters(), lr=RATE / math.sqrt(layers[0].in_features))
        num_batches = math.ceil(len(classes) / BATCH)
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, total_iters=max(1, epochs * num_batches)
        )
        loop = ResumableLoop(
            f"probe {decay:g}", heads=heads, optimizer=optimizer, schedule=schedule, order=order
        )
        for step in loop.steps(epochs * num_batches):
            batch = step % num_batches
            if batch == 0:
                loop.values["rows"] = torch.randperm(len(classes), generator=order)
            rows = loop.values["rows"][batch * BATCH :][:BATCH].to(features.device)
            answers = heads.each(features[rows] / size)
            loss = torch.stack([F.cross_entropy(one, classes[rows]) for one in answers]).mean()
            loss = loss + decay / 2 * sum(layer.weight.square().sum() for layer in layers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            for layer in layers:
                layer.weight /= size
