"""The command starts quickly: what it does not use is not imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from ocd.cli.startup import NAME, defer_compiler
defer_compiler()
import torch
network = torch.nn.Linear(3, 1)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
network(torch.ones(2, 3)).sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
torch.func.vmap(torch.func.grad(lambda x: (x * x).sum()))(torch.ones(3, 3))
print(type(sys.modules[NAME]).__name__, "sympy" in sys.modules)
print(float(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(()))))
print(type(sys.modules[NAME]).__name__, torch._dynamo is sys.modules[NAME])
optimizer.step()
"""


def output_of(program: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def test_the_compiler_is_imported_where_it_is_used():
    assert output_of(PROGRAM) == ["_Placeholder False", "2.0", "module True"]


def test_training_imports_neither_scikit_learn_nor_diffusers_nor_figures(tmp_path):
    settings = {"train_size": 60, "test_size": 20, "base_epochs": 1, "baselines": "none"}
    settings |= {"layer": "fc1", "alternative": "false", "training.num_steps": 5}
    pairs = [part for item in settings.items() for part in ("--set", f"{item[0]}={item[1]}")]
    arguments = ["ocd", "run", "digits", "--out", str(tmp_path), "--stop-after", "train", *pairs]
    program = (
        f"import sys; sys.argv = {arguments!r}\n"
        "from ocd.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'sklearn', 'scipy', 'pandas', 'matplotlib', 'diffusers', 'torch._inductor'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    assert output_of(program) == ["[]"]
    assert (tmp_path / "checkpoint/seed-0/config.json").exists()
