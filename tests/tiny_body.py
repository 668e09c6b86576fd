"""A sentence encoder of two small blocks with random weights, written as sentence-transformers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ocd.data import Examples
from ocd.tasks.text.options import TextData

GOOD = ("fine", "good", "great", "lovely", "superb", "glad")
BAD = ("awful", "bad", "broken", "poor", "sad", "wrong")
PLAIN = ("the", "a", "phone", "film", "was", "is", "it", "very", "and", "this", "one", "not")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *PLAIN, ",", ".")
LIMIT = 12
"""Tokens that it sees of a text."""


def write_body(folder: Path, kind: str = "bert") -> Path:
    """The encoder in a folder, to be named as `body`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer, MPNetConfig, MPNetModel

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    inner = folder / "inner"
    inner.mkdir()
    (inner / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    sizes = {
        "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 32,
    }  # fmt: skip
    made = (
        BertModel(BertConfig(**sizes))
        if kind == "bert"
        else MPNetModel(MPNetConfig(**sizes, pad_token_id=0))
    )
    made.save_pretrained(inner)
    BertTokenizer(str(inner / "vocab.txt")).save_pretrained(inner)
    transformer = Transformer(str(inner), max_seq_length=LIMIT)
    pooling = Pooling(transformer.get_embedding_dimension())
    body = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    body.save(str(folder / "body"))
    return folder / "body"


def body_facts() -> dict[str, Any]:
    """What a task keeps of such an encoder (`describe_body`), without the package that wrote it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    config = {
        "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 32,
    }  # fmt: skip
    return {"name": "tiny", "config": config, "pooling": "mean", "normalize": True, "limit": LIMIT,
            "pad": 0, "tokenizer": words.to_str()}  # fmt: skip


def text_data() -> TextData:
    """Four texts of two classes, as tokens."""
    rows = Examples(torch.randint(1, len(WORDS), (4, 6)), torch.tensor([0, 1, 0, 1]))
    return TextData(rows, rows, body=body_facts(), classes=["bad", "good"])


def sentences(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Texts of good and bad words among plain ones, with their labels in turn."""
    generator = torch.Generator().manual_seed(seed)

    def some(words: tuple[str, ...], number: int) -> list[str]:
        return [words[i] for i in torch.randint(len(words), (number,), generator=generator).tolist()]

    found = []
    for number in range(count):
        label = number % 2
        words = some(PLAIN, 3) + some(GOOD if label else BAD, 2) + some(PLAIN, 2)
        found.append((" ".join(words), label))
    return found


def write_jsonl(path: Path, rows: list[tuple[str, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("negative", "positive")
    lines = [
        json.dumps({"text": text, "label": label, "label_text": names[label]}) for text, label in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_hub(folder: Path, name: str = "CR", num_train: int = 40, num_test: int = 30) -> Path:
    """A set in the hub's layout."""
    write_jsonl(folder / "SetFit" / name / "train.jsonl", sentences(num_train, 1))
    write_jsonl(folder / "SetFit" / name / "test.jsonl", sentences(num_test, 2))
    return folder
