"""A saved generator: config.json and model.safetensors, for one base and no other."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ocd.base import OpenBase
from ocd.config import OCDConfig
from ocd.data import read_json, write_json
from ocd.errors import OCDError
from ocd.generator import HyperNetwork, Shapes
from ocd.lessons import file_digest, read_tensors, write_tensors

FORMAT_VERSION = 3


def base_digest(base: nn.Module) -> str:
    """A hash of every parameter and buffer of the base, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(base.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds, on a base."""

    config: OCDConfig
    network: HyperNetwork
    opened: OpenBase
    notes: list[str]


def save_checkpoint(
    folder: Path, config: OCDConfig, network: HyperNetwork, opened: OpenBase, notes: list[str]
) -> None:
    """Write the generator. The weights come first, and config.json holds their digest, so that the
    two files of different saves are never taken for one."""
    weights = folder / "model.safetensors"
    write_tensors(weights, network.state_dict())
    write_json(
        folder / "config.json",
        {
            "format_version": FORMAT_VERSION,
            "layer": opened.name,
            "widen": bool(opened.widen),
            "base": base_digest(opened.base),
            "weights": file_digest(weights),
            "shapes": network.shapes.as_dict(),
            "config": config.to_dict(),
            "notes": notes,
        },
    )


def load_checkpoint(folder: str | Path, base: nn.Module, encoder: nn.Module | None) -> Checkpoint:
    """Read a generator for `base`. Raises OCDError where anything does not fit."""
    path = _local_folder(folder)
    saved = read_json(path / "config.json")
    if saved.get("format_version") != FORMAT_VERSION:
        raise OCDError(
            f"{path} has format {saved.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
    found = base_digest(base)
    if found != saved["base"]:
        raise OCDError(
            f"{path} was made for another base (hash {saved['base']}, this one has {found}): load the "
            "base with the weights that it was fitted on"
        )
    config = OCDConfig.from_dict(saved["config"])
    opened = OpenBase(base, saved["layer"], saved["widen"], config.channels_last)
    shapes = Shapes.from_dict(saved["shapes"])
    network = HyperNetwork(
        shapes,
        config.condition,
        config.denoiser,
        config.diffusion,
        config.scale,
        copy.deepcopy(encoder),
        correction=config.training.task_loss_weight > 0,
        student=config.distillation.num_steps > 0,
    )
    load_strictly(network, path / "model.safetensors", saved.get("weights"))
    return Checkpoint(config, network.to(opened.device).eval(), opened, saved["notes"])


def load_strictly(module: nn.Module, path: Path, digest: str | None) -> None:
    """Raises OCDError for weights of another digest (None: not known, as in the first checkpoints),
    and naming the first parameter that is missing, unexpected or of another shape."""
    state, wanted = read_tensors(path), module.state_dict()
    if digest is not None and file_digest(path) != digest:
        raise OCDError(f"{path} belongs to another save than its config.json: save again")
    for name in sorted(wanted.keys() | state.keys()):
        if name not in state:
            raise OCDError(f"{path} has no {name!r}")
        if name not in wanted:
            raise OCDError(f"{path} has {name!r}, which the network has not")
        if state[name].shape != wanted[name].shape:
            raise OCDError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, the network's has "
                f"{tuple(wanted[name].shape)}"
            )
    module.load_state_dict(state)


def _local_folder(folder: str | Path) -> Path:
    """The folder itself, or a repository of the hub fetched into its cache."""
    path = Path(folder)
    if path.exists() or not isinstance(folder, str) or folder.count("/") != 1:
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(folder, allow_patterns=["config.json", "model.safetensors"]))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise OCDError(
            f"{folder!r} is neither a folder here nor a repository that answers: {first}"
        ) from None
