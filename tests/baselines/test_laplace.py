"""Last-layer Laplace against the exact Hessian and covariance of small problems."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from helpers import digits, digits_base, test_digits
from nets import cross_entropy, get_case
from ocd import Examples, OCDError
from ocd.baselines import fit_laplace
from ocd.baselines.laplace import Laplace


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(dim=1)


def random(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def softmax_regression() -> tuple[nn.Module, Examples]:
    torch.manual_seed(0)
    base, inputs = nn.Linear(3, 4).double(), random(40, 3)
    return base, Examples(inputs, (2 * inputs @ random(3, 4, seed=2)).argmax(dim=1))


def with_hidden_layers() -> tuple[nn.Module, Examples]:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
    return base, softmax_regression()[1]


def squared_regression() -> tuple[nn.Module, Examples]:
    base, examples = with_hidden_layers()
    return base, Examples(examples.inputs, random(40, 4, seed=3))


PROBLEMS: dict[str, tuple[Callable[[], tuple[nn.Module, Examples]], Callable]] = {
    "softmax regression": (softmax_regression, cross_entropy),
    "softmax after hidden layers": (with_hidden_layers, cross_entropy),
    "squared error": (squared_regression, squared),
}


def last_of(base: nn.Module) -> nn.Linear:
    return [module for module in base.modules() if isinstance(module, nn.Linear)][-1]


def hessian_of(base: nn.Module, loss: Callable, examples: Examples) -> Tensor:
    """Of the summed loss, with respect to the last layer's weight: exact, since it is linear there."""
    layer, seen = last_of(base), []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(args[0].detach()))
    base(examples.inputs)
    handle.remove()

    def total(flat: Tensor) -> Tensor:
        outputs = seen[0] @ flat.view(layer.weight.shape).T + layer.bias.detach()
        return loss(outputs, examples.targets).sum()

    return torch.autograd.functional.hessian(total, layer.weight.detach().flatten())


def matrix_of(fitted: Laplace) -> Tensor:
    return fitted.eigenvectors @ fitted.eigenvalues.diag() @ fitted.eigenvectors.T


@pytest.mark.parametrize("chunk_size", [7, 512])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_curvature_is_the_hessian_of_the_summed_loss(problem, chunk_size):
    make, loss = PROBLEMS[problem]
    base, examples = make()
    fitted = fit_laplace(base, loss, examples, chunk_size=chunk_size)
    expected = hessian_of(base, loss, examples)
    assert torch.allclose(matrix_of(fitted), expected, atol=1e-9 * expected.abs().max())
    part = fit_laplace(base, loss, examples, num_examples=10)
    few = hessian_of(base, loss, Examples(*examples.rows(slice(0, 10))))
    assert torch.allclose(matrix_of(part), few, atol=1e-9 * expected.abs().max())


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_prior_has_the_largest_marginal_likelihood(problem):
    make, loss = PROBLEMS[problem]
    base, examples = make()
    fitted = fit_laplace(base, loss, examples)
    hessian, weight = hessian_of(base, loss, examples), last_of(base).weight.detach().flatten()

    def evidence(prior: float) -> float:
        """log N(θ; 0, 1/δ) + ½ log det 2π(H + δ)⁻¹, less what does not depend on δ."""
        size = len(weight)
        log_prior = 0.5 * size * math.log(prior) - 0.5 * prior * weight.square().sum().item()
        return log_prior - 0.5 * torch.logdet(hessian + prior * torch.eye(size).double()).item()

    assert 1e-3 < fitted.prior < 1e5
    best = evidence(fitted.prior)
    assert all(best >= evidence(fitted.prior * factor) for factor in (0.5, 0.8, 0.9, 1.1, 1.25, 2.0))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_logits_of_the_draws_have_the_analytic_covariance(problem):
    """J (H + δ)⁻¹ Jᵀ with J = I ⊗ φᵀ, around the base's own logits."""
    make, loss = PROBLEMS[problem]
    base, examples = make()
    fitted = fit_laplace(base, loss, examples)
    inputs = examples.inputs[:3]
    p = fitted.predict(inputs, draws=20_000, seed=1)
    with torch.no_grad():
        features, own = (base[:-1](inputs) if len([*base.children()]) else inputs), base(inputs)
    inverse = (
        hessian_of(base, loss, examples) + fitted.prior * torch.eye(features.shape[1] * 4)
    ).inverse()
    for i in range(3):
        jacobian = torch.kron(torch.eye(4).double(), features[i : i + 1])
        expected = jacobian @ inverse @ jacobian.T
        size = expected.diagonal().max()
        assert torch.allclose(p.outputs[:, i].T.cov(), expected, atol=0.05 * size)
        assert torch.allclose(p.outputs[:, i].mean(dim=0), own[i], atol=0.05 * size.sqrt())
    assert torch.allclose(p.mean_network, p.outputs.mean(dim=0), atol=1e-9)  # it is the last layer
    assert torch.allclose(p.base, own)


def test_an_input_far_from_the_training_examples_is_less_certain():
    base, examples = softmax_regression()
    fitted = fit_laplace(base, cross_entropy, examples)
    spread = fitted.predict(examples.inputs[:10], draws=200).std.mean()
    assert fitted.predict(10 * examples.inputs[:10], draws=200).std.mean() > 5 * spread


def test_digits_keep_their_classes():
    fitted = fit_laplace(digits_base(), cross_entropy, digits(100))
    p = fitted.predict(test_digits(40).inputs, draws=20)
    assert p.outputs.shape == (20, 40, 10)
    assert (p.mean.argmax(dim=1) == p.base.argmax(dim=1)).float().mean() > 0.8
    assert fitted.frozen.name == "fc2"


@pytest.mark.parametrize(
    ("base", "inputs"),
    [
        (nn.Sequential(nn.Linear(5, 3), nn.ReLU()), random(8, 5)),
        (nn.Sequential(nn.Linear(5, 3), nn.Flatten(0)), random(8, 5)),
        (get_case("linear, positions").make().body, random(8, 7, 4)),
        (nn.ReLU(), random(8, 5)),
        pytest.param(nn.Conv2d(2, 3, (3, 4)), random(8, 2, 3, 4)),
    ],
    ids=["a ReLU after it", "flattened", "positions", "no layer", "one pixel"],
)
def test_a_base_that_does_not_end_in_a_linear_layer_is_refused(base, inputs):
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.reshape(len(targets), -1).square().sum(dim=1)

    examples = Examples(inputs, torch.zeros(len(inputs)))
    with pytest.raises(OCDError, match="needs a base that ends in a linear layer") as caught:
        fit_laplace(base.double(), loss, examples)
    assert "\n" not in str(caught.value)


def test_too_many_weights_are_refused():
    base = nn.Sequential(nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 82)).double()
    examples = Examples(random(8, 4), torch.zeros(8).long())
    with pytest.raises(OCDError, match="8200 x 8200 matrix for '2': at most 8192 weights") as caught:
        fit_laplace(base, cross_entropy, examples)
    assert "\n" not in str(caught.value)
