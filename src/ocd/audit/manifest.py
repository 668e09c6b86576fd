"""manifest.json of a run folder: sha256 of its settings, its data and the files that it made.

It tells that nothing changed by accident or by hand since it was written; it is no signature: who
can write the folder can write the manifest too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ocd
from ocd._version import __version__
from ocd.audit.findings import Finding, counted, listed
from ocd.audit.overlap import describe, tensor_bytes
from ocd.data import Examples, file_digest, locked, read_json, tensors, write_json
from ocd.errors import OCDError

FORMAT_VERSION = 1
PATTERNS = (
    "base/seed-*.safetensors",
    "selection/seed-*.json",
    "checkpoint/**/config.json",
    "checkpoint/**/model.safetensors",
    "predictions/seed-*.json",
    "predictions/seed-*.safetensors",
)
"""The files of a run folder that its table depends on."""

Settings = Mapping[str, Any]
"""What the run was made for, by parts (task, preset, options, ...), each fit for JSON."""
Data = Mapping[str, Mapping[str, str]]
"""{"train": data_digest(...), "test": data_digest(...)}"""


@lru_cache(maxsize=1)
def sources_digest() -> str:
    """A hash of this package's own sources: a version number does not tell two working copies apart."""
    root = Path(ocd.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def data_digest(examples: Examples) -> dict[str, str]:
    """sha256 of the inputs and of the targets: their types, shapes and numbers."""
    return {
        "inputs": _digest_tensors(tensors(examples.inputs)),
        "targets": _digest_tensors([examples.targets]),
    }


def write_manifest(root: Path, settings: Settings, data: Data, written: Iterable[Path] = ()) -> None:
    """Begin or extend the manifest of a run folder, written aside and renamed.

    `written`: the files, or folders of files, that were written just now: they alone get a new
    digest. A listed file keeps its entry, changed or not, so that a change stays visible. A file that
    is not listed and not in `written` is entered as "found": it may be of any origin. Raises OCDError
    where the manifest is of other settings or data.
    """
    with locked(root / "manifest.json"):
        _extend(root, settings, data, written)


def _extend(root: Path, settings: Settings, data: Data, written: Iterable[Path]) -> None:
    path = root / "manifest.json"
    made_with = {"ocd": __version__, "torch": torch.__version__, "sources": sources_digest()}
    mine = {"settings": _digest_settings(settings), "data": {k: dict(v) for k, v in data.items()}}
    manifest: dict[str, Any] = {"format_version": FORMAT_VERSION, "made_with": [], **mine, "files": {}}
    if path.exists():
        manifest = _read(path)
        wrong = _differing(manifest, mine)
        if wrong:
            raise OCDError(
                f"{path} is of a run with other {', '.join(wrong)}: use another folder, or delete "
                "this one"
            )
    if made_with not in manifest["made_with"]:
        manifest["made_with"].append(made_with)
    files = manifest["files"]
    fresh = _named(root, written)
    for name in sorted(fresh | _present(root) - files.keys()):
        files[name] = {
            "sha256": file_digest(root / name),
            "seen": "written" if name in fresh else "found",
        }
    write_json(path, manifest)


def check_manifest(root: Path, settings: Settings, data: Data) -> Finding:
    """Whether settings, data and files are still those of the manifest; names all that are not."""
    path = root / "manifest.json"
    if not path.exists():
        text = f"{path.name} is not there (a run made before manifests): nothing to compare with"
        return Finding("manifest", None, text)
    try:
        manifest = _read(path)
    except OCDError as error:
        return Finding("manifest", False, str(error))
    mine = {"settings": _digest_settings(settings), "data": {k: dict(v) for k, v in data.items()}}
    files, present = manifest["files"], _present(root)
    missing = sorted(name for name in files if not (root / name).is_file())
    changed = sorted(
        name
        for name, entry in files.items()
        if name not in missing and file_digest(root / name) != entry["sha256"]
    )
    wrong = {
        "other than at the start": _differing(manifest, mine),
        "changed since it was written": changed,
        "missing": missing,
        "there, but not in the manifest": sorted(present - files.keys()),
    }
    found = sorted(name for name, entry in files.items() if entry["seen"] != "written")
    details = {
        "files": len(files),
        "differing": wrong["other than at the start"],
        "changed": changed,
        "missing": missing,
        "unlisted": wrong["there, but not in the manifest"],
        "found": found,
        "made_with": manifest["made_with"],
    }
    if any(wrong.values()):
        text = "; ".join(f"{what}: {listed(names)}" for what, names in wrong.items() if names)
        return Finding("manifest", False, text, details)
    versions = listed([f"ocd {one['ocd']}, torch {one['torch']}" for one in manifest["made_with"]])
    text = f"settings, data and {counted(len(files), 'file')} match (made with {versions})"
    if found:
        text += f"; but of unknown origin, there before they were entered: {listed(found)}"
    return Finding("manifest", None if found else True, text, details)


def _read(path: Path) -> dict[str, Any]:
    """Raises OCDError where it is not JSON, of another format, or has not what it must have."""
    manifest = read_json(path)
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise OCDError(f"{path} is no manifest of a run: delete it, and it will be written anew")
    if manifest["format_version"] != FORMAT_VERSION:
        raise OCDError(
            f"{path} has format {manifest['format_version']}, this version reads {FORMAT_VERSION}"
        )
    try:
        _flat(manifest)
        whole = all(entry["sha256"] and entry["seen"] for entry in manifest["files"].values())
        whole = whole and all(made["ocd"] and made["torch"] for made in manifest["made_with"])
    except (AttributeError, KeyError, TypeError):  # a part is missing, or of another kind
        whole = False
    if not whole:
        raise OCDError(f"{path} is damaged: delete it, and it will be written anew")
    return manifest


def _differing(manifest: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """The parts of settings and data that are not the same, by name."""
    old, new = _flat(manifest), _flat(mine)
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _flat(manifest: Mapping[str, Any]) -> dict[str, str]:
    flat = {f"settings ({name})": digest for name, digest in manifest["settings"].items()}
    for part, digests in manifest["data"].items():
        flat |= {f"data ({part} {name})": digest for name, digest in digests.items()}
    return flat


def _present(root: Path) -> set[str]:
    """The files of PATTERNS that are there, by their paths from the run folder."""
    return {
        path.relative_to(root).as_posix()
        for pattern in PATTERNS
        for path in root.glob(pattern)
        if path.is_file()
    }


def _named(root: Path, written: Iterable[Path]) -> set[str]:
    """Named files by their paths from the run folder; a folder stands for those of PATTERNS in it."""
    names: set[str] = set()
    for path in written:
        inside = path.absolute().is_relative_to(root.absolute())
        if not inside or not path.exists():
            raise OCDError(f"{path} is no file of {root}: it cannot be entered in its manifest")
        name = path.absolute().relative_to(root.absolute()).as_posix()
        below = {one for one in _present(root) if one.startswith(f"{name}/")}
        names |= below if path.is_dir() else {name}
    return names


def _digest_settings(settings: Settings) -> dict[str, str]:
    """A digest for each part of the settings, so that a difference can be named."""
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()
        for name, part in settings.items()
    }


def _digest_tensors(values: list[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in values:
        digest.update(f"{len(tensor)} of {describe(tensor)};".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
