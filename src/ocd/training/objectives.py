"""What a network is trained to do on overfitted examples: `Trainer` minimises any of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ocd.generator import Embedding, HyperNetwork
from ocd.lessons import Maker, TrainingRows, example_losses


class Objective(Protocol):
    """Losses of a batch. `network` is the one in training, or its average."""

    def losses(self, network: Any, rows: TrainingRows, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalars by name; "loss" is the one that is minimised."""
        ...

    def held_out(self, network: Any, rows: TrainingRows, generator: torch.Generator) -> Tensor:
        """The scalar by which held-out examples are judged."""
        ...


@dataclass(frozen=True)
class DiffusionObjective:
    """Eq. 7 and Eq. 8, and beyond the paper `task_loss_weight` times the base's own loss under the
    mean generated delta, through the part behind the layer."""

    maker: Maker
    num_noise_levels: int
    task_loss_weight: float = 0.0
    excerpt: int = 0

    def losses(
        self, network: HyperNetwork, rows: TrainingRows, generator: torch.Generator
    ) -> dict[str, Tensor]:
        embedding = network.embed(rows.features, rows.inputs)
        losses = self._denoising(network, rows, embedding, self.num_noise_levels, generator)
        if self.task_loss_weight:
            losses["task_loss"] = self._task_loss(network, rows, embedding, generator)
            losses["loss"] = losses["loss"] + self.task_loss_weight * losses["task_loss"]
        return losses

    def held_out(self, network: HyperNetwork, rows: TrainingRows, generator: torch.Generator) -> Tensor:
        """The paper's objective alone, at eight noise levels an example."""
        embedding = network.embed(rows.features, rows.inputs)
        return self._denoising(network, rows, embedding, 8, generator)["loss"]

    def _denoising(
        self,
        network: HyperNetwork,
        rows: TrainingRows,
        embedding: Embedding,
        num_levels: int,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        assert rows.delta is not None  # the sources of a generator overfit
        with torch.autocast(self.maker.opened.device.type, enabled=False):  # targets stay exact
            codes = network.codec.encode(rows.delta)[:, 0]
        steps = network.diffusion.config.num_train_steps
        t = torch.randint(0, steps, (len(codes), num_levels), generator=generator)
        noise = torch.randn(len(codes), num_levels, *network.diffused_shape, generator=generator)
        return network.losses(embedding, codes, t.to(codes.device), noise.to(codes.device))

    def _task_loss(
        self,
        network: HyperNetwork,
        rows: TrainingRows,
        embedding: Embedding,
        generator: torch.Generator,
    ) -> Tensor:
        assert rows.targets is not None  # a store keeps them where this loss is asked for
        maker = self.maker
        part, targets = maker.part(rows.inputs, rows.targets, self.excerpt, generator)
        if part is rows.inputs:
            capture = rows.capture or maker.opened.capture(rows.inputs)
            output = maker.opened.run(capture, network.mean(embedding, capture.rows))[:, 0]
        else:
            output = maker.opened.run_anew(part, network.mean(embedding, None))[:, 0]
        return example_losses(maker.loss, output, targets).mean()
