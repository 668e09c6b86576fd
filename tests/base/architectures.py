"""Small networks of the kinds that people bring, each with a parameter that moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
Make = Callable[[], nn.Module]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().flatten(1).mean(1)


def per_token(outputs: Any, targets: Tensor) -> Tensor:
    """The mean over the tokens that are not left out (-100)."""
    logits = outputs if isinstance(outputs, Tensor) else outputs.logits
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=-100)
    return losses.sum(1) / targets.ne(-100).sum(1)


def of_logits(outputs: Any, targets: Tensor) -> Tensor:
    return cross_entropy(outputs.logits, targets)


def classes(batch: int) -> Tensor:
    return torch.arange(batch) % 3


@dataclass(frozen=True)
class Architecture:
    """`make` builds the network, `inputs(B)` and `targets(B)` what it takes and is judged by."""

    name: str
    make: Make
    layer: str
    inputs: Callable[[int], Any]
    targets: Callable[[int], Any] = classes
    loss: Callable[[Any, Any], Tensor] = cross_entropy
    output: Any = None
    lr: float = 0.1
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}: {self.layer}"


# Hugging Face transformers, from small random configurations


def hugging_face(kind: str, **config: Any) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    model_class = getattr(transformers, kind)
    made = model_class.config_class(**config)
    made._attn_implementation = "eager"
    made.initializer_range = 0.3  # with the usual 0.02 so small a network answers hardly anything
    return model_class(made)


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS = {"vocab_size": 30, "max_position_embeddings": 16, "pad_token_id": 0}


def bert() -> nn.Module:
    return hugging_face("BertForSequenceClassification", **SMALL, **TOKENS, num_labels=3)


def roberta() -> nn.Module:
    return hugging_face("RobertaForTokenClassification", **SMALL, **TOKENS, num_labels=3)


def vit() -> nn.Module:
    sizes = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 3}
    return hugging_face("ViTForImageClassification", **SMALL, **sizes)


def gpt2() -> nn.Module:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 30, "n_positions": 16}
    return hugging_face("GPT2LMHeadModel", **sizes, bos_token_id=1, eos_token_id=2, use_cache=False)


def llama() -> nn.Module:
    return hugging_face("LlamaForCausalLM", **SMALL, **TOKENS, num_key_value_heads=1, use_cache=False)


def t5() -> nn.Module:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 30}
    return hugging_face(
        "T5ForConditionalGeneration", **sizes, decoder_start_token_id=0, use_cache=False
    )


def lora() -> nn.Module:
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    return peft.get_peft_model(bert(), settings)


def tokens(batch: int) -> dict[str, Tensor]:
    """Token numbers, of which some examples have fewer than others."""
    ids = torch.randint(3, 30, (batch, 6))
    lengths = 3 + torch.arange(batch) % 4
    mask = torch.arange(6) < lengths[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def encoder_and_decoder(batch: int) -> dict[str, Tensor]:
    return tokens(batch) | {"decoder_input_ids": torch.randint(3, 30, (batch, 4))}


def labels(length: int, largest: int) -> Callable[[int], Tensor]:
    def of(batch: int) -> Tensor:
        made = torch.randint(0, largest, (batch, length))
        made[:, -1] = -100
        return made

    return of


# Recurrent, attention, norms


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.head = kind(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Padded(nn.Module):
    """PyTorch's own encoder, with a mask of padded positions."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        hidden = self.encoder(x, src_key_padding_mask=padding)
        kept = (~padding)[..., None].to(x)
        return self.head((hidden * kept).sum(1) / kept.sum(1))


def padded(batch: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 5, 8), torch.arange(5) >= (2 + torch.arange(batch) % 4)[:, None]


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(x)).mean(1))


# Convolutions


def pooled(layer: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(2), Mean(), nn.Linear(channels, 3))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = torch.relu(self.down(x))
        low = torch.relu(self.middle(F.max_pool2d(skipped, 2)))
        return self.last(torch.cat([self.up(low), skipped], 1))


