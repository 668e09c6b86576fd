"""Last-layer Laplace approximation (Daxberger et al., NeurIPS 2021): draws of last-layer weights.

The library of the authors, laplace-torch, requires torchvision. That is a large dependency for fifty
lines of algebra, so they are written out here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ocd.base import Capture, DenseDelta, FrozenBase, Loss, example_losses, list_layers, probe
from ocd.data import Examples, Inputs, ResumableLoop, take_rows, to_device
from ocd.errors import OCDError
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks

MAX_WEIGHTS = 8192
"""Weights of the last layer, D: the matrix H has D x D numbers."""


@dataclass(frozen=True)
class Laplace:
    """Draws of the last layer's weight from N(θ, (H + δ)⁻¹). All inputs share a draw.

    H is the generalised Gauss-Newton matrix of the summed training loss, which is taken as a negative
    log likelihood. `eigenvalues` (D,) and `eigenvectors` (D, D): those of H. `prior`: the precision δ
    that maximises the marginal likelihood.
    """

    frozen: FrozenBase
    eigenvalues: Tensor
    eigenvectors: Tensor
    prior: float

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        frozen = self.frozen
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(draws, len(self.eigenvalues), generator=generator)
        standard = noise.to(self.eigenvalues) / (self.eigenvalues + self.prior).sqrt()
        moves = (standard @ self.eigenvectors.T).to(frozen.weight)
        delta = DenseDelta(moves.view(1, draws, *frozen.weight_shape))

        def work(rows: Inputs, where: slice) -> Prediction:
            return apply_deltas(frozen, frozen.capture(rows), delta)

        return predict_in_chunks(inputs, frozen.device, work)


def last_layer(base: nn.Module, inputs: Inputs) -> FrozenBase:
    """The linear layer whose output is the base's output. Raises OCDError for a base without one,
    with what its last layer lacks."""
    reasons = []
    for name in reversed(list_layers(base)):
        try:
            frozen = FrozenBase(base, name)
            capture = probe(frozen, to_device(inputs, frozen.device))
        except OCDError:
            continue
        lacks = _what_it_lacks(name, capture)
        if lacks is None:
            return frozen
        reasons.append(lacks)
    lacks = reasons[0] if reasons else "none of its layers can be moved"
    raise OCDError(
        f"last-layer Laplace needs a base that ends in a linear layer on one vector: {lacks}"
    )


def _what_it_lacks(name: str, capture: Capture) -> str | None:
    """Why the layer `name` is not the linear layer on one vector with which the base ends; None where
    it is."""
    _, num_positions, num_groups, _ = capture.positions.shape
    if num_groups > 1:
        return f"its last one, {name!r}, is a convolution in {num_groups} groups"
    if num_positions > 1:
        return f"its last one, {name!r}, sees {num_positions} vectors of each example"
    answer, output = capture.layer_output, capture.output
    if output.dim() == 2 and torch.equal(answer, output):
        return None
    return (
        f"its last one, {name!r}, sees one, but what it answers is changed behind it, as where a "
        "target's own unit is restored"
    )


def fit_laplace(
    base: nn.Module,
    loss: Loss,
    training: Examples,
    num_examples: int = 60_000,
    chunk_size: int = 512,
) -> Laplace:
    """Fit H on the first `num_examples` training examples, then choose the prior precision.

    `chunk_size`: examples worked on at once. Examples that are not finite are left out. Raises OCDError
    where the base does not end in a linear layer, with what its last layer lacks, or this layer has
    more than `MAX_WEIGHTS` weights.
    """
    frozen = last_layer(base, take_rows(training.inputs, slice(0, 3)))
    size = frozen.weight.numel()
    if size > MAX_WEIGHTS:
        raise OCDError(
            f"last-layer Laplace would need a {size} x {size} matrix for {frozen.name!r}: at most "
            f"{MAX_WEIGHTS} weights"
        )
    loop = ResumableLoop("laplace")
    zeros = torch.zeros(size, size, dtype=torch.float64, device=frozen.device)
    loop.values["total"] = total = loop.values.get("total", zeros).to(frozen.device)
    count = min(num_examples, len(training))
    for index in loop.saving_after(torch.arange(count).split(chunk_size)[loop.step :]):
        inputs, targets = training.rows(index)
        capture = frozen.capture(to_device(inputs, frozen.device))
        curvature = _output_curvature(loss, capture.output, targets.to(frozen.device))
        features = capture.positions[:, 0, 0]
        good = curvature.flatten(1).isfinite().all(dim=1) & features.isfinite().all(dim=1)
        curvature, features = curvature[good], features[good]
        # Λ = S Sᵀ, so that H = Σ (Sᵀ ⊗ φ)ᵀ (Sᵀ ⊗ φ): one matrix product a chunk.
        values, vectors = torch.linalg.eigh(curvature)
        root = vectors * values.clamp_min(0).sqrt()[:, None]  # (B, C, C)
        jacobian = torch.einsum("bcs,bi->bsci", root, features).reshape(-1, size)
        total += (jacobian.T @ jacobian).double()
    eigenvalues, eigenvectors = torch.linalg.eigh(total)
    eigenvalues = eigenvalues.clamp_min(0)
    prior = _best_prior(eigenvalues, float(frozen.weight.detach().double().square().sum()))
    return Laplace(frozen, eigenvalues, eigenvectors, prior)


def _output_curvature(loss: Loss, output: Tensor, targets: Tensor) -> Tensor:
    """Hessian of each example's loss with respect to its output: (B, C, C)."""
    output = output.detach().requires_grad_()
    with torch.enable_grad():
        total = example_losses(loss, output, targets).sum()
        (gradient,) = torch.autograd.grad(total, output, create_graph=True)
        rows = [
            torch.autograd.grad(gradient[:, c].sum(), output, retain_graph=True)[0]
            for c in range(output.shape[1])
        ]
    return torch.stack(rows, dim=1)


def _best_prior(eigenvalues: Tensor, squared_norm: float) -> float:
    """The precision δ that maximises the log marginal likelihood of the training data.

    ½ D log δ − ½ δ ‖θ‖² − ½ Σ log(λ + δ), and terms without δ. Searched on a grid from 1e-4 to 1e6.
    """
    grid = torch.logspace(-4, 6, 201, dtype=torch.float64, device=eigenvalues.device)
    occam = torch.log(eigenvalues[None] + grid[:, None]).sum(dim=1)
    evidence = 0.5 * (len(eigenvalues) * grid.log() - grid * squared_norm - occam)
    return float(grid[evidence.argmax()])
