"""What there is: the tasks, the settings of a task, and what is installed on this machine."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from importlib import metadata
from typing import Annotated, Any

import typer

from ocd._version import __version__
from ocd.errors import OCDError

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for a program to read.")]
DISTRIBUTION = "ocd-torch"
NEEDS_TORCH = (2, 10)
HOW_TO_INSTALL = (
    "an extra is installed, in a clone of the repository, by pip install -c constraints.txt '.[EXTRA]';"
    f" elsewhere by pip install '{DISTRIBUTION}[EXTRA]'"
)


def tasks(as_json: AsJson = False) -> None:
    """List the tasks: data, licence, size, minutes to expect."""
    from ocd.tasks import CATALOG, SUITES

    shown = ("summary", "data", "licence", "size", "minutes")
    if as_json:
        listed = [{"name": f.name} | {key: getattr(f, key) for key in shown} for f in CATALOG.values()]
        typer.echo(json.dumps({"tasks": listed, "suites": SUITES}, indent=1))
        return
    width = max(map(len, CATALOG)) + 2
    for facts in CATALOG.values():
        typer.echo(f"{facts.name:{width}}{facts.summary}")
        for name in ("data", "licence", "size"):
            typer.echo(f"{'':{width}}{name}: {getattr(facts, name)}")
        typer.echo(f"{'':{width}}minutes a seed: {facts.minutes}")
    for name, parts in SUITES.items():
        typer.echo(f"{name:{width}}one after another, with one table: {', '.join(parts)}")


def settings(
    task: Annotated[str, typer.Argument(help="A task.", metavar="TASK")],
    preset: Annotated[str, typer.Option(help="fast, released or paper.")] = "fast",
    as_json: AsJson = False,
) -> None:
    """List every key that --set takes, with its value and meaning; * marks what the task changes."""
    from ocd.runs import list_settings
    from ocd.tasks import SUITES

    groups = list_settings(SUITES.get(task, (task,))[0], preset)
    if as_json:
        listed = [
            {"group": group.title, "key": s.key, "value": s.value, "changed": s.is_changed,
             "meaning": s.meaning}
            for group in groups
            for s in group.settings
        ]  # fmt: skip
        typer.echo(json.dumps(listed, indent=1))
        return
    width = max(len(f"{s.key}={_shown(s.value)}") for group in groups for s in group.settings)
    for group in groups:
        typer.echo(f"# {group.title}")
        for setting in group.settings:
            mark = "*" if setting.is_changed else " "
            pair = f"{setting.key}={_shown(setting.value)}"
            typer.echo(f"{mark} {pair:{width}}  {setting.meaning}".rstrip())
        typer.echo("")
    typer.echo(f"* differs from the preset {preset}")


def _shown(value: Any) -> str:
    """A value as --set takes it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value)


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what is missing and how to get it. Exit code 1 where OCD cannot run."""
    found = {
        "ocd": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "torch": _torch(),
        "extras": _extras(),
    }
    problems = _problems(found)
    if as_json:
        typer.echo(json.dumps(found | {"problems": problems}, indent=1))
    else:
        for line in [*_lines(found), *(f"problem: {problem}" for problem in problems)]:
            typer.echo(line)
    if problems:
        raise typer.Exit(1)


def _torch() -> dict[str, Any]:
    """PyTorch's version and devices; only an error where it cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"error": (str(error).splitlines() or [type(error).__name__])[0]}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"version": torch.__version__, "gpus": gpus, "threads": torch.get_num_threads()}


def _extras() -> dict[str, list[str]]:
    """Extra -> its packages that are not installed, or are older than it needs."""
    try:
        needs = metadata.requires(DISTRIBUTION) or []
        names = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        raise OCDError(
            f"{DISTRIBUTION} is not installed here, only its files are found: pip install it"
        ) from None
    found = {}
    for extra in names:
        marked = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
        of_extra = [need.split(";")[0].strip() for need in needs if marked.search(need)]
        found[extra] = [need for need in of_extra if not _is_installed(need)]
    return found


def _is_installed(need: str) -> bool:
    """Whether `package>=version`, or an extra of our own, is there."""
    name = re.split(r"[\[<>=!~ ]", need)[0]
    if name == DISTRIBUTION:
        return True  # its packages are listed beside
    least = re.search(r">=\s*([\d.]+)", need)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return least is None or _numbers(version) >= _numbers(least[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _problems(found: dict[str, Any]) -> list[str]:
    torch = found["torch"]
    if "error" in torch:
        return [f"PyTorch cannot be imported ({torch['error']}): pip install torch"]
    if _numbers(torch["version"])[:2] < NEEDS_TORCH:
        least = ".".join(map(str, NEEDS_TORCH))
        return [f"PyTorch is {torch['version']}: pip install 'torch>={least}'"]
    return []


def _lines(found: dict[str, Any]) -> list[str]:
    torch = found["torch"]
    gpus = ", ".join(torch.get("gpus", [])) or "none that PyTorch sees"
    lines = [
        f"ocd {found['ocd']}, Python {found['python']} ({found['executable']}), {found['system']}",
        f"torch {torch.get('version', 'missing')}, {torch.get('threads', 0)} threads on "
        f"{found['processors']} processors; GPUs: {gpus}",
    ]
    for extra, missing in found["extras"].items():
        lines.append(f"extra {extra}: {'lacks ' + ', '.join(missing) if missing else 'installed'}")
    if any(found["extras"].values()):
        lines.append(HOW_TO_INSTALL)
    return lines
