"""Alg. 1, from line 7: train a network on overfitted deltas, or a baseline on the same examples.

    trainer = Trainer(network, source, objective, config, seed, files)
    trainer.resume()       # from files.checkpoint, where there is one
    trained = trainer.run()

Everything random in step n is a function of (seed, n). A training that is interrupted and resumed
therefore repeats no step differently, and ends with the same weights: bit for bit on a CPU where the
base's passes do not round by the size of a batch, since a resumed fit may ask it in other batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ocd.data import Batch, Log, SaveTimer, Shard, read_state, seeded, write_state
from ocd.distributed import team_of
from ocd.errors import OCDError
from ocd.generator import HyperNetwork
from ocd.lessons import LessonBatch, LessonSource, in_order
from ocd.training.averaging import ema_update
from ocd.training.batches import augmented_batch, batch_indices, own_part, split_lessons
from ocd.training.config import TrainingConfig, rate_factor, shortened
from ocd.training.finite import Finiteness
from ocd.training.objectives import Objective
from ocd.training.optimizing import make_optimizer
from ocd.training.prefetch import Batches, fetch_ahead

TRAINING_FORMAT = 3
CLIP_NORM = 1.0
CHECKPOINT_EVERY = 200
"""Steps between two checkpoints at most; sooner where they take long (ocd.data.resuming)."""
LOG_EVERY = 20


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training writes: its log and its checkpoint. `key`: a hash of everything that the
    training depends on, by which a checkpoint is known as its own. `share`: which of several processes
    that train this network this is (ocd.distributed); the first one alone writes."""

    log: Log
    checkpoint: Path
    key: str
    share: Shard = field(default_factory=Shard)


