"""The released way, written anew from what it does (docs/deviations.md): one example at a time, a
copied module with Adam, and a U-Net of 110 million parameters on the weight matrix, which is padded
to 128 x 128.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from benchmarks.cases import Case, cross_entropy
from ocd.data import Examples
from ocd.generator import DenoiserConfig
from ocd.generator.denoisers import UNetDenoiser

NUM_STEPS = 10
SIDE = 128


def overfit_one_by_one(case: Case, examples: Examples, count: int) -> None:
    """A copy of the module for each example, and three Adam steps on the one layer."""
    base = case.base()
    for index in range(count):
        inputs, targets = examples.rows(slice(index, index + 1))
        model = copy.deepcopy(base)
        optimizer = torch.optim.Adam([model.get_submodule(case.layer).weight], lr=5e-4)
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(model(inputs), targets).sum().backward()
            optimizer.step()


class Generator:
    """The released denoiser, and its training and prediction of some examples at once."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.case, self.base = case, case.base()
        weight = self.base.get_submodule(case.layer).weight
        assert isinstance(weight, Tensor)
        self.shape = tuple(weight.shape)
        self.unet = UNetDenoiser(self.shape, DenoiserConfig(kind="unet", dropout=0.4))
        self.unet.side = SIDE
        self.optimizer = torch.optim.Adam(self.unet.parameters(), lr=1e-4)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.unet.parameters())

    def _noisy(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        return torch.randn(count, 1, *self.shape), torch.full((1, 1), 500), torch.randn(count, 512)

    def train_step(self, count: int = 1) -> None:
        self.unet.train()
        noisy, t, condition = self._noisy(count)
        self.unet(noisy, t, condition).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def predict(self, count: int = 1) -> None:
        """Ten passes of the U-Net, the delta in the layer (rows of a linear one), one of the base."""
        self.unet.eval()
        code, t, condition = self._noisy(count)
        for _ in range(NUM_STEPS):
            code = self.unet(code, t, condition)
        self.base(self.case.examples(count).inputs)


def fits(weight_shape: tuple[int, ...]) -> bool:
    """Whether the released padding holds a layer's weight."""
    return len(weight_shape) == 2 and max(weight_shape) <= SIDE
