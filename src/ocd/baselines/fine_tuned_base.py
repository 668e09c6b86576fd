"""All layers of the base fine-tuned on OCD's lessons: what a user would do in place of OCD.

    network = fine_tune(base, loss, len(examples), fetch, seed)   # the base itself is not changed

With the care that the layer's own move gets (ocd.lessons.common_move): the learning rate and the number
of steps are those with the lowest loss on a part of the lessons that is kept apart; where that is no
gain beyond doubt, no step is made. Plain Adam, in eval mode, so that dropout and batch statistics stay
as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ocd.base import Loss, check_independent, example_losses, independent_copy, unwrapped
from ocd.data import (
    Batch,
    ResumableLoop,
    State,
    call,
    copied,
    progress_bar,
    seeded,
    some_of,
)
from ocd.lessons import TUNING, as_evidence, is_gain

RATES = (3e-5, 3e-4, 3e-3)
CONFIDENCE = 0.99
"""One-sided confidence with which the examples that are kept apart have to gain."""
Fetch = Callable[[Tensor, torch.Generator | None], Batch]
"""(indices, generator): examples, augmented where there is a generator."""


def fine_tune(
    base: nn.Module,
    loss: Loss,
    size: int,
    fetch: Fetch,
    seed: int,
    progress: bool = True,
    belongs: Tensor | None = None,
) -> nn.Module:
    """A fine-tuned copy of the base; a plain copy where no rate lowers the loss of the examples that
    are kept apart beyond doubt. `loss(outputs, targets)` gives (B,). `size`: of the dataset that
    `fetch` reads. `belongs` (size,): which examples belong together (ocd.data.groups)."""
    judged = some_of(torch.arange(size), min(TUNING.judged, size // 4), seeded(seed, 30), belongs)
    trained = (~torch.isin(torch.arange(size), judged)).nonzero()[:, 0]
    count = len(judged)
    network = independent_copy(unwrapped(base)).eval()
    check_independent(network, base, fetch(judged[:1] if count else trained[:1], None)[0])
    start = copy.deepcopy(network.state_dict())
    before = _losses(network, loss, fetch, judged) if count else torch.zeros(0)
    mean = float(before.mean()) if count else 0.0
    best: State = {"mean": mean, "losses": before, "state": start}
    steps = TUNING.num_steps(len(trained), TUNING.batch) if count else 0
    with progress_bar("fine-tune the base", steps * len(RATES), progress) as advance:
        for rate in RATES:
            network.load_state_dict(start)
            search = _Descent(network, loss, fetch, trained, rate, seed)
            best = search.run(steps, judged, best, advance)
    gains = (before - best["losses"].to(before)).nan_to_num(0.0)[None]
    by_group = as_evidence(gains, None if belongs is None else belongs[judged])
    network.load_state_dict(best["state"] if is_gain(by_group, CONFIDENCE) else start)
    return network


class _Descent:
    """Adam on all parameters of a network that may be trained."""

    def __init__(
        self, network: nn.Module, loss: Loss, fetch: Fetch, trained: Tensor, rate: float, seed: int
    ) -> None:
        self.network, self.loss, self.fetch = network, loss, fetch
        self.trained, self.rate, self.seed = trained, rate, seed
        self.parameters = [p for p in network.parameters() if p.is_floating_point()]
        for parameter in self.parameters:
            parameter.requires_grad_()
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate)

    def run(self, steps: int, judged: Tensor, best: State, advance: Callable[[int], None]) -> State:
        """Descend until the end, or until nothing was gained for long. Returns the best weights with
        their losses on `judged`, or `best`, those of the rates before."""
        loop = ResumableLoop(
            f"fine-tuning at {self.rate}", network=self.network, optimizer=self.optimizer
        )
        best = loop.values.setdefault("best", dict(best))
        advance(loop.step)
        for place in loop.steps(steps):
            number = place + 1
            self.step(number)
            advance(1)
            if number % TUNING.judge_every and number != steps:
                continue
            losses = _losses(self.network, self.loss, self.fetch, judged)
            if float(losses.mean()) < best["mean"]:
                state = copy.deepcopy(self.network.state_dict())
                best.update(mean=float(losses.mean()), losses=losses, state=state)
                loop.values["last"] = number
            if number - loop.values.get("last", 0) >= TUNING.patience:
                loop.end()
        return best

    def step(self, number: int) -> None:
        generator = seeded(self.seed, 31, number)
        chosen = torch.randint(
            len(self.trained), (min(TUNING.batch, len(self.trained)),), generator=generator
        )
        inputs, targets = self.fetch(self.trained[chosen], generator)
        with torch.enable_grad():
            losses = example_losses(self.loss, call(self.network, copied(inputs)), targets)
            losses[losses.isfinite()].mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _losses(network: nn.Module, loss: Loss, fetch: Fetch, index: Tensor) -> Tensor:
    losses = []
    for part in index.split(TUNING.batch):
        inputs, targets = fetch(part, None)
        losses.append(example_losses(loss, call(network, copied(inputs)), targets))
    return torch.cat(losses).nan_to_num(torch.inf)
