"""How lessons are written to a store as named tensors, and read back."""

from __future__ import annotations

from torch import Tensor

from ocd.base import Delta, DenseDelta, RankOneDelta
from ocd.data import Inputs, Targets
from ocd.generator import Features

Rows = dict[str, Tensor]
"""Tensors by name, one row an example."""


def delta_rows(delta: Delta) -> Rows:
    """Deltas of one draw each, by name."""
    if isinstance(delta, RankOneDelta):
        return {"delta.left": delta.left[:, 0], "delta.right": delta.right}
    return {"delta.weight": delta.dense()[:, 0]}


def read_delta(rows: Rows, weight_shape: tuple[int, ...]) -> Delta:
    """The deltas of `delta_rows`, (B, 1, ...)."""
    if "delta.left" in rows:
        return RankOneDelta(rows["delta.left"][:, None], rows["delta.right"], weight_shape)
    return DenseDelta(rows["delta.weight"][:, None])


def feature_rows(features: Features) -> Rows:
    """The parts of I(x), by name."""
    return {f"feature.{name}": values for name, values in features.items()}


def read_features(rows: Rows) -> Features:
    """The parts of I(x) of `feature_rows`."""
    prefix = "feature."
    return {name.removeprefix(prefix): row for name, row in rows.items() if name.startswith(prefix)}


def example_rows(kind: str, values: Inputs | Targets) -> Rows:
    """A tensor, tuple or dict of `kind` ("inputs" or "targets"), by names that say which it is."""
    if isinstance(values, Tensor):
        return {kind: values}
    items = values.items() if isinstance(values, dict) else enumerate(values)
    form = "dict" if isinstance(values, dict) else "tuple"
    return {f"{kind}.{form}.{key}": value for key, value in items}


def read_examples(kind: str, rows: Rows) -> Inputs | Targets:
    """What `example_rows` of this kind was given."""
    if kind in rows:
        return rows[kind]
    named = [name.split(".", 2)[1:] for name in rows if name.startswith(f"{kind}.")]
    values = {key: rows[f"{kind}.{form}.{key}"] for form, key in named}
    if named[0][0] == "dict":
        return values
    return tuple(values[key] for key in sorted(values, key=int))
