"""The untrained generator: its shapes and statistics come from some overfitted examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ocd.base import example_losses, independent_copy
from ocd.data import num_rows, seeded, take_rows
from ocd.generator import GeneratorConfig, HyperNetwork, PCACodec, Shapes, encoder_features
from ocd.lessons import LessonBatch, LessonSource, Overfitter

NUM_CALIBRATION = 2048
"""Examples that feature statistics, scale statistics and PCA are fitted on."""


@dataclass(frozen=True)
class NewGenerator:
    """An untrained generator, and notes on what its code loses."""

    network: HyperNetwork
    notes: list[str]


def make_generator(
    source: LessonSource, code: str, config: GeneratorConfig, seed: int, among: Tensor | None = None
) -> NewGenerator:
    """A generator of `code` ("dense", "rank_one" or "pca") for these lessons. `among`: places of the
    lessons that it may see, all if it is None.

    Its weights are random by torch's global generator. The user's encoder is copied, so that a second
    fit starts from the same weights.
    """
    overfitter = source.overfitter
    device, encoder = overfitter.frozen.device, overfitter.problem.encoder
    among = torch.arange(len(source.examples)) if among is None else among
    shuffled = among[torch.randperm(len(among), generator=seeded(seed, 8))]
    rows = source.rows(shuffled[:NUM_CALIBRATION], seeded(seed, 9))
    assert rows.delta is not None
    notes: list[str] = []
    codec: PCACodec | None = None
    if code == "pca":
        codec, note = PCACodec.fit(rows.delta.dense()[:, 0], config.codec, seed)
        notes.append(note)
    encoder = None if encoder is None else independent_copy(encoder).to(device)
    few = take_rows(rows.inputs, slice(0, 2))
    shapes = Shapes.of(
        code,
        overfitter.frozen.weight_shape,
        0 if codec is None else codec.code_shape[0],
        {name: values.shape[1] for name, values in rows.features.items()},
        0 if encoder is None else encoder_features(encoder, few),
    )
    network = HyperNetwork(shapes, config, encoder).to(device)
    if codec is not None:
        network.codec.load_state_dict(codec.state_dict())
        _, own, lessons = next(rows.by_base(overfitter))
        notes.append(truncation_cost(codec.to(device), own, lessons))
    with torch.no_grad():
        network.calibrate(rows.features, network.codec.encode(rows.delta)[:, 0])
    return NewGenerator(network, notes)


@torch.no_grad()
def truncation_cost(codec: PCACodec, overfitter: Overfitter, rows: LessonBatch, most: int = 16) -> str:
    """A line on how the base's own loss changes when deltas are cut to the code's components."""
    assert rows.delta is not None
    few, frozen, size = slice(0, most), overfitter.frozen, overfitter.config.excerpt
    whole_inputs, targets = take_rows(rows.inputs, few), take_rows(rows.targets, few)
    inputs, targets = overfitter.problem.take_excerpt(whole_inputs, targets, size, seeded(13))
    capture = rows.captured(frozen, few) if inputs is whole_inputs else None
    whole = rows.delta.take(few)
    cut = codec.decode(codec.encode(whole), None)
    means = []
    for delta in (whole.scaled(torch.zeros_like(whole.norms())), whole, cut):
        run = frozen.run_full(inputs, delta) if capture is None else frozen.run(capture, delta)
        moved = run[:, 0]
        losses = example_losses(overfitter.loss, moved, targets)
        means.append(float(losses[losses.isfinite()].mean()))
    return (
        f"pca code: of {num_rows(targets)} training examples the mean loss is {means[0]:.4g} without a "
        f"delta, {means[1]:.4g} with the whole one and {means[2]:.4g} with the truncated one"
    )
