"""OCD on the last projection of a separator of voices: what is behind the layer is a small part.

    python -m benchmarks.separation [--device cuda] [--sizes small,full] [--out results/benchmarks]

For the CPU size and the paper's (five voices): seconds of one forward pass of some mixtures of four
seconds, of overfitting three steps on each, and of a prediction with five draws, both with the pass in
front of the layer that they share; and of a step of the base's training, on a GPU in bfloat16 too. The
weights are random: the figures are of time alone.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd import OCD, Examples, OCDConfig
from ocd.base import DenseDelta, FrozenBase
from ocd.lessons import OverfitConfig, overfit_batch
from ocd.tasks.speech.describing import DescribeSpeech
from ocd.tasks.speech.objective import mean_of_aligned, negative_si_sdr
from ocd.tasks.speech.options import SpeechOptions
from ocd.tasks.speech.separator import Separator, Size

SIZES = {"small": Size(5, 64, 16, 64, 2, 90), "full": Size(5)}
LENGTH = 32_000


def seconds_of(work: Callable[[], Any], device: torch.device, repeats: int = 3) -> float:
    """The least of some tries, after one that is not counted."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:])


def training_step(base: Separator, voices: Tensor, bfloat16: bool) -> None:
    """Forward and backward, as the base is trained."""
    with torch.autocast(voices.device.type, torch.bfloat16, enabled=bfloat16):
        answers = base.after_each_block(voices.sum(dim=1))
    base.zero_grad()
    torch.stack([negative_si_sdr(answer.float(), voices).mean() for answer in answers]).sum().backward()


def measure(size: Size, mixtures: int, device: torch.device) -> dict[str, Any]:
    """The figures of one size."""
    torch.manual_seed(0)
    base = Separator(size).to(device).eval()
    voices = 0.05 * torch.randn(mixtures, size.voices, LENGTH, device=device)
    waves = voices.sum(dim=1)
    settings = {"training.num_steps": 3, "codec.components": 4, "overfit.lr": 1e-3,
                "overfit.optimizer": "adam", "overfit.chunk_size": 8}  # fmt: skip
    describe = DescribeSpeech(SpeechOptions(speakers=size.voices))
    ocd = OCD(
        base, loss=negative_si_sdr, join=mean_of_aligned, describe=describe,
        config=OCDConfig(layer=base.layer).replace(settings),
    )  # fmt: skip
    ocd.fit(Examples(waves.cpu(), voices.cpu()), progress=False)
    _, frozen = ocd.fitted()
    overfit = OverfitConfig(num_steps=3, lr=1e-3, optimizer="adam", form="dense")
    with torch.no_grad():
        forward = seconds_of(lambda: base(waves), device)
    frozen.front(waves)
    found = {
        "forward": forward,
        "overfit 3 steps": seconds_of(
            lambda: overfit_batch(frozen, negative_si_sdr, waves, voices, overfit), device
        ),
        "5 draws": seconds_of(lambda: ocd.predict(waves, draws=5), device),
        "the part behind, a draw": _behind(frozen, waves, device),
    }
    base.train()
    found["training step"] = seconds_of(lambda: training_step(base, voices, False), device)
    if device.type == "cuda":
        found["training step, bfloat16"] = seconds_of(lambda: training_step(base, voices, True), device)
    ratios = {name: found[name] / forward for name in list(found)[1:4]}
    return {
        "mixtures": mixtures,
        "parameters": sum(p.numel() for p in base.parameters()),
        "positions": frozen.capture(waves[:1]).positions.shape[1],
        "seconds": found,
        "of a forward pass": ratios,
    }


def _behind(frozen: FrozenBase, waves: Tensor, device: torch.device) -> float:
    capture = frozen.capture(waves)
    delta = DenseDelta(1e-3 * torch.randn(len(capture), 5, *frozen.weight_shape, device=device))
    with torch.no_grad():
        return seconds_of(lambda: frozen.run(capture, delta), device) / 5


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="small,full")
    parser.add_argument("--mixtures", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    given = parser.parse_args()
    device = torch.device(given.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    found: dict[str, Any] = {"device": name, "threads": torch.get_num_threads()}
    found["load"] = [round(one, 1) for one in os.getloadavg()]
    for size in given.sizes.split(","):
        found[size] = measure(SIZES[size], given.mixtures, device)
        print(size, json.dumps(found[size], indent=1), flush=True)
    path = given.out / f"separation{'-gpu' if device.type == 'cuda' else ''}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
