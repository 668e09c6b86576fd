"""Texts as tokens (B, L), and how long they are.

A row holds each token's number plus one, and 0 behind the last: padding has no bytes of its own, so
that an example is the same however wide its batch is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ocd.errors import OCDError, install


@dataclass(frozen=True)
class Tokens:
    """Of some texts. `rows` (B, L). `cut`: places of texts that were longer than the body's limit."""

    rows: Tensor
    cut: list[int]


class Tokenizer:
    """A body's tokenizer (`describe_body`). `limit`: tokens that the body sees of a text."""

    def __init__(self, facts: dict[str, Any]) -> None:
        try:
            from tokenizers import Tokenizer as Backend
        except ImportError as error:
            raise OCDError(f"texts need tokenizers: {install('text')}") from error
        self.backend = Backend.from_str(facts["tokenizer"])
        self.backend.no_padding()
        self.limit: int = facts["limit"]
        self.backend.enable_truncation(self.limit)

    def __call__(self, texts: Sequence[str], width: int = 0) -> Tokens:
        """Tokens of the texts, `width` wide or as wide as the longest is."""
        encoded = self.backend.encode_batch(list(texts))
        lengths = [len(one.ids) for one in encoded]
        rows = torch.zeros(len(encoded), max([width, *lengths]), dtype=torch.long)
        for place, one in enumerate(encoded):
            rows[place, : len(one.ids)] = torch.tensor(one.ids) + 1
        return Tokens(rows, [place for place, one in enumerate(encoded) if one.overflowing])


def row_key(row: Tensor) -> bytes:
    """The bytes of a row of tokens, without its padding."""
    return bytes(row[row > 0].numpy().tobytes())
