"""`ocd plan`: what many examples would cost, from a measured sample of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocd.cli.about import AsJson
from ocd.errors import OCDError

if TYPE_CHECKING:
    from ocd.runs import RunPlan

UNITS = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes"))


def plan(
    run: Annotated[
        str, typer.Argument(help="A run folder, or a task that was run.", metavar="DIR|TASK")
    ],
    examples: Annotated[str, typer.Option(help="How many there will be, such as 1e8.")] = "1e6",
    workers: Annotated[int, typer.Option(min=1, help="Processes like this one, anywhere.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="Compute the times for an a100, h100 or h200; default: here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what many examples would cost: time of each phase, disk, memory, and what drives the cost."""
    from ocd.runs import Run, plan_run

    found = plan_run(Run.open(_folder(run)), _count(examples), workers, device)
    typer.echo(json.dumps(found.as_dict(), indent=1) if as_json else "\n".join(lines(found)))


def _folder(run: str) -> Path:
    """The folder itself, or where `ocd run TASK` puts a run."""
    from ocd.tasks import folder_name

    task = folder_name(run)
    places = [Path(run), Path("runs") / task, Path("runs") / f"{task}-quick"]
    for place in places:
        if (place / "config.json").exists():
            return place
    raise OCDError(
        f"there is no run in {places[0]}, {places[1]} or {places[2]} to measure: ocd run {run} --quick"
    )


def _count(text: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise OCDError(f"--examples is {text!r}: it must be a number such as 1e8") from None


def lines(plan: RunPlan) -> list[str]:
    """What a person reads."""
    sample = plan.sample
    where = "on this machine" if plan.device is None else f"on {plan.device}s, at best"
    found = [
        f"{plan.examples:,} examples like those of {plan.root} (task {plan.task}), "
        f"{plan.workers:,} process{'es' if plan.workers > 1 else ''}, {where}",
        "",
        f"{'phase':9}{'one process':>14}{'all at once':>14}   what it grows with",
    ]
    for phase in plan.phases:
        known = "measured" if phase.is_measured else "computed"
        times = f"{_time(phase.seconds):>14}{_time(phase.shared):>14}"
        found.append(f"{phase.name:9}{times}   {phase.driver} ({known})")
    total = sum(phase.seconds or 0 for phase in plan.phases)
    drivers = sorted(plan.phases, key=lambda phase: -(phase.seconds or 0))
    shares = (f"{one.name} {100 * (one.seconds or 0) / total:.0f} %" for one in drivers if total)
    disk = ", ".join(f"{name} {_size(size)}" for name, size in plan.disk.items() if size)
    found += [
        "",
        f"time of one process: {', '.join(shares)}",
        f"disk (computed): {disk}",
        f"memory of the largest process (computed): {_size(plan.memory)}; examples in a file that is "
        "mapped, or a dataset that reads them",
        "",
        f"measured here, on {sample.examples} examples: a pass of the base {_time(sample.forward)} an "
        f"example, its lesson {_time(sample.lesson)}, {plan.draws} draws {_time(sample.draws)}; "
        f"a process of {_size(sample.memory)}",
    ]
    if plan.device is not None:
        found.append(
            f"not measured: an {plan.device} is taken as {plan.faster:,.0f} times this machine, by the "
            "operations of the base's pass and three tenths of its published peak of float32. Small "
            "networks stay far below that: their time is that of starting kernels"
        )
    return found


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else _in_units(seconds, UNITS)


def _size(size: float) -> str:
    return _in_units(size, SIZES)


def _in_units(value: float, units: tuple[tuple[float, str], ...]) -> str:
    unit, name = next((pair for pair in units if value >= pair[0]), units[-1])
    return f"{value / unit:,.3g} {name}"
