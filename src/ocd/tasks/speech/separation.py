"""Speech separation (Sec. 4.3): five voices of one mixture, LibriMix's or made here of any voices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ocd.data import Examples, Inputs
from ocd.errors import OCDError
from ocd.evaluation import SEPARATION_METRICS
from ocd.generator import Describe
from ocd.tasks.catalog import CATALOG
from ocd.tasks.published import Published
from ocd.tasks.speech.describing import DescribeSpeech, bands
from ocd.tasks.speech.librimix import find_root, read_split, speakers_of
from ocd.tasks.speech.mixing import Speaker, random_voices
from ocd.tasks.speech.objective import mean_of_aligned, negative_si_sdr
from ocd.tasks.speech.options import LibriOptions, SpeechData, SpeechOptions, VoicesOptions
from ocd.tasks.speech.reader import SoundReader
from ocd.tasks.speech.separator import Separator
from ocd.tasks.speech.training import train_base
from ocd.tasks.speech.voices import read_voices
from ocd.tasks.task import Task, TaskData

DEFAULT_VOICES = "speechocean762"
TRAIN_SEED, TEST_SEED = 1, 2
"""Of the mixtures that are made once: the same in all runs, whatever their seeds."""


def load_voices(options: VoicesOptions, data_dir: Path | None) -> SpeechData:
    """Fixed mixtures of the training voices, and of others for the test."""
    folder = _voices_folder(options, data_dir)
    voices = read_voices(folder, options.speakers)
    heard, ours = _parted(voices.train, options, folder)
    train = _mixtures(ours, options, options.num_train, TRAIN_SEED)
    test = _mixtures(voices.test, options, options.num_test, TEST_SEED)
    notes = [
        f"mixtures of {options.speakers} of {len(voices.train)} voices to train on and of "
        f"{len(voices.test)} others to test on, {options.seconds:g} s each, loudness by LibriMix's rule"
    ]
    if options.own_voices:
        notes.append(
            f"the base hears {len(heard)} of the voices to train on, OCD's mixtures are of the "
            f"{len(ours)} others"
        )
    reader = SoundReader(options.speakers, options.length)
    return SpeechData(train, test, reader=reader, notes=tuple(notes), speakers=heard)


def _parted(
    speakers: list[Speaker], options: VoicesOptions, folder: Path
) -> tuple[list[Speaker], list[Speaker]]:
    """The training voices that the base hears, and those of OCD's mixtures."""
    if not options.own_voices:
        return speakers, speakers
    heard, ours = speakers[: -options.own_voices], speakers[-options.own_voices :]
    if len(heard) < options.speakers:
        raise OCDError(
            f"{folder}: own_voices is {options.own_voices} of {len(speakers)}: the base needs "
            f"{options.speakers} of them"
        )
    return heard, ours


def _voices_folder(options: VoicesOptions, data_dir: Path | None) -> Path:
    named = options.voices
    if data_dir is not None and (data_dir / (named or DEFAULT_VOICES)).is_dir():
        return data_dir / (named or DEFAULT_VOICES)
    if named is not None:
        return Path(named)
    if data_dir is None:
        raise OCDError(
            "voices are not downloaded: give --data-dir, a folder that holds "
            f"{DEFAULT_VOICES}/metadata.csv, or --set voices=DIR"
        )
    return data_dir / DEFAULT_VOICES


