"""Small models of many architectures, with a parameter that moves and examples: `ARCHITECTURES`.

Those of transformers, peft and diffusers are made from configurations, with random weights. Where such
a package is missing, building the model skips the test.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, rnn
from torch.utils.checkpoint import checkpoint

NUM_CLASSES = 4
LENGTH = 6
VOCABULARY = 19


# Losses, one value an example


def classification(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="none")


def logits_classification(answer: Any, targets: Tensor) -> Tensor:
    return classification(answer.logits, targets)


def per_token(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over the tokens that have a target."""
    losses = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    return losses.sum(dim=1) / (targets != -100).sum(dim=1)


def logits_per_token(answer: Any, targets: Tensor) -> Tensor:
    return per_token(answer.logits, targets)


def next_token(answer: Any, targets: Tensor) -> Tensor:
    return per_token(answer.logits[:, :-1], targets[:, 1:])


def segmentation(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, C, ...) against (B, ...)."""
    return F.cross_entropy(logits, targets, reduction="none").flatten(1).mean(dim=1)


def squared(output: Tensor, targets: Tensor) -> Tensor:
    return (output - targets).square().flatten(1).mean(dim=1)


# Examples


def numbers(*shape: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randn(count, *shape)


def whole_numbers(end: int, *shape: int) -> Callable[[int], Tensor]:
    return lambda count: torch.randint(0, end, (count, *shape))


def several(*parts: Callable[[int], Any]) -> Callable[[int], tuple[Any, ...]]:
    return lambda count: tuple(part(count) for part in parts)


def padding(count: int) -> Tensor:
    """1 where a token is, 0 where an example of 3, 4, ... tokens is padded."""
    lengths = 3 + torch.arange(count) % (LENGTH - 2)
    return (torch.arange(LENGTH) < lengths[:, None]).long()


def sentences(count: int) -> dict[str, Tensor]:
    mask = padding(count)
    tokens = 3 + torch.rand(count, VOCABULARY - 3).argsort(dim=1)[:, :LENGTH]  # no token twice
    return {"input_ids": tokens * mask, "attention_mask": mask}


def tokens_alone(count: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, VOCABULARY, (count, LENGTH))}


def translations(count: int) -> dict[str, Tensor]:
    return sentences(count) | {"decoder_input_ids": torch.randint(3, VOCABULARY, (count, 4))}


def token_labels(count: int) -> Tensor:
    """A class for each token that is not padded."""
    labels = torch.randint(0, NUM_CLASSES, (count, LENGTH))
    return labels.masked_fill(padding(count) == 0, -100)


classes = whole_numbers(NUM_CLASSES)


# The table


@dataclass(frozen=True)
class Architecture:
    """`layer` of the model that `build` makes moves. `inputs(B)`, `targets(B)`: examples. `output`: as
    `ocd.overfit` takes it, and `read(answer)` the tensor that it names. `fits`: whether a whole fit is
    tried."""

    name: str
    build: Callable[[], nn.Module]
    layer: str
    inputs: Callable[[int], Any]
    targets: Callable[[int], Any] = classes
    loss: Callable[[Any, Any], Tensor] = classification
    output: Any = None
    read: Callable[[Any], Tensor] = lambda answer: answer
    lr: float = 0.1
    fits: bool = False


def with_logits(name: str, build: Callable[[], nn.Module], layer: str, **others: Any) -> Architecture:
    """A model of transformers, which answers with a ModelOutput."""
    defaults: dict[str, Any] = {
        "inputs": sentences,
        "loss": logits_classification,
        "output": "logits",
        "read": lambda answer: answer.logits,
    }
    return Architecture(name, build, layer, **(defaults | others))


# Models of transformers, peft and diffusers


def transformers() -> Any:
    return pytest.importorskip("transformers")


def encoder_sizes() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_labels": NUM_CLASSES,
        "initializer_range": 0.3,
    }


def bert() -> nn.Module:
    config = transformers().BertConfig(**encoder_sizes(), max_position_embeddings=16)
    return transformers().BertForSequenceClassification(config)


def roberta() -> nn.Module:
    config = transformers().RobertaConfig(
        **encoder_sizes(), max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    return transformers().RobertaForTokenClassification(config)


def distilbert() -> nn.Module:
    config = transformers().DistilBertConfig(
        vocab_size=VOCABULARY, dim=16, n_layers=2, n_heads=2, hidden_dim=24,
        num_labels=NUM_CLASSES, max_position_embeddings=16, initializer_range=0.3,
    )  # fmt: skip
    return transformers().DistilBertForTokenClassification(config)


def vit() -> nn.Module:
    sizes = encoder_sizes()
    del sizes["vocab_size"]
    config = transformers().ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=3)
    return transformers().ViTForImageClassification(config)


def gpt2() -> nn.Module:
    config = transformers().GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=16,
        bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    return transformers().GPT2LMHeadModel(config)


def llama() -> nn.Module:
    sizes = encoder_sizes() | {"num_key_value_heads": 1, "max_position_embeddings": 16}
    del sizes["num_labels"]
    return transformers().LlamaForCausalLM(transformers().LlamaConfig(**sizes))


def t5() -> nn.Module:
    config = transformers().T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2,
        decoder_start_token_id=0, initializer_factor=1.0,
    )  # fmt: skip
    return transformers().T5ForConditionalGeneration(config)


def mamba() -> nn.Module:
    config = transformers().MambaConfig(
        vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=1,
        initializer_range=0.3,
    )  # fmt: skip
    return transformers().MambaForCausalLM(config)


def mixtral() -> nn.Module:
    sizes = encoder_sizes() | {"num_key_value_heads": 1, "max_position_embeddings": 16}
    del sizes["num_labels"]
    config = transformers().MixtralConfig(**sizes, num_local_experts=3, num_experts_per_tok=2)
    return transformers().MixtralForCausalLM(config)


def whisper() -> nn.Module:
    config = transformers().WhisperConfig(
        vocab_size=VOCABULARY, d_model=16, encoder_layers=1, decoder_layers=1, num_mel_bins=8,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
        max_source_positions=10, max_target_positions=10, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, init_std=0.3,
    )  # fmt: skip
    return transformers().WhisperForConditionalGeneration(config)


def convnext() -> nn.Module:
    config = transformers().ConvNextConfig(
        num_channels=1, hidden_sizes=[4, 8], depths=[1, 1], num_stages=2, patch_size=2,
        num_labels=NUM_CLASSES, image_size=8, layer_scale_init_value=1.0, initializer_range=0.3,
    )  # fmt: skip
    return transformers().ConvNextForImageClassification(config)


def swin() -> nn.Module:
    config = transformers().SwinConfig(
        image_size=8, patch_size=2, num_channels=1, embed_dim=8, depths=[1, 1], num_heads=[2, 2],
        window_size=2, num_labels=NUM_CLASSES, initializer_range=0.3,
    )  # fmt: skip
    return transformers().SwinForImageClassification(config)


def clip() -> nn.Module:
    """Its answer has the similarities of all pairs, too, which are no example's own."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": VOCABULARY, "max_position_embeddings": 16, "eos_token_id": VOCABULARY - 1}
    config = transformers().CLIPConfig(
        text_config=sizes | text | {"intermediate_size": 24},
        vision_config=sizes | {"intermediate_size": 24, "image_size": 8, "patch_size": 4},
        projection_dim=8,
    )
    return transformers().CLIPModel(config)


