"""The move that all examples share: the layer fine-tuned once for all, before any single example is.

    move = find_common_move(groups, config, seed)     # None where none gains beyond doubt
    move.delta          # of all lessons: where the generator's own moves start from
    move.of_others[k]   # of the lessons of all groups but k: where those of group k start from

A generator of moves for each input can spend itself on one that is the same for every input. That one
is found by plain fine-tuning with early stopping, and the generator learns what is left. An example
would have no errors left under a move that was fitted on it: each group of lessons therefore starts
from the move of the others. The same moves say whether it helps: the losses of every group under the
move of the others, paired with those without, have to fall beyond doubt.

The moves of all groups, at several learning rates, are trained in the same passes of the base, as draws
of one batch (`FrozenBase.run`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import Capture, DenseDelta, FrozenBase, example_losses, loss_unit, num_weights
from ocd.data import (
    ResumableLoop,
    State,
    Targets,
    dataset_size,
    in_parts,
    progress_bar,
    repeat_rows,
    seeded,
)
from ocd.lessons.gain import FEWEST, as_evidence, is_gain
from ocd.lessons.problem import Problem
from ocd.lessons.tuning import TUNING

USES = ("auto", "always", "never")
"""Values of the setting: taken where it gains, taken in any case, not looked for."""
RATES = (3e-4, 3e-3, 3e-2)
"""Learning rates of Adam that are tried, over the root mean square of the layer's weights."""
CONFIDENCE = 0.995
MOST_NUMBERS = 2**26
"""Of all moves that are trained together; a larger layer has fewer rates, or no common move."""
MOST_ROWS = 2**25
"""Numbers of the layer's output in a batch, all moves counted."""
FLOPS = 1.2e7
"""Operations that the search may take for each lesson of a training batch: what training the generator
takes. Where fewer than `TUNING.judge_every` steps are left, there is no search."""


@dataclass(frozen=True)
class Group:
    """Lessons that start from the same move. `problem`: their base and dataset. `index`: which of the
    dataset's examples they are. `frozen`: the base at the layer, with a way."""

    problem: Problem
    index: Tensor
    frozen: FrozenBase


@dataclass(frozen=True)
class CommonMove:
    """`delta` (*weight.shape): of all lessons. `of_others` (groups, *weight.shape). `note`: why."""

    delta: Tensor | None
    of_others: Tensor | None
    note: str


def find_common_move(
    groups: list[Group],
    use: str,
    excerpt: int,
    seed: int,
    trained: int,
    progress: bool = True,
) -> CommonMove:
    """The common move of some groups' lessons. `use`: one of `USES`. `excerpt`: positions that a step
    sees of a large example. `trained`: lessons that the generator's training takes, by which the cost
    of the search is bounded, unless `use` is "always"."""
    search = _Search(groups, excerpt, seed)
    if search.is_too_large:
        return CommonMove(None, None, "common move: none, since the layer is too large to try several")
    if use != "always":
        search.num_steps = min(search.num_steps, int(FLOPS * trained / search.cost()))
        if search.num_steps < TUNING.judge_every:
            return CommonMove(
                None, None, "common move: not looked for, since that would take longer than training; "
                "common_move=always looks for one in any case"
            )  # fmt: skip
    with progress_bar("look for a common move", search.num_steps, progress) as advance:
        search.run(advance)
    return search.found(use)


