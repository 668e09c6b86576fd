"""Where a fit keeps its files, and what it decided on the way.

Some plan come from measurements (a learning rate, the cost of overfitting) which would not come
out alike twice. They are written down once, so that a run that goes on uses the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ocd.config import OCDConfig
from ocd.data import Inputs, Log, read_json, tensors, write_json
from ocd.errors import OCDError


@dataclass(frozen=True)
class Workdir:
    """The files of one fit in a run folder. `member` names one of several fits that share it,
    `deltas_of` the one whose deltas are trained on, where that is another."""

    root: Path
    member: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    deltas_of: str | None = None

    @property
    def deltas(self) -> Path:
        return self.root / "deltas" / (self.member if self.deltas_of is None else self.deltas_of)

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint" / self.member

    @property
    def plan(self) -> Path:
        return self.checkpoint / "plan.json"

    @property
    def is_finished(self) -> bool:
        """Whether what is trained here is trained: its config.json is the last file written."""
        return (self.checkpoint / "config.json").exists()

    def log(self, role: str | None = None) -> Log:
        """The run folder's metrics.jsonl; every line says which fit, or which part of it, it is of."""
        context = {"seed": 0, "role": "main"} | self.context
        return Log(self.root / "metrics.jsonl", context | ({"role": role} if role else {}))


@dataclass
class Plan:
    """Everything that a fit chose by itself; None or "" where it has not yet."""

    work: Workdir
    key: dict[str, str]
    layer: str | None = None
    widen: bool = False
    lr: float | None = None
    form: str = ""
    code: str = ""
    storage: str = ""
    notes: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        work: Workdir,
        config: OCDConfig,
        base: str,
        num_examples: int,
        few: tuple[Inputs, Tensor],
        parts: tuple[object, ...] = (),
        made_by: tuple[object, ...] = (),
    ) -> Plan:
        """The plan of a workdir. Raises OCDError where they belong to another run.

        `parts`: the loss, the transform and the encoder, told apart by their names and structure.
        `made_by`: those of them that the deltas in a store depend on.
        """
        key = _key(config, base, num_examples, few, parts, made_by)
        if not work.plan.exists():
            return cls(work, key)
        saved = read_json(work.plan)
        kinds = {
            "base": "base",
            "data": "dataset",
            "config": "configuration",
            "parts": "loss, transform or encoder",
        }
        for name, what in kinds.items():
            if saved["key"][name] != key[name]:
                raise OCDError(
                    f"{work.plan} belongs to a run with another {what}: use another folder, or "
                    "delete this one"
                )
        return cls(work, **saved)

    def note(self, text: str) -> None:
        """A decision and its reason, for the report."""
        if text not in self.notes:
            self.notes.append(text)
            self.work.log().write("note", text=text)

    def save(self) -> None:
        values = dataclasses.asdict(dataclasses.replace(self, work=Workdir(Path())))
        del values["work"]
        write_json(self.work.plan, values)


def _key(
    config: OCDConfig,
    base: str,
    num_examples: int,
    few: tuple[Inputs, Tensor],
    parts: tuple[object, ...],
    made_by: tuple[object, ...],
) -> dict[str, str]:
    """Hashes of what a fit depends on. The data's is of its size and its first examples."""
    data = hashlib.sha256(str(num_examples).encode())
    for tensor in (*tensors(few[0]), few[1]):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        data.update(flat.view(torch.uint8).numpy().tobytes())
    settings = config.to_dict()
    collected = {name: settings[name] for name in ("layer", "rank", "seed", "overfit", "collection")}
    # A store keeps every part of I(x); which of them are used is not its business.
    collected["condition"] = {"max_features": settings["condition"]["max_features"]}
    overfit = hashlib.sha256(json.dumps(collected, sort_keys=True).encode()).hexdigest()[:16]
    key = {
        "base": base,
        "data": data.hexdigest()[:16],
        "overfit": overfit,
        "config": config.digest(),
        "parts": _hash_of(parts),
        "made_by": _hash_of(made_by),
    }
    return key | {"all": hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}


def _hash_of(parts: tuple[object, ...]) -> str:
    return hashlib.sha256("; ".join(map(_describe, parts)).encode()).hexdigest()[:16]


def _describe(part: object) -> str:
    """A function by its name, a module by its structure: the same in the next process."""
    if isinstance(part, nn.Module | bool):
        return repr(part)
    return getattr(part, "__qualname__", type(part).__qualname__)
