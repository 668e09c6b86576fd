"""Examples whose mean delta is short are left as they are, for a share of the gain, where asked for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from helpers import LOSS, config, digits, digits_base, fitted
from helpers import test_digits as some_digits
from ocd import OCD, OCDConfig, OCDError
from ocd.prediction.sampling import _choose_skip

TEST = some_digits(40)


def test_nothing_is_skipped_where_it_is_not_asked_for():
    assert float(fitted().hypernetwork.skip_below) == 0


@pytest.mark.parametrize("spread", [1.0, 0.5])
def test_skipped_examples_are_the_bases_own_and_the_others_as_before(spread):
    ocd = OCD(digits_base(), loss=LOSS, config=config({"sampling.spread": spread}))
    ocd.fit(digits(), progress=False)
    network, _ = ocd.fitted()
    with torch.no_grad():
        _, embedding = ocd.embed(TEST.inputs)
        sizes = network.sizes(network.mean_code(embedding))
    before = ocd.predict(TEST.inputs, draws=3)
    network.set_sampling(skip_below=float(sizes.median()))
    p = ocd.predict(TEST.inputs, draws=3)
    skipped = sizes < sizes.median()
    assert 0 < skipped.sum() < len(skipped)
    assert torch.equal(p.outputs[:, skipped], p.base[skipped].expand(3, -1, -1))
    assert (p.scale[:, skipped] == 0).all()
    assert torch.allclose(p.outputs[:, ~skipped], before.outputs[:, ~skipped], atol=1e-5)
    assert not torch.equal(before.outputs[:, skipped], p.outputs[:, skipped])
    network.set_sampling(skip_below=1e9)
    assert torch.equal(ocd.predict(TEST.inputs, draws=2).outputs[1], p.base)


def test_the_draws_of_skipped_examples_are_not_computed():
    ocd = OCD(digits_base(), loss=LOSS, config=config()).fit(digits(), progress=False)
    network, _ = ocd.fitted()
    network.set_sampling(skip_below=1e9, spread=1.0)
    rows = []
    hook = network.denoiser.register_forward_hook(lambda m, given, o: rows.append(len(given[0])))
    ocd.predict(TEST.inputs, draws=3)
    hook.remove()
    assert rows[0] == 40
    assert not any(rows[1:])  # after the mean by which they are known, nothing


def test_the_threshold_gives_up_no_more_than_its_share():
    class Network:
        def set_sampling(self, skip_below):
            self.threshold = skip_below

    generator = torch.Generator().manual_seed(0)
    sizes = torch.rand(500, generator=generator)
    base = 1 + torch.rand(500, generator=generator).double()
    moved = base - sizes + 0.3 * torch.randn(500, generator=generator)
    for share in (0.01, 0.1, 0.5):
        network = Network()
        line = _choose_skip(network, share, sizes, base, moved)
        kept = sizes >= network.threshold
        lost = (base - moved)[~kept].sum() / (base - moved).sum()
        assert lost <= share
        assert f"{int((~kept).sum())} of 500" in line
        # Two hundredths more would be too much: the threshold is not needlessly low.
        assert (base - moved)[sizes < network.threshold + 0.2].sum() > share * (base - moved).sum()


def test_where_moving_gains_nothing_none_are_skipped():
    ocd = OCD(digits_base(), loss=LOSS, config=config())
    ocd.fit(digits(), progress=False)
    network, _ = ocd.fitted()
    line = _choose_skip(network, 0.1, torch.rand(50), torch.ones(50), 2 * torch.ones(50))
    assert "none are skipped" in line
    assert float(network.skip_below) == 0


def test_fit_chooses_it_says_so_and_keeps_it(tmp_path):
    settings = config({"sampling.skip": 0.3, "training.num_steps": 200, "overfit.lr": 0.2})
    ocd = OCD(digits_base(), loss=LOSS, config=settings).fit(digits(400), tmp_path, progress=False)
    network, _ = ocd.fitted()
    assert float(network.skip_below) > 0
    assert any("are left as they are" in note for note in ocd.notes)
    again = OCD.from_pretrained(tmp_path / "checkpoint", ocd.base)
    assert torch.equal(again.hypernetwork.skip_below, network.skip_below)
    p = ocd.predict(TEST.inputs)
    with network.only("diffusion"):
        assert float(network.skip_below) == 0
    assert float(network.skip_below) > 0
    loss = F.cross_entropy(p.mean, TEST.targets)
    assert loss < F.cross_entropy(p.base, TEST.targets)


def test_what_it_cannot_be_is_refused(tmp_path):
    with pytest.raises(OCDError, match=r"sampling\.skip is 1"):
        OCDConfig().replace({"sampling.skip": 1.0})
    with pytest.raises(OCDError, match="set one of them to 0"):
        OCDConfig().replace({"sampling.skip": 0.1, "sampling.coverage": 0.9})
    settings = config({"sampling.skip": 0.1, "diffusion.prediction": "epsilon"})
    with pytest.raises(OCDError, match="has a mean to go by"):
        OCD(digits_base(), loss=LOSS, config=settings).fit(digits(), tmp_path, progress=False)
