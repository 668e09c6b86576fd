"""Alg. 1, line 7 on: train the generator on overfitted deltas.

Everything random in step n is a function of (seed, n): a run that is stopped and started again
repeats no step differently, and ends with the same weights, bit for bit on the CPU.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ocd.collection import Maker, Source, TrainingRows, seeded
from ocd.errors import OCDError
from ocd.hypernetwork import Embedding, HyperNetwork
from ocd.overfitting import example_losses
from ocd.progress import Log

TRAINING_FORMAT = 1


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop of the generator."""

    num_steps: int = 2000
    """Optimiser steps."""
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
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    log_every: int = 20
    """Steps between two lines of the log."""

    def __post_init__(self) -> None:
        choices = {"optimizer": ("adamw", "adam"), "schedule": ("one_cycle", "constant")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise OCDError(f"training.{name} is {getattr(self, name)!r}: use one of {allowed}")
        for name in ("num_steps", "batch_size", "num_noise_levels", "num_accumulated"):
            if getattr(self, name) < 1:
                raise OCDError(f"training.{name} is {getattr(self, name)}: at least 1 is needed")


def split_places(examples: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Places for training and for validation. Copies of an example are never on both sides."""
    names = examples.unique()
    count = min(2048, int(share * len(names)))
    shuffled = names[torch.randperm(len(names), generator=seeded(seed, 2))]
    held_out = torch.isin(examples, shuffled[:count])
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


@lru_cache(maxsize=4)
def _shuffled(size: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(size, generator=seeded(seed, 3, epoch))


def places_of_batch(number: int, batch_size: int, size: int, seed: int) -> Tensor:
    """The `number`-th batch of an endless stream of shuffled epochs over `size` places."""
    wanted = torch.arange(number * batch_size, (number + 1) * batch_size)
    epochs, within = wanted // size, wanted % size
    parts = [_shuffled(size, seed, int(epoch))[within[epochs == epoch]] for epoch in epochs.unique()]
    return torch.cat(parts)


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


class Trainer:
    """One generator in training: its weights, their average, the optimiser, and where it is."""

    def __init__(
        self,
        network: HyperNetwork,
        source: Source,
        maker: Maker,
        config: TrainingConfig,
        seed: int,
        log: Log,
        checkpoint: Path,
        key: str,
    ) -> None:
        self.network, self.source, self.maker = network, source, maker
        self.config, self.seed, self.log = config, seed, log
        self.checkpoint, self.key = checkpoint, key
        self.codec = network.codec
        self.places, self.held_out = split_places(source.examples, config.validation_share, seed)
        if not len(self.places):
            raise OCDError("no example is left to train on: lower training.validation_share")
        self.average = AveragedModel(network, multi_avg_fn=_ema_update(config.ema_decay))
        self.average.eval()
        self.optimizer = self._make_optimizer()
        self.step = 0
        self.best: float | None = None
        self.looks_since_best = 0
        self.stopped_early = False

    def _make_optimizer(self) -> torch.optim.Optimizer:
        scale_parts = (self.network.scale, self.network.scale_conditioning)
        scale = [p for part in scale_parts if part is not None for p in part.parameters()]
        chosen = {id(parameter) for parameter in scale}
        rest = [p for p in self.network.parameters() if p.requires_grad and id(p) not in chosen]
        groups = [{"params": rest, "factor": 1.0}]
        if scale:
            groups.append({"params": scale, "factor": self.config.scale_lr_factor})
        if self.config.optimizer == "adam":
            return torch.optim.Adam(groups, lr=self.config.lr, fused=True)
        decay = self.config.weight_decay
        return torch.optim.AdamW(groups, lr=self.config.lr, weight_decay=decay, fused=True)

    def run(self, advance: Callable[[int], None] = lambda steps: None) -> HyperNetwork:
        """Train to the end (or until early stopping) and return the averaged network."""
        advance(self.step)
        while self.step < self.config.num_steps and not self.stopped_early:
            losses = self._train_step()
            self.step += 1
            advance(1)
            self._after_step(losses)
        self.save()
        return self._averaged().eval()

    def _averaged(self) -> HyperNetwork:
        network = self.average.module
        assert isinstance(network, HyperNetwork)
        return network

    def _after_step(self, losses: dict[str, float]) -> None:
        config, last = self.config, self.step == self.config.num_steps
        if self.step % config.log_every == 0 or last:
            rate = self.optimizer.param_groups[0]["lr"]
            self.log.write("train", step=self.step, **losses, lr=rate)
        if len(self.held_out) and (self.step % config.validate_every == 0 or last):
            self._look()
        if self.step % config.checkpoint_every == 0:
            self.save()

    def _train_step(self) -> dict[str, float]:
        """One optimiser step, of `num_accumulated` batches; everything random follows its number."""
        config = self.config
        self.network.train()
        factor = rate_factor(self.step, config.num_steps, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor * group["factor"]
        totals: dict[str, float] = {}
        for part in range(config.num_accumulated):
            number = self.step * config.num_accumulated + part
            losses = self._losses(self._batch(number), seeded(self.seed, 5, number), number)
            (losses["loss"] / config.num_accumulated).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / config.num_accumulated
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        if not math.isfinite(totals["loss"]) or not bool(norm.isfinite()):
            raise OCDError(
                f"the training loss or its gradient is not finite at step {self.step}: lower "
                "training.lr; the last checkpoint is kept"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.network)
        return totals

    def _batch(self, number: int) -> TrainingRows:
        chosen = places_of_batch(number, self.config.batch_size, len(self.places), self.seed)
        return self.source.rows(self.places[chosen], seeded(self.seed, 4, number))

    def _losses(
        self, rows: TrainingRows, generator: torch.Generator, dropout_seed: int
    ) -> dict[str, Tensor]:
        network, device = self.network, self.maker.opened.device
        codes = self.codec.encode(rows.delta)[:, 0]
        levels, steps = self.config.num_noise_levels, network.diffusion.config.num_train_steps
        t = torch.randint(0, steps, (len(codes), levels), generator=generator)
        noise = torch.randn(len(codes), levels, *network.diffused_shape, generator=generator)
        use_amp = self.config.mixed_precision and device.type == "cuda"
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_amp),
        ):
            torch.manual_seed(dropout_seed)  # dropout knows only the global generator
            embedding = network.embed(rows.features, rows.inputs)
            losses = network.losses(embedding, codes, t.to(device), noise.to(device))
            if self.config.task_loss_weight:
                losses["task_loss"] = self._task_loss(rows, embedding)
                losses["loss"] = losses["loss"] + self.config.task_loss_weight * losses["task_loss"]
        return losses

    def _task_loss(self, rows: TrainingRows, embedding: Embedding) -> Tensor:
        """The base's own loss under the mean delta, through the part behind the layer: an extension
        beyond the paper, whose objective never looks at it."""
        assert rows.targets is not None  # a store keeps them where this loss is asked for
        opened = self.maker.opened
        capture = rows.capture or opened.capture(rows.inputs)
        output = opened.run(capture, self.network.mean(embedding, capture.rows))[:, 0]
        return example_losses(self.maker.loss, output, rows.targets).mean()

    @torch.no_grad()
    def _look(self) -> None:
        """The averaged network's loss on the held-out examples, with the same noise every time."""
        network = self._averaged().eval()
        total = count = 0.0
        for number, places in enumerate(self.held_out.split(self.config.batch_size)):
            rows = self.source.rows(places, seeded(self.seed, 6, number))
            codes = self.codec.encode(rows.delta)[:, 0]
            generator = seeded(self.seed, 7, number)
            steps = network.diffusion.config.num_train_steps
            t = torch.randint(0, steps, (len(codes), 8), generator=generator)
            noise = torch.randn(len(codes), 8, *network.diffused_shape, generator=generator)
            embedding = network.embed(rows.features, rows.inputs)
            losses = network.losses(embedding, codes, t.to(codes.device), noise.to(codes.device))
            total += float(losses["loss"]) * len(codes)
            count += len(codes)
        loss = total / count
        self.log.write("validate", step=self.step, loss=loss)
        if self.best is None or loss < self.best:
            self.best, self.looks_since_best = loss, 0
        else:
            self.looks_since_best += 1
        patience = self.config.patience
        self.stopped_early = bool(patience) and self.looks_since_best >= patience

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
            "looks_since_best": self.looks_since_best,
            "stopped_early": self.stopped_early,
        }
        torch.save(state, aside)
        os.replace(aside, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, where there is one. Raises OCDError for another run's."""
        if not self.checkpoint.exists():
            return False
        try:
            state = torch.load(self.checkpoint, weights_only=True)
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
        self.looks_since_best = state["looks_since_best"]
        self.stopped_early = state["stopped_early"]
        return True
