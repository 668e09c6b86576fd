"""New data in a file or folder -> answers in a file: a part at a time, and on from where it stopped.

    apply_to(load("runs/mine"), ApplyOptions(Path("new.csv"), Path("predictions.csv")))

Answers lie in parts beside the file until all are there (`predictions.csv.parts/`), and are joined
then: a process that is killed has lost one part at most, and no more than one is in memory.
"""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocd.applying.answers import Answers
from ocd.applying.loaded import Ask, LoadedRun
from ocd.applying.media import MEDIA, write_media
from ocd.base import digest_of
from ocd.data import file_digest, read_json, write_json, written_aside
from ocd.errors import OCDError, install

ENDINGS = (".csv", ".parquet")
PART = {"number": 4096, "steps": 256, "classes": 1024, "view": 8, "voices": 1}
"""Inputs in a part, by what the answers are."""


@dataclass(frozen=True)
class ApplyOptions:
    """`source`: what is read. `out`: a .csv or .parquet file, and for views
    and voices a folder. `draws_out`: a
    file for every draw. `id_column`: of a table, whose values name the rows. `part`: inputs at a
    time."""

    source: Path
    out: Path
    draws_out: Path | None = None
    id_column: str | None = None
    ask: Ask = field(default_factory=Ask)
    part: int | None = None

    def __post_init__(self) -> None:
        if self.draws_out is not None and self.draws_out.resolve() == self.out.resolve():
            raise OCDError(f"{self.out} is for the answers: write the draws to another file")
        if self.draws_out is not None and self.ask.answer == "mean":
            raise OCDError(
                f"{self.draws_out}: the answer `mean` is one pass, in which nothing is drawn: ask for "
                "the answer `ensemble`, or for no file of draws"
            )
        if self.out.suffix and self.out.is_dir():
            raise OCDError(f"{self.out} is a folder: name a file for the answers")
        for path in (self.out, self.draws_out):
            if path is not None and path.resolve() == self.source.resolve():
                raise OCDError(f"{path} is the input: write the answers to another file")
            if path is not None and _is_within(path, self.source):
                raise OCDError(
                    f"{path} is in the folder of the input, {self.source}, whose files are read: write "
                    "the answers elsewhere"
                )
            if path is not None and path.suffix and path.suffix not in ENDINGS:
                raise OCDError(f"{path}: answers are written as {' or '.join(ENDINGS)}")
        if self.part is not None and self.part < 1:
            raise OCDError(f"part is {self.part}: at least one input at a time")


