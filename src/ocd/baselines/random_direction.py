"""Random directions as long as OCD's deltas: does it matter in which direction the layer moves?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ocd.data import Inputs
from ocd.generator import example_keys, example_noise
from ocd.model import OCD
from ocd.prediction import Prediction, apply_deltas, predict_in_chunks


@dataclass(frozen=True)
class RandomDirection:
    """For each draw of OCD, a delta with a random direction and the same norm: (K, B, ...) outputs.

    The direction is Gaussian noise in the code that the generator draws (rank one, PCA or dense). It
    depends on the input and the seed, as OCD's draws do, so that it does not depend on the batch.
    """

    ocd: OCD

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        network, frozen = self.ocd.fitted()

        def work(rows: Inputs, where: slice) -> Prediction:
            capture, embedding = self.ocd.embed(rows)
            keys = example_keys(rows)
            noise = example_noise(keys, seed, draws, network.diffused_shape)
            codes = network.draw_codes(embedding, noise)
            norms = network.decode(codes, capture.positions).norms()  # (B, K)
            # A code has its delta's norm, so that scaling the code scales the delta. Other keys make
            # directions that are not those of the noise that OCD starts from.
            code = example_noise(~keys, seed, draws, network.shapes.code_shape)
            code = code * (norms / code.flatten(2).norm(dim=2)).view(
                *norms.shape, *[1] * (code.dim() - 2)
            )
            delta = network.codec.decode(code, capture.positions)
            return apply_deltas(frozen, capture, delta)

        with torch.no_grad():
            return predict_in_chunks(inputs, frozen.device, work)
