"""Point forecasters: windows (B, L) of one series -> the next H values (B, H).

Each is given the window less its last value, which is added to its answer again: levels drift (Zeng et
al. 2023). The last layer is called `head` in all of them, and sees one vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KINDS = ("linear", "mlp", "gru", "patches")


class Forecaster(nn.Module):
    """`body` (B, L) -> (B, F), and `head` (B, F) -> (B, H)."""

    def __init__(self, body: nn.Module, features: int, horizon: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, horizon)

    def forward(self, window: Tensor) -> Tensor:
        last = window[:, -1:]
        answer: Tensor = last + self.head(self.body(window - last))
        return answer


class GRUBody(nn.Module):
    """The last state of a GRU that reads the window, `step` values at a time."""

    def __init__(self, width: int, step: int = 4) -> None:
        super().__init__()
        self.step = step
        self.gru = nn.GRU(step, width, batch_first=True)

    def forward(self, window: Tensor) -> Tensor:
        _, state = self.gru(window.unfold(1, self.step, self.step))
        return state[0]


class PatchBody(nn.Module):
    """A small transformer over patches of the window (Nie et al. 2023): patches of 16, one every 8."""

    def __init__(self, lookback: int, width: int, layers: int = 2, patch: int = 16) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch // 2
        self.count = (lookback - patch) // self.stride + 1
        self.enter = nn.Linear(patch, width)
        self.places = nn.Parameter(torch.empty(1, self.count, width))
        self.reset_parameters()
        block = nn.TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=2 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)

    def reset_parameters(self) -> None:
        """New places of the patches."""
        nn.init.normal_(self.places, std=0.02)

    def forward(self, window: Tensor) -> Tensor:
        patches = window.unfold(1, self.patch, self.stride)  # (B, count, patch)
        answer: Tensor = self.blocks(self.enter(patches) + self.places).flatten(1)
        return answer


def make_forecaster(kind: str, lookback: int, horizon: int, width: int) -> Forecaster:
    """An untrained forecaster of one of `KINDS`."""
    if kind == "linear":
        return Forecaster(nn.Identity(), lookback, horizon)
    if kind == "gru":
        return Forecaster(GRUBody(width), width, horizon)
    if kind == "patches":
        body = PatchBody(lookback, 32)
        return Forecaster(body, 32 * body.count, horizon)
    layers = [nn.Linear(lookback, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, width)]
    return Forecaster(nn.Sequential(*layers, nn.ReLU(), nn.Dropout(0.1)), width, horizon)
