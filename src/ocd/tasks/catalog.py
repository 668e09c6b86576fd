"""What `ocd tasks` prints. Nothing here imports torch, so that the command answers at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a person wants to know of a task before starting it."""

    name: str
    summary: str
    data: str
    """What the data are and where they come from."""
    licence: str
    """Licence of the data."""
    size: str
    """What is downloaded."""
    minutes: str
    """Time of one seed on two CPU cores."""


_FACTS = (
    Facts(
        name="digits",
        summary="8x8 handwritten digits with a small LeNet: the quick demo",
        data="scikit-learn's load_digits (UCI optical digits): 1,197 to train, 600 to test",
        licence="CC BY 4.0",
        size="nothing to download",
        minutes="about 2, with all controls",
    ),
    Facts(
        name="mnist",
        summary="MNIST with the paper's LeNet5 (Sec. 4.1)",
        data="ylecun/mnist on the Hugging Face hub: 60,000 to train, 10,000 to test",
        licence="MIT",
        size="16 MB",
        minutes="about 30, with all controls",
    ),
    *(
        Facts(
            name=f"nerf-{scene}",
            summary=f"novel views of {scene} with TinyNeRF (Sec. 4.2)",
            data=f"the NeRF authors' synthetic {scene}: 80 views to train, 20 to test",
            licence=licence,
            size="not downloaded: give --data-dir",
            minutes="about 20, with all controls",
        )
        for scene, licence in {"lego": "CC BY-NC", "hotdog": "CC0", "drums": "CC BY"}.items()
    ),
)

CATALOG: dict[str, Facts] = {facts.name: facts for facts in _FACTS}
