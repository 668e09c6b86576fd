"""What OCD costs on large bases and on layers that see many positions, against the limit.

    make bench        (or: python -m benchmarks.large [--quick] [--cases vit-head,minilm-last])

A 12-layer ViT-B, a MiniLM, a ResNet-18 and a gated LSTM, all with random weights, moved at the head, or
in the last block, or in the first. Limits that no way of doing it could stay below:

* of overfitting: a pass of the base, and three passes forward and back through the part behind the
  layer;
* of five draws: a pass of the base, a pass of five times the examples through the part behind the
  layer, the arithmetic of the denoiser, and that of five shifts of the layer's output, at the rate at
  which this machine multiplies matrices.

Each case runs in a process of its own, its works in turns; medians. Time does not depend on weights, so
generators are trained for one step only. Writes results/benchmarks/large.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import CASES, cross_entropy
from benchmarks.measuring import Work, each_alone, in_turns, matrix_rate
from benchmarks.speed import DRAWS, arithmetic, limit_of_overfitting
from ocd import OCD, Examples, OCDConfig
from ocd.base import FrozenBase, OutputShift, probe, run_without_delta
from ocd.lessons import OverfitConfig, overfit_in_chunks
from ocd.lessons.overfitting import resolve_form

OUT = Path("results/benchmarks")


class Logits(nn.Module):
    """A classifier of transformers as a base that answers with its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs).logits
        return logits


