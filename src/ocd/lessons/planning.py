"""What a fit decides before it trains: learning rate, form, code and storage; and its first network."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ocd.base import OpenBase
from ocd.config import OCDConfig
from ocd.data import Excerpt, dataset_size, fetch_rows, take_excerpt, take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import Condition, HyperNetwork, PCACodec, Shapes, choose_code, encoder_features
from ocd.lessons.collection import Maker, Source, TrainingRows, Transform, measure_cost, seeded
from ocd.lessons.overfitting import (
    Loss,
    choose_lr,
    example_losses,
    num_tried,
    rank_one_is_exact,
    resolve_form,
)
from ocd.lessons.plan import Decisions


def make_maker(
    base: nn.Module,
    loss: Loss,
    dataset: Dataset[Any],
    config: OCDConfig,
    transform: Transform | None,
    decisions: Decisions,
    excerpt: Excerpt | None,
    condition: Condition,
) -> Maker:
    """What overfits the examples of this fit."""
    assert decisions.layer is not None
    opened = OpenBase(base, decisions.layer, decisions.widen, config.channels_last)
    overfit = replace(config.overfit, lr=decisions.lr, form=decisions.form or "auto")
    return Maker(
        opened, dataset, loss, overfit, condition, transform, excerpt,
        num_workers=config.collection.num_workers,
    )  # fmt: skip


def decide(
    base: nn.Module,
    loss: Loss,
    dataset: Dataset[Any],
    config: OCDConfig,
    transform: Transform | None,
    decisions: Decisions,
    excerpt: Excerpt | None,
    condition: Condition,
) -> None:
    """Fill in everything that is still open, with a note why, and write it down."""
    assert decisions.layer is not None
    opened = OpenBase(base, decisions.layer, channels_last=config.channels_last)
    index = torch.arange(num_tried(opened.weight_shape, dataset_size(dataset)))
    inputs, targets = fetch_rows(dataset, index)
    inputs, targets = to_device(inputs, opened.device), targets.to(opened.device)
    inputs, targets = take_excerpt(excerpt, inputs, targets, config.overfit.excerpt, seeded(0))
    probe = opened.probe(inputs)
    decisions.widen = bool(opened.widen)
    how = "widened at the layer" if opened.widen else "by repeating the inputs"
    decisions.note(f"draws: {how}")
    decisions.form = resolve_form(probe, config.overfit)
    if config.overfit.lr is None:
        few = slice(0, num_tried(opened.weight_shape, len(targets), probe.rows.shape[1]))
        capture = opened.capture(take_rows(inputs, few))
        decisions.lr, text = choose_lr(opened, capture, loss, targets[few], config.overfit)
        decisions.note(text)
    else:
        decisions.lr = config.overfit.lr
        decisions.note(f"overfit lr {config.overfit.lr:g}: as configured")
    reason = rank_one_is_exact(probe, config.overfit.optimizer)
    if reason is None and decisions.form == "dense":
        reason = "overfit.form is 'dense'"
    decisions.code, text = choose_code(config.codec.kind, reason)
    decisions.note(text)
    decisions.storage = config.collection.storage
    if config.collection.num_copies > 1 and (transform is None or decisions.storage == "on_the_fly"):
        raise OCDError(
            "collection.num_copies stores augmented copies: it needs a transform, and "
            "collection.storage 'store' or 'auto'"
        )
    if decisions.storage == "auto":
        maker = make_maker(base, loss, dataset, config, transform, decisions, excerpt, condition)
        decisions.storage, text = choose_storage(maker, config)
        decisions.note(text)
    decisions.save()


def choose_storage(maker: Maker, config: OCDConfig) -> tuple[str, str]:
    """on_the_fly or store, by the measured cost of overfitting, and a line that says so."""
    cost = measure_cost(maker)
    limit = config.collection.on_the_fly_cost
    cheap = cost <= limit and config.collection.num_copies == 1
    return "on_the_fly" if cheap else "store", (
        f"deltas {'made on the fly' if cheap else 'kept in a store'}: overfitting costs "
        f"{cost:.1f} forward passes, and the limit is {limit:g}"
    )


def build_network(
    source: Source,
    maker: Maker,
    config: OCDConfig,
    encoder: nn.Module | None,
    decisions: Decisions,
) -> HyperNetwork:
    """An untrained generator; its shapes and statistics come from some overfitted examples.

    The user's encoder is copied, so that a second fit starts from the same weights.
    """
    count = min(config.collection.num_calibration, len(source.examples))
    shuffled = torch.randperm(len(source.examples), generator=seeded(config.seed, 8))
    rows = source.rows(shuffled[:count], seeded(config.seed, 9))
    assert rows.delta is not None
    codec: PCACodec | None = None
    if decisions.code == "pca":
        codec, text = PCACodec.fit(rows.delta.dense()[:, 0], config.codec, config.seed)
        decisions.note(text)
        decisions.save()
    encoder = None if encoder is None else copy.deepcopy(encoder).to(maker.opened.device)
    few = take_rows(rows.inputs, slice(0, 2))
    shapes = Shapes.of(
        decisions.code,
        maker.opened.weight_shape,
        0 if codec is None else codec.code_shape[0],
        {name: values.shape[1] for name, values in rows.features.items()},
        0 if encoder is None else encoder_features(encoder, few),
    )
    network = HyperNetwork(
        shapes, config.condition, config.denoiser, config.diffusion, config.scale, encoder,
        correction=config.training.task_loss_weight > 0,
    )  # fmt: skip
    network = network.to(maker.opened.device)
    if codec is not None:
        network.codec.load_state_dict(codec.state_dict())
        decisions.note(truncation_cost(codec.to(maker.opened.device), maker, rows))
        decisions.save()
    with torch.no_grad():
        network.calibrate(rows.features, network.codec.encode(rows.delta)[:, 0])
    return network


@torch.no_grad()
def truncation_cost(codec: PCACodec, maker: Maker, rows: TrainingRows, most: int = 16) -> str:
    """A line on what the base's own loss loses where deltas are cut to the code's components."""
    if rows.targets is None or rows.delta is None:
        return "pca code: what the truncation costs is not known, since no targets are kept"
    few = slice(0, most)
    inputs, targets = take_rows(rows.inputs, few), rows.targets[few]
    inputs, targets = maker.part(inputs, targets, maker.overfit.excerpt, seeded(13))
    whole = rows.delta.take(few)
    cut = codec.decode(codec.encode(whole), None)
    means = []
    for delta in (whole.scaled(torch.zeros_like(whole.norms())), whole, cut):
        losses = example_losses(maker.loss, maker.opened.run_anew(inputs, delta)[:, 0], targets)
        means.append(float(losses[losses.isfinite()].mean()))
    return (
        f"pca code: of {len(targets)} training examples the mean loss is {means[0]:.4g} without a "
        f"delta, {means[1]:.4g} with the whole one and {means[2]:.4g} with the truncated one"
    )
