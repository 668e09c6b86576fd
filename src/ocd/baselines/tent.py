"""Tent (Wang et al., ICLR 2021): adapt the base to a test batch by minimising the outputs' entropy.

The paper compares OCD with 1, 10 and 30 iterations of it. It needs no training, but each batch is run
forward and backward once an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.base import find_layer, independent_copy, open_modules
from ocd.data import Inputs, call, map_tensors, num_rows
from ocd.errors import OCDError
from ocd.prediction import Prediction, predict_in_chunks, softmax_entropy

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)


@dataclass(frozen=True)
class Tent:
    """The base, adapted to each batch of test inputs without labels. Every batch starts from the base.

    As in the paper, the scales and shifts of the normalisation layers are trained, batch norm uses the
    batch's own statistics, and the optimiser is Adam with the authors' learning rate. Where layer norms
    are the only ones (transformers), it is SGD with momentum and a rate that grows with the batch, as
    published for them (Niu et al., ICLR 2023). In a base without normalisation layers, the weight of
    `layer` is trained, which is the one that OCD moves. Unlike with OCD, a prediction depends on the
    rest of its batch. Raises OCDError for outputs that are not logits (B, C).
    """

    base: nn.Module
    layer: str
    num_iterations: int = 10
    lr: float = 1e-3
    batch_size: int = 256

    def what_moves(self) -> str:
        """A line for the report: which parameters are trained."""
        if norms := _norms(self.base):
            how = "by SGD" if _only_layer_norms(norms) else "by Adam"
            return f"Tent moves the normalisation layers, {how}"
        closed = len(list(open_modules(self.base))) < len(list(self.base.modules()))
        why = "what is in front of it is kept" if closed else "the base has no normalisation layer"
        return f"Tent moves the weight of {self.layer}: {why}"

    def predict(self, inputs: Inputs, draws: int = 1, seed: int = 0) -> Prediction:
        device = next(self.base.parameters()).device

        def work(rows: Inputs, where: slice) -> Prediction:
            outputs = self._adapted(rows)
            return Prediction(outputs[None], outputs)

        size = self.batch_size
        while num_rows(inputs) > 1 and num_rows(inputs) % size == 1:
            size += 1  # batch norm has no statistics of a last batch with one example
        return predict_in_chunks(inputs, device, work, size)

    def _adapted(self, inputs: Inputs) -> Tensor:
        """Outputs (B, C) of a copy of the base after its training on these inputs."""
        network = independent_copy(self.base).eval().requires_grad_(False)
        moved = self._trainable(network)
        optimizer: torch.optim.Optimizer = torch.optim.Adam(moved, lr=self.lr)
        if _only_layer_norms(_norms(network)):
            rate = self.lr / 64 * num_rows(inputs)
            optimizer = torch.optim.SGD(moved, lr=rate, momentum=0.9)
        for _ in range(self.num_iterations):
            with torch.enable_grad():
                outputs = self._outputs(network, inputs)
                if not isinstance(outputs, Tensor) or outputs.dim() != 2:
                    raise OCDError("Tent minimises the entropy of classes: the base must give (B, C)")
                entropy = softmax_entropy(outputs).mean()
            # A normalisation layer that forward does not use has no gradient.
            gradients = torch.autograd.grad(entropy, moved, allow_unused=True)
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        with torch.no_grad():
            return self._outputs(network, inputs)

    def _outputs(self, network: nn.Module, inputs: Inputs) -> Tensor:
        try:
            outputs: Tensor = call(network, map_tensors(Tensor.clone, inputs))
        except ValueError as error:  # batch norm of a single example
            raise OCDError(f"Tent cannot adapt to this batch: {error}") from error
        return outputs

    def _trainable(self, network: nn.Module) -> list[nn.Parameter]:
        """The parameters that Tent trains, and batch norms set to the batch's own statistics."""
        norms = _norms(network)
        for norm in norms:
            if isinstance(norm, BATCH_NORMS):
                norm.track_running_stats = False  # in eval mode too
                norm.running_mean = norm.running_var = None
        if norms:
            moved = [parameter for norm in norms for parameter in norm.parameters(recurse=False)]
        else:
            moved = [network.get_parameter(find_layer(network, self.layer).full_name)]
        for parameter in moved:
            parameter.requires_grad_()
        return moved


def _only_layer_norms(norms: list[nn.Module]) -> bool:
    return bool(norms) and all(isinstance(norm, nn.LayerNorm) for norm in norms)


def _norms(network: nn.Module) -> list[nn.Module]:
    """Normalisation layers with a scale and a shift, none of what is computed once for each input."""
    found = [module for _, module in open_modules(network) if isinstance(module, NORMS)]
    return [module for module in found if any(True for _ in module.parameters(recurse=False))]
