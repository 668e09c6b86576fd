"""What a fit decides before it trains: learning rate, form, code and storage; and its first network."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ocd.base import FrozenBase, Loss, example_losses
from ocd.config import OCDConfig
from ocd.data import Excerpt, dataset_size, fetch_rows, seeded, take_excerpt, take_rows, to_device
from ocd.errors import OCDError
from ocd.generator import Condition, HyperNetwork, PCACodec, Shapes, choose_code, encoder_features
from ocd.lessons.collection import measure_cost
from ocd.lessons.overfitter import Overfitter, Transform, make_overfitter
from ocd.lessons.overfitting import choose_lr, num_tried, rank_one_is_exact, resolve_form
from ocd.lessons.plan import Plan
from ocd.lessons.sources import LessonBatch, LessonSource


def fill_plan(
    base: nn.Module,
    loss: Loss,
    dataset: Dataset[Any],
    config: OCDConfig,
    transform: Transform | None,
    plan: Plan,
    excerpt: Excerpt | None,
    condition: Condition,
) -> None:
    """Fill in everything that is still open, with a note why, and write it down."""
    assert plan.layer is not None
    frozen = FrozenBase(base, plan.layer, channels_last=config.channels_last)
    index = torch.arange(num_tried(frozen.weight_shape, dataset_size(dataset)))
    inputs, targets = fetch_rows(dataset, index)
    inputs, targets = to_device(inputs, frozen.device), targets.to(frozen.device)
    inputs, targets = take_excerpt(excerpt, inputs, targets, config.overfit.excerpt, seeded(0))
    probe = frozen.probe(inputs)
    plan.widen = bool(frozen.widen)
    how = "widened at the layer" if frozen.widen else "by repeating the inputs"
    plan.note(f"draws: {how}")
    plan.form = resolve_form(probe, config.overfit)
    if config.overfit.lr is None:
        few = slice(0, num_tried(frozen.weight_shape, len(targets), probe.positions.shape[1]))
        capture = frozen.capture(take_rows(inputs, few))
        plan.lr, text = choose_lr(frozen, capture, loss, targets[few], config.overfit)
        plan.note(text)
    else:
        plan.lr = config.overfit.lr
        plan.note(f"overfit lr {config.overfit.lr:g}: as configured")
    reason = rank_one_is_exact(probe, config.overfit.optimizer)
    if reason is None and plan.form == "dense":
        reason = "overfit.form is 'dense'"
    plan.code, text = choose_code(config.codec.kind, reason)
    plan.note(text)
    plan.storage = config.collection.storage
    if config.collection.num_copies > 1 and (transform is None or plan.storage == "on_the_fly"):
        raise OCDError(
            "collection.num_copies stores augmented copies: it needs a transform, and "
            "collection.storage 'store' or 'auto'"
        )
    if plan.storage == "auto":
        overfitter = make_overfitter(base, loss, dataset, config, transform, plan, excerpt, condition)
        plan.storage, text = choose_storage(overfitter, config)
        plan.note(text)
    plan.save()


def choose_storage(overfitter: Overfitter, config: OCDConfig) -> tuple[str, str]:
    """on_the_fly or store, by the measured cost of overfitting, and a line that says so."""
    cost = measure_cost(overfitter)
    limit = config.collection.on_the_fly_cost
    cheap = cost <= limit and config.collection.num_copies == 1
    return "on_the_fly" if cheap else "store", (
        f"deltas {'made on the fly' if cheap else 'kept in a store'}: overfitting costs "
        f"{cost:.1f} forward passes, and the limit is {limit:g}"
    )


def build_network(
    source: LessonSource,
    overfitter: Overfitter,
    config: OCDConfig,
    encoder: nn.Module | None,
    plan: Plan,
) -> HyperNetwork:
    """An untrained generator; its shapes and statistics come from some overfitted examples.

    The user's encoder is copied, so that a second fit starts from the same weights.
    """
    count = min(config.collection.num_calibration, len(source.examples))
    shuffled = torch.randperm(len(source.examples), generator=seeded(config.seed, 8))
    rows = source.rows(shuffled[:count], seeded(config.seed, 9))
    assert rows.delta is not None
    codec: PCACodec | None = None
    if plan.code == "pca":
        codec, text = PCACodec.fit(rows.delta.dense()[:, 0], config.codec, config.seed)
        plan.note(text)
        plan.save()
    encoder = None if encoder is None else copy.deepcopy(encoder).to(overfitter.frozen.device)
    few = take_rows(rows.inputs, slice(0, 2))
    shapes = Shapes.of(
        plan.code,
        overfitter.frozen.weight_shape,
        0 if codec is None else codec.code_shape[0],
        {name: values.shape[1] for name, values in rows.features.items()},
        0 if encoder is None else encoder_features(encoder, few),
    )
    network = HyperNetwork(
        shapes, config.condition, config.denoiser, config.diffusion, config.scale, encoder,
        correction=config.training.task_loss_weight > 0,
    )  # fmt: skip
    network = network.to(overfitter.frozen.device)
    if codec is not None:
        network.codec.load_state_dict(codec.state_dict())
        plan.note(truncation_cost(codec.to(overfitter.frozen.device), overfitter, rows))
        plan.save()
    with torch.no_grad():
        network.calibrate(rows.features, network.codec.encode(rows.delta)[:, 0])
    return network


@torch.no_grad()
def truncation_cost(codec: PCACodec, overfitter: Overfitter, rows: LessonBatch, most: int = 16) -> str:
    """A line on what the base's own loss loses where deltas are cut to the code's components."""
    if rows.targets is None or rows.delta is None:
        return "pca code: what the truncation costs is not known, since no targets are kept"
    few = slice(0, most)
    inputs, targets = take_rows(rows.inputs, few), rows.targets[few]
    inputs, targets = overfitter.part(inputs, targets, overfitter.overfit.excerpt, seeded(13))
    whole = rows.delta.take(few)
    cut = codec.decode(codec.encode(whole), None)
    means = []
    for delta in (whole.scaled(torch.zeros_like(whole.norms())), whole, cut):
        losses = example_losses(
            overfitter.loss, overfitter.frozen.run_full(inputs, delta)[:, 0], targets
        )
        means.append(float(losses[losses.isfinite()].mean()))
    return (
        f"pca code: of {len(targets)} training examples the mean loss is {means[0]:.4g} without a "
        f"delta, {means[1]:.4g} with the whole one and {means[2]:.4g} with the truncated one"
    )
