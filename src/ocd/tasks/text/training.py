"""SetFit's own training, then its body and head in the torch module that OCD takes.

The body is trained by `setfit.Trainer` (contrastive pairs, Tunstall et al. 2022), the head is the
logistic regression that it fits on the trained body's embeddings. That one becomes a frozen `nn.Linear`
with the same answers. Nothing is saved by setfit, so that no pickle is written or read.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ocd.data import Inputs
from ocd.errors import OCDError
from ocd.tasks.task import Progress, TaskData, unless_loaded
from ocd.tasks.text.bodies import NEEDS, load_body, quiet, transformer_of, values_digest
from ocd.tasks.text.network import SetFitNetwork
from ocd.tasks.text.options import TextData, TextOptions
from ocd.tasks.text.tokens import row_key

ABSENT = 20.0
"""How far the logit of a class without a training text lies below all others, in nats."""


def make_base(options: TextOptions, data: TaskData) -> nn.Module:
    """The network of the body's form, with random weights."""
    assert isinstance(data, TextData)
    return SetFitNetwork(data.body, len(data.classes), block=options.part == "block")


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: TextOptions, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else SetFit on the training texts; its body and head are
    copied into the base."""
    assert isinstance(data, TextData) and isinstance(base, SetFitNetwork)
    tokens, labels = data.train.inputs, data.train.targets
    assert isinstance(tokens, Tensor)
    texts = [data.texts[row_key(row)] for row in tokens.cpu()]
    progress(f"SetFit on {len(texts)} texts, {2 * options.iterations * len(texts)} pairs")
    model = train_setfit(texts, labels.tolist(), options, seed, data.body.get("digest"))
    copy_body(transformer_of(model.model_body), base)
    weight, bias = linear_head(model.model_head, len(data.classes))
    with torch.no_grad():
        base.head.weight.copy_(weight)
        base.head.bias.copy_(bias)
    base.eval()


def embeddings(base: nn.Module, inputs: Inputs) -> Tensor:
    """What the head sees of tokens: (B, D). In these, texts are near each other or not."""
    assert isinstance(base, SetFitNetwork) and isinstance(inputs, Tensor)
    with torch.no_grad():
        return base.embeddings(inputs.to(base.head.weight.device))


def train_setfit(
    texts: Sequence[str],
    labels: Sequence[int],
    options: TextOptions,
    seed: int,
    digest: str | None = None,
) -> Any:
    """A trained `setfit.SetFitModel`. The global random states are left as they were. Raises OCDError
    for texts of one class, and for a body whose digest is another one than `digest`."""
    try:
        from datasets import Dataset
        from setfit import SetFitModel, Trainer, TrainingArguments
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise OCDError(NEEDS) from error
    if len(set(labels)) < 2:
        raise OCDError(
            f"SetFit needs training texts of two classes at least: these {len(labels)} are all of one"
        )
    with ExitStack() as stack:
        stack.enter_context(quiet())
        stack.enter_context(random_states(seed))
        stack.enter_context(torch.enable_grad())
        body, name = load_body(options.body)
        if digest is not None and (found := values_digest(body)) != digest:
            raise OCDError(
                f"the body {name} has other weights ({found}) than when the run began ({digest})"
            )
        model = SetFitModel(model_body=body, model_head=LogisticRegression())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        arguments = TrainingArguments(
            output_dir=folder, num_iterations=options.iterations, num_epochs=1, batch_size=16,
            seed=seed, save_strategy="no", eval_strategy="no", report_to="none",
            show_progress_bar=False, logging_strategy="no",
        )  # fmt: skip
        rows = {"text": list(texts), "label": [int(label) for label in labels]}
        trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict(rows))
        _say_nothing(trainer)
        # The two steps of the trainer's own `train`. Only the body's is in half precision: what the
        # regression sees should be what the body answers later.
        half = options.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            trainer.train_embeddings(rows["text"], rows["label"], args=arguments)
        trainer.train_classifier(rows["text"], rows["label"], args=arguments)
    model.model_body.eval()
    return model


def _say_nothing(trainer: Any) -> None:
    """No bar and no lines of the trainer inside: a run says itself how far it is."""
    from transformers import PrinterCallback, ProgressCallback

    inner = trainer.st_trainer
    inner.args.disable_tqdm = True
    inner.args.dataloader_pin_memory = False  # on a CPU torch warns of it
    for kind in (PrinterCallback, ProgressCallback):
        inner.remove_callback(kind)


@contextmanager
def random_states(seed: int) -> Iterator[None]:
    """The global generators are set in the block, which setfit draws from, and put back after it."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def copy_body(transformer: nn.Module, base: SetFitNetwork) -> None:
    """The weights of a trained transformer into the base's kept part and its last block."""
    state = {
        name: value
        for name, value in transformer.state_dict().items()
        if not name.startswith("pooler.")
    }
    wanted = {f"front.body.transformer.{name}": value for name, value in state.items()}
    if base.encoder is not None:
        kept = base.front.state_dict()
        wanted = {
            place if place.removeprefix("front.") in kept else name: wanted[place]
            for name, place in ((name, f"front.body.transformer.{name}") for name in state)
        }
    own = base.state_dict()
    missing = sorted(own.keys() - wanted.keys() - {"head.weight", "head.bias"})
    if missing or wanted.keys() - own.keys():
        different = [*missing, *sorted(wanted.keys() - own.keys())][:3]
        raise OCDError(f"the body has other weights than its form says: {', '.join(different)}")
    with torch.no_grad():
        for name, value in wanted.items():
            own[name].copy_(value)


def linear_head(regression: Any, num_classes: int) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) of logits whose softmax is the regression's probabilities.

    Of two classes it has one score z, which becomes -z/2 and z/2. A class of which it has seen no
    example gets a logit far below the others.
    """
    seen = torch.tensor([int(label) for label in regression.classes_])
    weight = torch.from_numpy(np.asarray(regression.coef_)).float()
    bias = torch.from_numpy(np.asarray(regression.intercept_)).float()
    if len(weight) == 1:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    all_weights = weight.mean(dim=0).expand(num_classes, -1).clone()
    all_biases = torch.full((num_classes,), float(bias.mean()) - ABSENT)
    all_weights[seen], all_biases[seen] = weight, bias
    return all_weights, all_biases
