"""A network as large as OCD's generator, with one output for each example."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ocd.data import Inputs, call
from ocd.generator import Conditioning, DenoiserConfig, Features, MLPDenoiser


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
        embedding = self.embed(features, inputs)
        no_code = embedding.new_zeros(len(embedding), 1, *self.out_shape)
        t = torch.zeros(1, 1, dtype=torch.long, device=embedding.device)
        output: Tensor = self.network(no_code, t, embedding)[:, 0]
        return output * self.unit

    def embed(self, features: Features, inputs: Inputs) -> Tensor:
        """What the MLP is told of the condition, (B, E)."""
        encoded = call(self.encoder, inputs) if self.encoder is not None else None
        if self.conditioning is not None:
            embedding: Tensor = self.conditioning(features, encoded)
            return embedding
        assert self.encode_x is not None and encoded is not None
        embedding = self.encode_x(encoded)
        return embedding
