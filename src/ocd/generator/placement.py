"""Where draws lie: around a share of the expected code, and how far from there.

    Placement(centre=0.5, spread=1.25, balanced=True).around(codes, mean)

Beyond the paper, which takes draws as they are generated: `Placement()`. Draws that are a distribution
around an answer have to have that answer as their mean. Their own mean is not the expected code that
one pass gives, by chance, and where the distribution is skewed; a wide spread multiplies the
difference, and draws around the base's answer would lie elsewhere. Balanced draws are therefore placed
around their own mean. A balanced draw depends on how many are drawn with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Placement:
    """`centre`: the share of the expected code around which draws lie. `spread`: how far from there,
    over what was generated. 1 and 1 leave draws as they are, `balanced` or not."""

    centre: float = 1.0
    spread: float = 1.0
    balanced: bool = False

    def balances(self, num_draws: int) -> bool:
        """Whether so many draws are placed around their own mean: one draw has none."""
        return self.balanced and num_draws > 1 and not self.is_plain

    @property
    def is_plain(self) -> bool:
        """Whether draws stay as they are."""
        return self.centre == self.spread == 1

    def around(self, codes: Tensor, mean: Tensor) -> Tensor:
        """Draws (B, K, ...), placed; `mean` (B, 1, ...) is the expected code."""
        count = codes.shape[1]
        if self.is_plain:
            return codes
        if not self.balances(count):
            return self.centre * mean + self.spread * (codes - mean)
        # From their own mean draws lie less far than from the true one.
        wider = self.spread * (count / (count - 1)) ** 0.5
        return self.centre * mean + wider * (codes - codes.mean(dim=1, keepdim=True))
