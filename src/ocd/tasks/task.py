"""What a task is: a record of functions and data, and nothing to subclass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ocd.data import Examples, Excerpt, Inputs
from ocd.errors import OCDError
from ocd.evaluation import Metric
from ocd.generator import Describe
from ocd.lessons import Transform
from ocd.tasks.published import Published
from ocd.tasks.reader import Reader

Progress = Callable[[str], None]
"""Takes one line for the person who waits."""


def _nothing(options: Any) -> None:
    """Of a task that has no such part."""
    return None


class EvidenceGroups(NamedTuple):
    """Test examples that intervals draw together, by a number (M,) of each, and what they are together:
    a "group", or a "query" whose documents are ranked."""

    together: Tensor
    unit: str


@dataclass(frozen=True)
class TaskData:
    """The examples of a task. Nothing of `test` is seen before predicting.

    Which examples belong together has to be said of both: what is learnt from `train`, and the
    intervals of what is found on `test`, count each group as one piece of evidence.

    `reader`: reads new inputs as these were read; None where a task cannot. `notes`: how the data were
    read, where a person might expect otherwise. `warnings`: what makes results on them doubtful.
    `groups` (N,): a number for the training examples that belong together (ocd.data.groups);
    `test_groups` (M,): the same of the test examples, where these are ranked within them.
    `test_together` (M,): a number for the test examples that are one piece of evidence otherwise, such
    as windows that overlap or visits of a patient: intervals draw them together. `num_early`: how many
    of the first training examples are of an earlier time than all others, where only these others may
    be kept from the base (`held_out`); None where any may. `stand_in`: a clause that says what of it
    stands in for the paper's, such as the network; then no published gain is judged.
    """

    train: Examples
    test: Examples
    reader: Reader | None = field(default=None, kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    warnings: tuple[str, ...] = field(default=(), kw_only=True)
    groups: Tensor | None = field(default=None, kw_only=True)
    test_groups: Tensor | None = field(default=None, kw_only=True)
    test_together: Tensor | None = field(default=None, kw_only=True)
    num_early: int | None = field(default=None, kw_only=True)
    stand_in: str = field(default="", kw_only=True)

    @property
    def evidence(self) -> EvidenceGroups | None:
        """Which test examples are one piece of evidence; None where each is its own."""
        if self.test_together is not None:
            return EvidenceGroups(self.test_together, "group")
        return None if self.test_groups is None else EvidenceGroups(self.test_groups, "query")


TrainBase = Callable[[nn.Module, TaskData, Any, int, Progress], None]
"""(base, data, options, seed, progress): trains a base in place, or loads it."""


@dataclass(frozen=True)
class Task:
    """One domain: where its data come from, what its base is, how its answers are judged."""

    # The facts, as in tasks/catalog.py, from where each task takes them.
    name: str
    module: str
    summary: str
    data: str
    licence: str
    size: str
    minutes: str

    options: type[Any]
    """Frozen dataclass of the task's own `--set` keys; the help is in each field's metadata."""
    load: Callable[[Any, Path | None], TaskData]
    """(options, data_dir): reads data_dir first, in the hub's layout; else downloads."""
    make_base: Callable[[Any, TaskData], nn.Module]
    """(options, data): the network f, not trained yet."""
    train_base: TrainBase
    """(base, data, options, seed, progress): trains in place, or loads `options.base`."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """(outputs (B, ...), targets (B, ...)) -> (B,), the L of Eq. 1."""
    metrics: dict[str, Metric]
    join_draws: Callable[[Tensor], Tensor]
    """Outputs of K draws (K, B, ...) -> (B, ...), how an ensemble answers."""
    make_encoder: Callable[[Any, TaskData], nn.Module | None]
    """(options, data): encodes x for the condition, module(inputs) -> (B, features)."""
    make_transform: Callable[[Any], Transform | None]
    """(options): the augmentation under which training examples are overfitted."""
    start_encoder: Callable[[nn.Module, nn.Module], None] | None = None
    """(encoder, base): gives an encoder its first weights, where it starts from the base's."""
    make_excerpt: Callable[[Any], Excerpt | None] = _nothing
    """(options): a random part of large examples (ocd.data.excerpts)."""
    make_describe: Callable[[Any], Describe | None] = _nothing
    """(options): how I(x) is summed up, where mean and deviation are not enough."""
    load_kept: Callable[[Any, Path | None, Path | None], TaskData] | None = None
    """(options, data_dir, folder): as `load`, where that takes long: what it computes is kept in a
    folder of the run, and read from there the next time."""
    settings: dict[str, object] = field(default_factory=dict)
    """Differences from the preset `fast`, what was tuned for this task: dotted OCDConfig keys."""
    preset_settings: dict[str, dict[str, object]] = field(default_factory=dict)
    """Differences from another preset, by its name: what the paper or the released code has for this
    task alone, and what the size of its examples asks for."""
    run_settings: dict[str, object] = field(default_factory=dict)
    """Differences from the options of a run."""
    fewest_classes: int = 1
    """How many classes the examples that a base is trained on must have."""
    classifies: bool = False
    """Whether outputs are logits of classes, so that answers have an entropy and can be wrong."""
    more_layers: str = ""
    """How further layers can be made to move, where these options close them; said where one of them
    is named."""
    layer: str = "auto"
    """The layer to move where the paper names one; with every preset."""
    for_seed: Callable[[Any, TaskData, int], TaskData] | None = None
    """(options, data, seed): the data of one seed, where seeds draw their training examples from those
    that are loaded; None: all seeds have the same."""
    make_targets: Callable[[nn.Module, TaskData, Any, int, Progress], Tensor | None] | None = None
    """(base, data, options, seed, progress): the targets that OCD is to learn from, one for each of
    the base's own training examples, where they are not the labels as they are; None: they are."""
    variants: dict[str, dict[str, object]] = field(default_factory=dict)
    """More fits beside the main one where `variants` is asked for, cross-fitted as that one is: role ->
    the OCDConfig keys that differ."""
    other_bases: dict[str, dict[str, object]] = field(default_factory=dict)
    """Baselines that are another base: name -> the task's options that differ."""
    finds_copies: bool = False
    """Whether `load` itself warns of test examples that are training examples; else a run does."""
    is_table: bool = False
    """Whether inputs are features (B, D), for which there are baselines that are no networks."""
    has_distribution: bool = False
    """Whether targets are continuous, so that draws are judged as a distribution of them too."""
    compose: Callable[[Any, Tensor], Tensor] | None = None
    """(inputs, answers (B, ...)) -> the whole of which an answer is a part: images (B, C, H, W) from 0
    to 1, or series (B, T). Where there is one, draws of answers are judged as wholes, and shown."""
    specialise: Callable[[Any], Task] | None = None
    """(options): the task that it is with these options, where what they say decides its loss,
    metrics and settings."""
    has_views: bool = False
    """Whether outputs are images (3, H, W) of pixels from 0 to 1, which the report shows."""
    has_voices: bool = False
    """Whether outputs are waveforms (C, T) of the voices in a mixture, in any order, which the report
    makes heard."""
    film: Callable[[Any, TaskData], Inputs | None] | None = None
    """(options, data): inputs in the order of a film, in no set, for base and OCD side by side."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Baselines that make no sense here -> why."""
    refused: dict[str, str] = field(default_factory=dict)
    """Options of a run that would not mean here what they say -> why."""
    neighbours: Callable[[nn.Module, Inputs], Tensor] | None = None
    """(base, inputs): features (B, F) in which inputs are near each other, where the inputs' own
    numbers say nothing of it."""
    exhibit: Callable[[TaskData, Tensor, Tensor], dict[str, Any]] | None = None
    """(data, outputs of the base, of OCD's ensemble): single test examples for the report, as JSON."""
    published: Published | None = None
    """The paper's own table of this task, which the report sets beside a run's."""


