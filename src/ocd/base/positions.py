"""A layer's input as the vectors that its weight matrix multiplies, one for each position.

A linear layer has a position for each vector that it is applied to (one, or one a token). A convolution
has a position for each output pixel, and its vector is the input patch (im2col). With every layer in
this form, a delta moves all of them alike: at each position the output moves by delta · vector.

    positions = to_positions(module, layer_input, batch, name)   # (B, P, G, I)
    moved = shift_output(module, layer_output, delta.shift(positions))

B examples, P positions, G groups of a convolution, I inputs of a group, O outputs. The layer's leading
dimension is B, or a multiple of B where the base folds positions into it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ocd.errors import OCDError


def to_positions(module: nn.Module, layer_input: Tensor, batch: int, name: str) -> Tensor:
    """i_L at each position: (B·n, ...) -> (B, P, G, I).

    `name`: of the layer, for errors. Raises OCDError where the leading dimension is no multiple of B.
    """
    if layer_input.dim() == 0 or layer_input.shape[0] % batch:
        raise OCDError(
            f"layer {name!r} sees shape {tuple(layer_input.shape)} for {batch} examples: "
            "its leading dimension must be B or B·P"
        )
    if isinstance(module, nn.Linear):
        return layer_input.reshape(batch, -1, 1, module.in_features)
    if not isinstance(module, nn.Conv1d | nn.Conv2d):
        raise OCDError(f"layer {name!r} is a {type(module).__name__}, whose positions are not known")
    patches = _unfold(module, layer_input)  # (B·n, C·k, L)
    vectors = patches.transpose(1, 2)  # (B·n, L, C·k): channels outermost, as in the weight
    return vectors.reshape(batch, -1, module.groups, vectors.shape[-1] // module.groups)


def shift_output(module: nn.Module, layer_output: Tensor, shift: Tensor) -> Tensor:
    """a_L moved by K draws: a_L (B·n, ...) and shift (B, K, P, O) -> (B·K·n, ...).

    Images that lie channels last in memory stay so, for the modules behind the layer.
    """
    batch, draws = shift.shape[:2]
    per_example = layer_output.reshape(batch, 1, -1, *layer_output.shape[1:])  # (B, 1, n, ...)
    folded = per_example.shape[2]
    if isinstance(module, nn.Linear):
        moved = shift.reshape(batch, draws, folded, *layer_output.shape[1:])
    else:
        spatial = layer_output.shape[2:]
        moved = shift.reshape(batch, draws, folded, -1, shift.shape[-1]).transpose(3, 4)
        moved = moved.reshape(batch, draws, folded, shift.shape[-1], *spatial)
    widened = (per_example + moved).to(layer_output.dtype).flatten(0, 2)
    last = torch.channels_last
    if layer_output.dim() == 4 and layer_output.is_contiguous(memory_format=last):
        return widened.contiguous(memory_format=last)
    return widened


def shift_by_weights(weight: Tensor, positions: Tensor) -> Tensor:
    """What weights (B, K, *weight.shape) make of positions (B, P, G, I): (B, K, P, O). The leading
    dimension of the weights may be 1: the same for all examples."""
    shared, draws = weight.shape[:2]
    batch, _, groups, fan_in = positions.shape
    matrix = weight.reshape(shared, draws, groups, -1, fan_in)
    if groups == 1:
        return shift_by_matrices(matrix[:, :, 0], positions[:, :, 0].to(matrix.dtype))
    product = torch.einsum(
        "bpgi,bkgoi->bkpgo", positions.to(matrix.dtype), matrix.expand(batch, -1, -1, -1, -1)
    )
    return product.flatten(3)


def shift_by_matrices(matrices: Tensor, vectors: Tensor) -> Tensor:
    """matrices (B, K, O, I), or (1, K, O, I) for all examples, on vectors (B, P, I) -> (B, K, P, O).

    One matrix product for each example, whatever K is. Where the vectors lie with their positions
    innermost, as the patches of a convolution do, so does the result, and nothing is transposed.
    """
    shared, draws, fan_out, fan_in = matrices.shape
    batch, num_positions, _ = vectors.shape
    flat = matrices.reshape(shared, -1, fan_in)  # (B, K·O, I)
    if shared == batch and num_positions > 1 and vectors.stride(1) == 1 and vectors.stride(2) != 1:
        product = flat @ vectors.transpose(1, 2)  # (B, K·O, P)
        return product.view(batch, draws, fan_out, num_positions).transpose(2, 3)
    flat = flat.transpose(1, 2)
    product = vectors @ (flat[0] if shared == 1 else flat)
    return product.view(batch, num_positions, draws, -1).transpose(1, 2)


def output_positions(module: nn.Module, layer_output: Tensor, batch: int) -> Tensor:
    """a_L at each position: (B·n, ...) -> (B, P, O), in the order of `to_positions`."""
    if isinstance(module, nn.Linear):
        return layer_output.reshape(batch, -1, layer_output.shape[-1])
    vectors = layer_output.flatten(2).transpose(1, 2)  # (B·n, L, O)
    return vectors.reshape(batch, -1, vectors.shape[-1])


def _unfold(module: nn.Conv1d | nn.Conv2d, x: Tensor) -> Tensor:
    """The patches of a convolution, (N, C·k, L), for every padding mode, stride and dilation."""
    padding: str | tuple[int, ...] = module.padding
    if module.padding_mode != "zeros" or isinstance(padding, str):
        # Conv modules keep this list for F.pad; it also resolves padding="same".
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
        padding = (0,) * len(module.kernel_size)
    if isinstance(module, nn.Conv1d):
        return F.unfold(
            x.unsqueeze(2),
            (1, *module.kernel_size),
            dilation=(1, *module.dilation),
            padding=(0, *padding),
            stride=(1, *module.stride),
        )
    return F.unfold(
        x, module.kernel_size, dilation=module.dilation, padding=padding, stride=module.stride
    )
