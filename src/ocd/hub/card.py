"""The model card of a saved generator: what it was made for, whether it helps, how to load it.

A generator answers nothing without its base, and may help on one base and not on another. So the card's
first line is the verdict of the run that made it, and where nothing was measured, that it was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ocd._version import __version__

PAPER = "https://arxiv.org/abs/2210.00471"
NOT_MEASURED = (
    "**Not measured**: this card comes from a fit without a test set. Whether the generator helps has "
    "to be measured on examples that neither it nor its base has seen."
)
WHAT = (
    "A generator of weights for one layer of a trained network, after *Learning to Overfit with "
    f"Conditional Diffusion Models* ([paper]({PAPER})). For an input it generates, without a label, "
    "how that layer's weights would move if the network were fine-tuned on it. **It is no network of "
    "its own**: it needs the base, which is not in this repository."
)
LIMITS = (
    "It was made for these weights of the base and no others; loading checks their hash and the base's "
    "answers.",
    "It learnt from the data named above. On inputs of another kind its moves are worth nothing, and "
    "can do harm: measure before you use it.",
    "Draws show how unsure the generator is of a move. They are no intervals of the answer, unless the "
    "results say so.",
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says. `verdict`: the first line, where it was measured. `results`: a table in
    Markdown, and what stands under it. `licence`: an identifier of the hub (mit, apache-2.0, other).
    """

    title: str
    base: str
    """The base in words: its class, and its number of parameters."""
    base_hash: str
    layer: str
    data: str = "not said"
    verdict: str = NOT_MEASURED
    results: Sequence[str] = ()
    notes: Sequence[str] = ()
    """The decisions of the fit."""
    licence: str | None = None
    arguments: str = ""
    """What else `from_pretrained` has to be given, as code."""
    tags: Sequence[str] = field(default_factory=tuple)


def model_card(facts: CardFacts, repo_id: str = "OWNER/NAME") -> str:
    """The card as Markdown, with the metadata that the hub reads in front."""
    loading = f'ocd = OCD.from_pretrained("{repo_id}", base=base{facts.arguments})'
    parts = [
        _metadata(facts),
        facts.verdict,
        f"# {facts.title}",
        WHAT,
        "## What it was made for",
        "\n".join(
            (
                f"- base: {facts.base}; hash of its weights and buffers `{facts.base_hash}`",
                f"- layer: `{facts.layer}`",
                f"- data: {facts.data}",
                f"- made by: `ocd-torch` {__version__}",
            )
        ),
        *(("## Results", *facts.results) if facts.results else ()),
        "## How to load it",
        "```python\nfrom ocd import OCD\n\nbase = ...  # the network with the hash above\n"
        f"{loading}\nprediction = ocd.predict(inputs, draws=5)  # outputs, mean, std, base\n```",
        "## Limits",
        "\n".join(f"- {line}" for line in LIMITS),
        "## Licence",
        facts.licence or "Not stated. The base and the data have licences of their own.",
        *(("## How it was fitted", _bullets(facts.notes)) if facts.notes else ()),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(facts: CardFacts) -> str:
    """YAML of the simplest kind: words in quotes."""
    tags = ["ocd", "hypernetwork", "diffusion", "uncertainty", *facts.tags]
    lines = ["---", "library_name: ocd", *([f"license: {facts.licence}"] if facts.licence else [])]
    return "\n".join([*lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def base_in_words(base: Any) -> str:
    """A module's class and size."""
    count = sum(parameter.numel() for parameter in base.parameters())
    return f"`{type(base).__name__}`, {count:,} parameters"
