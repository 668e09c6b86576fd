"""Metrics of views: images (N, C, H, W) with pixels from 0 to 1.

PSNR and SSIM are those of torchmetrics, in double precision, for each image by itself.
"""

from __future__ import annotations

from torch import Tensor

from ocd.errors import OCDError
from ocd.evaluation.metric import Metric, import_torchmetrics
from ocd.evaluation.regression_metrics import mse, mse_per_example

LARGEST_PSNR = 100.0
"""dB. An exact image has an infinite PSNR, and so would every mean that it is part of."""
SMALLEST_VIEW = 6
"""Pixels a side. The window of SSIM reaches five pixels beyond its middle, mirrored at the edge."""


def psnr(outputs: Tensor, targets: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, the mean over the images; at most 100 for an exact image."""
    return psnr_per_example(outputs, targets).mean().item()


def psnr_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, (N,), in dB."""
    outputs, targets = _check(outputs, targets)
    ratio: Tensor = import_torchmetrics("image").peak_signal_noise_ratio(
        outputs, targets, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return ratio.clamp_max(LARGEST_PSNR)


def ssim(outputs: Tensor, targets: Tensor) -> float:
    """Structural similarity, 1 for equal images: Gaussian window of 11 pixels (Wang et al. 2004)."""
    return ssim_per_example(outputs, targets).mean().item()


def ssim_per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity of each image, (N,)."""
    outputs, targets = _check(outputs, targets)
    if min(outputs.shape[2:]) < SMALLEST_VIEW:
        raise OCDError(
            f"SSIM needs images of {SMALLEST_VIEW}x{SMALLEST_VIEW} pixels or more: "
            f"got {'x'.join(map(str, outputs.shape[2:]))}"
        )
    similarity: Tensor = import_torchmetrics("image").structural_similarity_index_measure(
        outputs, targets, data_range=1.0, reduction="none"
    )
    return similarity


VIEW_METRICS: dict[str, Metric] = {
    "mse": Metric(mse, higher_is_better=False, per_example=mse_per_example),
    "psnr": Metric(psnr, True, unit="dB", per_example=psnr_per_example, needs="torchmetrics"),
    "ssim": Metric(ssim, True, per_example=ssim_per_example, needs="torchmetrics"),
}


def _check(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The images in double precision. Raises OCDError for other shapes."""
    if outputs.shape != targets.shape or outputs.ndim != 4 or not outputs.numel():
        raise OCDError(
            "views are images (N, C, H, W) like their targets: "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    return outputs.double(), targets.double()
