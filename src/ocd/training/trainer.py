"""Alg. 1, line 7 on: train the generator on overfitted deltas (or a baseline on the same examples).

Everything random in step n is a function of (seed, n): a run that is stopped and started again
repeats no step differently, and ends with the same weights, bit for bit on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ocd.data import Log, put_in_place, seeded
from ocd.errors import OCDError
from ocd.generator import HyperNetwork
from ocd.lessons import LessonBatch, LessonSource, Overfitter
from ocd.training.batches import batch_indices, split_indices
from ocd.training.objectives import Objective
from ocd.training.prefetch import Batches, Fetched, fetch_ahead

TRAINING_FORMAT = 2


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop of the generator."""

    num_steps: int = 2000
    """Optimiser steps."""
    max_epochs: int = 0
    """Passes over the training examples that make an end before `num_steps` does; 0: no such end."""
    batch_size: int = 256
    """Examples a batch."""
    num_noise_levels: int = 2
    """Noise levels that each example of a batch is denoised at; its condition is encoded once."""
    optimizer: str = "adamw"
    """adamw or adam."""
    lr: float = 2e-3
    """Largest learning rate."""
    weight_decay: float = 0.01
    """Of adamw."""
    schedule: str = "one_cycle"
    """one_cycle (a rise over three tenths, then a fall to nothing) or constant."""
    scale_lr_factor: float = 1.0
    """The scale network's learning rate over the denoiser's; 5 in the released code."""
    task_loss_weight: float = 0.0
    """Beyond the paper: weight of the base's own loss under the generated delta (named extension)."""
    excerpt: int = 0
    """Positions of an example that the base's own loss looks at (excerpts.py); 0: all of it."""
    clip_norm: float = 1.0
    """Largest gradient norm."""
    num_accumulated: int = 1
    """Batches whose gradients make one step."""
    ema_decay: float = 0.998
    """Decay of the averaged weights, which are the ones that predict."""
    mixed_precision: bool = True
    """bfloat16 autocast, on a GPU only."""
    validation_share: float = 0.05
    """Share of the examples held out to watch the loss (at most 2,048)."""
    validate_every: int = 100
    """Steps between two looks at the held-out examples."""
    patience: int = 10
    """Looks without a better loss after which training stops early; 0 never stops early."""
    keep_best: bool = False
    """Whether the averaged weights of the look with the lowest held-out loss are the ones that predict,
    not the last: for few examples, which are learnt by heart."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    log_every: int = 20
    """Steps between two lines of the log."""

    def __post_init__(self) -> None:
        choices = {"optimizer": ("adamw", "adam"), "schedule": ("one_cycle", "constant")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise OCDError(f"training.{name} is {getattr(self, name)!r}: use one of {allowed}")
        counts = ("num_steps", "batch_size", "num_noise_levels", "num_accumulated")
        intervals = ("log_every", "checkpoint_every", "validate_every")
        limits = {name: (getattr(self, name) >= 1, "at least 1") for name in counts + intervals}
        limits |= {name: (getattr(self, name) > 0, "above 0") for name in ("lr", "clip_norm")}
        for name in ("patience", "task_loss_weight", "excerpt", "max_epochs"):
            limits[name] = (getattr(self, name) >= 0, "at least 0")
        for name in ("validation_share", "ema_decay"):
            limits[name] = (0 <= getattr(self, name) < 1, "at least 0 and below 1")
        for name, (fits, wanted) in limits.items():
            if not fits:
                raise OCDError(f"training.{name} is {getattr(self, name)}: it must be {wanted}")


def shortened(config: TrainingConfig, num_examples: int) -> TrainingConfig:
    """With as many steps as `max_epochs` passes over the examples take, where these are fewer."""
    if not config.max_epochs:
        return config
    batch = config.batch_size * config.num_accumulated
    most = max(1, config.max_epochs * num_examples // batch)
    return replace(config, num_steps=min(config.num_steps, most))


def rate_factor(step: int, num_steps: int, schedule: str) -> float:
    """The learning rate of a step as a share of the largest."""
    if schedule == "constant":
        return 1.0
    rise = max(1, int(0.3 * num_steps))
    if step < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * step / rise))
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, num_steps - rise)))


def _ema_update(
    decay: float,
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    @torch.no_grad()
    def update(
        averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        # The first steps count more, so that a short run does not average in its random start.
        number = float(num_averaged)
        weight = 1 - min(decay, (1 + number) / (10 + number))
        torch._foreach_lerp_(list(averaged), list(current), weight)

    return update


def _scale_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters of a generator's scale network: they have a learning rate of their own."""
    if isinstance(network, HyperNetwork):
        for part in (network.scale, network.scale_conditioning):
            if part is not None:
                yield from part.parameters()


