"""What a network is trained to minimise on overfitted examples.

`Trainer` takes any `Objective`: the generator's is `DiffusionObjective` (Eq. 7 and Eq. 8), the trained
baselines have their own (ocd.baselines).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ocd.base import example_losses
from ocd.data import take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import Embedding, HyperNetwork
from ocd.lessons import LessonBatch, Overfitter
from ocd.training.scores import distribution_score, kind_of_score, known_rows, score_of

SCORED_DRAWS = 4
"""Draws of an example that a step of training scores: a score weighs how far apart they lie."""
JUDGED_DRAWS = 8
"""Draws by whose score the best weights are chosen."""
LENGTHS = (0.25, 0.5, 1.0)
"""Shares of the generated delta at which the best weights are judged: how long moves are is chosen
after training (ocd.prediction.sampling)."""


class Objective(Protocol):
    """Losses of a batch. `network` is the one in training, or its average."""

    def losses(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalars by name; "loss" is the one that is minimised."""
        ...

    def held_out(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        """The scalar that is measured on held-out examples."""
        ...

    def judge(self, network: Any, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        """What the network is for, on held-out examples, used in each of some ways (ways,): the best
        weights are those with the lowest of them. Empty where no target of these is known."""
        ...


@dataclass(frozen=True)
class DiffusionObjective:
    """Eq. 7 and Eq. 8, and beyond the paper `task_loss_weight` times the base's own loss under the
    mean generated delta, and `score_weight` times a proper score of some draws (ocd.training.scores),
    both through the part behind the layer. `goal`: what the best weights are for. The base's own loss
    is counted in the unit of the plan."""

    overfitter: Overfitter
    num_noise_levels: int
    task_loss_weight: float = 0.0
    score_weight: float = 0.0
    goal: str = "answer"

    def losses(
        self, network: HyperNetwork, rows: LessonBatch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        embedding = network.embed(rows.features, rows.inputs)
        losses = self._denoising(network, rows, embedding, self.num_noise_levels, generator)
        if self.task_loss_weight:
            losses["task_loss"] = self._task_loss(network, rows, embedding, generator)
            losses["loss"] = losses["loss"] + self.task_loss_weight * losses["task_loss"]
        if self.score_weight:
            losses["score"] = _mean(self._scores(network, rows, embedding, generator, SCORED_DRAWS))
            losses["loss"] = losses["loss"] + self.score_weight * losses["score"]
        return losses

    def held_out(self, network: HyperNetwork, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        """The paper's objective alone, at eight noise levels an example; of a generator of one step,
        which denoises nothing, the score of its draws."""
        embedding = network.embed(rows.features, rows.inputs)
        if network.diffusion.is_one_step:
            return _mean(self._scores(network, rows, embedding, generator, JUDGED_DRAWS))
        return self._denoising(network, rows, embedding, 8, generator)["loss"]

    def judge(self, network: HyperNetwork, rows: LessonBatch, generator: torch.Generator) -> Tensor:
        """The base's own loss under the mean generated delta, at several lengths of it; where a
        distribution is asked for, the score of some draws; where the generator has no mean in one pass,
        the paper's objective."""
        if self._wants_draws(rows):
            embedding = network.embed(rows.features, rows.inputs)
            scores = self._scores(network, rows, embedding, generator, JUDGED_DRAWS)
            return scores.mean()[None] if len(scores) else scores
        if network.diffusion.config.prediction != "x0":
            return self.held_out(network, rows, generator)[None]
        codes = network.mean_codes(network.embed(rows.features, rows.inputs))
        losses = []
        for length in LENGTHS:
            seed = torch.Generator().manual_seed(generator.initial_seed())
            parts = [
                _moved_losses(network, length * codes[where], overfitter, lessons, seed)
                for where, overfitter, lessons in rows.by_base(self.overfitter)
            ]
            every = torch.cat(parts)
            losses.append(every.mean())
        return torch.stack(losses)

    def _wants_draws(self, rows: LessonBatch) -> bool:
        """Whether draws are judged, and not their mean."""
        _, overfitter, lessons = next(rows.by_base(self.overfitter))
        frozen = overfitter.frozen
        few = frozen.outputs.named(lessons.captured(frozen, slice(0, 1)).output)
        targets = take_rows(lessons.targets, slice(0, 1))
        return distribution_score(self.goal, few, targets) is not None

    def _denoising(
        self,
        network: HyperNetwork,
        rows: LessonBatch,
        embedding: Embedding,
        num_levels: int,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        assert rows.delta is not None  # the sources of a generator overfit
        with torch.autocast(self.overfitter.frozen.device.type, enabled=False):  # targets stay exact
            codes = network.codec.encode(rows.delta)[:, 0]
        steps = network.diffusion.config.num_train_steps
        t = rows.own_of_all(lambda n: torch.randint(0, steps, (n, num_levels), generator=generator))
        size = (num_levels, *network.diffused_shape)
        noise = rows.own_of_all(lambda n: torch.randn(n, *size, generator=generator))
        t, noise = to_device((t, noise), codes.device)
        return network.losses(embedding, codes, t, noise)

    def _scores(
        self,
        network: HyperNetwork,
        rows: LessonBatch,
        embedding: Embedding,
        generator: torch.Generator,
        num_draws: int,
    ) -> Tensor:
        """The score of each example's draws as the paper draws them (spread 1), of those examples of
        whose target something is known."""
        size = (num_draws, *network.diffused_shape)
        noise = rows.own_of_all(lambda n: torch.randn(n, *size, generator=generator))
        codes = network.raw_codes(embedding, noise.to(embedding.denoiser.device))
        parts = []
        for where, overfitter, lessons in rows.by_base(self.overfitter):
            frozen = overfitter.frozen
            if overfitter.problem.excerpt is not None:
                raise OCDError(
                    "draws are scored as whole answers, and these examples are too large for that "
                    "(overfitted on excerpts): set goal to 'answer' and training.score_weight to 0"
                )
            capture = lessons.captured(frozen)
            kind = kind_of_score(frozen.outputs.named(capture.output), lessons.targets)
            if kind is None:
                raise OCDError(
                    "training.score_weight needs targets that draws can be scored by: numbers in the "
                    "shape of the outputs, or classes (B,) of logits; set it to 0"
                )
            outputs = frozen.run(capture, network.decode(codes[where], capture.positions))
            assert isinstance(lessons.targets, Tensor)  # else it had no kind
            named = frozen.outputs.named(outputs).float()
            known = known_rows(lessons.targets, named.shape[-1])
            parts.append(score_of(kind)(named[known], lessons.targets[known], False))
        return torch.cat(parts)

    def _task_loss(
        self,
        network: HyperNetwork,
        rows: LessonBatch,
        embedding: Embedding,
        generator: torch.Generator,
    ) -> Tensor:
        codes = network.mean_codes(embedding)
        losses = [
            _moved_losses(network, codes[where], overfitter, lessons, generator)
            for where, overfitter, lessons in rows.by_base(self.overfitter)
        ]
        return torch.cat(losses).mean() / self.overfitter.config.unit


def _mean(scores: Tensor) -> Tensor:
    """0 of none."""
    return scores.sum() / max(1, len(scores))


def _moved_losses(
    network: HyperNetwork,
    codes: Tensor,
    overfitter: Overfitter,
    rows: LessonBatch,
    generator: torch.Generator,
) -> Tensor:
    """The base's own losses (B,) of lessons of one base, under the deltas of codes (B, 1, ...)."""
    size = task_excerpt(overfitter.config.excerpt)
    part, targets = overfitter.problem.take_excerpt(rows.inputs, rows.targets, size, generator)
    if part is rows.inputs:
        capture = rows.captured(overfitter.frozen)
        output = overfitter.frozen.run(capture, network.decode(codes, capture.positions))[:, 0]
    else:
        output = overfitter.frozen.run_full(part, network.decode(codes, None))[:, 0]
    return example_losses(overfitter.loss, output, targets)


def task_excerpt(overfit_excerpt: int) -> int:
    """Positions of an example that the task loss sees in training: a quarter of what a step of Eq. 1
    does; 0 where whole examples are overfitted."""
    return overfit_excerpt // 4
