"""What a fit and a prediction of many examples would cost: computed from a measured sample.

    plan = plan_run(Run.open(folder), examples=10**8, workers=64)
    plan.phases, plan.disk, plan.memory

Nothing here was run at that size: each phase is the sample's cost times what it grows with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocd.data import read_json
from ocd.errors import OCDError
from ocd.runs.sampling import Sample, measure_sample
from ocd.training import shortened

if TYPE_CHECKING:
    from ocd.runs.run import Run

DEVICES = {"a100": 19.5e12, "h100": 67e12, "h200": 67e12}
"""Peak of float32 in operations a second, as their maker publishes it."""
SHARE_OF_PEAK = 0.3
"""Of a device's peak that networks reach in practice where batches are large; an assumption."""
BYTES_OF_INDEX = 26
"""Of memory for each example of a training: two numbers of 8 bytes for its place in the data and in the
order, one more while an order is made, and two marks of what is known of it."""


@dataclass(frozen=True)
class Phase:
    """One part of the work. `seconds` of one process, `shared` by all workers at once. `driver`: what
    it grows with. `is_measured`: by the run itself, and the same whatever the examples."""

    name: str
    seconds: float | None
    shared: float | None
    driver: str
    is_measured: bool


@dataclass(frozen=True)
class RunPlan:
    """What `examples` would cost. `disk` in bytes, by what lies there; `memory` in bytes of the largest
    process. `device`: the one that times are computed for; None: this machine."""

    root: Path
    task: str
    examples: int
    workers: int
    draws: int
    device: str | None
    faster: float
    sample: Sample
    phases: list[Phase]
    disk: dict[str, int]
    memory: int

    def as_dict(self) -> dict[str, Any]:
        """For a program to read."""
        return asdict(self) | {"root": str(self.root)}


def plan_run(run: Run, examples: int, workers: int = 1, device: str | None = None) -> RunPlan:
    """The plan of a fit on `examples` like a run's own, and of a prediction of as many new ones.

    Raises OCDError for an unknown device, or a run that is not trained.
    """
    if examples < 1 or workers < 1:
        raise OCDError(f"{examples} examples and {workers} workers: both must be at least 1")
    if device is not None and device not in DEVICES:
        raise OCDError(f"no figures of the device {device!r}: use one of {', '.join(DEVICES)}")
    sample = measure_sample(run)
    faster = 1.0 if device is None else _faster(sample, device)
    most = run.config.collection.max_examples
    lessons = min(examples, most) if most else examples
    plan = read_json(run.root / "checkpoint" / f"seed-{run.seeds[0]}" / "plan.json")["plan"]
    stores = plan["storage"] == "store"
    steps = shortened(run.config.training, lessons).num_steps  # of few examples fewer
    draws = run.run_options.num_draws
    return RunPlan(
        root=run.root,
        task=run.task.name,
        examples=examples,
        workers=workers,
        draws=draws,
        device=device,
        faster=faster,
        sample=sample,
        phases=_phases(sample, examples, lessons if stores else 0, steps, workers, draws, faster),
        disk={
            "examples": examples * sample.example_bytes,
            "lessons": lessons * sample.lesson_bytes if stores else 0,
            "answers": examples * sample.answer_bytes,
        },
        memory=sample.memory + lessons * BYTES_OF_INDEX,
    )


def _phases(
    sample: Sample, examples: int, lessons: int, steps: int, workers: int, draws: int, faster: float
) -> list[Phase]:
    collected = "nothing is stored: overfitting is part of a training step"
    if lessons:
        limited = ", the most that lessons are made of (collection.max_examples)"
        collected = f"{lessons:,} lessons{limited if lessons < examples else ''}"
    same = steps == sample.steps and faster == 1
    overfit, predict = (cost / faster for cost in (lessons * sample.lesson, examples * sample.draws))
    train = None
    if sample.train is not None and sample.steps:
        train = steps * sample.train / (sample.steps * faster)
    return [
        Phase("base", sample.base, sample.base, "your own training, as this run had it", True),
        Phase("select", sample.select, sample.select, "a budget of losses, not the examples", True),
        Phase("overfit", overfit, overfit / workers, collected, False),
        Phase("train", train, train, f"{steps:,} steps, not the examples", same),
        Phase("predict", predict, predict / workers, f"{examples:,} answers of {draws} draws", False),
    ]


def _faster(sample: Sample, device: str) -> float:
    """How many times faster the base's pass may be there: by counted operations, the published peak and
    an assumed share of it."""
    if sample.device != "cpu":
        raise OCDError(f"this run is on {sample.device}: --device compares with a measurement on a CPU")
    if not sample.flops:
        raise OCDError("the base has no matrix products to count: --device cannot be computed")
    here = sample.flops / sample.forward
    return max(1.0, SHARE_OF_PEAK * DEVICES[device] / here)
