"""What can be moved, by which way, at which cost against the base's own forward pass.

    python -m benchmarks.ways [--out results/benchmarks]

Networks of usual kinds with random weights, 32 examples each. Of each: the way that the probe took, the
time of the probe, and overfitting (three SGD steps) and a prediction of five draws in units of one
forward pass of the base on the same examples. `copies`: overfitting by a loop over deep copies, in the
same unit. Writes ways.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks.measuring import Work, in_turns
from benchmarks.speed import OUT
from ocd.base import DenseDelta, FrozenBase, Outputs, probe, run_without_delta
from ocd.data import num_rows, take_rows
from ocd.lessons import OverfitConfig, overfit_in_chunks

BATCH, DRAWS, STEPS = 32, 5, 3


@dataclass(frozen=True)
class Kind:
    """A network and what moves in it."""

    name: str
    make: Callable[[], nn.Module]
    layer: str
    inputs: Callable[[], Any]
    output: str | None = None


class Cosine(nn.Linear):
    """A linear layer with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return 5 * F.linear(F.normalize(input, dim=-1), F.normalize(self.weight, dim=1))


class Tied(nn.Module):
    """An autoencoder that decodes by its encoder's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(256, 64)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.T)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.head = kind(16, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0].mean(1)


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(500, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(x)).mean(1))


def mlp(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(128, 128), nn.ReLU(), layer, nn.ReLU(), nn.Linear(128, 10))


def pooled(layer: nn.Module, pool: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), pool, nn.Flatten(), nn.Linear(8, 10))


def transformer(kind: str, **sizes: Any) -> nn.Module:
    import transformers

    model_class = getattr(transformers, kind)
    config = model_class.config_class(**sizes)
    config._attn_implementation = "eager"
    return model_class(config)


def bert() -> nn.Module:
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    return transformer("BertForSequenceClassification", **sizes, intermediate_size=128, vocab_size=500)


def gpt2() -> nn.Module:
    sizes = {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 500, "use_cache": False}
    return transformer("GPT2ForSequenceClassification", **sizes, pad_token_id=0, num_labels=10)


def lora() -> nn.Module:
    import peft

    settings = peft.LoraConfig(r=4, target_modules=["query"], init_lora_weights=False)
    return peft.get_peft_model(bert(), settings)


def normal(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(BATCH, *shape)


def tokens() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(1, 500, (BATCH, 16))}


QUERY = "bert.encoder.layer.3.attention.self.query"
KINDS = [
    Kind("nn.Linear", lambda: mlp(nn.Linear(128, 128)), "2", normal(128)),
    Kind(
        "nn.Conv2d", lambda: pooled(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)), "0", normal(3, 16, 16)
    ),
    Kind("nn.Linear of a transformer (BERT, query)", bert, QUERY, tokens, "logits"),
    Kind(
        "nn.Linear inside LoRA (peft)", lora, f"base_model.model.{QUERY}.base_layer", tokens, "logits"
    ),
    Kind(
        "LoRA's own weight (peft)", lora, f"base_model.model.{QUERY}.lora_A.default", tokens, "logits"
    ),
    Kind("transformers' Conv1D (GPT-2)", gpt2, "transformer.h.3.attn.c_attn", tokens, "logits"),
    Kind("subclass with its own forward", lambda: mlp(Cosine(128, 128)), "2", normal(128)),
    Kind(
        "weight norm, spectral norm",
        lambda: mlp(parametrizations.spectral_norm(nn.Linear(128, 128))),
        "2",
        normal(128),
    ),
    Kind("tied weights", Tied, "encode", normal(256)),
    Kind("a bias", lambda: mlp(nn.Linear(128, 128)), "2.bias", normal(128)),
    Kind("nn.LSTM", lambda: Recurrent(nn.LSTM), "rnn.weight_ih_l0", normal(20, 16)),
    Kind("nn.GRU", lambda: Recurrent(nn.GRU), "rnn.weight_hh_l0", normal(20, 16)),
    Kind("nn.MultiheadAttention", Attention, "attention.in_proj_weight", normal(16, 32)),
    Kind("nn.Embedding", Bag, "embed", lambda: torch.randint(0, 500, (BATCH, 12))),
    Kind("nn.LayerNorm (BERT)", bert, "bert.encoder.layer.3.output.LayerNorm", tokens, "logits"),
    Kind(
        "nn.BatchNorm1d",
        lambda: nn.Sequential(nn.Linear(128, 128), nn.BatchNorm1d(128), nn.Linear(128, 10)),
        "1",
        normal(128),
    ),
    Kind(
        "nn.ConvTranspose2d",
        lambda: pooled(nn.ConvTranspose2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)),
        "0",
        normal(3, 12, 12),
    ),
    Kind(
        "nn.Conv3d",
        lambda: pooled(nn.Conv3d(1, 8, 3), nn.AdaptiveAvgPool3d(1)),
        "0",
        normal(1, 8, 8, 8),
    ),
]


def first_numbers(outputs: Any, targets: Tensor) -> Tensor:
    """Squares of the answer's numbers: any loss of an example will do."""
    outputs = outputs if isinstance(outputs, Tensor) else outputs["logits"]
    return (outputs.flatten(1)[:, :1] - targets[:, None]).square().sum(1)


