"""The networks of tables: bases of Gorishniy et al. (2021), and the encoder of x."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ocd.errors import OCDError, install
from ocd.tasks.tables.options import NetworkOptions, TableData
from ocd.tasks.tables.periodic import periodic_embeddings
from ocd.tasks.task import TaskData


class TableNet(nn.Module):
    """A network of rtdl_revisiting_models on features (B, D), answering in the target's own unit.

    Inside it works on standardised targets; `mean` and `std` are those of the training targets.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, features: Tensor) -> Tensor:
        answer: Tensor = self.network(features)
        return answer * self.std + self.mean


def make_base(options: NetworkOptions, data: TaskData) -> nn.Module:
    """The configured network for these features and targets, not trained yet."""
    assert isinstance(data, TableData) and isinstance(data.train.inputs, Tensor)
    network = make_network(options, data.train.inputs.shape[1], data.num_classes or 1)
    return TableNet(network) if data.num_classes else standardised(network, data)


def standardised(network: nn.Module, data: TableData) -> TableNet:
    """A network that works on standardised targets, answering in their own unit."""
    targets = data.train.targets.double()
    # Those of a fold may all be alike, where few values differ.
    return TableNet(network, float(targets.mean()), float(targets.std(unbiased=False)) or 1.0)


def last_layer(options: NetworkOptions) -> str:
    """The linear layer with which a network of `make_network` ends."""
    return "network.output" if options.network == "mlp" else "network.output.linear"


def make_network(options: NetworkOptions, num_features: int, num_outputs: int) -> nn.Module:
    """An MLP or ResNet of Gorishniy et al. (NeurIPS 2021)."""
    try:
        import rtdl_revisiting_models as rtdl
    except ImportError as error:
        raise OCDError(f"tables need rtdl_revisiting_models: {install('tabular')}") from error
    network: nn.Module
    if options.network == "mlp":
        network = rtdl.MLP(
            d_in=num_features,
            d_out=num_outputs,
            n_blocks=options.blocks,
            d_block=options.width,
            dropout=options.dropout,
        )
    else:
        network = rtdl.ResNet(
            d_in=num_features,
            d_out=num_outputs,
            n_blocks=options.blocks,
            d_block=options.width,
            d_hidden=None,
            d_hidden_multiplier=2.0,
            dropout1=options.dropout,
            dropout2=0.0,
        )
    return network


class PeriodicEncoder(nn.Module):
    """Periodic embeddings of each feature (Gorishniy et al., 2022) and two layers: (B, D) -> (B, F).

    Much dropout: residuals are mostly noise, and what can be learnt of them is little.
    """

    def __init__(
        self,
        num_features: int,
        *,
        scale: float = 1.0,
        size: int = 12,
        frequencies: int = 24,
        width: int = 256,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embeddings = periodic_embeddings()(
            num_features, size, n_frequencies=frequencies, frequency_init_scale=scale, lite=False
        )
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(input_dropout),
            nn.Linear(num_features * size, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, features: Tensor) -> Tensor:
        encoded: Tensor = self.layers(self.embeddings(features))
        return encoded
