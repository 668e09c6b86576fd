"""An independent copy of a base: it answers alike, and nothing of it is the base's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nets import Case, every_case
from ocd import OCD, Examples, OCDConfig, OCDError
from ocd.base import check_independent, independent_copy


class Holder:
    """An object that is no module, and holds one."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __deepcopy__(self, memo: dict[int, object]) -> Holder:
        return self


def patched(how: str) -> nn.Module:
    """A network whose forward was replaced by a function that knows the network."""
    torch.manual_seed(0)
    base = nn.Module()
    base.body, base.head = nn.Linear(4, 6), nn.Linear(6, 3)
    holder = Holder(base.head)
    base.forward = {
        "closure": lambda x: base.head(torch.tanh(base.body(x))),
        "default": lambda x, head=base.head: head(torch.tanh(base.body(x))),
        "object": lambda x: holder.layer(torch.tanh(base.body(x))),
    }[how]
    return base.eval()


@every_case
def test_a_copy_answers_as_the_base_and_reads_nothing_of_it(case: Case) -> None:
    base, inputs = case.build().eval(), case.inputs(2)
    network = independent_copy(base)
    check_independent(network, base, inputs)
    assert [m.training for m in network.modules()] == [m.training for m in base.modules()]
    own = {p.data_ptr() for p in base.parameters()}
    assert not own & {p.data_ptr() for p in network.parameters()}


@pytest.mark.parametrize("how", ["closure", "default"])
def test_functions_of_the_copy_close_over_the_copy(how: str) -> None:
    base, x = patched(how), torch.randn(5, 4)
    network, before = independent_copy(base), base(x)
    check_independent(network, base, x)
    assert torch.equal(network(x), before)
    with torch.no_grad():
        network.head.weight.zero_()
        network.body.weight.zero_()
    assert torch.equal(base(x), before)
    assert torch.equal(network(x), base.head.bias.expand(5, 3))


def test_what_still_reads_the_base_is_refused() -> None:
    base, x = patched("object"), torch.randn(5, 4)
    with pytest.raises(OCDError, match=r"still computes with the original's 'head\."):
        check_independent(independent_copy(base), base, x)


def test_an_ocd_of_such_a_base_is_copied_with_it() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(dim=1)

    base, x = patched("closure"), torch.randn(40, 4)
    config = OCDConfig(layer="head").replace({"training.num_steps": 3, "denoiser.width": 16})
    ocd = OCD(base, loss=loss, config=config).fit(Examples(x, torch.randn(40, 3)), progress=False)
    before, other = ocd.predict(x).outputs, copy.deepcopy(ocd)
    with torch.no_grad():
        base.head.weight.zero_()
        base.head.bias.zero_()
    assert torch.equal(other.predict(x).outputs, before)
