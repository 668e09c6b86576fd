"""Train a TinyNeRF on random rays of all training views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ocd.data import GlobalRandom, ResumableLoop
from ocd.tasks.task import Progress, TaskData, unless_loaded
from ocd.tasks.views.options import Options


@unless_loaded
def train_base(
    base: nn.Module, data: TaskData, options: Options, seed: int, progress: Progress
) -> None:
    """Loads `options.base` where there is one, else trains on random rays of all training views.

    Adam from 5e-3, the rate falling as a cosine. The number of steps is fixed beforehand: 4,000 are
    where the loss on the training views has become flat (docs/experiments.md).
    """
    poses, images = data.train.inputs, data.train.targets.flatten(2)  # (N, 3, H·W)
    assert isinstance(poses, Tensor)
    device = next(base.parameters()).device
    order = torch.Generator().manual_seed(seed)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # for new weights and stratified depths
        torch.manual_seed(seed)
        for module in base.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        base.train()
        optimizer = torch.optim.Adam(base.parameters(), lr=5e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.base_steps)
        loop = ResumableLoop(
            "views", base=base, optimizer=optimizer, schedule=schedule, order=order,
            random=GlobalRandom(device),
        )  # fmt: skip
        for step in loop.steps(options.base_steps):
            views = torch.randint(len(poses), (options.base_rays,), generator=order)
            pixels = torch.randint(images.shape[2], (options.base_rays,), generator=order)
            colours = base(poses[views].to(device), pixels[:, None].to(device))[:, :, 0]
            loss = F.mse_loss(colours, images[views, :, pixels].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            recent = loop.values.get("recent", loss.item())
            recent += 0.01 * (loss.item() - recent)
            loop.values["recent"] = recent
            if (step + 1) % 100 == 0:
                progress(f"base: step {step + 1} of {options.base_steps}, loss {recent:.5f}")
    base.eval()
