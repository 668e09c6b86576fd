"""How long small fits take, from `import ocd` on, each in a process of its own.

    make bench        (or: python -m benchmarks.fits)

* `minilm`: the head of a MiniLM sentence encoder (random weights), 16 texts, 20 steps, one thread;
* `mlp`: a small network, 100 examples, the defaults.

Writes results/benchmarks/fits.json.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.measuring import each_alone

OUT = Path("results/benchmarks")


def minilm() -> tuple[nn.Module, torch.Tensor, dict[str, object]]:
    from benchmarks import large

    torch.set_num_threads(1)
    settings = {"layer": "model.classifier", "training.num_steps": 20, "training.batch_size": 16}
    tokens = torch.randint(30000, (16, 64), generator=torch.Generator().manual_seed(1))
    return large.minilm().eval(), tokens, settings


def mlp() -> tuple[nn.Module, torch.Tensor, dict[str, object]]:
    base = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    return base, torch.randn(100, 10, generator=torch.Generator().manual_seed(1)), {}


CASES: dict[str, Callable[[], tuple[nn.Module, torch.Tensor, dict[str, object]]]] = {
    "minilm": minilm,
    "mlp": mlp,
}


def measure(name: str) -> dict[str, object]:
    """Seconds of the import, the fit and the first prediction; and what the base was asked."""
    torch.manual_seed(0)
    base, inputs, settings = CASES[name]()
    labels = torch.randint(10, (len(inputs),), generator=torch.Generator().manual_seed(2))
    start = time.perf_counter()
    from ocd import OCD, Examples, OCDConfig

    loss = nn.CrossEntropyLoss(reduction="none")
    ocd = OCD(base, loss=loss, config=OCDConfig().replace(settings))
    imported = time.perf_counter()
    ocd.fit(Examples(inputs, labels), progress=False)
    fitted = time.perf_counter()
    ocd.predict(inputs)
    passes = next(note for note in ocd.notes if note.startswith("base passes"))
    return {
        "import": imported - start,
        "fit": fitted - imported,
        "predict": time.perf_counter() - fitted,
        "passes": passes,
    }


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    results = {}
    for name, found in each_alone("benchmarks.fits", CASES):
        results[name] = found
        print(name, found, flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "fits.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
