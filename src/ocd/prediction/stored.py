"""Predictions of a dataset of any size, in a folder, by any number of processes (ocd.data.units).

    stored = StoredPredictions.open(folder, key, total, 4096)
    stored.make(lambda rows: ocd.predict(...), Share(2, 8))
    stored.rows(slice(0, 100))["mean"]                 # (100, ...)
    for start, rows in stored.parts(): ...             # a unit at a time

A unit is `part-00012.safetensors`, with a row for each example, then its marker. `plan.json` says what
the predictions are of, and is the same whoever writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.data import Share, Units, read_json, read_tensors, write_json
from ocd.errors import OCDError
from ocd.prediction.result import Prediction

FORMAT_VERSION = 1


@dataclass(frozen=True)
class StoredPredictions:
    """The predictions in a folder: `len(stored)` examples, in units of `unit_rows`.

    Each unit has `mean`, `std`, `mean_network` and `base` (rows, ...), and where all draws were wanted
    also `outputs` (rows, K, ...) and `scale` (rows, K).
    """

    folder: Path
    total: int
    unit_rows: int
    keeps_draws: bool = False

    @classmethod
    def new(
        cls, folder: Path, key: dict[str, Any], total: int, unit_rows: int, keeps_draws: bool
    ) -> StoredPredictions:
        """A folder to write to, new or as earlier processes left it. `key`: what predictions depend on.
        Raises OCDError where it holds predictions of another key."""
        plan = {
            "format_version": FORMAT_VERSION,
            "key": key,
            "total": total,
            "unit_rows": unit_rows,
            "keeps_draws": keeps_draws,
        }
        path = folder / "plan.json"
        if path.exists() and (found := read_json(path)) != plan:
            names = [name for name in plan if found.get(name) != plan[name]]
            names += [name for name in key if found.get("key", {}).get(name) != key[name]]
            raise OCDError(
                f"{folder} holds other predictions ({', '.join(n for n in names if n != 'key')} "
                "differ): use another folder, or delete this one"
            )
        write_json(path, plan)
        return cls(folder, total, unit_rows, keeps_draws)

    @classmethod
    def open(cls, folder: str | Path) -> StoredPredictions:
        """The predictions that `OCD.predict_to` has written. Raises OCDError where some are missing."""
        folder = Path(folder)
        plan = read_json(folder / "plan.json")
        stored = cls(folder, plan["total"], plan["unit_rows"], plan["keeps_draws"])
        missing = stored.num_units - len(stored.units.done())
        if missing > 0:
            raise OCDError(
                f"{folder} lacks {missing} of {stored.num_units} parts: call predict_to again, which "
                "goes on where it stopped"
            )
        return stored

    def __len__(self) -> int:
        return self.total

    @property
    def units(self) -> Units:
        """The files."""
        return Units(self.folder, "part")

    @property
    def num_units(self) -> int:
        """Units in all."""
        return -(-self.total // self.unit_rows)

    def make(
        self,
        predict: Callable[[slice], Prediction],
        share: Share,
        advance: Callable[[int], None] = lambda examples: None,
    ) -> None:
        """Predict the units that this process takes, until all are there."""
        advance(min(self.total, self.unit_rows * len(self.units.done())))
        for number in self.units.to_do(self.num_units, share):
            rows = self.rows_of(number)
            found = predict(rows)
            facts = {"first": rows.start, "rows": len(found), "note": found.note}
            self.units.write(number, self._tensors(found), facts)
            advance(len(found))

    def rows_of(self, number: int) -> slice:
        """The examples of a unit."""
        start = number * self.unit_rows
        return slice(start, min(self.total, start + self.unit_rows))

    def parts(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Unit by unit: its first example, and its tensors, which are checked by their hash."""
        for number in range(self.num_units):
            yield self.rows_of(number).start, self._read(number)

    def rows(self, wanted: slice = slice(None)) -> dict[str, Tensor]:
        """The tensors of some neighbouring examples, all by default."""
        start, stop, step = wanted.indices(self.total)
        if step != 1 or stop <= start:
            raise OCDError(f"rows are asked for as a slice such as slice(0, 100), not {wanted}")
        found: dict[str, list[Tensor]] = {}
        for number in range(start // self.unit_rows, (stop - 1) // self.unit_rows + 1):
            first = number * self.unit_rows
            few = slice(max(0, start - first), stop - first)
            for name, values in self._read(number).items():
                found.setdefault(name, []).append(values[few])
        return {name: torch.cat(values) for name, values in found.items()}

    @property
    def note(self) -> str:
        """What is to be known of all of them (ocd.Prediction.note)."""
        return str(self.units.facts(0)["note"])

    def _read(self, number: int) -> dict[str, Tensor]:
        self.units.check(number, f"delete {self.units.marker(number)}, and call predict_to again")
        return read_tensors(self.units.data(number))

    def _tensors(self, found: Prediction) -> dict[str, Tensor]:
        made = {"mean": found.mean, "std": found.std, "mean_network": found.mean_network}
        if found.base is not None:
            made["base"] = found.base
        if self.keeps_draws:
            made["outputs"] = found.outputs.transpose(0, 1)
            if found.scale is not None:
                made["scale"] = found.scale.T
        return made