def similarity(answer: Any, targets: Tensor) -> Tensor:
    return ((answer.text_embeds * answer.image_embeds).sum(dim=1) - targets).square()


def lora_bert() -> nn.Module:
    """Random low-rank factors: fresh ones are zero, and a zero factor gives the other no gradient."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query", "value"], init_lora_weights=False
    )
    return peft.get_peft_model(bert(), config)


class Denoiser(nn.Module):
    """A U-Net of diffusers."""

    def __init__(self) -> None:
        super().__init__()
        diffusers = pytest.importorskip("diffusers")
        self.unet = diffusers.UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4,
            block_out_channels=(8, 8), down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"), attention_head_dim=4,
        )  # fmt: skip

    def forward(self, sample: Tensor, timestep: Tensor) -> Any:
        return self.unet(sample, timestep)


IN_BERT = "bert.encoder.layer.0"
IN_LORA = f"base_model.model.{IN_BERT}.attention.self.query"
LM = {"inputs": tokens_alone, "targets": whole_numbers(VOCABULARY, LENGTH), "loss": next_token}
T5 = {
    "inputs": translations,
    "targets": whole_numbers(VOCABULARY, 4),
    "loss": logits_per_token,
}
TAGS = {"targets": token_labels, "loss": logits_per_token}

FROM_PACKAGES = [
    with_logits("BERT classifier", bert, "classifier", fits=True),
    with_logits("BERT query", bert, f"{IN_BERT}.attention.self.query"),
    with_logits("BERT word embedding", bert, "bert.embeddings.word_embeddings"),
    with_logits("RoBERTa tags", roberta, "roberta.encoder.layer.1.output.dense", **TAGS),
    with_logits("DistilBERT tags", distilbert, "classifier", **TAGS),
    with_logits("ViT", vit, "vit.layers.0.mlp.fc1", inputs=numbers(3, 8, 8)),
    with_logits("ViT class token", vit, "vit.embeddings.cls_token", inputs=numbers(3, 8, 8)),
    with_logits("GPT-2 tied embedding", gpt2, "transformer.wte.weight", **LM),
    with_logits("GPT-2 tied head", gpt2, "lm_head", **LM),
    with_logits("GPT-2 Conv1D", gpt2, "transformer.h.0.attn.c_attn", **LM),
    with_logits("Llama RMSNorm", llama, "model.layers.0.input_layernorm", **LM),
    with_logits("Llama q_proj", llama, "model.layers.1.self_attn.q_proj", **LM),
    with_logits("Mixtral router", mixtral, "model.layers.0.mlp.gate", **LM),
    with_logits("Mamba", mamba, "backbone.layers.0.mixer.in_proj", **LM),
    with_logits("T5 query", t5, "decoder.block.0.layer.1.EncDecAttention.q", **T5),
    with_logits("T5 shared embedding", t5, "shared", **T5, lr=0.01),
    with_logits(
        "Whisper", whisper, "model.decoder.layers.0.encoder_attn.v_proj",
        inputs=lambda count: {
            "input_features": torch.randn(count, 8, 20),
            "decoder_input_ids": torch.randint(3, VOCABULARY, (count, 4)),
        },
        targets=whole_numbers(VOCABULARY, 4), loss=logits_per_token,
    ),
    with_logits(
        "ConvNeXt depthwise", convnext, "convnext.encoder.stages.0.layers.0.dwconv",
        inputs=numbers(1, 8, 8),
    ),
    with_logits(
        "Swin position bias", swin,
        "swin.encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table",
        inputs=numbers(1, 8, 8),
    ),
    Architecture(
        "CLIP projection", clip, "text_projection",
        lambda count: sentences(count) | {"pixel_values": torch.randn(count, 3, 8, 8)},
        numbers(), similarity, "text_embeds", lambda answer: answer.text_embeds,
    ),
    with_logits("LoRA base layer", lora_bert, f"{IN_LORA}.base_layer"),
    with_logits("LoRA layer", lora_bert, IN_LORA),
    with_logits("LoRA classifier", lora_bert, "base_model.model.classifier"),
    with_logits("LoRA factor", lora_bert, f"{IN_LORA}.lora_A.default"),
    with_logits(
        "LoRA saved classifier", lora_bert, "base_model.model.classifier.modules_to_save.default"
    ),
    Architecture(
        "diffusion U-Net", Denoiser, "unet.mid_block.resnets.0.conv1",
        several(numbers(1, 8, 8), whole_numbers(100)), numbers(1, 8, 8),
        lambda answer, targets: squared(answer.sample, targets), "sample", lambda a: a.sample,
    ),
]  # fmt: skip


# Recurrent networks


class Recurrent(nn.Module):
    """The mean state of an LSTM or GRU, classified."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.rnn = kind(5, 7, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(14, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[0].mean(dim=1))


