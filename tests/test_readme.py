"""The README is true: its tables are the committed results, its program runs."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_tables_are_the_committed_results():
    filled = runpy.run_path(str(ROOT / "tools" / "readme_tables.py"))["filled"]
    assert "<!-- table: results/digits -->" in README
    assert filled(README) == README


def test_program_runs(tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    assert "torch.Size([5, 10, 4])" in capsys.readouterr().out
    assert (tmp_path / "runs/mine/saved/model.safetensors").exists()


def test_every_file_that_it_names_exists():
    names = re.findall(r"\]\(([^)#:]+)\)", README)
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]
