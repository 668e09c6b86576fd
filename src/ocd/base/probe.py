"""Prove on a few real examples that a layer can be moved, and find the fastest way that is right.

    capture = probe(frozen, inputs)   # sets frozen.way

The plain way (ocd.base.plain) is the definition. The shift offers itself for exact linear layers and
convolutions, and is taken where its outputs and gradients equal the plain way's, with deltas that are
not blind for a weight of zeros. The same examples show a base that answers at random, and one that
mixes the rows of a batch: no delta of its own could be right for an example then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ocd.base.capture import Capture
from ocd.base.deltas import DenseDelta
from ocd.base.dependence import Dependence
from ocd.base.exact import exact_products
from ocd.base.examples import unlike_examples
from ocd.base.frozen_base import FrozenBase
from ocd.base.layers import list_layers
from ocd.base.outputs import Outputs
from ocd.base.passes import run_without_delta
from ocd.base.plain import plain_outputs, replaced_answer
from ocd.base.proof import Proof, agree, alike
from ocd.base.view import private_view
from ocd.base.way import SHIFTED, Way
from ocd.data import Inputs, call, is_out_of_memory, map_tensors, num_rows, take_rows, tensors
from ocd.errors import OCDError


@exact_products()
def probe(frozen: FrozenBase, inputs: Inputs) -> Capture:
    """Choose `frozen.way` on three examples, and return their capture.

    `inputs`: (B, ...) of any B. Raises OCDError where the base answers at random, mixes its examples,
    cannot be differentiated with respect to the layer, or fails with images channels last.
    """
    few = take_rows(inputs, unlike_examples(inputs))
    if frozen.channels_last:
        _check_channels_last(frozen, few)
    with torch.inference_mode(False):
        _check_answers(frozen, few)
        delta = _delta(frozen)
        frozen.way = _fastest(frozen, few, delta)
        _check_moved_rows(frozen, few, delta)
        capture = frozen.capture(few)
        if frozen.way.kind == "shift":
            with torch.no_grad():
                widen = _widening_is_valid(frozen, capture, delta)
            frozen.way = replace(frozen.way, widen=widen)
    return capture


def is_quantised(frozen: FrozenBase) -> bool:
    """Quantised activations are scaled by the whole batch: what that mixes of its rows is rounding."""
    return any("quantized" in type(module).__module__ for module in frozen.view.modules())


def _check_answers(frozen: FrozenBase, few: Inputs) -> None:
    """The base gives the same answer twice, and the same alone as in a batch."""
    together = frozen.answer(few)
    if not isinstance(together, Tensor):
        frozen._check_output(together, num_rows(few))
    again = frozen.answer(few)
    _note_fast_path(frozen, few, together)
    if not agree(together, again):
        raise OCDError(
            "the base is random: it answers the same input differently when it is asked twice in eval "
            "mode (dropout by a function takes training=self.training); OCD needs a deterministic base"
        )
    frozen._check_output(together, num_rows(few))
    try:
        rows = [frozen.answer(take_rows(few, slice(i, i + 1))) for i in range(num_rows(few))]
    except OCDError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OCDError(
            f"the base fails on a batch of one input ({reason}): OCD needs a base that answers "
            "each input alone"
        ) from error
    alone = torch.cat(rows)
    if alone.shape != together.shape or not agree(
        alone, together, loose=True, rough=is_quantised(frozen)
    ):
        raise OCDError(
            "the base mixes the rows of a batch: an input's answer depends on the rest of its batch "
            "(attention without batch_first, batch statistics in eval mode); OCD needs rows that do "
            "not meet"
        )


def _note_fast_path(frozen: FrozenBase, few: Inputs, answer: Tensor) -> None:
    """Without gradients PyTorch's transformer layers take a fused path that answers zeros at padded
    positions; a base that shows them answers otherwise there than with gradients, and here."""
    with torch.no_grad():
        fast = private_view(frozen.base, fast_path=True)
        fused = frozen.outputs.pack(call(fast, map_tensors(Tensor.clone, few)), num_rows(few))
    if not agree(fused, answer, loose=True):
        frozen.notes.append(
            "under torch.no_grad the base takes PyTorch's fast path for transformers, which answers "
            "otherwise at padded positions; OCD's answers are those of base.eval()(x) with gradients"
        )


def _delta(frozen: FrozenBase) -> DenseDelta:
    """Two deltas for each of three examples, a tenth of the weight's size, and not zero where that
    is."""
    weight = frozen.weight.float()
    fan_in = max(1, weight.numel() // max(1, len(weight) if weight.dim() else 1))
    size = max(0.1 * float(weight.square().mean().sqrt()), 0.01 / fan_in**0.5)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 2, *frozen.weight_shape, generator=generator)
    return DenseDelta(noise.to(frozen.weight) * size)


def _fastest(frozen: FrozenBase, few: Inputs, delta: DenseDelta) -> Way:
    """The first way whose outputs and gradients equal the plain way's."""
    one = DenseDelta(delta.weight[:, :1])
    frozen.way = Way("plain")
    fresh = _recomputes(frozen, few, one)
    plain = frozen.way = Way("plain", fresh_views=fresh)
    proof = Proof(frozen, few, delta)
    shiftable = type(frozen.module) in SHIFTED and frozen.layer.parameter == "weight"
    ways = (
        [replace(plain, kind="shift"), replace(plain, kind="shift", copies=True)] if shiftable else []
    )
    for frozen.way in [*ways, replace(plain, kind="vectorized")]:
        try:
            captured = frozen.capture(few)
            if proof.holds(partial(frozen.run_full, few)) and proof.holds(
                partial(frozen.run, captured)
            ):
                return frozen.way
        except Exception as error:  # a fast way that fails in whatever way is not taken
            if is_out_of_memory(error):
                raise
    if proof.gradient is None:
        raise OCDError(
            f"the base cannot be differentiated with respect to {frozen.layer.full_name!r} "
            f"({proof.reason}): choose another layer"
        )
    return plain