class Packed(nn.Module):
    """An LSTM on sequences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 7, batch_first=True)
        self.fc = nn.Linear(7, NUM_CLASSES)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(dim=1).cpu()
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(packed)[1][0][-1])


class Stepwise(nn.Module):
    """A cell called once for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 7)
        self.fc = nn.Linear(7, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 7)
        for position in x.unbind(dim=1):
            state = self.cell(position, state)
        return self.fc(state)


# Convolutions


def convolutional(layer: nn.Module, rest: nn.Module) -> Callable[[], nn.Module]:
    """Convolution, mean over positions, head."""
    model = nn.Sequential(layer, nn.ReLU(), rest, nn.Flatten(), nn.LazyLinear(NUM_CLASSES))
    return lambda: copy.deepcopy(model)


class UNet(nn.Module):
    """Two scales with a skip connection; logits for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(8, NUM_CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.down(x))
        coarse = F.relu(self.inner(F.max_pool2d(fine, 2)))
        return self.head(torch.cat([fine, self.norm(self.up(coarse))], dim=1))


class Residual(nn.Module):
    """A residual block of a ResNet, with in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4),
        )  # fmt: skip
        self.fc = nn.Linear(4, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(x + self.block(x), inplace=True)
        return self.fc(x.mean(dim=(2, 3)))


# Mixers, graphs, attention


class Mixer(nn.Module):
    """An MLP-Mixer: one layer across positions, one across features."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(5)
        self.across, self.inside = nn.Linear(LENGTH, LENGTH), nn.Linear(5, 5)
        self.head = nn.Linear(5, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.gelu(self.across(self.norm(x).transpose(1, 2))).transpose(1, 2)
        x = x + F.gelu(self.inside(x))
        return self.head(x.mean(dim=1))


class Graph(nn.Module):
    """Messages along the edges (B, E, 2) of each example's own graph."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(5, 5), nn.Linear(10, 5)
        self.head = nn.Linear(5, NUM_CLASSES)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        sources, ends = (edges[..., i, None].expand(-1, -1, 5) for i in (0, 1))
        sent = F.relu(self.message(nodes.gather(1, sources)))
        received = torch.zeros_like(nodes).scatter_add(1, ends, sent)
        return self.head(self.update(torch.cat([nodes, received], dim=2)).amax(dim=1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.attention(x, x, x, need_weights=False)[0]).mean(dim=1)


class Encoder(nn.Module):
    """PyTorch's transformer encoder with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, NUM_CLASSES)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.encoder(x, src_key_padding_mask=mask == 0)
        return self.head((x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True))


# Shared, tied and embedded weights


class TiedAutoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t())


class Siamese(nn.Module):
    """One layer for both inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.head = nn.Linear(5, 7), nn.Linear(7, NUM_CLASSES)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return self.head((self.branch(one).relu() - self.branch(other).relu()).abs())


class Bag(nn.Module):
    """The mean of the tokens' embeddings, classified."""

    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCABULARY, 6, mode="mean")
        self.fc = nn.Linear(6, NUM_CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.bag(tokens))


def embedding() -> nn.Module:
    head = nn.Linear(LENGTH * 6, NUM_CLASSES)
    return nn.Sequential(nn.Embedding(VOCABULARY, 6, padding_idx=0), nn.Tanh(), nn.Flatten(), head)


# Norms and parametrised layers


def normed(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(5, 8), norm(), nn.Tanh(), nn.Linear(8, NUM_CLASSES))


def seasoned_norm() -> nn.Module:
    """A batch norm with statistics of its own."""
    norm = nn.BatchNorm1d(8)
    norm(2 * torch.randn(20, 8) + 1)
    return norm


def parametrised(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Linear(5, 8), nn.Tanh(), wrap(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, NUM_CLASSES)
    )


def by_hooks(layer: nn.Module) -> nn.Module:
    """The older weight norm, whose weight a hook makes before each call."""
    with pytest.warns(FutureWarning):
        return torch.nn.utils.weight_norm(layer)


class Masked(nn.Linear):
    """Half of the weights are not used."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.ones(outputs, inputs).tril())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Cosine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 5 * F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.flatten(1)
        weight = (flat - flat.mean(dim=1, keepdim=True)) / (flat.std(dim=1, keepdim=True) + 1e-5)
        return self._conv_forward(x, weight.view_as(self.weight), self.bias)


# Answers that are not one tensor


class Pair(nn.Module):
    """Logits and a reconstruction."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.back = nn.Linear(5, 7), nn.Linear(7, NUM_CLASSES), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Any:
        hidden = torch.tanh(self.body(x))
        return self.head(hidden), self.back(hidden)


@dataclasses.dataclass
class Found:
    boxes: Tensor
    scores: dict[str, Tensor]
    best: Tensor


class Detector(Pair):
    """Boxes, scores in a dict, and whole numbers, in a dataclass."""

    def forward(self, x: Tensor) -> Any:
        logits, boxes = super().forward(x)
        return Found(boxes, {"logits": logits, "largest": logits.amax(dim=1)}, logits.argmax(dim=1))


def pair_loss(answer: Any, targets: Any) -> Tensor:
    return classification(answer[0], targets[0]) + squared(answer[1], targets[1])


def detector_loss(answer: Found, targets: dict[str, Tensor]) -> Tensor:
    return classification(answer.scores["logits"], targets["labels"]) + squared(
        answer.boxes, targets["boxes"]
    )


def pair_targets(count: int) -> Any:
    return classes(count), torch.randn(count, 5)


def detector_targets(count: int) -> Any:
    return dict(zip(("labels", "boxes"), pair_targets(count), strict=True))


class Answer(NamedTuple):
    state: Tensor
    logits: Tensor


class Named(Pair):
    def forward(self, x: Tensor) -> Any:
        logits, state = super().forward(x)
        return Answer(state, logits)


# Other ways to run


class Checkpointed(nn.Module):
    """Computes its block again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(5, 7)
        self.block = nn.Sequential(nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 7), nn.ReLU())
        self.head = nn.Linear(7, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        return self.head(hidden + checkpoint(self.block, hidden, use_reentrant=False))


def plain_mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Dropout(0.2), nn.Linear(7, NUM_CLASSES))


class Scripted(nn.Module):
    """A scripted backbone behind an ordinary layer, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(5, 5)
        self.backbone = torch.jit.script(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7)))
        self.head = nn.Linear(7, NUM_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(torch.tanh(self.stem(x))))


