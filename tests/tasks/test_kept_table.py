"""A table is read once a run: what a later process reads is the same, and needs no reader of tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ocd.tasks import get_task
from ocd.tasks.tables import kept

pandas = pytest.importorskip("pandas")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "size": chance.normal(size=80),
            "kind": chance.choice(list("xyz"), 80),
            "house": np.arange(80) // 2,
            "price": chance.normal(size=80),
        }
    )
    frame.to_csv(tmp_path / "homes.csv", index=False)
    return tmp_path / "homes.csv"


def test_what_is_kept_is_what_was_read(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = get_task("table")
    options = task.options(path=str(table), target="price", group="house")
    first = kept.load_kept(options, None, tmp_path / "features")
    with monkeypatch.context() as patch:
        patch.setattr(kept, "load", None)  # is not called
        again = kept.load_kept(options, None, tmp_path / "features")
    assert type(again) is type(first) and again.num_classes == first.num_classes
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)
    assert torch.equal(first.groups, again.groups)
    assert len(first.test_together) == len(first.test)
    assert torch.equal(first.test_together, again.test_together)
    assert (first.notes, first.warnings) == (again.notes, again.warnings)
    rows = pandas.read_csv(table).drop(columns="price")
    assert torch.equal(first.reader.take(rows).inputs, again.reader.take(rows).inputs)


def test_other_bytes_or_options_are_read_anew(table: Path, tmp_path: Path) -> None:
    task = get_task("table")
    options = task.options(path=str(table), target="price")
    first = kept.load_kept(options, None, tmp_path / "features")
    other = task.options(path=str(table), target="price", split_seed=1)
    assert not torch.equal(
        kept.load_kept(other, None, tmp_path / "features").test.targets, first.test.targets
    )
    text = table.read_text().replace("x", "w")
    table.write_text(text)
    found = kept.load_kept(options, None, tmp_path / "features")
    assert found.reader.state()[0] != first.reader.state()[0]


def test_periodic_features_need_no_scikit_learn_and_trees_still_do() -> None:
    code = """
import sys
from ocd.tasks.tables.periodic import periodic_embeddings
made = periodic_embeddings()
assert made(3, lite=False).__class__.__module__ == "rtdl_num_embeddings"
assert not any(name.split(".")[0] in ("sklearn", "pandas") for name in sys.modules)
import rtdl_num_embeddings
assert rtdl_num_embeddings.sklearn_tree.DecisionTreeRegressor.__module__.startswith("sklearn.tree")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
