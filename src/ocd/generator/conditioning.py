"""Eq. 4 and Sec. 3.3: I(x) = (i_L, a_L, f(x)), and its embedding E_i(i_L) + E_a(a_L) + E_o(f(x)).

    features = Condition(config).features(frozen, inputs, capture)  # parts of I(x) as vectors
    embedding = conditioning(features, encoded_x)                   # (B, condition_size)

To change how the layer's input enters the condition, change `condition_features` (what is taken of i_L)
or `Conditioning` (how it is encoded), or pass `describe` to OCD. None of this depends on the diffusion
time t, so it is computed once for an input, whatever the number of draws and steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ocd.base import Capture, FrozenBase
from ocd.data import Inputs, call, map_tensors
from ocd.errors import OCDError

PARTS = ("layer_input", "layer_output", "output")
MAX_FEATURES = 1024
"""Larger parts of I(x) are pooled over their positions (mean and standard deviation)."""


@dataclass(frozen=True)
class ConditionConfig:
    """What the generator sees of an example, and how it is encoded."""

    layer_input: bool = True
    """Whether i_L(x) is in the condition."""
    layer_output: bool = True
    """Whether a_L(x) is in the condition."""
    output: bool = True
    """Whether f(x) is in the condition."""
    standardize: bool = True
    """Whether every feature is brought to mean 0 and deviation 1 over the training examples."""
    activation: bool = True
    """Whether each part's encoder is followed by SiLU and one more linear layer (released), or is
    linear alone (paper)."""

    @property
    def has_parts(self) -> bool:
        """Whether any part of I(x) is used; if not, an encoder of x is needed."""
        return self.layer_input or self.layer_output or self.output


Features = dict[str, Tensor]

Describe = Callable[[FrozenBase, Inputs], Features]
"""(frozen base, inputs (B, ...)) -> parts of I(x) as vectors, name -> (B, F), for a base whose
positions or outputs need a better summary than mean and deviation. A part is named `layer_input`,
`layer_output` or `output`, and is left out where the settings leave that part out. One that needs no
pass of its own has a method `of_capture(capture)` too, which is called where a capture was made."""


@dataclass(frozen=True)
class Condition:
    """How I(x) becomes vectors: which of its parts are used, and the user's own summary, if any."""

    config: ConditionConfig = field(default_factory=ConditionConfig)
    describe: Describe | None = None

    def of_all_parts(self) -> Condition:
        """The same with every part of I(x): what a store keeps, so that any condition can be read."""
        return replace(self, config=replace(self.config, **dict.fromkeys(PARTS, True)))

    def only_wanted(self, features: Features) -> Features:
        """Those of the parts that the settings ask for."""
        return {name: values for name, values in features.items() if getattr(self.config, name)}

    @property
    def needs_positions(self) -> bool:
        """Whether i_L and a_L are needed of a capture."""
        return self.describe is None or hasattr(self.describe, "of_capture")

    def features(self, frozen: FrozenBase, inputs: Inputs, capture: Capture | None = None) -> Features:
        """The parts of I(x) as vectors: name -> (B, F). Without a capture one is made if needed."""
        if not self.config.has_parts:
            return {}
        if self.describe is None:
            return condition_features(capture or frozen.capture(inputs), self.config)
        if capture is not None and hasattr(self.describe, "of_capture"):
            described: Features = self.describe.of_capture(capture)
        else:
            described = self.describe(frozen, inputs)
        for name, values in described.items():
            if name not in PARTS or values.dim() != 2:
                raise OCDError(
                    f"describe returned {name!r} of shape {tuple(values.shape)}: it must return "
                    f"vectors (B, F), named {', '.join(PARTS)}"
                )
        return self.only_wanted(described)


def condition_features(capture: Capture, config: ConditionConfig) -> Features:
    """The parts of I(x) as vectors: name -> (B, F)."""
    features: Features = {}
    if config.layer_input:
        features["layer_input"] = _pool(capture.input_positions())
    if config.layer_output:
        features["layer_output"] = _pool(capture.output_positions())
    if config.output:
        flat = capture.outputs.numbers(capture.output)
        if flat.shape[1] > MAX_FEATURES:
            flat = F.adaptive_avg_pool1d(flat[:, None], MAX_FEATURES)[:, 0]
        features["output"] = flat
    # A layer that is moved the plain way may have no input or output with a row for each example.
    return {name: values for name, values in features.items() if values.shape[1]}


def _pool(positions: Tensor) -> Tensor:
    """(B, P, I) -> (B, F): flat where that is small, else mean and deviation over the positions."""
    if positions.shape[1] == 1 or positions.shape[1] * positions.shape[2] <= MAX_FEATURES:
        return positions.flatten(1)
    return mean_and_deviation(positions)