class _Search:
    """Moves of every group's others and of all, at several rates, in training."""

    def __init__(self, groups: list[Group], excerpt: int, seed: int) -> None:
        self.groups, self.excerpt, self.seed = groups, excerpt, seed
        self.frozen = groups[0].frozen
        weights = num_weights(self.frozen.weight_shape)
        most = MOST_NUMBERS // (weights * (len(groups) + 1))
        self.rates = RATES if most >= len(RATES) else RATES[1:2]
        self.is_too_large = most < 1
        total = sum(len(group.index) for group in groups)
        self.batch = self._batch_size(total)
        self.num_steps = TUNING.num_steps(total, self.batch)
        self.moves: list[Tensor] = []
        if self.is_too_large:
            return
        size = float(self.frozen.weight.float().square().mean().sqrt())
        size = size or 1 / max(1, self.frozen.weight[0].numel()) ** 0.5
        number = len(groups) + 1  # the last is of all groups
        self.moves = [self.frozen.zeros(number).requires_grad_() for _ in self.rates]
        self.optimizer = torch.optim.Adam(
            [
                {"params": [move], "lr": rate * size}
                for move, rate in zip(self.moves, self.rates, strict=True)
            ]
        )
        judged = max(1, TUNING.judged // len(groups))
        self.judged = [
            _shuffled(group.index, seeded(seed, 20, number))[:judged]
            for number, group in enumerate(groups)
        ]
        self.belongs = _belonging(groups, self.judged)
        self.best: list[tuple[float, int, Tensor, Tensor] | None] = [None] * len(self.rates)

    def _batch_size(self, total: int) -> int:
        """Lessons in a step: fewer where the layer's output is large."""
        draws = len(self.rates) * (len(self.groups) + 1)
        size = 4 * draws * (self.frozen.layer_size or 1)
        return max(1, min(total, TUNING.batch, max(8, MOST_ROWS // size)))

    def cost(self) -> float:
        """Operations of a step, forward and backward, from one pass of two lessons under one move."""
        from torch.utils.flop_counter import FlopCounterMode  # 80 ms, which not every start has to pay

        group = self.groups[0]
        capture, targets = self._captured(group, group.index[:2], seeded(self.seed, 24), augmented=True)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self._losses(group, capture, targets, self.moves[0].detach()[:1])
        draws = len(self.rates) * len(self.groups)
        return max(1.0, 3 * counter.get_total_flops() * draws * self.batch / len(capture))

    def run(self, advance: Callable[[int], None]) -> None:
        """Train until the end, or until no rate has gained for long."""
        loop = ResumableLoop("common move", search=self)
        if loop.step == 0:
            self.before = self._judge(0)
        advance(loop.step)
        unit = loss_unit(self.before)
        for number in loop.steps(self.num_steps):
            step = number + 1
            self._step(step, unit)
            advance(1)
            if step % TUNING.judge_every == 0 or step == self.num_steps:
                self._judge(step)
                last = max(best[1] for best in self.best if best is not None)
                if step - last >= TUNING.patience:
                    loop.end()

    def state_dict(self) -> State:
        """What a step changes: of an interrupted search (ocd.data.resuming)."""
        return {
            "moves": [move.detach() for move in self.moves],
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "before": self.before,
            "usable": self.usable,
        }

    def load_state_dict(self, state_dict: State, /) -> None:
        """Go on as a search that was interrupted."""
        device = self.frozen.device
        for move, saved in zip(self.moves, state_dict["moves"], strict=True):
            move.data.copy_(saved)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.best = [
            (mean, step, move.to(device), losses.to(device))
            for mean, step, move, losses in state_dict["best"]
        ]
        self.before, self.usable = state_dict["before"].to(device), state_dict["usable"].to(device)

    def found(self, use: str) -> CommonMove:
        """The best move, if it gains beyond doubt, or in any case."""
        rate = min(range(len(self.rates)), key=lambda place: self._best(place)[0])
        _, step, moves, losses = self._best(rate)
        usable = self.usable
        # A loss that is not finite where the base's is counts as boundless harm, not as missing.
        gains = (self.before[rate] - losses.nan_to_num(torch.inf))[usable].double()
        own = float(self.before[rate][usable].mean()) if usable.any() else float("nan")
        error = float(gains.std()) / max(1, len(gains)) ** 0.5 if len(gains) > 1 else float("nan")
        tried = (
            f"the loss of {len(gains)} lessons under the layer fine-tuned on the others is "
            f"{own - float(gains.mean()) if len(gains) else own:.4g}, {own:.4g} without (gain ± "
            f"{error:.2g}, {step} steps)"
        )
        by_group = as_evidence(gains[None], None if self.belongs is None else self.belongs[usable])
        is_sure = bool(is_gain(by_group, CONFIDENCE)[0]) and step > 0
        if (use == "always" and step > 0) or is_sure:
            return CommonMove(moves[-1], moves[:-1], f"common move: taken, {tried}")
        few = ""
        if self.belongs is not None and by_group.shape[1] < FEWEST:
            few = f"; they are {by_group.shape[1]} groups, and {FEWEST} are needed to say"
        return CommonMove(None, None, f"common move: none, no gain beyond doubt: {tried}{few}")

    def _best(self, rate: int) -> tuple[float, int, Tensor, Tensor]:
        best = self.best[rate]
        assert best is not None
        return best

    def _step(self, step: int, unit: float = 1.0) -> None:
        """One step of every move, on lessons of all groups; the loss is counted in `unit`."""
        generator = seeded(self.seed, 21, step)
        counts = torch.bincount(
            torch.randint(len(self.groups), (self.batch,), generator=generator),
            minlength=len(self.groups),
        )
        total = torch.zeros((), device=self.frozen.device)
        for number, group in enumerate(self.groups):
            if not counts[number]:
                continue
            chosen = torch.randint(len(group.index), (int(counts[number]),), generator=generator)
            capture, targets = self._captured(group, group.index[chosen], generator, augmented=True)
            stacked = torch.stack(self.moves, dim=1)  # (groups + 1, rates, *weight.shape)
            others = [place for place in range(len(self.groups) + 1) if place != number]
            losses = self._losses(group, capture, targets, stacked[others].flatten(0, 1))
            good = losses.isfinite()
            total = total + torch.where(good, losses / unit, 0.0).sum() / self.batch
        self.optimizer.zero_grad(set_to_none=True)
        if total.requires_grad:
            total.backward()
            for move in self.moves:
                if move.grad is not None:
                    move.grad.nan_to_num_(0.0, 0.0, 0.0)
            self.optimizer.step()

    @torch.no_grad()
    def _judge(self, step: int) -> Tensor:
        """Losses (rates, examples) of each group under the moves of the others; keeps the best."""
        parts = []
        for number, (group, index) in enumerate(zip(self.groups, self.judged, strict=True)):
            own = torch.stack([move[number] for move in self.moves])
            for part in index.split(TUNING.batch):
                capture, targets = self._captured(group, part, seeded(self.seed, 22), augmented=False)
                parts.append(self._losses(group, capture, targets, own).T)
        losses = torch.cat(parts, dim=1)
        if step == 0:
            self.usable = losses.isfinite().all(dim=0)
        for place, row in enumerate(losses):
            mean = float(row[self.usable].nan_to_num(torch.inf).mean()) if self.usable.any() else 0.0
            best = self.best[place]
            if best is None or mean < best[0]:
                self.best[place] = (mean, step, self.moves[place].detach().clone(), row)
        return losses

    def _captured(
        self, group: Group, index: Tensor, generator: torch.Generator, augmented: bool
    ) -> tuple[Capture, Targets]:
        """What the group's base says of some lessons, of an excerpt of each where they are large."""
        problem, frozen = group.problem, group.frozen
        inputs, targets = problem.fetch(index)
        if problem.transform is not None and augmented:
            inputs = problem.transform(inputs, generator)
        size = -(-self.excerpt // len(index))
        part, targets = problem.take_excerpt(inputs, targets, size, generator)
        if problem.is_augmented:
            return frozen.capture(part), targets
        return problem.capture(frozen, index, inputs), targets

    def _losses(self, group: Group, capture: Capture, targets: Targets, moves: Tensor) -> Tensor:
        """Losses (B, moves) of lessons under each of some moves (moves, *weight.shape)."""
        outputs = group.frozen.run(capture, DenseDelta(moves[None]))
        every = repeat_rows(targets, len(moves))
        losses = example_losses(group.problem.packed_loss, outputs.flatten(0, 1), every)
        return losses.view(len(capture), len(moves))


def _belonging(groups: list[Group], judged: list[Tensor]) -> Tensor | None:
    """Which of the judged lessons belong together; None where each is its own."""
    known = [(group.problem.belongs, index) for group, index in zip(groups, judged, strict=True)]
    found = [belongs[index] for belongs, index in known if belongs is not None]
    # Folds have datasets of their own, in which groups of examples have the numbers of the whole.
    return torch.cat(found) if len(found) == len(groups) else None


def _shuffled(index: Tensor, generator: torch.Generator) -> Tensor:
    return index[torch.randperm(len(index), generator=generator)]


def groups_of(problem: Problem, frozen: FrozenBase, number: int, seed: int) -> list[Group]:
    """A problem's lessons as groups of equal size, by chance; groups of one base."""
    total = dataset_size(problem.dataset)
    parts = in_parts(total, min(number, total), seeded(seed, 23), problem.belongs)
    return [Group(problem, part.sort().values, frozen) for part in parts]
