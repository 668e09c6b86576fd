"""The paper's bound: overfit on the test example itself. It uses the label, and says so."""

from __future__ import annotations

import torch
from torch import Tensor

from ocd.chunking import in_chunks
from ocd.inputs import Inputs, num_rows, take_rows, to_device
from ocd.layers import OpenBase
from ocd.overfitting import Loss, OverfitConfig, overfit_capture
from ocd.prediction import Prediction, join_predictions


def overfit_test(
    opened: OpenBase,
    loss: Loss,
    config: OverfitConfig,
    inputs: Inputs,
    targets: Tensor,
    chunk_size: int = 256,
) -> Prediction:
    """f(x; θ_s) with θ_s of Eq. 1 found with the test label: what a perfect generator would reach."""

    def work(chunk: slice) -> Prediction:
        rows = to_device(take_rows(inputs, chunk), opened.device)
        capture = opened.capture(rows)
        delta = overfit_capture(opened, capture, loss, targets[chunk].to(opened.device), config)
        with torch.no_grad():
            outputs = opened.run(capture, delta)[:, 0]
        return Prediction(outputs[None], outputs, capture.output, delta.norms().T)

    return join_predictions([part for _, part in in_chunks(num_rows(inputs), chunk_size, work)])
