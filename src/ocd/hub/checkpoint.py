"""A saved generator: config.json, model.safetensors, and common_move.safetensors where the layer has a
common move (ocd.lessons.common_move); for one base and no other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn

from ocd.base import Fingerprint, FrozenBase, Outputs, Way, base_digest, independent_copy
from ocd.config import OCDConfig
from ocd.data import (
    file_digest,
    is_written_here,
    load_strictly,
    only_tensors,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from ocd.errors import OCDError
from ocd.generator import HyperNetwork, Shapes

FORMAT_VERSION = 7
COMMON = "common_move.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds, on a base. `made_for`: a hash of the base as it was fitted on; None: as it
    is."""

    config: OCDConfig
    network: HyperNetwork
    frozen: FrozenBase
    notes: list[str]
    fingerprint: Fingerprint | None = None
    made_for: str | None = None


def save_checkpoint(folder: Path, saved: Checkpoint) -> None:
    """Write the generator. The weights come first, and config.json holds their digest, so that the two
    files of different saves are never taken for one. Raises OCDError, before anything is overwritten,
    where the base was changed since the fit, or the folder holds something else."""
    base = base_digest(saved.frozen.base)
    if saved.made_for not in (None, base):
        raise OCDError(
            f"the base was changed since it was fitted (hash {saved.made_for}, now {base}): the "
            "generator is for the base as it was; give it back its weights and type, or fit again"
        )
    weights, config = folder / "model.safetensors", folder / "config.json"
    start = saved.frozen.start
    if config.exists() and "shapes" not in read_json(config):
        raise OCDError(f"{folder} holds another library's model: save into another folder")
    if not config.exists() and weights.exists() and not is_written_here(weights):
        raise OCDError(f"{weights} is not of this library: save into another folder")
    write_tensors(weights, only_tensors(saved.network.state_dict()))
    if start is not None:
        write_tensors(folder / COMMON, {"delta": start})
    write_json(
        config,
        {
            "format_version": FORMAT_VERSION,
            "layer": saved.frozen.name,
            "way": None if saved.frozen.way is None else asdict(saved.frozen.way),
            "base": base,
            "fingerprint": None if saved.fingerprint is None else asdict(saved.fingerprint),
            "weights": file_digest(weights),
            "common_move": None if start is None else file_digest(folder / COMMON),
            "shapes": saved.network.shapes.as_dict(),
            "config": saved.config.to_dict(),
            "notes": saved.notes,
        },
    )


def load_checkpoint(
    path: Path, base: nn.Module, encoder: nn.Module | None, outputs: Outputs
) -> Checkpoint:
    """Read a generator for `base` from a folder. Raises OCDError where anything does not fit."""
    saved = read_json(path / "config.json")
    if saved.get("format_version") != FORMAT_VERSION:
        raise OCDError(
            f"{path} was saved by another version (format {saved.get('format_version')}, this version "
            f"reads {FORMAT_VERSION}): fit again, or install the version that saved it"
        )
    found = base_digest(base)
    if found != saved["base"]:
        raise OCDError(
            f"{path} was made for another base (hash {saved['base']}, this one has {found}): load the "
            "base with the weights that it was fitted on"
        )
    config = OCDConfig.from_dict(saved["config"])
    way = None if saved["way"] is None else Way(**saved["way"])
    start = _common_move(path / COMMON, saved["common_move"])
    frozen = FrozenBase(base, saved["layer"], way, config.channels_last, outputs, start)
    fingerprint = Fingerprint(**saved["fingerprint"]) if saved["fingerprint"] else None
    if fingerprint is not None and not fingerprint.fits(frozen):
        raise OCDError(
            f"{path} was made for a base with these weights that answers otherwise: another "
            "activation, constant or order of layers; load the base as it was when it was fitted"
        )
    shapes = Shapes.from_dict(saved["shapes"])
    own_encoder = None if encoder is None else independent_copy(encoder)
    network = HyperNetwork(shapes, config.generator, own_encoder)
    load_strictly(network, path / "model.safetensors", saved.get("weights"))
    network = network.to(frozen.device).eval()
    return Checkpoint(config, network, frozen, saved["notes"], fingerprint, found)


def _common_move(path: Path, digest: str | None) -> Tensor | None:
    """Where the layer starts from; None without a common move."""
    if digest is None:
        return None
    delta = read_tensors(path)["delta"]
    if file_digest(path) != digest:
        raise OCDError(f"{path} belongs to another save than its config.json: save again")
    return delta
