"""OCD's own variants: draws, the mean in one pass, without the scale network, one part alone."""

from __future__ import annotations

from dataclasses import dataclass

from ocd.data import Inputs
from ocd.model import OCD
from ocd.prediction import Prediction


@dataclass(frozen=True)
class OCDVariant:
    """`OCD.predict` with one way of drawing.

    `mode`: "draws" or "mean". `use_mean_scale`: the paper's ablation "no scale". `part`: "all",
    "diffusion" (without the correction, drawn as in the paper) or "correction".
    """

    ocd: OCD
    mode: str = "draws"
    use_mean_scale: bool = False
    part: str = "all"

    def predict(self, inputs: Inputs, draws: int = 5, seed: int = 0) -> Prediction:
        network, _ = self.ocd.fitted()
        with network.only(self.part):
            return self.ocd.predict(inputs, draws, self.mode, seed, use_mean_scale=self.use_mean_scale)
