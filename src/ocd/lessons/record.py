"""The files of a fit, and the record of what it decided, so that an interrupted fit can resume.

    record = FitRecord.open(work, problem, config)   # empty, or as an earlier process left it
    record.layer, record.plan, record.notes
    record.save()                                    # plan.json

The record holds hashes of everything that the fit depends on. A work folder of another fit is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ocd.base import base_digest, digest_of
from ocd.data import Listener, Log, Shard, dataset_size, fetch_rows, read_json, tensors, write_json
from ocd.errors import OCDError
from ocd.lessons.plan import Plan
from ocd.lessons.problem import Problem

WHAT = {
    "base": "base",
    "data": "dataset",
    "config": "configuration",
    "parts": "loss, transform, encoder, fit_base or groups",
}
"""The hashes that a record must share with its work folder, in words."""


@dataclass(frozen=True)
class Workdir:
    """The files of one fit in a run folder. `member` names one of several fits that share the folder,
    `deltas_of` the fit whose deltas are used, if that is another one; `bases_of` that whose bases of
    cross-fitting are, which do not depend on the layer. `listeners`: are told what its log says.
    `share`: which of several processes this is that overfit at once."""

    root: Path
    member: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    deltas_of: str | None = None
    bases_of: str | None = None
    listeners: tuple[Listener, ...] = ()
    share: Shard = field(default_factory=Shard)

    @property
    def deltas(self) -> Path:
        """The folder of the store."""
        return self.root / "deltas" / (self.member if self.deltas_of is None else self.deltas_of)

    def of_fold(self, number: int) -> Workdir:
        """The files of one fold of this fit."""
        own, lent = (
            f"{name}/fold-{number}".lstrip("/") if name is not None else None
            for name in (self.member, self.deltas_of)
        )
        return Workdir(
            self.root, own or "", self.context, lent, listeners=self.listeners, share=self.share
        )

    @property
    def bases(self) -> Path:
        """The folder of the bases of cross-fitting."""
        return self.root / "bases" / ((self.bases_of or self.deltas_of or self.member) or "main")

    @property
    def common_moves(self) -> Path:
        """The file of the common moves: of all lessons, and of all but each fold."""
        return self.checkpoint / "common_moves.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The folder of the trained generator and of training.pt."""
        return self.root / "checkpoint" / self.member

    @property
    def unfinished(self) -> Path:
        """The folder of what an interrupted step goes on with (ocd.data.resuming)."""
        return self.root / "unfinished" / (self.member or "main")

    @property
    def plan(self) -> Path:
        """The file of the record."""
        return self.checkpoint / "plan.json"

    @property
    def is_planned(self) -> bool:
        """Whether everything is decided that the lessons depend on."""
        if not self.plan.exists():
            return False
        saved = read_json(self.plan)
        return saved["plan"] is not None and saved.get("num_folds") is not None

    @property
    def is_finished(self) -> bool:
        """Whether the fit is trained: config.json is the last file that it writes."""
        return (self.checkpoint / "config.json").exists()

    def log(self, role: str | None = None) -> Log:
        """The run folder's metrics.jsonl; every line says which fit, or which part of it, it is of."""
        context = {"seed": 0, "role": "main"} | self.context
        context |= {"role": role} if role else {}
        path = self.root / "metrics.jsonl" if self.share.leads else None
        return Log(path, context, self.listeners)


