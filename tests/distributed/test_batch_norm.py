"""A batch norm over several processes is that of one process on the whole batch."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import nn

from ocd.data import Shard
from ocd.distributed import Team
from ocd.distributed.batch_norm import over_all_processes
from processes import run_together

ROWS = 7


class Network(nn.Module):
    """A generator, as far as a team knows one: it has an encoder."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(),
            nn.Linear(12, 4), nn.BatchNorm1d(4, momentum=None),
        )  # fmt: skip
        self.head = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.head(self.encoder(images))
        return values


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [5 + 3 * torch.randn(ROWS, 2, 4, 4, generator=generator) for _ in range(2)]


def learn(root: Path, number: int, parts: list[slice]) -> None:
    """Two steps of one of two processes; what it has then, in a file."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{root}/meeting", rank=number, world_size=2
    )
    network = Network().train()
    team, forward = Team(Shard(number, 2)), nn.BatchNorm2d.forward
    with team.together(network, 0, ROWS):
        for batch in batches():
            own = batch[parts[number]]
            network.zero_grad(set_to_none=True)
            losses = {"loss": network(own).square().mean()} if len(own) else {}
            team.gradients(network, losses, own)
    assert all("forward" not in vars(one) for one in network.modules())
    assert nn.BatchNorm2d.forward is forward
    torch.save(
        [network.state_dict(), [one.grad for one in network.parameters()]], root / f"{number}.pt"
    )
    torch.distributed.destroy_process_group()  # else its threads may outlive the process's end


@pytest.mark.parametrize("parts", [[slice(0, 3), slice(3, 7)], [slice(0, 7), slice(7, 7)]])
def test_statistics_and_gradients_are_those_of_the_whole_batch(
    tmp_path: Path, parts: list[slice]
) -> None:
    """However it is parted, also where one process has no row."""
    run_together(
        multiprocessing.get_context("spawn").Process(target=learn, args=(tmp_path, number, parts))
        for number in range(2)
    )
    whole = Network().train()
    for batch in batches():
        whole.zero_grad(set_to_none=True)
        whole(batch).square().mean().backward()
    for number in range(2):
        state, gradients = torch.load(tmp_path / f"{number}.pt", weights_only=True)
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(state[name], value, msg=name)
        for parameter, found in zip(whole.parameters(), gradients, strict=True):
            torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-5)


def test_in_eval_mode_nothing_is_summed() -> None:
    """No other process is asked: there is none here."""
    network = Network().eval()
    images = batches()[0]
    expected = network(images)
    with over_all_processes(network):
        torch.testing.assert_close(network(images), expected)
