"""The networks of the trained baselines, as large as OCD's generator and made from the same parts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ocd.base import DenseDelta, FrozenBase, independent_copy
from ocd.baselines.trained.conditioned import ConditionedNetwork
from ocd.baselines.trained.drawn import LEVELS, Drawn, GaussianHead, OutputDiffusion, QuantileHead
from ocd.baselines.trained.kinds import DRAWN, network_kind, reason_unavailable
from ocd.data import Inputs, take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import Conditioning
from ocd.model import OCD


class SharedWeight(nn.Module):
    """One delta for all examples, (*weight.shape), as a trainable parameter that starts at zero."""

    def __init__(self, frozen: FrozenBase) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros_like(frozen.weight))

    def delta(self, start: Tensor | None = None) -> DenseDelta:
        """The delta in the form that the base runs with, (1, 1, *weight.shape); on a layer that starts
        from a delta already, what is left to it."""
        weight = self.weight if start is None else self.weight - start.to(self.weight.device)
        return DenseDelta(weight[None, None])


def make_network(kind: str, ocd: OCD, inputs: Inputs) -> nn.Module:
    """The untrained network of a baseline. `inputs`: two examples or more, for the shape of f(x).

    Its weights follow from the OCD's seed. Raises OCDError where this OCD is not fitted, or has no such
    baseline.
    """
    if reason := reason_unavailable(kind, ocd):
        raise OCDError(f"there is no baseline {network_kind(kind)} here: {reason}")
    generator, frozen = ocd.fitted()
    if kind == "fine_tuned_layer":
        return SharedWeight(frozen)
    few = to_device(take_rows(inputs, slice(0, 2)), frozen.device)
    output = frozen.capture(few).output
    with torch.random.fork_rng():
        torch.manual_seed(ocd.config.seed)
        if kind in DRAWN:
            return _make_drawn(kind, ocd, tuple(output.shape[1:])).to(frozen.device)
        network = _make_conditioned(network_kind(kind), ocd, tuple(output.shape[1:]))
    if kind == "delta_regression":
        network.unit.copy_(generator.mean_scale)
    if kind == "label_head":  # its first output is the base's own
        nn.init.zeros_(network.network.leave.weight)
        nn.init.zeros_(network.network.leave.bias)
    return network.to(frozen.device)


def _make_conditioned(kind: str, ocd: OCD, output_shape: tuple[int, ...]) -> ConditionedNetwork:
    """The network of a kind that sees I(x), x, or both. `output_shape`: of f(x) for one example."""
    generator, config = ocd.fitted()[0], ocd.config
    shapes = generator.shapes
    conditioning = None
    if kind != "label_network":
        conditioning = Conditioning(
            shapes.features, config.denoiser.embedding_size, config.condition, shapes.encoder_features
        )
        conditioning.standardize.load_state_dict(generator.conditioning.standardize.state_dict())
    return ConditionedNetwork(
        shapes.code_shape if kind == "delta_regression" else output_shape,
        config.denoiser,
        conditioning,
        None if ocd.encoder is None else independent_copy(ocd.encoder),
        shapes.encoder_features,
    )


def _make_drawn(kind: str, ocd: OCD, output_shape: tuple[int, ...]) -> Drawn:
    """A baseline that draws; a head's first answer is the base's own."""
    if kind == "output_diffusion":
        network = _make_conditioned(kind, ocd, output_shape)
        config, training = ocd.config.diffusion, ocd.config.training
        if config.solver == "one_step":  # what it is compared with diffuses nothing
            config = replace(config, solver="ddim")
        return OutputDiffusion(network, config, training.num_noise_levels)
    count = 2 if kind == "gaussian_head" else len(LEVELS)
    network = _make_conditioned(kind, ocd, (count, *output_shape))
    nn.init.zeros_(network.network.leave.weight)
    nn.init.zeros_(network.network.leave.bias)
    return GaussianHead(network) if kind == "gaussian_head" else QuantileHead(network)