def mean_and_deviation(positions: Tensor) -> Tensor:
    """Vectors at P positions (B, P, I) -> their mean and deviation over the positions, (B, 2·I)."""
    exact = positions.to(torch.promote_types(positions.dtype, torch.float32))
    mean = exact.mean(dim=1, keepdim=True)
    # torch.std takes five times as long on the CPU, as long as the layer itself.
    squares = (exact - mean).square_().sum(dim=1)
    deviation = (squares / max(1, exact.shape[1] - 1)).sqrt()
    return torch.cat([mean[:, 0], deviation], dim=1).to(positions.dtype)


class Standardize(nn.Module):
    """(x − mean) / deviation, with the numbers of the training examples."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, values: Tensor) -> None:
        """Take mean and deviation from training examples (N, F)."""
        self.mean.copy_(values.mean(dim=0))
        deviation = values.std(dim=0, unbiased=False)
        size = values.square().mean().sqrt()
        if deviation.mean() <= 1e-4 * size:  # one example, or copies of one: only rounding varies
            self.deviation.fill_(float(size) or 1.0)
            return
        # A feature that hardly varies (a dead unit) says nothing: its rounding must not be amplified.
        # Nor must that of all together, which goes with their size where this is small.
        self.deviation.copy_(deviation + 1e-2 * deviation.mean() + 1e-6 * size.clamp_max(1.0))

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation


class Conditioning(nn.Module):
    """The embedding of I(x), and of x where the user brought an encoder: -> (B, condition_size)."""

    def __init__(
        self,
        sizes: dict[str, int],
        condition_size: int,
        config: ConditionConfig,
        encoder_size: int = 0,
    ) -> None:
        super().__init__()
        if not sizes and not encoder_size:
            raise OCDError(
                "condition has no part: set layer_input, layer_output or output, or bring an encoder"
            )
        self.config = config
        self.standardize = nn.ModuleDict({name: Standardize(size) for name, size in sizes.items()})
        self.encoders = nn.ModuleDict(
            {name: nn.Linear(size, condition_size) for name, size in sizes.items()}
        )
        self.mix = nn.Linear(condition_size, condition_size) if config.activation else nn.Identity()
        self.encode_x = nn.Linear(encoder_size, condition_size) if encoder_size else None

    def fit(self, features: Features) -> None:
        """Take the features' means and deviations from some training examples."""
        if self.config.standardize:
            for name, values in features.items():
                standardize = self.standardize[name]
                assert isinstance(standardize, Standardize)
                standardize.fit(values)

    def forward(self, features: Features, encoded_x: Tensor | None) -> Tensor:
        total: Tensor | None = None
        for name, encoder in self.encoders.items():
            wanted, found = encoder.in_features, features[name].shape[1]
            if wanted != found:
                raise OCDError(
                    f"{name} of I(x) has {found} numbers, and the generator was fitted on {wanted}: "
                    "inputs have another length or size than those of the fit"
                )
            part = encoder(self.standardize[name](features[name]))
            part = F.silu(part) if self.config.activation else part
            total = part if total is None else total + part
        embedding = None if total is None else self.mix(total)
        if self.encode_x is not None:
            if encoded_x is None:
                raise OCDError("this generator was made with an encoder of x: pass `encoder`")
            of_x = self.encode_x(encoded_x)
            embedding = of_x if embedding is None else embedding + of_x
        assert embedding is not None  # there are parts, or an encoder of x
        return embedding


def encode_x(encoder: nn.Module, inputs: Inputs) -> Tensor:
    """The user's encoder on inputs, whose floating tensors are brought to its own precision."""
    kinds = {p.dtype for p in encoder.parameters() if p.is_floating_point()}
    if len(kinds) == 1:
        (kind,) = kinds
        inputs = map_tensors(lambda x: x.to(kind) if x.is_floating_point() else x, inputs)
    encoded: Tensor = call(encoder, inputs)
    return encoded


def encoder_features(encoder: nn.Module, inputs: Inputs) -> int:
    """How many features a user's encoder gives. Raises OCDError where it is not (B, features)."""
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            encoded = encode_x(encoder, inputs)
    finally:
        encoder.train(training)
    if not isinstance(encoded, Tensor) or encoded.dim() != 2:
        shape = tuple(encoded.shape) if isinstance(encoded, Tensor) else type(encoded).__name__
        raise OCDError(f"the encoder of x returned {shape}: it must return (B, features)")
    return encoded.shape[1]