@dataclass
class FitRecord:
    """What a fit has decided so far. `layer`, `plan`, `has_common_move` and `num_folds` are None until
    they are decided. `settings`: of the whole fit. `num_folds`: in how many folds lessons are made, 0
    where on one base from one start. `goal`: what draws are for, once "auto" is settled."""

    work: Workdir
    key: dict[str, str]
    settings: dict[str, Any]
    layer: str | None = None
    plan: Plan | None = None
    notes: list[str] = field(default_factory=list)
    has_common_move: bool | None = None
    num_folds: int | None = None
    goal: str | None = None

    @classmethod
    def open(cls, work: Workdir, problem: Problem, settings: dict[str, Any]) -> FitRecord:
        """The record of a work folder, new where there is none. `settings`: of the whole fit, nested.

        Raises OCDError where the folder belongs to another fit, and where the dataset gives other
        values when it is read again.
        """
        key = fit_key(problem, settings)
        if not work.plan.exists():
            return cls(work, key, settings)
        saved = read_json(work.plan)
        for name, what in WHAT.items():
            if saved["key"].get(name) != key[name]:
                raise OCDError(
                    f"{work.plan} belongs to a run with another {what}: use another folder, or "
                    "delete this one"
                )
        plan = None if saved["plan"] is None else Plan.from_dict(saved["plan"])
        return cls(
            work, key, settings, saved["layer"], plan, saved["notes"],
            saved.get("has_common_move"), saved.get("num_folds"), saved.get("goal"),
        )  # fmt: skip

    def note(self, *lines: str) -> None:
        """Add decisions and their reasons, for the report; of several processes the first writes."""
        for text in lines:
            if text not in self.notes:
                self.notes.append(text)
                self.work.log().write("note", text=text)

    def save(self) -> None:
        """Write plan.json, where it says something new; of several processes the first one does."""
        if not self.work.share.leads:
            return
        plan = None if self.plan is None else self.plan.as_dict()
        values = {
            "key": self.key, "layer": self.layer, "plan": plan, "notes": self.notes,
            "has_common_move": self.has_common_move, "num_folds": self.num_folds, "goal": self.goal,
        }  # fmt: skip
        if not self.work.plan.exists() or read_json(self.work.plan) != values:
            write_json(self.work.plan, values)

    @property
    def store_key(self) -> dict[str, str]:
        """The hashes of what the deltas in a store depend on."""
        return {name: self.key[name] for name in ("base", "data", "overfit", "made_by")}


def fit_key(problem: Problem, settings: dict[str, Any]) -> dict[str, str]:
    """Hashes of everything that a fit depends on."""
    data = data_digest(problem)
    # Which parts of I(x) are used does not matter: a store keeps them all.
    collected = {name: settings[name] for name in ("layer", "seed", "overfit", "collection")}
    describe, fit_base = problem.condition.describe, problem.fit_base
    made_by = (problem.loss, problem.outputs.output, problem.transform, problem.excerpt, describe)
    together = [] if problem.belongs is None else [problem.belongs]
    key = {
        "base": _start_digest(problem),
        "data": data,
        "overfit": _digest(collected),
        "config": _digest(settings),
        "parts": digest_of(*made_by, problem.encoder, *([fit_base] if fit_base else []), *together),
        "made_by": digest_of(*made_by),
    }
    return key | {"all": hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}


def _start_digest(problem: Problem) -> str:
    """A hash of the base, and of where its layer starts from."""
    digest = base_digest(problem.base)
    return digest if problem.start is None else digest_of(digest, problem.start)


def data_digest(problem: Problem) -> str:
    """A hash of every input and target, in one pass over the dataset.

    Raises OCDError where the first four examples differ when they are read again.
    """
    size = dataset_size(problem.dataset)
    few = fetch_rows(problem.dataset, torch.arange(min(4, size)))
    again = fetch_rows(problem.dataset, torch.arange(min(4, size)))
    pairs = zip(*([*tensors(part[0]), *tensors(part[1])] for part in (few, again)), strict=True)
    if not all(_same(one, other) for one, other in pairs):
        raise OCDError(
            "the dataset gives other values when an example is read again: take random "
            "augmentation out of it and pass it as OCD(..., transform=...)"
        )
    digest = hashlib.sha256(str(size).encode())
    for index in torch.arange(size).split(1024):
        inputs, targets = fetch_rows(problem.dataset, index)
        digest.update(digest_of(inputs, targets).encode())
    return digest.hexdigest()[:16]


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal, where NaN equals NaN."""
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