def _mixtures(speakers: list[Speaker], options: SpeechOptions, num: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    voices = random_voices(speakers, num, options.speakers, options.length, generator)
    return Examples(voices.sum(dim=1), voices)


def load_librimix(options: LibriOptions, data_dir: Path | None) -> SpeechData:
    """Mixtures as they lie there, the first `seconds` of each."""
    if data_dir is None:
        raise OCDError(
            "LibriMix is not downloaded (its script makes it from LibriSpeech): give --data-dir, a "
            f"folder that holds Libri{options.speakers}Mix/wav8k/min"
        )
    root = find_root(data_dir, options.speakers, options.train_split)
    count, length = options.speakers, options.length
    train = read_split(root, options.train_split, count, length, options.num_train)
    test = read_split(root, options.test_split, count, length, options.num_test)
    notes = [
        f"{len(part.names)} mixtures of {split}, the first {options.seconds:g} s of each"
        + (f"; {part.num_short} shorter ones left out" if part.num_short else "")
        for split, part in ((options.train_split, train), (options.test_split, test))
    ]
    heard = speakers_of(train)
    if both := {one.name for one in heard} & {one.name for one in speakers_of(test)}:
        raise OCDError(f"{root}: speaker {sorted(both)[0]} is in {options.train_split} and in test")
    reader = SoundReader(count, length)
    examples = train.examples, test.examples
    return SpeechData(*examples, reader=reader, notes=tuple(notes), speakers=heard)


def make_base(options: SpeechOptions, data: TaskData) -> Separator:
    """A separator of the options' size, not trained."""
    return Separator(options.size)


def make_describe(options: SpeechOptions) -> Describe:
    """I(x) from one capture."""
    return DescribeSpeech(options)


def no_encoder(options: SpeechOptions, data: TaskData) -> None:
    """None: the voices that the base hears are the mixture, taken apart."""
    return None


def no_transform(options: SpeechOptions) -> None:
    """None: a mixture that is changed has other voices."""
    return None


def neighbours(base: nn.Module, inputs: Inputs) -> Tensor:
    """Spectra in which mixtures are near each other, (B, 64): their samples say nothing of it."""
    assert isinstance(inputs, Tensor)
    return bands(inputs)


def specialise(name: str, options: SpeechOptions) -> Task:
    """The task for these options: the layer is that of the last block, and the published figures are of
    five voices."""
    size = options.size
    published = TASKS[name].published if size.voices == PUBLISHED_VOICES else None
    with torch.device("meta"):
        layer = Separator(size).layer
    return replace(TASKS[name], layer=layer, published=published)


PUBLISHED_VOICES = 5
WHY_REFUSED = (
    "the base learns from mixtures that are made anew of all training voices, so that no mixture can "
    "be kept from it; `own_voices` keeps voices from it"
)
LEFT_OUT = {
    "label_head": "its answer would be every sample of every voice at once",
    "fine_tuned_base": "the base is trained on mixtures that are made anew of the same voices",
    "overfit_test_all_layers": "LSTMs cannot be overfitted on several mixtures at once (torch.func)",
    "laplace": "it is of the last layer of classifiers and regressions",
    "temperature": "there are no logits",
}

# Eq. 3 is a pass an example and draw, of the whole base for the layers in front.
_LARGE: dict[str, object] = {
    "selection.num_examples": 2,
    "selection.num_draws": 8,
    "overfit.chunk_size": 8,
    "collection.storage": "store",
    "collection.shard_rows": 32,
}
_FAST: dict[str, object] = _LARGE | {
    "goal": "answer",  # voices have no order: no score is known for draws of them
    "overfit.optimizer": "adam",
    "codec.components": 40,
    "training.batch_size": 64,
    "training.num_steps": 800,
    "training.max_epochs": 0,
}

PUBLISHED = Published(
    source="Separation of five voices, Libri5Mix: the paper's table of speech, mean ± SD of three runs",
    methods={
        "base": {"si_sdri": (13.2, 0.2)},
        "ocd": {"si_sdri": (13.4, 0.1)},
        "no_scale": {"si_sdri": (12.8, 0.3)},
        "overfit_test": {"si_sdri": (13.5, None)},
    },
    remarks=(
        "The published base is that of Lutati and others (2022); another one beside it in the same "
        "table, of Dovrat and others (2021), has 12.7 ± 0.1 dB.",
    ),
    options={"features": 128, "frame": 8, "units": 128, "blocks": 6},
)


def _task(name: str, options: type[Any], load: Callable[..., TaskData], stand_in: str) -> Task:
    make_describe_: Callable[[Any], Describe | None] = make_describe
    return Task(
        **asdict(CATALOG[name]),
        options=options,
        load=load,
        make_base=make_base,
        train_base=train_base,
        loss=negative_si_sdr,
        metrics=SEPARATION_METRICS,
        join_draws=mean_of_aligned,
        make_encoder=no_encoder,
        make_transform=no_transform,
        make_describe=make_describe_,
        neighbours=neighbours,
        specialise=partial(specialise, name),
        settings=_FAST,
        preset_settings={"paper": _LARGE, "released": _LARGE},
        # Another layer, or four more bases, cost as much as all else.
        run_settings={"num_bases": 2, "alternative": False, "augment": False},
        left_out=LEFT_OUT,
        refused=dict.fromkeys(("held_out", "cross_fit", "variants"), WHY_REFUSED),
        has_voices=True,
        published=replace(PUBLISHED, stand_in=stand_in),
    )


TASKS = {
    task.name: task
    for task in (
        _task("voices-mix", VoicesOptions, load_voices, "other voices stand in for LibriSpeech's"),
        _task("libri5mix", LibriOptions, load_librimix, ""),
    )
}
