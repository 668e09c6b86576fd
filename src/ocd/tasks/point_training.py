"""Train a base that answers with numbers, by the squared error: what completion and series share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ocd.data import GlobalRandom, ResumableLoop, to_device
from ocd.errors import OCDError
from ocd.tasks.task import Progress, TaskData

BATCH = 256


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error (B, ...) -> (B,), mean over an example's numbers: the loss."""
    return (outputs - targets).square().flatten(1).mean(dim=1)


def train_point(
    base: nn.Module, data: TaskData, num_steps: int, lr: float, seed: int, progress: Progress
) -> None:
    """Train in place (AdamW, one cycle, batches of 256); leaves the base in eval mode. The result
    depends on the seed alone. Raises OCDError where there is nothing to learn from, and where most
    gradients, or weights in the end, are not finite."""
    if not len(data.train):
        raise OCDError("the base has no example to learn from: lower held_out")
    device = next(base.parameters()).device
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in base.modules():
            for name in ("reset_parameters", "_reset_parameters"):  # the latter of torch's attention
                if callable(again := getattr(module, name, None)):
                    again()
        base.train()
        optimizer = torch.optim.AdamW(base.parameters(), lr=lr, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps)
        loop = ResumableLoop(
            "point", base=base, optimizer=optimizer, schedule=schedule, order=order,
            random=GlobalRandom(device),
        )  # fmt: skip
        taken = lost = torch.zeros((), device=device)
        for step in loop.steps(num_steps):
            rows = torch.randint(len(data.train), (BATCH,), generator=order)
            inputs, targets = data.train.rows(rows)
            loss = squared_error(base(to_device(inputs, device)), targets.to(device)).mean()
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(base.parameters(), 1.0)
            taken, lost = taken + 1, lost + ~norm.isfinite()  # of an infinite one nothing is left
            optimizer.step()
            schedule.step()
            if (step + 1) % 500 == 0 or step + 1 == num_steps:
                progress(f"base: step {step + 1} of {num_steps}, loss {loss.item():.4f}")
    known = all(bool(weights.isfinite().all()) for weights in base.state_dict().values())
    if not known or float(lost) > float(taken) / 2:
        raise OCDError(
            "the base's training did not stay finite: some inputs or targets are far too large (those "
            f"of training are up to {_largest(data):.3g}); leave them out, or mend them"
        )
    base.eval()


def _largest(data: TaskData) -> float:
    """The largest number of the training examples, without its sign."""
    inputs, targets = data.train.rows(torch.arange(len(data.train)))
    return max(float(part.abs().max()) for part in (inputs, targets) if isinstance(part, Tensor))


class Encoder(nn.Module):
    """x (B, size) -> (B, 256), for the condition."""

    def __init__(self, size: int, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, inputs: Tensor) -> Tensor:
        answer: Tensor = self.layers(inputs.flatten(1))
        return answer


SETTINGS: dict[str, object] = {
    # Eq. 1 to its end: a move that goes three plain steps of the way draws two thirds of the way
    # (docs/experiments.md).
    "overfit.optimizer": "polyak",
    "overfit.lr": 1.0,
    "overfit.num_steps": 8,
    "collection.storage": "on_the_fly",
    "common_move": "never",
    "goal": "distribution",
    # The delta itself is diffused: how far goes with where to.
    "scale.kind": "constant",
    "training.num_steps": 1500,
    "training.weight_decay": 0.2,
    "training.max_epochs": 0,
    "training.validate_every": 250,
    "sampling.scale_factor": 1.0,
}
"""Differences from `fast`, chosen on held-out training examples (docs/experiments.md)."""
RUN_SETTINGS: dict[str, object] = {
    "num_draws": 20, "num_bases": 3, "alternative": False, "augment": False, "held_out": 0.5,
}  # fmt: skip
"""Lessons from examples that the base has not seen: of those it has seen it errs less."""
LEFT_OUT = {
    "delta_regression": "it has no draws, and its mean is that of label_head",
    "label_network": "it has no draws, and its mean is that of label_head",
    "fine_tuned_base": "the base has one training set, and OCD's lessons are another",
    "overfit_test_all_layers": "the layer alone reaches the target",
    "renewed_statistics": "there are no batch norms",
    "laplace": "Laplace of a squared error needs its noise, which is what is asked for",
    "temperature": "there are no logits",
}
"""Baselines that say nothing of draws -> why."""