class Trainer:
    """One network in training: its weights, their average, the optimiser, and where it is."""

    def __init__(
        self,
        network: nn.Module,
        source: LessonSource,
        overfitter: Overfitter,
        objective: Objective,
        config: TrainingConfig,
        seed: int,
        log: Log,
        checkpoint: Path,
        key: str,
    ) -> None:
        self.network, self.source, self.overfitter = network, source, overfitter
        self.objective = objective
        self.config, self.seed, self.log = config, seed, log
        self.checkpoint, self.key = checkpoint, key
        self.indices, self.held_out = split_indices(source.examples, config.validation_share, seed)
        if not len(self.indices):
            raise OCDError("no example is left to train on: every one was skipped")
        self.config = shortened(config, len(self.indices))
        self.average = AveragedModel(network, multi_avg_fn=_ema_update(config.ema_decay))
        self.average.eval()
        self.optimizer = self._make_optimizer()
        self.step = 0
        self.best: float | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self.looks_since_best = 0
        self.stopped_early = False
        self.ahead: Generator[Fetched, None, None] | None = None
        self._told: set[int] = set()  # the skipped examples that the log has

    def _make_optimizer(self) -> torch.optim.Optimizer:
        scale = list(_scale_parameters(self.network))
        chosen = {id(parameter) for parameter in scale}
        rest = [p for p in self.network.parameters() if p.requires_grad and id(p) not in chosen]
        groups = [{"params": rest, "factor": 1.0}]
        if scale:
            groups.append({"params": scale, "factor": self.config.scale_lr_factor})
        if self.config.optimizer == "adam":
            return torch.optim.Adam(groups, lr=self.config.lr, fused=True)
        decay = self.config.weight_decay
        return torch.optim.AdamW(groups, lr=self.config.lr, weight_decay=decay, fused=True)

    def run(self, advance: Callable[[int], None] = lambda steps: None) -> nn.Module:
        """Train to the end (or until early stopping) and return the averaged network."""
        advance(self.step)
        self.ahead = self._ahead()
        while self.step < self.config.num_steps and not self.stopped_early:
            losses = self._train_step()
            self.step += 1
            advance(1)
            self._after_step(losses)
        if self.ahead is not None:
            self.ahead.close()
        self.save()
        if self.best_weights is not None:
            self._averaged().load_state_dict(self.best_weights)
        return self._averaged().eval()

    def _ahead(self) -> Generator[Fetched, None, None] | None:
        """The batches that are left, read by worker processes where these are wanted and of use."""
        workers = self.overfitter.num_workers
        if not workers or not self.source.reads:
            return None
        of_step = self.config.num_accumulated
        batches = Batches(
            self.overfitter.dataset, self.overfitter.transform,
            lambda number: self.source.examples[self._places(number)], self._augmentation,
        )  # fmt: skip
        numbers = range(self.step * of_step, self.config.num_steps * of_step)
        return fetch_ahead(batches, numbers, workers)

    def _averaged(self) -> nn.Module:
        network: nn.Module = self.average.module
        return network

    def _after_step(self, losses: dict[str, float]) -> None:
        config, last = self.config, self.step == self.config.num_steps
        if losses and (self.step % config.log_every == 0 or last):
            rate = self.optimizer.param_groups[0]["lr"]
            self.log.write("train", step=self.step, **losses, lr=rate)
        if len(self.held_out) and (self.step % config.validate_every == 0 or last):
            self._look()
        if self.step % config.checkpoint_every == 0:
            self.save()

    def _train_step(self) -> dict[str, float]:
        """One optimiser step, of `num_accumulated` batches; everything random follows its number.

        A batch of which no example is finite is left out; where all are, nothing moves: {}.
        """
        config = self.config
        self.network.train()
        factor = rate_factor(self.step, config.num_steps, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor * group["factor"]
        totals: dict[str, float] = {}
        num_used = 0
        for part in range(config.num_accumulated):
            number = self.step * config.num_accumulated + part
            rows = self._batch(number)
            if not len(rows):
                continue
            num_used += 1
            losses = self._losses(rows, seeded(self.seed, 5, number), number)
            (losses["loss"] / config.num_accumulated).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / config.num_accumulated
        if not num_used:
            return {}
        if num_used < config.num_accumulated:  # the mean is over the batches that are there
            up = config.num_accumulated / num_used
            totals = {name: up * value for name, value in totals.items()}
            grads = [p.grad for p in self.network.parameters() if p.grad is not None]
            torch._foreach_mul_(grads, up)
        if not math.isfinite(totals["loss"]) or not self._clip():
            raise OCDError(
                f"the training loss or its gradient is not finite at step {self.step}: lower "
                "training.lr; the last checkpoint is kept"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.network)
        return totals

    def _clip(self) -> bool:
        """Clip the gradients; whether they are finite. A scale network with encoders of its own is a
        network apart, and clipped apart, as in the released code."""
        parts = [list(self.network.parameters())]
        if isinstance(self.network, HyperNetwork) and self.network.scale_conditioning is not None:
            parts = [group["params"] for group in self.optimizer.param_groups]
        norms = [nn.utils.clip_grad_norm_(part, self.config.clip_norm) for part in parts]
        return all(bool(norm.isfinite()) for norm in norms)

    def _batch(self, number: int) -> LessonBatch:
        fetched = None if self.ahead is None else next(self.ahead)
        return self._rows(self._places(number), self._augmentation(number), fetched)

    def _places(self, number: int) -> Tensor:
        chosen = batch_indices(number, self.config.batch_size, len(self.indices), self.seed)
        return self.indices[chosen]

    def _augmentation(self, number: int) -> torch.Generator:
        return seeded(self.seed, 4, number)

    def _rows(
        self, indices: Tensor, generator: torch.Generator, fetched: Fetched | None = None
    ) -> LessonBatch:
        """The overfitted examples; those that are newly skipped are logged."""
        rows = self.source.rows(indices, generator, fetched)
        new = self.overfitter.skipped - self._told
        if new:
            self._told |= new
            self.log.write("skipped", step=self.step, examples=sorted(new))
        return rows

    def _losses(
        self, rows: LessonBatch, generator: torch.Generator, dropout_seed: int
    ) -> dict[str, Tensor]:
        device = self.overfitter.frozen.device
        use_amp = self.config.mixed_precision and device.type == "cuda"
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_amp),
        ):
            # Dropout knows only the global generator of its device.
            (torch.cuda if device.type == "cuda" else torch.default_generator).manual_seed(dropout_seed)
            return self.objective.losses(self.network, rows, generator)

    @torch.no_grad()
    def _look(self) -> None:
        """The averaged network's held-out loss, with the same noise every time."""
        network = self._averaged().eval()
        total = count = 0.0
        for number, indices in enumerate(self.held_out.split(self.config.batch_size)):
            rows = self._rows(indices, seeded(self.seed, 6, number))
            if not len(rows):
                continue
            loss = self.objective.held_out(network, rows, seeded(self.seed, 7, number))
            total += float(loss) * len(rows)
            count += len(rows)
        if not count:
            return
        mean = total / count
        self.log.write("validate", step=self.step, loss=mean)
        if self.best is None or mean < self.best:
            self.best, self.looks_since_best = mean, 0
            if self.config.keep_best:
                self.best_weights = {k: v.clone() for k, v in network.state_dict().items()}
        else:
            self.looks_since_best += 1
        patience = self.config.patience
        self.stopped_early = bool(patience) and self.looks_since_best >= patience
        if self.stopped_early and self.step < self.config.num_steps:
            text = f"training stopped early at step {self.step}: the held-out loss has not fallen"
            self.log.write("note", text=f"{text} for {patience} looks")

    def save(self) -> None:
        """Write everything that the next step depends on aside, and rename it."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        aside = self.checkpoint.with_name(self.checkpoint.name + ".part")
        state = {
            "format_version": TRAINING_FORMAT,
            "key": self.key,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "best_weights": self.best_weights,
            "looks_since_best": self.looks_since_best,
            "stopped_early": self.stopped_early,
        }
        torch.save(state, aside)
        put_in_place(aside, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, where there is one. Raises OCDError for another run's."""
        if not self.checkpoint.exists():
            return False
        try:
            device = self.overfitter.frozen.device
            state = torch.load(self.checkpoint, map_location=device, weights_only=True)
        except Exception as error:
            first = str(error).splitlines()[0]
            raise OCDError(
                f"{self.checkpoint} cannot be read ({first}): delete it to train anew"
            ) from None
        if state.get("format_version") != TRAINING_FORMAT or state.get("key") != self.key:
            raise OCDError(
                f"{self.checkpoint} belongs to a run with other settings, data or base: use another "
                "folder, or delete this file"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        self.best_weights = state["best_weights"]
        self.looks_since_best = state["looks_since_best"]
        self.stopped_early = state["stopped_early"]
        return True
