"""Run the committed results again and put them below results/: what `make results` does.

    python tools/make_results.py --data FOLDER [--only mnist,digits] [--jobs 2]
    python tools/make_results.py --list            # hours, data, and which are of other code

A run is in runs/results/CODE/FOLDER, where CODE names the state of `src`: what is stopped goes on with
the same command, and two states of the code never share a run. Each result says which code made it, in
made.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import results_figure
import results_pages
import results_tables
from results_plan import ROOT, Planned, read_plan

RUNS = ROOT / "runs" / "results"
RESULTS = ROOT / "results"
LINK = re.compile(r"\]\(([^)#:]+)\)")


def code() -> str:
    """The name of what is committed below src/. Raises SystemExit where that is not what runs."""
    if changed := _git("status", "--porcelain", "src"):
        raise SystemExit(f"src has changes that no commit has; commit them first:\n{changed}")
    return _git("rev-parse", "HEAD:src")[:12]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def run(together: list[Planned], data: Path | None, state: str, threads: int) -> str:
    """Make one run and take its result over, or its results, of a suite; returns a line that says how
    it went."""
    first = together[0]
    folder = RUNS / state / first.run
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(folder.name + ".log")
    commands = [first.arguments(data, folder), *([verb, str(folder)] for verb in first.then)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    print(f"{first.run}: running (its log: {log})", flush=True)
    with log.open("a", encoding="utf-8") as file:
        for words in commands:
            command = [sys.executable, "-m", "ocd", *words]
            done = subprocess.run(command, env=environment, stdout=file, stderr=file, check=False)
            if done.returncode:
                last = log.read_text(encoding="utf-8").strip().split("\n")[-1]
                return f"{first.run}: failed with exit code {done.returncode}: {last}"
    facts = {"code": state, "commit": _git("rev-parse", "HEAD").strip(), **_facts(threads)}
    take_over_all(together, folder, data, facts)
    return f"{first.run}: made"


def take_over_all(together: list[Planned], run: Path, data: Path | None, facts: dict[str, Any]) -> None:
    """Copy the results of a run, or of each part of a suite and the suite's own, with a made.json of
    what is known of the code."""
    for planned in together:
        into = RESULTS / planned.folder
        take_over(run / planned.task if planned.suite else run, into, data)
        text = json.dumps(facts, indent=2) + "\n"
        (into / "made.json").write_text(text, encoding="utf-8")
    if together[0].suite:
        take_over_suite(together, run, data)


def take_over(run: Path, into: Path, data: Path | None) -> None:
    """Copy what is committed of a run: results, report and what the report links to."""
    (into / "figures").mkdir(parents=True, exist_ok=True)
    for figure in (into / "figures").iterdir():
        figure.unlink()
    for name in ("results.json", "report.md"):
        text = _of_no_machine((run / name).read_text(encoding="utf-8"), run, data)
        (into / name).write_text(text, encoding="utf-8")
        for link in LINK.findall(text) if name == "report.md" else ():
            if (run / link).is_file():
                (into / link).parent.mkdir(exist_ok=True)
                shutil.copyfile(run / link, into / link)


def take_over_suite(together: list[Planned], run: Path, data: Path | None) -> None:
    """Copy the table of a suite beside the folders of its parts: SUITE.json and SUITE.md."""
    into = RESULTS / together[0].run
    (into.parent / "figures").mkdir(exist_ok=True)
    shutil.copyfile(run / "figures" / "gains.png", into.parent / "figures" / "gains.png")
    for name in ("results.json", "report.md"):
        text = _of_no_machine((run / name).read_text(encoding="utf-8"), run, data)
        for planned in together:  # the report links to those of its parts
            text = text.replace(f"]({planned.task}/", f"]({Path(planned.folder).name}/")
        into.with_suffix(Path(name).suffix).write_text(text, encoding="utf-8")


def _of_no_machine(text: str, run: Path, data: Path | None) -> str:
    """A report without the names of this machine's folders."""
    text = text.replace(str(run), f"runs/{run.name}")
    text = re.sub(f"{re.escape(str(data))}[\\w/.-]*/", "", text) if data else text
    return re.sub(r"--data-dir \S+", "--data-dir DIR", text)


def _facts(threads: int) -> dict[str, Any]:
    import torch

    import ocd

    return {
        "version": ocd.__version__,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def of_other_code(planned: Planned, state: str) -> str:
    """Why a committed result is not of this code; nothing where it is."""
    path = RESULTS / planned.folder / "made.json"
    if not path.exists():
        made = (path.parent / "results.json").exists()
        return "made before results named their code" if made else "not made yet"
    found = json.loads(path.read_text(encoding="utf-8"))
    return "" if found["code"] == state else f"of {found['version']}, commit {found['commit'][:10]}"


def chosen(plan: list[Planned], only: str) -> list[Planned]:
    """The results that ONLY names by folder, or by the beginning of it; all that run here without."""
    if not only:
        return [one for one in plan if not one.needs]
    names = only.split(",")
    for name in names:
        if not any(_is_named(one, name) for one in plan):
            folders = ", ".join(one.folder for one in plan)
            raise SystemExit(f"no result is called {name!r}; there are {folders}")
    return [one for one in plan if any(_is_named(one, name) for name in names)]


def _is_named(planned: Planned, name: str) -> bool:
    return planned.folder == name or planned.folder.startswith(name.rstrip("/") + "/")


def listed(plan: list[Planned], data: Path | None, state: str) -> str:
    """A line for each result: hours on two cores, whether its data are at hand, and its code."""
    lines = []
    for one in plan:
        missing = f"not at hand: {one.missing(data)}" if one.missing(data) else "data at hand"
        fetched = "fetches its data" if one.data and data is None and not one.files else missing
        hours = "" if one.hours is None else f"{one.hours:.1f} h"
        why = f"needs {one.needs}" if one.needs else fetched
        lines.append(
            f"{one.folder:30} {hours:>6}  {why}; {of_other_code(one, state) or 'of this code'}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="folders below results/, with commas between")
    parser.add_argument("--data", type=Path, help="the folder that plan.toml's `data` are parts of")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at a time")
    parser.add_argument("--list", action="store_true", help="run nothing")
    given = parser.parse_args()
    data = given.data.resolve() if given.data else None
    plan = chosen(read_plan(), given.only)
    if given.list:
        print(listed(read_plan(), data, _git("rev-parse", "HEAD:src")[:12]))
        return
    state = code()
    ready = [one for one in plan if not one.missing(data)]
    for one in plan:
        if one not in ready:
            print(f"{one.folder}: left out, not at hand: {one.missing(data)}")
    threads = max(1, (os.cpu_count() or 1) // given.jobs)
    runs: dict[str, list[Planned]] = {}
    for one in ready:
        runs.setdefault(one.run, []).append(one)
    with ThreadPoolExecutor(given.jobs) as pool:
        jobs = [pool.submit(run, parts, data, state, threads) for parts in runs.values()]
        for done in as_completed(jobs):
            print(done.result(), flush=True)
    results_pages.write()
    results_tables.write()
    results_figure.write()


if __name__ == "__main__":
    main()
