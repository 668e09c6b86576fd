"""The paper's two oracles: overfit on the test example itself, with its label.

They are no competitors. They show what a generator without error would reach, and the report marks them
as methods that use the label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ocd.base import FrozenBase, Loss, list_layers, private_view, run_without_delta
from ocd.data import Excerpt, Inputs, in_chunks, map_tensors, num_rows, take_rows
from ocd.errors import OCDError
from ocd.lessons import OverfitConfig, chunk_of, in_units, mean_fall, overfit_batch, search_rate
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks


def check_labels(targets: Tensor | None, inputs: Inputs) -> Tensor:
    """The labels of these inputs. Raises OCDError for no labels, or for another number of them."""
    if targets is None:
        raise OCDError("overfitting on the test example uses its label: there are no labels here")
    if len(targets) != num_rows(inputs):
        raise OCDError(f"{len(targets)} labels for {num_rows(inputs)} inputs: one each is needed")
    return targets


@dataclass(frozen=True)
class OverfitTest:
    """f(x; θ_s), with θ_s overfitted on the test example (Eq. 1): what a perfect generator would reach.

    `targets` (N, ...): the labels of the N inputs that `predict` will be given, in their order.
    `excerpt`: for large examples (ocd.data.excerpts).
    """

    frozen: FrozenBase
    loss: Loss
    config: OverfitConfig
    targets: Tensor | None
    excerpt: Excerpt | None = None

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        frozen, targets = self.frozen, check_labels(self.targets, inputs)

        def work(rows: Inputs, where: slice) -> Prediction:
            on_excerpts = self.excerpt is not None and self.config.excerpt > 0
            capture = frozen.capture(rows, keep_positions=not on_excerpts)
            labels = targets[where].to(frozen.device)
            delta = overfit_batch(frozen, self.loss, rows, labels, self.config, self.excerpt, capture)
            return apply_deltas(frozen, capture, delta)

        return predict_in_chunks(inputs, frozen.device, work, chunk_of(frozen, self.config))


@dataclass(frozen=True)
class OverfitTestAllLayers:
    """The same with the weights of all layers that OCD can move, at once (the paper's second oracle).

    Each example has its own copy of the weights, and its own gradient by `torch.func.vmap`. The steps
    are plain SGD, `config.num_steps` of them, whatever `config.optimizer` is. Raises OCDError where the
    base cannot be differentiated example by example.
    """

    base: nn.Module
    loss: Loss
    config: OverfitConfig
    targets: Tensor | None

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        targets = check_labels(self.targets, inputs)
        device = next(self.base.parameters()).device

        def work(rows: Inputs, where: slice) -> Prediction:
            outputs, weights = self._overfit(rows, targets[where].to(device))
            norms = self._norms(weights)
            return Prediction(outputs[None], outputs, run_without_delta(self.base, rows), norms[None])

        return predict_in_chunks(inputs, device, work, self._chunk_size)

    @property
    def _chunk_size(self) -> int:
        """Examples at once, each with its own weights. Measured: on LeNet5 64 are twice as fast as 256,
        on a table's MLP of 300,000 weights 32 take three quarters of the time of 64."""
        num_weights = sum(weight.numel() for weight in self._weights().values())
        return max(1, min(64, 2**23 // num_weights))

    def with_chosen_lr(self, inputs: Inputs, targets: Tensor) -> OverfitTestAllLayers:
        """The same with a learning rate that was chosen on training examples (B, ...).

        The rule is the one for a single layer (ocd.lessons.rate_search): the smallest rate whose mean
        loss falls by nine tenths of the largest fall, among rates at which hardly any loss rises.
        """
        loss, config = in_units(self.loss, self.config)
        before = loss(run_without_delta(self.base, inputs), targets)

        def fall_of(lr: float) -> float | None:
            tried = replace(self, loss=loss, config=replace(config, lr=lr))
            chunks = in_chunks(
                len(targets),
                self._chunk_size,
                lambda rows: tried._overfit(take_rows(inputs, rows), targets[rows])[0],
            )
            outputs = torch.cat([output for _, output in chunks])
            return mean_fall(before, loss(outputs, targets))

        found = search_rate(fall_of)
        if found is None:
            raise OCDError("no learning rate makes the loss fall when all layers move")
        return replace(self, config=replace(self.config, lr=found[0] / self.config.unit))

    def _weights(self) -> dict[str, Tensor]:
        """The base's weights that move, by parameter name."""
        modules = dict(private_view(self.base).named_modules())
        weights = {f"{name}.weight": modules[name].weight for name in list_layers(self.base)}
        return {name: w.detach() for name, w in weights.items() if isinstance(w, Tensor)}

    def _norms(self, weights: dict[str, Tensor]) -> Tensor:
        """The norm of each example's delta of all layers (B,)."""
        start = self._weights()
        moves = [(w - start[name]).flatten(1).square().sum(dim=1) for name, w in weights.items()]
        return torch.stack(moves).sum(dim=0).sqrt()

    def _overfit(self, inputs: Inputs, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs (B, ...) after the steps, and each example's weights (B, *weight.shape) by name."""
        lr = self.config.lr
        if lr is None:
            raise OCDError("overfit.lr is not chosen yet: call with_chosen_lr first")
        start, view = self._weights(), private_view(self.base)
        batch = num_rows(inputs)
        weights = {name: w.expand(batch, *w.shape).clone() for name, w in start.items()}

        def run(own: dict[str, Tensor], row: Inputs) -> Tensor:
            one = map_tensors(lambda x: x[None].clone(), row)  # the base may change it in place
            # functional_call takes a tensor, a tuple or (args, kwargs), as `ocd.data.call` does.
            args, named = ((), one) if isinstance(one, dict) else (one, None)
            output: Tensor = functional_call(view, own, args, named)
            return output

        def objective(own: dict[str, Tensor], row: Inputs, target: Tensor) -> Tensor:
            return self.loss(run(own, row), target[None])[0]

        try:
            for _ in range(self.config.num_steps):
                gradients = vmap(grad(objective))(weights, inputs, targets)
                for name, weight in weights.items():
                    weight.sub_(gradients[name], alpha=lr)
            with torch.no_grad():
                outputs = vmap(run)(weights, inputs)[:, 0]
        except (RuntimeError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise OCDError(f"the base cannot be overfitted on all layers at once: {first}") from error
        return outputs.detach(), weights
