"""The networks of the trained baselines, as large as OCD's generator and made from the same parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ocd.base import DenseDelta, FrozenBase, independent_copy
from ocd.baselines.trained.kinds import network_kind, reason_unavailable
from ocd.data import Inputs, call, take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import Conditioning, DenoiserConfig, Features, MLPDenoiser
from ocd.model import OCD


class ConditionedNetwork(nn.Module):
    """OCD's conditioning, encoder of x and MLP, with one output for each example: (B, *out_shape).

    The MLP is the denoiser's, for the same size. It is given a noisy code of zeros, and t = 0.
    `conditioning`: None for a network that sees x alone. `unit`: the output is multiplied by this
    number; 1, or the mean scale of the training codes.
    """

    unit: Tensor

    def __init__(
        self,
        out_shape: tuple[int, ...],
        config: DenoiserConfig,
        conditioning: Conditioning | None,
        encoder: nn.Module | None,
        encoder_size: int,
    ) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.conditioning = conditioning
        self.encoder = encoder
        # Conditioning has this layer too. Without I(x) it is all that is left of it.
        self.encode_x = nn.Linear(encoder_size, config.embedding_size) if conditioning is None else None
        self.network = MLPDenoiser(out_shape, config)
        self.register_buffer("unit", torch.ones(()))

    def forward(self, features: Features, inputs: Inputs) -> Tensor:
        """Outputs (B, *out_shape). `features`: the parts of I(x), {} where x alone is seen."""
        encoded = call(self.encoder, inputs) if self.encoder is not None else None
        if self.conditioning is not None:
            embedding = self.conditioning(features, encoded)
        else:
            assert self.encode_x is not None and encoded is not None
            embedding = self.encode_x(encoded)
        no_code = embedding.new_zeros(len(embedding), 1, *self.out_shape)
        t = torch.zeros(1, 1, dtype=torch.long, device=embedding.device)
        output: Tensor = self.network(no_code, t, embedding)[:, 0]
        return output * self.unit


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
