"""The one JSON file of tools/device_check.sh, from what its parts have left in a folder.

python tools/device_summary.py FOLDER DEVICE OUT.json
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch


def summary(folder: Path, device: str) -> dict[str, Any]:
    """Device and versions; of each part its seconds, its exit code, and what it found."""
    name = torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device
    parts = {}
    for line in (folder / "parts").read_text(encoding="utf-8").splitlines():
        part, code, start, end = line.split()
        facts: dict[str, Any] = {"exit_code": int(code), "seconds": round(float(end) - float(start), 1)}
        printed = (folder / f"{part}.out").read_text(encoding="utf-8").splitlines()
        if part == "cases" and code == "0":
            facts["microseconds"] = json.loads(printed[-1])
        elif (results := folder / "runs" / part / "results.json").exists():
            facts |= _of_run(json.loads(results.read_text(encoding="utf-8")))
        else:
            facts["said"] = printed[-1:]
        if code != "0":
            facts["error"] = (folder / f"{part}.err").read_text(encoding="utf-8").splitlines()[-5:]
        parts[part] = facts
    return {
        "device": name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "parts": parts,
    }


def _of_run(results: dict[str, Any]) -> dict[str, Any]:
    """Losses by method and seed, and the seconds of each phase."""
    metric = results["verdict"]["metric"]
    methods = {name: of.get(metric) for name, of in results["methods"].items()}
    return {"metric": metric, "methods": methods, "phases": results["seconds"]}


if __name__ == "__main__":
    where, on, to = sys.argv[1:]
    Path(to).write_text(json.dumps(summary(Path(where), on), indent=1) + "\n", encoding="utf-8")
    print(f"device_check: {to}")
