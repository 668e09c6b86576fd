"""The released code's way, written anew for comparison: one example at a time, a copied module, Adam,
and a U-Net of 110 million parameters on the weight matrix, padded to 128 x 128."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.denoisers import DenoiserConfig, UNetDenoiser
from ocd.inputs import Examples

NUM_STEPS = 10


def overfit_one_by_one(base: nn.Module, layer: str, examples: Examples, count: int) -> None:
    """A copy of the module for each example, and three Adam steps on the one layer."""
    for index in range(count):
        inputs, targets = examples.rows(slice(index, index + 1))
        model = copy.deepcopy(base)
        optimizer = torch.optim.Adam([model.get_submodule(layer).weight], lr=5e-4)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()


class Generator:
    """The released denoiser, and its training and prediction of one example."""

    def __init__(self, weight_shape: tuple[int, int]) -> None:
        torch.manual_seed(0)
        self.shape = weight_shape
        self.unet = UNetDenoiser(weight_shape, DenoiserConfig(kind="unet", dropout=0.4))
        self.unet.side = 128
        self.optimizer = torch.optim.Adam(self.unet.parameters(), lr=1e-4)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.unet.parameters())

    def _noisy(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.randn(1, 1, *self.shape), torch.tensor([[500]]), torch.randn(1, 512)

    def train_step(self) -> None:
        self.unet.train()
        noisy, t, condition = self._noisy()
        self.unet(noisy, t, condition).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def predict(self, base: nn.Module, inputs: Tensor) -> None:
        """Ten passes of the U-Net, then one of the base."""
        self.unet.eval()
        code, t, condition = self._noisy()
        for _ in range(NUM_STEPS):
            code = self.unet(code, t, condition)
        base(inputs)
