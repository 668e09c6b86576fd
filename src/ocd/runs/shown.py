"""What a report shows beside its tables, and `ocd apply` as examples: kept when a seed is predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ocd.data import take_rows, write_json, write_tensors
from ocd.evaluation import Comparison, Evaluation, film_frames, pick_sounds

if TYPE_CHECKING:
    from ocd.runs.run import Run


def keep_shown(run: Run, seed: int, comparison: Comparison, evaluation: Evaluation) -> None:
    """Write views, sounds, draws, exhibits and notes of a seed, and a few inputs of the test set."""
    is_first = seed == run.seeds[0]
    base, ocd = (evaluation.outputs[name] for name in ("base", "ocd"))
    views = dict(evaluation.views)
    if run.task.film is not None and is_first:
        frames = run.task.film(run.options, run.data)
        views |= {} if frames is None else film_frames(comparison.fits.main, frames)
    sounds = {}
    if run.task.has_voices and is_first:
        sounds = pick_sounds(base, ocd, run.data.test.targets)
    draws = evaluation.shown if is_first else {}
    for kind, tensors in (("views", views), ("sounds", sounds), ("draws", draws)):
        if tensors:
            _write(run, run.root / kind / f"seed-{seed}.safetensors", tensors)
    for note in evaluation.notes:
        run.log(seed).write("note", text=note)
    if run.data.reader is not None and not (run.root / "examples").exists():
        few = take_rows(run.data.test.inputs, slice(0, 5))
        run.data.reader.example(few, run.root / "examples")  # for `ocd apply`
        run.enter(*sorted((run.root / "examples").glob("*")))
    if run.task.exhibit is not None:
        path = run.root / "exhibits" / f"seed-{seed}.json"
        write_json(path, run.task.exhibit(run.data, base, ocd))
        run.enter(path)


def _write(run: Run, path: Path, tensors: dict[str, Tensor]) -> None:
    write_tensors(path, tensors)
    run.enter(path)
