"""Build wheel and sdist into dist/, and try each in a new environment: `python tools/dist.py`.

What is missing in a wheel shows only where the checkout is not on the path. So each is installed with
the pinned versions into an environment of its own, and used from an empty folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def build() -> list[Path]:
    """The two archives, built without a network by the backend that is installed here."""
    shutil.rmtree(DIST, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    subprocess.run(command, check=True)
    return sorted(DIST.iterdir())


def install(archive: Path, extra: str, folder: Path) -> Path:
    """The Python of a new environment with the archive and one of its extras."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    command = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints]
    subprocess.run([*command, f"{archive}[{extra}]"], check=True)
    return python


def use(python: Path, folder: Path) -> None:
    """What a newcomer does first, in a folder that has nothing of the checkout."""
    for command in (
        ["-c", "import ocd; print('imported', ocd.__version__, 'from', ocd.__file__)"],
        ["-m", "ocd", "doctor"],
        ["-m", "ocd", "run", "digits", "--quick", "--set", "train_size=200", "--out", "digits"],
        ["-m", "ocd", "verdict", "digits"],
    ):
        done = subprocess.run([python, *command], cwd=folder, check=False)
        if done.returncode not in ((0, 3, 4) if "verdict" in command else (0,)):
            raise SystemExit(f"failed with exit code {done.returncode}: {' '.join(command)}")


def main() -> None:
    for archive in build():
        with tempfile.TemporaryDirectory() as folder:
            print(f"trying {archive.name}", flush=True)
            work = Path(folder) / "work"
            work.mkdir()
            use(install(archive, "digits", Path(folder) / "venv"), work)
    print(f"both work: {', '.join(archive.name for archive in sorted(DIST.iterdir()))}")


if __name__ == "__main__":
    main()