class GatedBlock(nn.Module):
    """MulCat (Nachmani et al. 2020): two LSTMs, each with a projection; their product and the input."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, bidirectional=True, batch_first=True)
        self.gate = nn.LSTM(width, hidden, bidirectional=True, batch_first=True)
        self.lstm_projection = nn.Linear(2 * hidden, width)
        self.gate_projection = nn.Linear(2 * hidden, width)
        self.block_projection = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        gated = self.lstm_projection(self.lstm(x)[0]) * self.gate_projection(self.gate(x)[0])
        mixed: Tensor = x + self.block_projection(torch.cat([gated, x], dim=2))
        return mixed


class GatedLSTM(nn.Module):
    """Blocks of gated LSTMs on frames (B, T, 128), then a head on their mean."""

    def __init__(self, num_blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(GatedBlock(128, 128) for _ in range(num_blocks)))
        self.head = nn.Linear(128, 10)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(frames).mean(dim=1))
        return logits


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return Logits(ViTForImageClassification(ViTConfig(num_labels=1000)))


def minilm() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536, "num_labels": 10}
    return Logits(BertForSequenceClassification(BertConfig(num_attention_heads=12, **sizes)))


def _resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    return Logits(ResNetForImageClassification(ResNetConfig(embedding_size=64, num_labels=10, **sizes)))


def _images(side: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def _tokens(count: int) -> Tensor:
    return torch.randint(30000, (count, 64), generator=torch.Generator().manual_seed(1))


def _frames(count: int) -> Tensor:
    return torch.randn(count, 100, 128, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class LargeCase:
    """`layer`: that moves. `inputs(n)`: n of them. `batch`: overfitted and predicted at once."""

    name: str
    what: str
    layer: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    batch: int
    num_classes: int = 10

    def examples(self) -> Examples:
        generator = torch.Generator().manual_seed(2)
        labels = torch.randint(self.num_classes, (self.batch,), generator=generator)
        return Examples(self.inputs(self.batch), labels)


VIT, BERT = "model.vit.layers", "model.bert.encoder.layer"
RESNET = "model.resnet.encoder.stages"
OF_SPEED = {case.name: case for case in CASES}


def _of_speed(name: str, what: str) -> LargeCase:
    case = OF_SPEED[name]

    def inputs(count: int) -> Tensor:
        return torch.randn(count, *case.shape, generator=torch.Generator().manual_seed(1))

    return LargeCase(name, what, case.layer, case.make, inputs, case.batch, case.num_classes)


ALL = (
    LargeCase("vit-head", "ViT-B, head 1000 x 768", "model.classifier", _vit, _images(224), 8, 1000),
    LargeCase("vit-last", "ViT-B, last block 3072 x 768, 197 tokens", f"{VIT}.11.mlp.fc1", _vit,
              _images(224), 4, 1000),
    LargeCase("vit-first", "ViT-B, first block 3072 x 768, 197 tokens", f"{VIT}.0.mlp.fc1", _vit,
              _images(224), 2, 1000),
    LargeCase("minilm-head", "MiniLM, head 10 x 384", "model.classifier", minilm, _tokens, 32),
    LargeCase("minilm-last", "MiniLM, last block 1536 x 384, 64 tokens",
              f"{BERT}.5.intermediate.dense", minilm, _tokens, 16),
    LargeCase("minilm-first", "MiniLM, first block 1536 x 384, 64 tokens",
              f"{BERT}.0.intermediate.dense", minilm, _tokens, 8),
    LargeCase("resnet", "ResNet-18, 128 x 128 x 3 x 3 with a residual around it, 64 positions",
              f"{RESNET}.1.layers.1.layer.0.convolution", _resnet, _images(64), 32),
    LargeCase("gated-lstm", "gated LSTM, projection 128 x 256, 100 frames",
              "blocks.1.lstm_projection", GatedLSTM, _frames, 16),
    _of_speed("convolution", "two convolutions, the second 64 x 64 x 3 x 3, 256 positions"),
    _of_speed("positions", "a block of tokens, 3072 x 768, 64 positions"),
)  # fmt: skip


def fitted(case: LargeCase, base: nn.Module) -> OCD:
    """A generator trained for one step."""
    config = OCDConfig().replace(
        {
            "layer": case.layer,
            "overfit.lr": 1e-3,
            "training.num_steps": 1,
            "training.batch_size": case.batch,
            "training.validation_share": 0.0,
            "sampling.spread": 1.0,
            "sampling.scale_factor": 1.0,
        }
    )
    return OCD(base, loss=cross_entropy, config=config).fit(case.examples(), progress=False)


def measure(case: LargeCase, repeats: int) -> dict[str, Any]:
    """Costs and ratios to the limits."""
    torch.manual_seed(0)
    base, rate, examples = case.make().eval(), matrix_rate(), case.examples()
    inputs, targets = examples.inputs, examples.targets
    assert isinstance(inputs, Tensor) and isinstance(targets, Tensor)
    here = FrozenBase(base, case.layer)
    start = time.perf_counter()
    capture = probe(here, inputs[:3])
    probe_seconds = time.perf_counter() - start
    config = OverfitConfig(lr=1e-3)
    config = replace(config, form=resolve_form(capture, config))
    num_positions, fan_in = capture.positions.shape[1], capture.positions.shape[3]
    ocd = fitted(case, base)

    shape = (case.batch, DRAWS, num_positions, here.weight_shape[0])

    def passes_of_draws() -> None:
        with torch.no_grad():
            here.run(here.capture(inputs), OutputShift(torch.zeros(shape)))

    works = {
        "forward": lambda: run_without_delta(base, inputs),
        "overfit": lambda: overfit_in_chunks(here, cross_entropy, inputs, targets, config),
        "overfit, limit": lambda: limit_of_overfitting(here, inputs, targets, case.batch),
        "predict": lambda: ocd.predict(inputs, draws=DRAWS),
        "predict, passes": passes_of_draws,
    }
    costs = in_turns({name: Work(do, case.batch) for name, do in works.items()}, repeats)
    found: dict[str, Any] = {name: asdict(cost) for name, cost in costs.items()}
    shifts = 2 * DRAWS * num_positions * fan_in * here.weight_shape[0]
    if num_positions == 1:
        shifts = 2 * DRAWS * here.weight_shape[0]
    passes = found["predict, passes"]["microseconds"]
    limit = passes + 1e6 * (arithmetic(ocd) + shifts) / rate
    found["predict, limit"] = {"microseconds": limit, "peak_mb": None}
    ratios = {
        name: found[name]["microseconds"] / found[f"{name}, limit"]["microseconds"]
        for name in ("overfit", "predict")
    }
    way = next(note for note in ocd.notes if note.startswith("layer"))
    return {
        "what": case.what,
        "batch": case.batch,
        "way": way,
        "probe_seconds": probe_seconds,
        "costs": found,
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--cases", default=",".join(case.name for case in ALL))
    parser.add_argument("--one", help="measure one case, in this process, and print it")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if arguments.one:
        case = next(case for case in ALL if case.name == arguments.one)
        print(json.dumps(measure(case, 2 if arguments.quick else 5)))
        return
    results: dict[str, Any] = {}
    flags = (*["--quick"] * arguments.quick, "--one")
    for name, found in each_alone("benchmarks.large", arguments.cases.split(","), *flags):
        results[name] = found
        _print(name, found)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "large.json").write_text(json.dumps(results, indent=1) + "\n")


def _print(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['what']}\n  {found['way']}")
    for work, cost in found["costs"].items():
        memory = f"{cost['peak_mb']:10,.0f} MB" if cost["peak_mb"] is not None else ""
        print(f"  {work:18} {cost['microseconds'] / 1e3:12,.2f} ms an example {memory}")
    print(f"  probe, once {found['probe_seconds']:19,.2f} s")
    for ratio, value in found["ratios"].items():
        print(f"  {ratio} / limit {value:10,.2f}", flush=True)


if __name__ == "__main__":
    main()
