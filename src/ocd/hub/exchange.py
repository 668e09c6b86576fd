"""Saved generators on the Hugging Face hub, as `huggingface_hub`'s own mixins push and fetch models.

    ocd.push_to_hub("me/my-model-ocd", private=True)
    OCD.from_pretrained("me/my-model-ocd", base=base, revision="v1")

A repository holds what a folder holds (ocd.hub.checkpoint), and a model card as its README.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from ocd.data import write_text
from ocd.errors import OCDError
from ocd.hub.card import CardFacts, model_card

FILES = ["config.json", "*.safetensors"]
"""What is fetched of a repository: nothing that can hold code."""
LONGEST_REASON = 300
"""Characters of the client's own words in an error."""


class PushOptions(TypedDict, total=False):
    """How a model is pushed; the names are those of huggingface_hub's mixins."""

    commit_message: str
    private: bool
    """Whether a new repository is private; else as the owner's account has it."""
    token: str
    """The owner's token; else the one that `hf auth login` keeps."""
    branch: str
    """The branch, which is made where there is none; else main."""
    create_pr: bool
    """Whether to open a pull request in place of a commit."""


class FetchOptions(TypedDict, total=False):
    """How a model is fetched; the names are those of huggingface_hub's mixins."""

    revision: str
    """A branch, a tag or a commit; else main."""
    token: str | bool
    """A token, or False to send none; else the one that `hf auth login` keeps."""
    cache_dir: str | Path
    force_download: bool
    local_files_only: bool
    """Whether to take what the cache has, and ask no server."""


def push_generator(
    repo_id: str, save: Callable[[Path], None], facts: CardFacts, options: PushOptions
) -> str:
    """Push what `save(folder)` writes, with a model card of these facts; the repository is made where
    there is none. Returns the address of the commit or pull request. Raises OCDError in one line where
    the hub refuses.
    """
    from huggingface_hub import HfApi

    _check_name(repo_id)
    _check_options(options, PushOptions)
    branch, private = options.get("branch"), options.get("private")
    try:
        api = HfApi(token=options.get("token"), library_name="ocd")
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if branch is not None:
            api.create_branch(name, branch=branch, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            write_text(Path(folder) / "README.md", model_card(facts, repo_id))
            return str(
                api.upload_folder(
                    repo_id=name,
                    folder_path=folder,
                    commit_message=options.get("commit_message", "Push an OCD"),
                    revision=branch,
                    create_pr=options.get("create_pr"),
                )
            )
    except OCDError:
        raise
    except Exception as error:  # of the hub's client: HTTP, offline mode, a name that is not valid
        raise OCDError(f"{repo_id!r} could not be pushed: {_one_line(error)}") from None


def fetched_folder(folder: str | Path, options: FetchOptions) -> Path:
    """The folder itself, or the repository of that name fetched into the hub's cache."""
    _check_options(options, FetchOptions)
    path = Path(folder)
    if path.exists() or not isinstance(folder, str) or folder.count("/") != 1:
        return path
    from huggingface_hub import snapshot_download

    given: dict[str, Any] = dict(options)
    try:
        return Path(snapshot_download(folder, allow_patterns=FILES, **given))
    except Exception as error:
        raise OCDError(
            f"{folder!r} is neither a folder here nor a repository that answers: {_one_line(error)}"
        ) from None


def _check_name(repo_id: str) -> None:
    if not isinstance(repo_id, str) or not 0 < repo_id.count("/") + 1 <= 2 or not repo_id.strip("/"):
        raise OCDError(f"{repo_id!r} names no repository: it must be owner/name, or name for your own")


def _check_options(options: Any, kind: Any) -> None:
    """An option that is not known is refused: a wrong word must not push to a public repository."""
    if unknown := sorted(set(options) - set(kind.__annotations__)):
        known = ", ".join(kind.__annotations__)
        raise OCDError(f"{unknown[0]!r} is no option of the hub: there are {known}")


def _one_line(error: Exception) -> str:
    """The client's errors have several lines, of which the last say what the matter is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:LONGEST_REASON] if lines else type(error).__name__