def loop_over_copies(base: nn.Module, layer: str, inputs: Any, targets: Tensor, lr: float) -> None:
    """Eq. 1 as one would write it: a deep copy for each example."""
    for i in range(num_rows(inputs)):
        row = take_rows(inputs, slice(i, i + 1))
        moved = copy.deepcopy(base).eval()
        found = FrozenBase(moved, layer)
        weight = moved.get_parameter(found.layer.full_name).requires_grad_()
        for _ in range(STEPS):
            answer = moved(**row) if isinstance(row, dict) else moved(row)
            (gradient,) = torch.autograd.grad(first_numbers(answer, targets[i : i + 1]).sum(), weight)
            with torch.no_grad():
                weight -= lr * gradient


def measured(kind: Kind, repeats: int) -> dict[str, Any]:
    """The way, and the costs over one forward pass."""
    torch.manual_seed(0)
    base, inputs, targets = kind.make().eval(), kind.inputs(), torch.randn(BATCH)
    frozen = FrozenBase(base, kind.layer, outputs=Outputs(kind.output))
    probe(frozen, inputs)
    start = time.perf_counter()
    probe(frozen, inputs)
    seconds = time.perf_counter() - start
    config, loss = OverfitConfig(lr=0.01, num_steps=STEPS), frozen.outputs.loss(first_numbers)
    deltas = DenseDelta(0.01 * torch.randn(BATCH, DRAWS, *frozen.weight_shape))

    def predict() -> None:
        with torch.no_grad():
            frozen.run(frozen.capture(inputs), deltas)

    works = {
        "forward": Work(lambda: run_without_delta(base, inputs), BATCH),
        "overfit": Work(lambda: overfit_in_chunks(frozen, loss, inputs, targets, config), BATCH),
        "predict": Work(predict, BATCH),
    }
    if "norm, spectral" not in kind.name:  # a copy's parametrised weight has no name of its own
        works["copies"] = Work(lambda: loop_over_copies(base, kind.layer, inputs, targets, 0.01), BATCH)
    costs = in_turns(works, repeats)
    forward = costs["forward"].microseconds
    assert frozen.way is not None
    ratios = {
        name: round(cost.microseconds / forward, 1) for name, cost in costs.items() if name != "forward"
    }
    return {
        "way": frozen.way.kind, "widen": frozen.way.widen, "weights": frozen.weight.numel(),
        "probe_ms": round(1e3 * seconds, 1), "forward_us": round(forward, 1), **ratios,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    found = {}
    for kind in KINDS:
        found[kind.name] = measured(kind, options.repeats)
        print(kind.name, found[kind.name], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ways.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