def _is_within(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, by whatever links."""
    return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


@dataclass(frozen=True)
class Summary:
    """What a person is told at the end: rows (inputs: a forecast is one, whatever its steps), how many
    are unlike the training data, remarks (the first few, and how many there are), the note of OCD."""

    rows: int
    unlike: int
    remarks: list[str]
    num_remarks: int
    note: str


def apply_to(loaded: LoadedRun, options: ApplyOptions, advance: Callable[[int], None]) -> Summary:
    """Answer for all rows of a source, and write the file. Raises OCDError for what cannot be read,
    naming the row; what was answered before it stays, and the next call goes on there."""
    loaded = with_ids(loaded, options.id_column)
    reader = loaded.reader
    media = reader.answer.kind in MEDIA
    if options.draws_out is not None and not media and not options.draws_out.suffix:
        raise OCDError(f"{options.draws_out}: a file is needed, .csv or .parquet")
    if not media and not options.out.suffix:
        raise OCDError(f"{options.out}: a file is needed, .csv or .parquet")
    size = part_size(loaded, options)
    out = options.out / "answers.csv" if media else options.out
    parts = _Parts.open(out, options.draws_out, answer_key(loaded, options, size))
    done = parts.rows
    advance(done)
    for rows in loaded.read(options.source, size, done):
        answers = loaded.answer(rows, options.ask)
        parts.add(answers)
        if media:
            write_media(answers, options.out, options.draws_out)
        advance(len(answers))
    return parts.join()


def part_size(loaded: LoadedRun, options: ApplyOptions) -> int:
    """Inputs in a part. Sounds are of many lengths, so that one is a part."""
    kind = loaded.reader.answer.kind
    return 1 if kind == "voices" else options.part or PART[kind]


def remarks_of(answers: Answers) -> list[str]:
    """What is to be known of single rows, with their names."""
    pairs = zip(answers.ids, answers.remarks, strict=True)
    return [f"row {row}: {text}" for row, text in pairs if text]


def with_ids(loaded: LoadedRun, column: str | None) -> LoadedRun:
    """The run, reading the rows' names from a column."""
    reader = loaded.reader
    if column is None:
        return loaded
    if not hasattr(reader, "id_column"):
        raise OCDError(f"--id names a column of a table, and this run reads {reader.takes}")
    named = dataclasses.replace(reader, id_column=column)  # type: ignore[type-var]
    loaded.run.data = dataclasses.replace(loaded.run.data, reader=named)
    return loaded


def answer_key(loaded: LoadedRun, options: ApplyOptions, size: int) -> dict[str, Any]:
    """What answers depend on: parts of another key are not gone on with."""
    source = options.source
    if not source.exists():
        raise OCDError(f"{source}: no such file or folder")
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    state = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    checkpoint = loaded.run.root / "checkpoint" / f"seed-{loaded.seed}"
    return {
        "generator": file_digest(checkpoint / "model.safetensors"),
        "base": file_digest(loaded.run.base_path(loaded.seed)),
        "source": [str(source), len(state), digest_of(state)],
        "ask": dataclasses.asdict(options.ask) | {"draws": options.ask.draws or loaded.num_draws},
        "part": size,
        "draws": options.draws_out is not None,
        "id": options.id_column,
    }


@dataclass
class _Parts:
    """The parts that are written so far. `facts`: state.json, with the number of rows, and remarks."""

    out: Path
    draws_out: Path | None
    folder: Path
    facts: dict[str, Any]

    @classmethod
    def open(cls, out: Path, draws_out: Path | None, key: dict[str, Any]) -> _Parts:
        folder = out.with_name(out.name + ".parts")
        new = {
            "key": key,
            "parts": 0,
            "rows": 0,
            "unlike": 0,
            "remarks": [],
            "num_remarks": 0,
            "note": "",
        }
        if (folder / "state.json").exists():
            saved = read_json(folder / "state.json")
            if saved["key"] != key:
                raise OCDError(
                    f"{folder} holds parts of other answers (another run, number of draws or input, or "
                    "one that changed since): delete it, or give another --out"
                )
            return cls(out, draws_out, folder, saved)
        out.parent.mkdir(parents=True, exist_ok=True)
        return cls(out, draws_out, folder, new)

    @property
    def rows(self) -> int:
        """Rows that are answered."""
        return int(self.facts["rows"])

    def add(self, answers: Answers) -> None:
        """Write the answers to some rows, then that they are written."""
        number = self.facts["parts"]
        write_part(answers.columns(), self._path(self.out, number), not number)
        if self.draws_out is not None and answers.answer.kind not in MEDIA:
            write_part(answers.draw_columns(), self._path(self.draws_out, number), not number)
        facts = self.facts
        said = remarks_of(answers)
        facts["parts"], facts["rows"] = number + 1, facts["rows"] + len(answers)
        facts["unlike"] += int(answers.is_unlike.sum())
        facts["num_remarks"] += len(said)
        facts["remarks"] = (facts["remarks"] + said)[:5]
        facts["note"] = answers.note
        write_json(self.folder / "state.json", facts)

    def _path(self, out: Path, number: int) -> Path:
        name = "answers" if out is self.out else "draws"
        return self.folder / f"{name}-{number}{out.suffix}"

    def join(self) -> Summary:
        """Make one file of the parts, and remove them."""
        count = self.facts["parts"]
        if not count:
            raise OCDError("there are no rows to answer for")
        for path in (self.out, self.draws_out):
            parts = [] if path is None else [self._path(path, number) for number in range(count)]
            if path is not None and parts[0].exists():
                _join(parts, path)
        facts = self.facts
        shutil.rmtree(self.folder)
        return Summary(
            facts["rows"], facts["unlike"], facts["remarks"], facts["num_remarks"], facts["note"]
        )


def write_part(columns: dict[str, Any], path: Path, with_names: bool = True) -> None:
    """A part, as the file that it is for has it."""
    with written_aside(path) as aside:
        if path.suffix == ".parquet":
            try:
                import pandas as pd
            except ImportError as error:
                raise OCDError(f"a parquet file needs pandas: {install('tabular')}") from error
            pd.DataFrame(columns).to_parquet(aside, index=False)
            return
        with aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if with_names:
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


def _join(parts: list[Path], path: Path) -> None:
    """One part after another."""
    with written_aside(path) as aside:
        if path.suffix == ".parquet":
            import pyarrow.parquet as parquet

            schema = parquet.read_schema(parts[0])
            with parquet.ParquetWriter(aside, schema) as writer:
                for part in parts:
                    writer.write_table(parquet.read_table(part, schema=schema))
            return
        with aside.open("wb") as file:
            for part in parts:
                with part.open("rb") as one:
                    shutil.copyfileobj(one, file)
