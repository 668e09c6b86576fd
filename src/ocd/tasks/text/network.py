"""SetFit as a torch module: a frozen body and a linear head, and which part of them is kept.

    network = SetFitNetwork(facts, num_classes=2)            # the head moves
    network = SetFitNetwork(facts, num_classes=2, block=True)    # and the body's last block
    logits = network(tokens)                                 # (B, L) -> (B, C)

Whatever lies in front of what moves runs once for each text (ocd.tasks.kept_features).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.errors import OCDError, install
from ocd.tasks.kept_features import KeptFeatures

BLOCKS = ("bert", "mpnet", "roberta", "xlm-roberta")
"""Kinds of transformers whose last block can be taken apart."""
AT_A_TIME = 32
"""Texts in a pass of the body, alike in length."""


class SetFitNetwork(nn.Module):
    """f: tokens (B, L) -> logits (B, C). `facts`: of the body (`describe_body`). `block`: whether the
    body's last block lies behind the kept part, as `encoder.layer.N`."""

    def __init__(self, facts: dict[str, Any], num_classes: int, block: bool = False) -> None:
        super().__init__()
        transformer: Any = make_transformer(facts["config"])
        self.pooling, self.normalize = facts["pooling"], facts["normalize"]
        self.encoder: nn.Module | None = None
        if block:
            number, last = take_last_block(transformer)
            self.encoder = nn.ModuleDict({"layer": nn.ModuleDict({str(number): last})})
        self.front = KeptFeatures(
            _Front(transformer, facts["pad"], None if block else (self.pooling, self.normalize)), 512
        )
        self.head = nn.Linear(transformer.config.hidden_size, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        features = self.front(tokens)
        if self.encoder is not None:
            features = self._last_block(features, tokens > 0)
        logits: Tensor = self.head(features)
        return logits

    def embeddings(self, tokens: Tensor) -> Tensor:
        """What the head sees: (B, D)."""
        features: Tensor = self.front(tokens)
        return features if self.encoder is None else self._last_block(features, tokens > 0)

    def _last_block(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Hidden vectors (B, L, D) in front of the last block -> embeddings (B, D).

        The mask is added to the scores of attention, in which form all kinds of blocks take it; those
        of mpnet are also given a bias of distances, which the front has the weights of.
        """
        assert self.encoder is not None
        (block,) = self.encoder.get_submodule("layer").children()
        apart = torch.finfo(hidden.dtype).min
        closed = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, apart)
        front = self.front.body
        assert isinstance(front, _Front)
        bias = front.position_bias(hidden)
        given = {} if bias is None else {"position_bias": bias}
        answer = block(hidden, closed[:, None, None, :], **given)
        seen = answer[0] if isinstance(answer, tuple) else answer
        return pooled(seen, mask, self.pooling, self.normalize)


class _Front(nn.Module):
    """Tokens (B, L) -> embeddings (B, D), or hidden vectors (B, L, D) where `pooling` is None."""

    def __init__(self, transformer: nn.Module, pad: int, pooling: tuple[str, bool] | None) -> None:
        super().__init__()
        self.transformer = transformer
        self.pad = pad
        self.pooling = pooling

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = (tokens > 0).sum(dim=1)
        if torch.is_grad_enabled() or len(tokens) <= AT_A_TIME:
            return self._answer(tokens, tokens.shape[1])
        order = lengths.argsort(stable=True)
        parts = [self._answer(tokens[part], tokens.shape[1]) for part in order.split(AT_A_TIME)]
        return torch.cat(parts)[order.argsort()]

    def _answer(self, tokens: Tensor, width: int) -> Tensor:
        """Of texts that are cut to the longest of them, since padding costs as much as words do. Hidden
        vectors are filled up to `width` positions again."""
        mask = tokens > 0
        longest = max(1, int(mask.sum(dim=1).max()))
        tokens, mask = tokens[:, :longest], mask[:, :longest]
        ids = torch.where(mask, tokens - 1, self.pad)
        hidden: Tensor = self.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.pooling is None:
            return F.pad(hidden, (0, 0, 0, width - longest))
        return pooled(hidden, mask, *self.pooling)

    def position_bias(self, hidden: Tensor) -> Tensor | None:
        """What blocks of this kind are given of the positions' distances; None for most."""
        compute = getattr(self.transformer.encoder, "compute_position_bias", None)
        return None if compute is None else compute(hidden)


def pooled(hidden: Tensor, mask: Tensor, pooling: str, normalize: bool) -> Tensor:
    """Hidden vectors (B, L, D) of the tokens in `mask` (B, L) -> embeddings (B, D)."""
    if pooling == "cls":
        found = hidden[:, 0]
    else:
        seen = mask[:, :, None].to(hidden.dtype)
        found = (hidden * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1e-9)
    return F.normalize(found, dim=1) if normalize else found


def make_transformer(config: dict[str, Any]) -> nn.Module:
    """A transformer of this form, with random weights. Raises OCDError for a kind that transformers
    does not know."""
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError as error:
        raise OCDError(f"texts need transformers: {install('text')}") from error
    facts = {name: value for name, value in config.items() if name != "model_type"}
    try:
        made = AutoConfig.for_model(config["model_type"], **facts)
    except (KeyError, ValueError) as error:
        raise OCDError(f"body of the unknown kind {config.get('model_type')!r}") from error
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            network: nn.Module = AutoModel.from_config(made, add_pooling_layer=False)
        except TypeError:  # kinds that have none
            network = AutoModel.from_config(made)
    return network.eval().requires_grad_(False)


def take_last_block(transformer: Any) -> tuple[int, nn.Module]:
    """Remove the last block; returns its number and the block. Raises OCDError for a kind whose blocks
    are built otherwise."""
    kind = transformer.config.model_type
    if kind not in BLOCKS:
        raise OCDError(f"part is block, and a body of kind {kind!r} cannot be taken apart there: use "
                       "part=head")  # fmt: skip
    blocks = transformer.encoder.layer
    number, last = len(blocks) - 1, blocks[-1]
    transformer.encoder.layer = blocks[:-1]
    return number, last


def last_layer(part: str) -> str:
    """The layer to move where none is named: the head; of the block Eq. 3 chooses."""
    return "head" if part == "head" else "auto"