def unless_loaded(train: TrainBase) -> TrainBase:
    """A task's `train_base`, which loads `options.base` where that names a file, and else does this."""

    @functools.wraps(train)
    def train_base(
        base: nn.Module, data: TaskData, options: Any, seed: int, progress: Progress
    ) -> None:
        if options.base is not None:
            load_base(base, options.base)
        else:
            train(base, data, options, seed, progress)

    return train_base


def load_base(base: nn.Module, path: str | Path) -> None:
    """Copies the weights in a file into the base, which must have just these.

    A .pt, .pth or .bin file is a state dict of tensors (read with weights_only); any other file is
    safetensors. Counts of batches that batch norms have seen may be missing: nothing in use depends on
    them. Raises OCDError where the file cannot be read, or naming each missing, unexpected or
    differently shaped tensor.
    """
    path = Path(path)
    if not path.is_file():
        raise OCDError(f"base checkpoint {path}: no such file")
    weights = _state_dict(path) if path.suffix in STATE_DICTS else _safetensors(path)
    expected = base.state_dict()
    if weights and all(name.startswith("module.") for name in weights):  # saved from DataParallel
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    counts = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
    weights = counts | weights
    wrong = _differences(expected, weights)
    if wrong:
        raise OCDError(f"base checkpoint {path} does not fit {type(base).__name__}: {'; '.join(wrong)}")
    base.load_state_dict(weights)


STATE_DICTS = (".pt", ".pth", ".bin")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise OCDError(f"base checkpoint {path}: not a readable safetensors file ({error})") from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    """A file of torch.save, of which nothing but tensors is read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of several kinds: pickle, zip, operating system
        raise OCDError(
            f"base checkpoint {path}: not a state dict of tensors alone, or damaged; save "
            "network.state_dict(), or a safetensors file"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise OCDError(f"base checkpoint {path}: a {type(found).__name__}, not a state dict")
    wrong = [str(n) for n, v in found.items() if not isinstance(v, Tensor) or not isinstance(n, str)]
    if wrong:
        raise OCDError(
            f"base checkpoint {path}: not a state dict (names and tensors), because of "
            f"{', '.join(wrong[:3])}"
        )
    return dict(found)


def _differences(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    wrong = []
    if missing := sorted(expected.keys() - found.keys()):
        wrong.append("missing " + ", ".join(missing))
    if unexpected := sorted(found.keys() - expected.keys()):
        wrong.append("unexpected " + ", ".join(unexpected))
    for name in sorted(expected.keys() & found.keys()):
        shape, needed = tuple(found[name].shape), tuple(expected[name].shape)
        if shape != needed:
            wrong.append(f"{name} is {shape} instead of {needed}")
    return wrong


def first_examples(examples: Examples, count: int | None, option: str) -> Examples:
    """The first `count` examples, all where it is None. Raises OCDError for a count not there."""
    if count is None:
        return examples
    check_count(count, len(examples), option)
    return Examples(*examples.rows(slice(0, count)))


def check_least(options: object, **least: int) -> None:
    """Raises OCDError, naming the option, where one of `options` is smaller than its least value."""
    for name, value in least.items():
        if getattr(options, name) < value:
            raise OCDError(f"{name} is {getattr(options, name)}: it must be at least {value}")


def check_count(count: int | None, available: int, option: str) -> None:
    """Raises OCDError, naming the option, where `count` examples cannot be taken."""
    if count is not None and not 1 <= count <= available:
        raise OCDError(f"{option} is {count}: it must be from 1 to {available}")
