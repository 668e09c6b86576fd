"""The rules of the house hold: imports go down, rooms are imported as a whole, files are short."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import runpy
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ocd.runs import Run

ROOT = Path(__file__).resolve().parent.parent
TOOL = runpy.run_path(str(ROOT / "tools" / "architecture.py"))
ORDER, PACKAGE = TOOL["ORDER"], TOOL["PACKAGE"]
ROOMS = [room for room in ORDER if (PACKAGE / room).is_dir()]
IMPORTS = list(TOOL["imports"]())
FUNCTIONS = list(TOOL["functions"]())


def test_every_part_of_the_package_has_its_place_in_the_order():
    outside = {"__init__", "__main__", "_version"}
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"} - outside
    found |= {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found == set(ORDER)
    assert len(IMPORTS) > 300


def test_imports_go_down_only():
    up = [one for one in IMPORTS if ORDER.index(one.target) < ORDER.index(one.room)]
    assert not [f"{one.path}: {one.module}" for one in up]


def test_a_room_is_imported_as_a_whole_from_outside():
    deep = [one for one in IMPORTS if not one.is_inside and one.module.count(".") > 1]
    assert not [f"{one.path}: {one.module}" for one in deep]


def test_a_module_imports_its_own_room_by_module():
    # `from ocd.base import x` inside base would go through the door of the room it is in.
    doors = [one for one in IMPORTS if one.is_inside and one.module.count(".") == 1]
    assert not [f"{one.path}: {one.module}" for one in doors]


def test_what_is_imported_from_a_room_is_what_it_exports():
    for one in IMPORTS:
        if not one.is_inside and one.target in ROOMS:
            exported = set(importlib.import_module(one.module).__all__)
            assert set(one.names) <= exported, f"{one.path}: {set(one.names) - exported}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_only_what_somebody_uses(room):
    module = importlib.import_module(f"ocd.{room}")
    assert all(hasattr(module, name) for name in module.__all__)
    used = {name for one in IMPORTS if one.target == room and not one.is_inside for name in one.names}
    public = set(importlib.import_module("ocd").__all__)
    told = (ROOT / "docs").rglob("*.md")
    text = "".join(page.read_text(encoding="utf-8") for page in told)
    text += "".join(
        path.read_text(encoding="utf-8")
        for folder in ("benchmarks", "tools", "tests")
        for path in (ROOT / folder).rglob("*.py")
    )
    unused = set(module.__all__) - used - public
    entry = {"main"}  # of pyproject.toml's scripts
    assert not {name for name in unused - entry if name not in text}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    first = (ast.get_docstring(tree) or "").split("\n\n")[0]
    assert first.endswith((".", "?")) and len(first) > 20


def test_modules_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in TOOL["modules"]()}
    assert not {path: lines for path, lines in lengths.items() if lines > TOOL["MAX_LINES"]}


def test_functions_are_short():
    assert not [f"{f}, {f.lines} lines" for f in FUNCTIONS if f.lines > TOOL["MAX_FUNCTION"]]


def test_functions_have_few_parameters_but_for_public_ones_with_defaults():
    many = [f for f in FUNCTIONS if f.parameters > TOOL["MAX_PARAMETERS"]]
    assert not [str(f) for f in many if not f.is_public]
    assert not [str(f) for f in many if f.parameters - f.defaults > TOOL["MAX_PARAMETERS"]]
    assert not [str(f) for f in many if not f.defaults]


def test_the_package_is_documented():
    lines = documented = 0
    for path in TOOL["modules"]():
        text = path.read_text(encoding="utf-8")
        rows = text.splitlines()
        lines += len(rows)
        documented += sum(row.lstrip().startswith("#") for row in rows)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                documented += (node.end_lineno or 0) - node.lineno + 1
    assert documented / lines >= 0.15


@pytest.mark.parametrize("page", TOOL["PAGES"], ids=lambda page: page.name)
def test_pages_show_the_code_as_it_is(page):
    text = page.read_text(encoding="utf-8")
    assert "<!-- made: " in text
    assert TOOL["filled"](text) == text


PROGRAM = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.DOTALL
)


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    module = types.ModuleType("example")  # dataclasses look their module up by name
    monkeypatch.setitem(sys.modules, "example", module)
    names = vars(module)
    assert len(PROGRAM) == 5
    for example in PROGRAM:
        assert example.count("\n") < 60
        exec(compile(example, "docs/architecture.md", "exec"), names)
    task = names["TASK"]
    monkeypatch.setattr("ocd.runs.folder.get_task", lambda name: task)
    settings = {"training.num_steps": "20", "train_size": "100", "baselines": "none"}
    settings |= {"alternative": "false", "selection.num_draws": "10"}
    run = Run.create("diabetes", tmp_path / "run", settings=settings)
    run.predict(0)
    assert {"base", "ocd", "ocd_mean"} <= set(run.report()["methods"])
    # Every option has its help, and the weights that a user names are those of the base.
    assert all(entry.metadata["help"] for entry in dataclasses.fields(task.options))
    mine = {name: torch.full_like(value, 0.5) for name, value in run.base(0).state_dict().items()}
    save_file(mine, tmp_path / "mine.safetensors")
    loads = settings | {"base": str(tmp_path / "mine.safetensors")}
    loaded = Run.create("diabetes", tmp_path / "loaded", settings=loads).base(0).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in mine.items())


def test_files_that_the_page_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_0-9]+\.py)`", text))
    assert len(named) > 20
    places = (PACKAGE, ROOT, *(PACKAGE / room for room in ROOMS))
    assert not {name for name in named if not any((place / name).exists() for place in places)}