class Trainer:
    """One network in training: its weights, their average, the optimiser, and the current step."""

    def __init__(
        self,
        network: nn.Module,
        source: LessonSource,
        objective: Objective,
        config: TrainingConfig,
        seed: int,
        files: TrainingFiles,
    ) -> None:
        self.network, self.source, self.objective = network, source, objective
        self.overfitter = source.overfitter
        self.seed, self.files, self.team = seed, files, team_of(files.share)
        self.indices, self.held_out, choosing = split_lessons(source, config.validation_share, seed)
        if not len(self.indices):
            raise OCDError("no example is left to train on: every one was skipped")
        self.config = shortened(config, len(self.indices))
        self.choosing = choosing if config.keep_best else choosing[:0]
        self.average = AveragedModel(network, multi_avg_fn=ema_update(config.ema_decay))
        self.average.eval()
        self.optimizer = make_optimizer(network, config)
        self.finite = Finiteness(self.overfitter.frozen.device)
        self.step = 0
        self.best: float | None = None
        self.best_weights: dict[str, Tensor] | None = None
        self._ahead: Generator[Batch, None, None] | None = None
        self._logged_skips: set[int] = set()
        self._timer = SaveTimer()

    def run(self, advance: Callable[[int], None] = lambda steps: None) -> nn.Module:
        """Train to the end and return the averaged network, in eval mode."""
        config, team = self.config, self.team
        with team.together(self.network, self.step, config.batch_size) if team else nullcontext():
            advance(self.step)
            self._ahead = self._read_ahead()
            while self.step < config.num_steps:
                losses = self._train_step()
                self.step += 1
                advance(1)
                self._after_step(losses)
        if self._ahead is not None:
            self._ahead.close()
        self.save()
        if self.best_weights is not None:
            self._averaged().load_state_dict(self.best_weights)
        return self._averaged().eval()

    # ------------------------------------------------------------ one step

    def _train_step(self) -> dict[str, Tensor]:
        """One optimiser step; its losses, on their device: a step waits for nothing there. {} where no
        example of the batch is finite: then nothing moves."""
        config = self.config
        self.network.train()
        factor = rate_factor(self.step, config.num_steps, config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor * group["factor"]
        losses = self._gradients()
        if not losses:
            return {}
        self.finite.follow(self.step, losses["loss"], *self._clip())
        self.optimizer.found_inf = self.finite.is_broken  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.network)
        return losses

    def _gradients(self) -> dict[str, Tensor]:
        """The losses of a batch, whose gradients the network has then; {} where none is finite."""
        rows, losses, share = self._batch(), {}, self.files.share
        if len(rows):
            dropout_seed = self.step * share.of + share.number  # several processes drop out other units
            losses = self._losses(rows, seeded(self.seed, 5, self.step), dropout_seed)
        if self.team is not None:
            return self.team.gradients(self.network, losses, rows.inputs)
        if losses:
            losses["loss"].backward()
        return {name: value.detach() for name, value in losses.items()}

    def _batch(self) -> LessonBatch:
        """The lessons of this step; of several processes this one's part of them."""
        read = None if self._ahead is None else next(self._ahead)
        indices, augmentation = self._indices_of(self.step), self._augmentation(self.step)
        if self.team is None:
            return self._rows(indices, augmentation, read)
        if read is None:  # what augments a batch does so as a whole
            read = augmented_batch(self.source, indices, augmentation)
        own, indices = self.team.own(len(indices)), in_order(self.source, indices)
        rows = self._rows(indices[own], augmentation, own_part(read, own))
        return replace(rows, within=(own.start, len(indices)))

    def _losses(
        self, rows: LessonBatch, generator: torch.Generator, dropout_seed: int
    ) -> dict[str, Tensor]:
        """The objective's losses, in bfloat16 on a GPU."""
        device = self.overfitter.frozen.device
        on_gpu = device.type == "cuda"
        with (
            torch.random.fork_rng(devices=[device] if on_gpu else []),
            torch.autocast(device.type, dtype=torch.bfloat16, enabled=on_gpu),
        ):
            # Dropout knows only the global generator of its device.
            (torch.cuda if on_gpu else torch.default_generator).manual_seed(dropout_seed)
            return self.objective.losses(self.network, rows, generator)

    def _clip(self) -> list[Tensor]:
        """Clip the gradients; their norms before. A scale network with encoders of its own is clipped
        apart, as in the released code."""
        parts = [list(self.network.parameters())]
        if isinstance(self.network, HyperNetwork) and self.network.scale_conditioning is not None:
            parts = [group["params"] for group in self.optimizer.param_groups]
        return [nn.utils.clip_grad_norm_(part, CLIP_NORM) for part in parts]

    def _after_step(self, losses: dict[str, Tensor]) -> None:
        last = self.step == self.config.num_steps
        logs = self.step % LOG_EVERY == 0 or last
        validates = len(self.held_out) > 0 and (self.step % self.config.validate_every == 0 or last)
        saves = self.step % CHECKPOINT_EVERY == 0 or self._timer.is_due
        if logs or validates or saves:
            self.finite.check()
        if losses and logs:
            rate = self.optimizer.param_groups[0]["lr"]
            said = {name: float(value) for name, value in losses.items()}
            self.files.log.write("train", step=self.step, **said, lr=rate)
        if validates:
            self._validate()
        if saves:
            self.save()

    @torch.no_grad()
    def _validate(self) -> None:
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
        self.files.log.write("validate", step=self.step, loss=total / count)
        if not len(self.choosing):
            return
        if (found := self._judge(network)) < (torch.inf if self.best is None else self.best):
            self.best = found
            self.best_weights = copy.deepcopy(network.state_dict())

    @torch.no_grad()
    def _judge(self, network: nn.Module) -> float:
        """What the network is for (`Objective.judge`) on all examples that are set aside to choose
        weights, in the best way; infinite where none of them is finite."""
        judged, count = torch.zeros(()), 0
        for number, indices in enumerate(self.choosing.split(self.config.batch_size)):
            rows = self._rows(indices, seeded(self.seed, 6, number))
            if not len(rows):
                continue
            if len(found := self.objective.judge(network, rows, seeded(self.seed, 7, number))):
                judged, count = judged + found.cpu() * len(rows), count + len(rows)
        return float((judged / count).nan_to_num(torch.inf, torch.inf, torch.inf).min())

    # ------------------------------------------------------------ batches

    def _indices_of(self, step: int) -> Tensor:
        chosen = batch_indices(step, self.config.batch_size, len(self.indices), self.seed)
        return self.indices[chosen]

    def _augmentation(self, step: int) -> torch.Generator:
        return seeded(self.seed, 4, step)

    def _rows(
        self, indices: Tensor, generator: torch.Generator, read: Batch | None = None
    ) -> LessonBatch:
        """The overfitted examples; examples that are skipped for the first time are logged."""
        rows = self.source.rows(indices, generator, read)
        new = self.overfitter.skipped - self._logged_skips
        if new:
            self._logged_skips |= new
            self.files.log.write("skipped", step=self.step, examples=sorted(new))
        return rows

    def _read_ahead(self) -> Generator[Batch, None, None] | None:
        """The batches that are left, read by worker processes if these are configured and of use."""
        workers = self.overfitter.num_workers
        if not workers or not self.source.reads_dataset:
            return None
        problem = self.overfitter.problem
        batches = Batches(
            problem.dataset,
            problem.transform,
            lambda step: self.source.examples[self._indices_of(step)],
            self._augmentation,
        )
        return fetch_ahead(batches, range(self.step, self.config.num_steps), workers)

    # --------------------------------------------------- network and files

    def _averaged(self) -> nn.Module:
        network: nn.Module = self.average.module
        return network

    def save(self) -> None:
        """Write all that the next step depends on; of several processes the first one does."""
        if not self.files.share.leads:
            return
        state = {
            "format_version": TRAINING_FORMAT,
            "key": self.files.key,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "best_weights": self.best_weights,
        }
        with self._timer.saving():
            write_state(self.files.checkpoint, state)

    def resume(self) -> bool:
        """Continue from the checkpoint, if there is one. Raises OCDError for another run's."""
        path = self.files.checkpoint
        if not path.exists():
            return False
        state = read_state(path, self.overfitter.frozen.device)
        if state.get("format_version") != TRAINING_FORMAT or state.get("key") != self.files.key:
            raise OCDError(
                f"{path} belongs to a run with other settings, data or base: use another "
                "folder, or delete this file"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]
        self.best_weights = state["best_weights"]
        return True