def traced() -> nn.Module:
    return torch.jit.trace(plain_mlp().eval(), torch.randn(2, 5))


def compiled() -> nn.Module:
    return torch.compile(plain_mlp(), backend="eager")


SEQUENCE = numbers(LENGTH, 5)
VECTOR = numbers(5)
IMAGE = numbers(1, 8, 8)
PIXELS = whole_numbers(NUM_CLASSES, 8, 8)


def image_model(layer: nn.Module) -> Callable[[], nn.Module]:
    return convolutional(layer, nn.AdaptiveAvgPool2d(2))


OWN = [
    Architecture("LSTM", lambda: Recurrent(nn.LSTM), "rnn.weight_ih_l0", SEQUENCE, fits=True),
    Architecture("GRU", lambda: Recurrent(nn.GRU), "rnn.weight_hh_l0", SEQUENCE),
    Architecture("GRU, the way back", lambda: Recurrent(nn.GRU), "rnn.weight_hh_l1_reverse", SEQUENCE),
    Architecture("packed LSTM", Packed, "rnn.weight_hh_l0", several(SEQUENCE, padding)),
    Architecture("GRU cell", Stepwise, "cell.weight_hh", SEQUENCE),
    Architecture(
        "Conv1d", convolutional(nn.Conv1d(5, 6, 3), nn.AdaptiveAvgPool1d(2)), "0", numbers(5, 9)
    ),
    Architecture("Conv2d", image_model(nn.Conv2d(1, 6, 3, stride=2)), "0", IMAGE),
    Architecture(
        "Conv3d", convolutional(nn.Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d(2)), "0", numbers(1, 5, 5, 5)
    ),
    Architecture("ConvTranspose2d", image_model(nn.ConvTranspose2d(1, 4, 3, stride=2)), "0", IMAGE),
    Architecture("depthwise Conv2d", image_model(nn.Conv2d(4, 8, 3, groups=4)), "0", numbers(4, 8, 8)),
    Architecture("standardised Conv2d", image_model(Standardised(1, 6, 3)), "0", IMAGE),
    Architecture("U-Net inside", UNet, "inner", IMAGE, PIXELS, segmentation),
    Architecture("U-Net up", UNet, "up", IMAGE, PIXELS, segmentation, fits=True),
    Architecture("ResNet block", Residual, "block.0", IMAGE),
    Architecture("Mixer", Mixer, "across", SEQUENCE),
    Architecture("graph", Graph, "message", several(SEQUENCE, whole_numbers(LENGTH, 9, 2))),
    Architecture("attention in", Attention, "attention.in_proj_weight", numbers(LENGTH, 8)),
    Architecture("attention out", Attention, "attention.out_proj", numbers(LENGTH, 8)),
    Architecture(
        "transformer encoder", Encoder, "encoder.layers.0.linear1", several(numbers(LENGTH, 8), padding)
    ),
    Architecture(
        "transformer encoder attention", Encoder, "encoder.layers.1.self_attn.in_proj_weight",
        several(numbers(LENGTH, 8), padding),
    ),
    Architecture("tied autoencoder", TiedAutoencoder, "encoder", numbers(6), numbers(6), squared),
    Architecture("siamese", Siamese, "branch", several(VECTOR, VECTOR)),
    Architecture("embedding bag", Bag, "bag", whole_numbers(VOCABULARY, LENGTH)),
    Architecture("embedding", embedding, "0", whole_numbers(VOCABULARY, LENGTH)),
    Architecture("layer norm", normed(lambda: nn.LayerNorm(8)), "1", VECTOR, fits=True),
    Architecture("batch norm", normed(seasoned_norm), "1", VECTOR),
    Architecture("batch norm bias", normed(seasoned_norm), "1.bias", VECTOR),
    Architecture("group norm", normed(lambda: nn.GroupNorm(2, 8)), "1", VECTOR),
    Architecture("PReLU", normed(nn.PReLU), "1", VECTOR),
    Architecture("weight norm", parametrised(parametrizations.weight_norm), "2", VECTOR),
    Architecture("spectral norm", parametrised(parametrizations.spectral_norm), "2", VECTOR),
    Architecture("weight norm by hooks", parametrised(by_hooks), "2.weight_v", VECTOR),
    Architecture("masked Linear", parametrised(lambda _: Masked(8, 8)), "2", VECTOR),
    Architecture("cosine Linear", parametrised(lambda _: Cosine(8, 8)), "2", VECTOR),
    Architecture("bias", plain_mlp, "3.bias", VECTOR),
    Architecture(
        "tuple", Pair, "body", VECTOR, pair_targets, pair_loss, "0", lambda a: a[0], fits=True
    ),
    Architecture(
        "named tuple", Named, "body", VECTOR, classes, logits_classification, "logits",
        lambda answer: answer.logits,
    ),
    Architecture(
        "dataclass", Detector, "body", VECTOR, detector_targets, detector_loss, "scores.logits",
        lambda answer: answer.scores["logits"], fits=True,
    ),
    Architecture("checkpointed", Checkpointed, "block.0", VECTOR),
    Architecture("before a checkpoint", Checkpointed, "stem", VECTOR),
    Architecture("scripted backbone", Scripted, "stem", VECTOR),
    Architecture("inside the scripted backbone", Scripted, "backbone.0.weight", VECTOR),
    Architecture("scripted", lambda: torch.jit.script(plain_mlp()), "0", VECTOR),
    Architecture("traced", traced, "0", VECTOR),
    Architecture("compiled", compiled, "0", VECTOR, fits=True),
]  # fmt: skip

ARCHITECTURES = [*FROM_PACKAGES, *OWN]

SHIFTED = set(
    """
    BERT classifier; BERT query; RoBERTa tags; DistilBERT tags; ViT; Llama q_proj; Mamba; T5 query;
    Whisper; ConvNeXt depthwise; CLIP projection; LoRA base layer; LoRA factor; LoRA layer; LoRA saved
    classifier; LoRA classifier; diffusion U-Net; Conv1d; Conv2d; depthwise Conv2d; U-Net inside; ResNet
    block; Mixer; graph; transformer encoder; siamese; weight norm; spectral norm; tuple; named tuple;
    dataclass; checkpointed; before a checkpoint; scripted backbone; compiled
    """.replace("\n    ", " ")
    .strip()
    .split("; ")
)
"""The names of those that the fast way moves."""
