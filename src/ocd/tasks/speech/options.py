"""What `--set` can change for speech, and the data of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocd.errors import OCDError
from ocd.tasks.speech.mixing import Speaker
from ocd.tasks.speech.separator import Size
from ocd.tasks.speech.sound import SOUND_RATE
from ocd.tasks.task import TaskData, check_least

OUTPUT_ENCODERS = ("small", "vgg11")
COMPUTE = ("float32", "bfloat16")
SHORTEST, LONGEST = 0.25, 60.0
"""Seconds of a mixture."""
FASTEST = 0.5
"""The most that `base_speed` may be."""


@dataclass(frozen=True)
class SpeechOptions:
    """What `--set` can change in all speech tasks."""

    base: str | None = field(
        default=None, metadata={"help": "a .safetensors with the base's weights, not to train one"}
    )
    speakers: int = field(default=5, metadata={"help": "voices of a mixture, 2 or more"})
    seconds: float = field(default=4.0, metadata={"help": "length of a mixture; longer ones are cut"})
    num_train: int = field(
        default=800, metadata={"help": "mixtures that OCD and its baselines learn from"}
    )
    num_test: int = field(default=100, metadata={"help": "mixtures to test on"})
    features: int = field(default=64, metadata={"help": "N of the base; 128 in the paper"})
    frame: int = field(
        default=16, metadata={"help": "L: samples that the encoder sees at once; 8 in the paper"}
    )
    units: int = field(default=64, metadata={"help": "H: units of an LSTM; 128 in the paper"})
    blocks: int = field(default=2, metadata={"help": "R: double blocks; 6 in the paper"})
    chunk: int = field(default=90, metadata={"help": "K: frames of a chunk; 126 in the paper"})
    base_steps: int = field(default=3000, metadata={"help": "steps in which the base is trained"})
    base_batch: int = field(default=4, metadata={"help": "mixtures of one of these steps, mixed anew"})
    base_seconds: float = field(default=2.0, metadata={"help": "their length"})
    base_lr: float = field(default=1e-3, metadata={"help": "largest learning rate of the base"})
    bfloat16: bool = field(
        default=True,
        metadata={"help": "train the base in bfloat16 where it is on a GPU; its loss never is"},
    )
    compute: str = field(
        default="float32",
        metadata={
            "help": "in what the base is trained on a CPU: float32, or bfloat16 (nearly twice as fast "
            "where the processor has it, and another base)"
        },
    )
    base_speed: float = field(
        default=0.0,
        metadata={
            "help": "voices of the base's training are played up to this share faster or slower, so "
            "that it hears more than were recorded"
        },
    )
    output_encoder: str = field(
        default="small",
        metadata={
            "help": "how the condition sees f(x): small (mean and deviation of 32 bands of each voice) "
            "or vgg11 (the paper's, frozen, with ImageNet weights, on spectrograms of 1,024 bins)"
        },
    )
    vgg: str | None = field(
        default=None,
        metadata={"help": "a file with VGG-11's weights, torchvision's names; else from the hub"},
    )

    def __post_init__(self) -> None:
        check_least(self, speakers=2, num_train=2, num_test=2, features=2, frame=2, units=1)
        check_least(self, blocks=1, chunk=2, base_steps=1, base_batch=1)
        for name in ("seconds", "base_seconds"):
            if not SHORTEST <= getattr(self, name) <= LONGEST:
                span = f"from {SHORTEST:g} to {LONGEST:g}"
                raise OCDError(f"{name} is {getattr(self, name):g}: it must be {span}")
        if self.compute not in COMPUTE:
            raise OCDError(f"compute is {self.compute!r}: use {' or '.join(COMPUTE)}")
        if not 0 <= self.base_speed <= FASTEST:
            raise OCDError(f"base_speed is {self.base_speed:g}: it must be from 0 to {FASTEST:g}")
        if self.base_lr <= 0:
            raise OCDError(f"base_lr is {self.base_lr:g}: it must be above 0")
        for name in ("frame", "chunk"):
            if getattr(self, name) % 2:
                raise OCDError(f"{name} is {getattr(self, name)}: it must be even")
        if self.features % self.frame:
            raise OCDError(f"features is {self.features}: it must be a multiple of frame, {self.frame}")
        if self.output_encoder not in OUTPUT_ENCODERS:
            raise OCDError(f"output_encoder is {self.output_encoder!r}: use small or vgg11")

    @property
    def length(self) -> int:
        """Samples of a mixture."""
        return round(self.seconds * SOUND_RATE)

    @property
    def size(self) -> Size:
        """Of the base."""
        return Size(self.speakers, self.features, self.frame, self.units, self.blocks, self.chunk)


@dataclass(frozen=True)
class VoicesOptions(SpeechOptions):
    """Those of mixtures that are made here."""

    voices: str | None = field(
        default=None,
        metadata={
            "help": "a folder of clips, in --data-dir or anywhere: with a metadata.csv (speaker_ID, "
            "subset, length, origin_path), or with a folder for each speaker; speechocean762 if not set"
        },
    )
    own_voices: int = field(
        default=0,
        metadata={
            "help": "training voices that the base never hears, of which OCD's mixtures are made; 0: "
            "both have all of them"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.own_voices and self.own_voices < self.speakers:
            raise OCDError(
                f"own_voices is {self.own_voices}: mixtures of {self.speakers} need as many, or 0"
            )


@dataclass(frozen=True)
class LibriOptions(SpeechOptions):
    """Those of mixtures that are there in LibriMix's layout."""

    train_split: str = field(
        default="train-100", metadata={"help": "folder of the mixtures to train on"}
    )
    test_split: str = field(default="test", metadata={"help": "folder of those to test on"})


@dataclass(frozen=True)
class SpeechData(TaskData):
    """Mixtures (N, T) with their voices (N, C, T), and the speakers whose clips the base learns from in
    mixtures that are made anew for each step."""

    speakers: Sequence[Speaker] = field(default=(), metadata={"stored": False})
