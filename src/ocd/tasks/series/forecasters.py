"""Point forecasters: windows (B, L) of one series -> the next H values (B, H).

Each is given the window less its last value, which is added to its answer again: levels drift (Zeng et
al. 2023). The last layer is called `head` in all of them, and sees one vector. All of them see the
whole window: one that is no whole number of pieces is made longer in front (`in_pieces`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KINDS = ("linear", "mlp", "gru", "patches")


def in_pieces(window: Tensor, size: int, stride: int) -> Tensor:
    """Pieces (B, count, size) of a window (B, L), one every `stride` values; the last one ends where
    the window does. Where they do not fit, the window's first value is repeated in front of it: the
    newest values say most of what follows, and are never left out."""
    lacking = size - window.shape[1] if window.shape[1] < size else (size - window.shape[1]) % stride
    if lacking:
        window = torch.cat([window[:, :1].expand(-1, lacking), window], dim=1)
    return window.unfold(1, size, stride)


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
        _, state = self.gru(in_pieces(window, self.step, self.step))
        return state[0]


class PatchBody(nn.Module):
    """A small transformer over patches of the window (Nie et al. 2023): patches of 16, one every 8."""

    def __init__(self, lookback: int, width: int, layers: int = 2, patch: int = 16) -> None:
        super().__init__()
        self.patch, self.stride = patch, patch // 2
        self.count = -((patch - lookback) // self.stride) + 1  # of `in_pieces`
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
        patches = in_pieces(window, self.patch, self.stride)  # (B, count, patch)
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