def _check_moved_rows(frozen: FrozenBase, few: Inputs, delta: DenseDelta) -> None:
    """The base mixes no rows with another weight either: a weight of zeros could hide that it does."""
    weight = frozen.weight + delta.weight[0, 0].reshape(frozen.weight.shape)
    name = frozen.layer.full_name
    with torch.no_grad():
        together = frozen.outputs.pack(replaced_answer(frozen.view, name, weight, few), rows=3)
        alone = plain_outputs(frozen.view, name, weight.expand(3, *weight.shape), few, frozen.outputs)
    if not agree(together, alone, loose=True, rough=is_quantised(frozen)):
        raise OCDError(
            f"the base mixes the rows of a batch once {frozen.name!r} is moved: an input's answer "
            "depends on the rest of its batch; OCD needs rows that do not meet"
        )


def _recomputes(frozen: FrozenBase, few: Inputs, delta: DenseDelta) -> bool:
    """Whether the base runs modules again in the backward pass, as activation checkpointing does."""
    calls: list[nn.Module] = []
    handles = [
        module.register_forward_pre_hook(lambda module, args: calls.append(module))
        for module in frozen.view.modules()
        if not isinstance(module, torch.jit.ScriptModule)
    ]
    weight, forward = delta.weight[:1].clone().requires_grad_(), 0
    try:
        with torch.enable_grad():
            output = frozen.run_plain(take_rows(few, slice(0, 1)), DenseDelta(weight))
            forward = len(calls)
            if output.requires_grad:
                torch.autograd.grad(output.sum(), weight, allow_unused=True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return len(calls) > forward  # the second run did not find what the first one had
    finally:
        for handle in handles:
            handle.remove()
    return len(calls) > forward


def _widening_is_valid(frozen: FrozenBase, capture: Capture, delta: DenseDelta) -> bool:
    """Whether B·K rows behind the layer go with B rows of all else. Code that looks at numbers (whether
    a mask masks anything) may let them meet for other examples only: it gets B·K rows of all."""
    dependence = Dependence()
    calls = [] if capture.recording is None else capture.recording.calls
    dependence.mark([tensors(capture.inputs), capture.layer_output, [c.output for c in calls]], 0)
    try:
        # First, while what modules may remember of a whole pass has the old batch size.
        with frozen.own_view(), dependence.traced():
            widened = frozen.run_widened(capture, delta)
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        return False  # a tensor of the old batch size met one of the new batch size
    if dependence.is_read:
        return False
    with frozen.own_view():
        repeated = frozen.run_repeated(capture, delta)
    return widened.shape == repeated.shape and agree(widened, repeated)


def _check_channels_last(frozen: FrozenBase, few: Inputs) -> None:
    plain = run_without_delta(frozen.base, few)
    remedy = "set channels_last to false, or let the base use reshape in place of view"
    try:
        output = run_without_delta(frozen.base, few, channels_last=True)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise OCDError(
            f"channels_last is true, and the base fails on images in that memory layout ({reason}): "
            f"{remedy}"
        ) from error
    if isinstance(plain, Tensor) and not alike(output, plain):
        raise OCDError(
            f"channels_last is true, and the base gives other outputs for images in that memory "
            f"layout: {remedy}"
        )


def usable_layers(
    base: nn.Module,
    inputs: Inputs,
    outputs: Outputs | None = None,
    named: Sequence[str] | None = None,
) -> tuple[list[FrozenBase], dict[str, str]]:
    """The base at each layer that a delta can sit on, probed; for each of the others the reason why
    not. `named`: these layers alone, each of which has to be one; raises OCDError where it is not."""
    if named is not None:
        chosen = [FrozenBase(base, name, outputs=outputs) for name in named]
        for frozen in chosen:
            probe(frozen, inputs)
        return chosen, {}
    usable: list[FrozenBase] = []
    skipped: dict[str, str] = {}
    for name in list_layers(base):
        try:
            frozen = FrozenBase(base, name, outputs=outputs)
            probe(frozen, inputs)
        except OCDError as error:
            skipped[name] = str(error)
            continue
        if frozen.way is not None and frozen.way.kind != "shift":
            skipped[name] = f"layer {name!r} moves by the {frozen.way.kind} way only: name it to use it"
        else:
            usable.append(frozen)
    return usable, skipped