def pixels(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none").mean((1, 2))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.channels = nn.Linear(6, 6), nn.Linear(8, 8)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(F.gelu(x))).mean(1))


class Graph(nn.Module):
    """Messages along the edges of each example's own graph, gathered and scattered."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        start, end = edges.unbind(1)  # (B, E)
        sent = self.message(nodes.gather(1, start[..., None].expand(-1, -1, 4)))
        received = torch.zeros(len(nodes), nodes.shape[1], 6).to(sent)
        received = received.scatter_add(1, end[..., None].expand_as(sent), sent)
        return self.head(torch.tanh(received).mean(1))


# Weights that are used in another way than a layer's forward says


class TiedAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(5, 3), nn.Linear(3, 5)
        self.decode.weight = nn.Parameter(self.encode.weight.detach().T)
        self.decode.weight = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.T, self.decode.bias)


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head((torch.tanh(self.body(left)) - torch.tanh(self.body(right))).abs())


class Masked(nn.Linear):
    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__(fan_in, fan_out)
        self.register_buffer("mask", (torch.arange(fan_out * fan_in) % 2).view(fan_out, fan_in).float())

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.mask, self.bias)


class Cosine(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 5 * F.linear(F.normalize(input, dim=-1), F.normalize(self.weight, dim=1))


class Standardised(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        centred = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = centred / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return self._conv_forward(input, weight, self.bias)


class Recomputed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        def block(y: Tensor) -> Tensor:
            return torch.tanh(self.b(torch.tanh(self.a(y))))

        return self.head(checkpoint(block, x, use_reentrant=False))


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = torch.jit.script(nn.Sequential(nn.Linear(5, 6), nn.Tanh()))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def mlp(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(6, 3))


def vectors(*sizes: int) -> Callable[[int], Any]:
    def of(batch: int) -> Any:
        made = tuple(torch.randn(batch, size) for size in sizes)
        return made[0] if len(made) == 1 else made

    return of


def image(*shape: int) -> Callable[[int], Tensor]:
    return lambda batch: torch.randn(batch, *shape)


ARCHITECTURES = [
    Architecture(
        "BERT", bert, "bert.encoder.layer.1.output.dense", tokens, loss=of_logits, output="logits"
    ),
    Architecture(
        "BERT", bert, "bert.embeddings.word_embeddings", tokens, loss=of_logits, output="logits"
    ),
    Architecture("BERT", bert, "bert.pooler.dense", tokens, loss=of_logits, output="logits"),
    Architecture("RoBERTa", roberta, "classifier", tokens, labels(6, 3), per_token, "logits"),
    Architecture(
        "ViT", vit, "vit.layers.0.attention.q_proj", image(1, 8, 8), loss=of_logits, output="logits"
    ),
    Architecture(
        "GPT-2", gpt2, "transformer.h.0.attn.c_attn", tokens, labels(6, 30), per_token, "logits"
    ),
    Architecture("GPT-2, tied", gpt2, "lm_head", tokens, labels(6, 30), per_token, "logits"),
    Architecture(
        "Llama", llama, "model.layers.0.self_attn.q_proj", tokens, labels(6, 30), per_token, "logits"
    ),
    Architecture("Llama", llama, "model.norm", tokens, labels(6, 30), per_token, "logits"),
    Architecture(
        "T5",
        t5,
        "decoder.block.0.layer.1.EncDecAttention.k",
        encoder_and_decoder,
        labels(4, 30),
        per_token,
        "logits",
    ),
    Architecture("LoRA", lora, f"{QUERY}.lora_A.default", tokens, loss=of_logits, output="logits"),
    Architecture("LoRA", lora, f"{QUERY}.base_layer", tokens, loss=of_logits, output="logits"),
    Architecture("LSTM", lambda: Recurrent(nn.LSTM), "rnn.weight_ih_l0", image(7, 4)),
    Architecture("LSTM", lambda: Recurrent(nn.LSTM), "head", image(7, 4)),
    Architecture("GRU", lambda: Recurrent(nn.GRU), "rnn.weight_hh_l0", image(7, 4)),
    Architecture("attention", Attention, "attention.in_proj_weight", image(5, 8)),
    Architecture("attention", Attention, "attention.out_proj", image(5, 8)),
    Architecture("encoder with padding", Padded, "encoder.layers.0.linear1", padded),
    Architecture("encoder with padding", Padded, "encoder.layers.1.norm2", padded),
    Architecture("bag of words", Bag, "embed", lambda batch: torch.randint(0, 20, (batch, 4))),
    Architecture("Conv1d", lambda: pooled(nn.Conv1d(2, 4, 3, padding=1), 4), "0", image(2, 9)),
    Architecture("Conv2d", lambda: pooled(nn.Conv2d(2, 4, 3, stride=2), 4), "0", image(2, 9, 8)),
    Architecture("Conv3d", lambda: pooled(nn.Conv3d(1, 4, 3), 4), "0", image(1, 5, 5, 5)),
    Architecture("transposed", lambda: pooled(nn.ConvTranspose2d(2, 4, 3), 4), "0", image(2, 5, 5)),
    Architecture("depthwise", lambda: pooled(nn.Conv2d(4, 4, 3, groups=4), 4), "0", image(4, 6, 6)),
    Architecture(
        "U-Net", UNet, "middle", image(1, 8, 8), lambda b: torch.randint(0, 3, (b, 8, 8)), pixels
    ),
    Architecture("U-Net", UNet, "up", image(1, 8, 8), lambda b: torch.randint(0, 3, (b, 8, 8)), pixels),
    Architecture("MLP-Mixer", Mixer, "tokens", image(6, 8)),
    Architecture(
        "graph", Graph, "message", lambda b: (torch.randn(b, 5, 4), torch.randint(0, 5, (b, 2, 7)))
    ),
    Architecture(
        "autoencoder, tied", TiedAutoencoder, "encode", vectors(5), lambda b: torch.randn(b, 5), squares
    ),
    Architecture("siamese", Siamese, "body", vectors(4, 4)),
    Architecture("masked", lambda: mlp(Masked(5, 6)), "0", vectors(5)),
    Architecture("cosine", lambda: mlp(Cosine(5, 6)), "0", vectors(5)),
    Architecture(
        "standardised", lambda: pooled(Standardised(2, 4, 3), 4), "0", image(2, 6, 6), lr=0.02
    ),
    Architecture(
        "weight norm", lambda: mlp(parametrizations.weight_norm(nn.Linear(5, 6))), "0", vectors(5)
    ),
    Architecture(
        "spectral norm", lambda: mlp(parametrizations.spectral_norm(nn.Linear(5, 6))), "0", vectors(5)
    ),
    Architecture(
        "batch norm",
        lambda: nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)),
        "1",
        vectors(5),
    ),
    Architecture("a bias", lambda: mlp(nn.Linear(5, 6)), "0.bias", vectors(5)),
    Architecture("recomputed", Recomputed, "b", vectors(5)),
    Architecture("scripted", Scripted, "head", vectors(5)),
]
