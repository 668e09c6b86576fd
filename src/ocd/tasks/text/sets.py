"""The tasks of texts: published few-shot sets in the hub's layout, and a user's own files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ocd.errors import OCDError
from ocd.evaluation import CLASSIFIER_METRICS, MATTHEWS
from ocd.tasks.catalog import CATALOG, TEXT_SETS
from ocd.tasks.hub_files import hub_file
from ocd.tasks.images.classification import cross_entropy_per_example, log_mean_softmax
from ocd.tasks.published import Figure, Published
from ocd.tasks.task import Task, TaskData
from ocd.tasks.text import training
from ocd.tasks.text.changes import changed_texts
from ocd.tasks.text.loading import draw_shots, make_data, read_labelled
from ocd.tasks.text.network import last_layer
from ocd.tasks.text.options import OwnTextOptions, TextOptions

SETTINGS: dict[str, object] = {
    "collection.storage": "on_the_fly",
    "scale.kind": "joint",
    "cross_fitting.num_folds": 4,
    "cross_fitting.stratify": True,
    "denoiser.width": 64,
    "training.num_steps": 300,
    "training.max_epochs": 0,
    "training.batch_size": 32,
    "training.validate_every": 50,
    "training.task_loss_weight": 1.0,
}
"""Differences from `fast`: of few lessons (docs/experiments.md)."""
RUN_SETTINGS: dict[str, object] = {
    "alternative": False,  # of the head there is no second layer
    "variants": True,  # each costs seconds: the bases are there
    "cross_fit": True,  # a base that was fitted on sixteen texts leaves them no errors
}
MORE_LAYERS = "with --set part=block those of the body's last block move too"
LEFT_OUT = {"fine_tuned_base": "SetFit has fine-tuned all layers on these very texts already"}
PUBLISHED: dict[str, dict[str, dict[str, Figure]]] = {
    "sst5": {"base": {"accuracy": (43.6, 3.0)}, "ocd": {"accuracy": (47.8, None)}},
    "amazon-cf": {"base": {"matthews": (40.3, 11.8)}, "ocd": {"matthews": (41.0, None)}},
    "cr": {"base": {"accuracy": (88.5, 1.9)}},
    "emotion": {"base": {"accuracy": (48.8, 4.5)}},
    "enron-spam": {"base": {"accuracy": (90.1, 3.4)}},
}
"""By set, per cent, eight texts a class."""


def load_set(folder: str, options: TextOptions, data_dir: Path | None) -> TaskData:
    """Training and test texts of a set on the hub, `SetFit/<folder>/{train,test}.jsonl`. Raises
    OCDError where other columns are asked for than these files have."""
    for name, asked in (("text", options.text), ("label", options.label)):
        if asked != name:
            raise OCDError(
                f"{name} is {asked!r}: the files of SetFit/{folder} have the columns text and label; "
                "of your own files the task is `text`"
            )
    train, test = (
        read_labelled(
            hub_file(f"SetFit/{folder}", f"{split}.jsonl", data_dir),
            "text",
            "label",
            named=True,
            leave_out=split == "train",
        )
        for split in ("train", "test")
    )
    return make_data(train, test, options)


def load_own(options: OwnTextOptions, data_dir: Path | None) -> TaskData:
    """A user's own training and test files. Raises OCDError where they are not named."""
    if options.train is None or options.test is None:
        missing = "train" if options.train is None else "test"
        raise OCDError(
            f"the task text needs files: --set train=FILE --set test=FILE ({missing} is missing)"
        )
    train, test = (
        read_labelled(Path(place), options.text, options.label, leave_out=is_train)
        for place, is_train in ((options.train, True), (options.test, False))
    )
    return make_data(train, test, options)


# ---- the tasks ---------------------------------------------------------------------------


def _nothing(options: Any, data: Any = None) -> None:
    """Texts have no augmentation, and no encoder: what the head sees is in the condition."""
    return None


def _own_layer(task: Task) -> Task:
    """The task whose layer follows its option `part`."""
    return replace(
        task,
        specialise=lambda options: replace(
            task,
            layer=last_layer(options.part),
            more_layers=MORE_LAYERS if options.part == "head" else "",
        ),
    )


def _task(name: str, load: Callable[..., TaskData], published: Published | None = None) -> Task:
    """The task of one published set, from its entry in the table above."""
    counterfactual = name == "setfit-amazon-cf"
    task = Task(
        **asdict(CATALOG[name]),
        options=TextOptions,
        load=load,
        for_seed=draw_shots,
        make_base=training.make_base,
        train_base=training.train_base,
        loss=cross_entropy_per_example,
        metrics=CLASSIFIER_METRICS | ({"matthews": MATTHEWS} if counterfactual else {}),
        classifies=True,
        fewest_classes=2,  # SetFit makes pairs of different classes
        join_draws=log_mean_softmax,
        make_encoder=_nothing,
        make_transform=_nothing,
        published=published,
        layer="head",
        settings=SETTINGS,
        run_settings=RUN_SETTINGS,
        left_out=LEFT_OUT,
        variants={"moved": {"sampling.confidence": 0.0}},
        neighbours=training.embeddings,
        exhibit=changed_texts,
    )
    return _own_layer(task)


def _published(name: str) -> Published | None:
    """The published figures of a set; None where the paper has it not."""
    if name not in PUBLISHED:
        return None
    return Published(
        source=f"{name}: SetFit's own table and the paper's, eight texts a class, mean ± SD",
        methods=PUBLISHED[name],
        options={"shots": 8, "iterations": 20, "precision": "float32", "test_size": None},
    )


TASKS = {
    f"setfit-{name}": _task(f"setfit-{name}", partial(load_set, folder), _published(name))
    for name, (folder, _) in TEXT_SETS.items()
} | {"text": _own_layer(replace(_task("text", load_own), options=OwnTextOptions))}
