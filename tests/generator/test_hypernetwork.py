"""g(x, I(x)): with a perfect denoiser it returns the overfitted delta itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ocd import OCDError
from ocd.base import DenseDelta, RankOneDelta
from ocd.generator import (
    DenoiserConfig,
    Embedding,
    GeneratorConfig,
    HyperNetwork,
    Placement,
    ScaleConfig,
    Shapes,
)
from ocd.generator.scale import code_scale

WEIGHT = (4, 6)
FEATURES = {"layer_input": 6, "output": 3}
B, K = 5, 3


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(
    code: str = "rank_one", kind: str = "joint", encoder=None, correction: bool = False, **scale
) -> HyperNetwork:
    torch.manual_seed(0)
    components = 24 if code == "pca" else 0
    shapes = Shapes.of(code, WEIGHT, components, FEATURES, 2 if encoder else 0)
    config = GeneratorConfig(
        denoiser=DenoiserConfig(width=16), scale=ScaleConfig(kind=kind, **scale), correction=correction
    )
    network = HyperNetwork(shapes, config, encoder).eval()
    if code == "pca":
        network.codec.components.copy_(torch.linalg.qr(random(24, 24, seed=9))[0])
    return network


def positions() -> torch.Tensor:
    """What the layer sees: one vector an example."""
    return random(B, 1, 1, 6, seed=1)


def draw(network: HyperNetwork, embedding: Embedding, noise: torch.Tensor, **how) -> torch.Tensor:
    """The drawn deltas, (B, K, *weight)."""
    return network.decode(network.draw_codes(embedding, noise, **how), positions()).dense()


def mean(network: HyperNetwork, embedding: Embedding) -> torch.Tensor:
    """The expected deltas, (B, 1, *weight)."""
    return network.decode(network.mean_codes(embedding), positions()).dense()


def example_deltas(code: str) -> RankOneDelta | DenseDelta:
    """Deltas of very different sizes, of rank one where the code demands it."""
    sizes = torch.tensor([0.01, 0.1, 1.0, 0.3, 0.05])
    left = random(B, 1, 4, seed=2) * sizes.view(B, 1, 1)
    if code == "rank_one":
        return RankOneDelta(left, positions()[:, 0, 0], WEIGHT)
    return DenseDelta(random(B, 1, *WEIGHT, seed=3) * sizes.view(B, 1, 1, 1))


class Perfect(nn.Module):
    """Answers with the clean direction, and the true log ρ where the scale is diffused too."""

    condition_size = 16

    def __init__(self, clean: torch.Tensor) -> None:
        super().__init__()
        self.clean = clean

    def forward(self, noisy, t, condition):
        return self.clean[:, None].expand_as(noisy)


def teach(network: HyperNetwork, codes: torch.Tensor) -> torch.Tensor:
    """Give the network a perfect denoiser of these codes; returns their scales."""
    scale = code_scale(codes, network.scale_config.normalization)
    clean = codes / scale.view(-1, *[1] * (codes.dim() - 1))
    if network.joint:
        standard = (scale.log() - network.log_scale_mean) / network.log_scale_std
        clean = torch.cat([clean, standard[:, None]], dim=1)
    else:
        network.scale.forward = lambda condition, *statistics: scale
    network.denoiser = Perfect(clean)
    return scale


def embedding() -> Embedding:
    return Embedding(random(B, 16, seed=5), random(B, 16, seed=6))


CASES = [
    ("rank_one", "joint", "l2_unit_variance"),
    ("rank_one", "log", "l2"),
    ("pca", "joint", "l2_unit_variance"),
    ("dense", "eq8", "l2"),
    ("dense", "released", "std"),
]


@pytest.mark.parametrize(("code", "kind", "normalization"), CASES)
def test_a_perfect_denoiser_gives_the_overfitted_delta(code, kind, normalization):
    network, delta = make(code, kind, normalization=normalization), example_deltas(code)
    codes = network.codec.encode(delta)[:, 0]
    features = {name: random(B, size) for name, size in FEATURES.items()}
    network.calibrate(features, codes)
    teach(network, codes)
    noise = random(B, K, *network.diffused_shape, seed=7)
    drawn, expected = draw(network, embedding(), noise), mean(network, embedding())
    assert (drawn.shape[1], expected.shape[1]) == (K, 1)
    for given in (drawn, expected):
        assert torch.allclose(given, delta.dense().expand_as(given), rtol=1e-3, atol=1e-5)


def test_a_constant_scale_diffuses_the_delta_itself():
    network, delta = make("rank_one", "constant"), example_deltas("rank_one")
    codes = network.codec.encode(delta)[:, 0]
    network.calibrate({name: random(B, size) for name, size in FEATURES.items()}, codes)
    network.denoiser = Perfect(codes / network.mean_scale)
    noise = random(B, K, *network.diffused_shape, seed=7)
    t = torch.zeros(B, 1, dtype=torch.long)
    assert network.losses(embedding(), codes, t, noise[:, :1])["loss"].item() < 1e-10
    for given in (draw(network, embedding(), noise), mean(network, embedding())):
        assert torch.allclose(given, delta.dense().expand_as(given), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("code", "kind", "normalization"), CASES)
def test_no_scale_keeps_the_direction_and_takes_the_mean_scale(code, kind, normalization):
    network, delta = make(code, kind, normalization=normalization), example_deltas(code)
    codes = network.codec.encode(delta)[:, 0]
    network.calibrate({name: random(B, size) for name, size in FEATURES.items()}, codes)
    scale = teach(network, codes)
    assert network.mean_scale.item() == pytest.approx(scale.mean().item(), rel=1e-5)
    noise = random(B, K, *network.diffused_shape, seed=7)
    drawn = draw(network, embedding(), noise, use_mean_scale=True)
    expected = delta.dense() * (scale.mean() / scale).view(B, 1, 1, 1)
    assert torch.allclose(drawn, expected.expand(-1, K, -1, -1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("code", "kind", "normalization"), CASES)
def test_draws_are_brought_nearer_to_the_mean_and_all_moves_scaled(code, kind, normalization):
    """Beyond the paper; 1 and 1 are its way."""
    network = make(code, kind, normalization=normalization)
    noise = random(B, K, *network.diffused_shape, seed=7)
    with torch.no_grad():
        plain, middle = draw(network, embedding(), noise), mean(network, embedding())
        assert not torch.allclose(plain, middle.expand_as(plain), rtol=1e-3)
        for spread, factor in ((1.0, 0.5), (0.25, 1.0), (0.0, 1.0), (0.5, 2.0)):
            network.set_sampling(spread=spread, scale_factor=factor)
            found = draw(network, embedding(), noise)
            expected = factor * (middle + spread * (plain - middle))
            assert torch.allclose(found, expected, atol=1e-5 * plain.abs().max())
            assert torch.allclose(mean(network, embedding()), factor * middle)
            raw = network.decode(network.raw_codes(embedding(), noise), positions()).dense()
            assert torch.allclose(raw, factor * plain, atol=1e-5 * plain.abs().max())


def test_a_perfect_denoiser_has_no_loss():
    network, delta = make(), example_deltas("rank_one")
    codes = network.codec.encode(delta)[:, 0]
    network.calibrate({name: random(B, size) for name, size in FEATURES.items()}, codes)
    t, noise = torch.randint(1000, (B, 2)), random(B, 2, *network.diffused_shape)
    untrained = network.losses(embedding(), codes, t, noise)
    assert untrained["loss"] > 0.1
    teach(network, codes)
    assert network.losses(embedding(), codes, t, noise)["loss"].item() == pytest.approx(0, abs=1e-9)


def test_loss_is_the_sum_of_its_parts():
    network = make("dense", "log", normalization="l2")
    codes = network.codec.encode(example_deltas("dense"))[:, 0]
    losses = network.losses(embedding(), codes, torch.zeros(B, 2).long(), random(B, 2, 4, 6))
    assert losses["loss"].item() == pytest.approx(
        (losses["denoise_loss"] + losses["scale_loss"]).item()
    )


def test_calibration_standardises_features_and_scales():
    network = make()
    features = {"layer_input": 3 + 5 * random(500, 6), "output": 100 * random(500, 3)}
    features["output"][:, 1] = 4.0  # a dead unit
    codes = random(500, 4) * random(500, 1, seed=1).exp()
    network.calibrate(features, codes)
    for name, values in features.items():
        standard = network.conditioning.standardize[name](values)
        alive = [i for i in range(values.shape[1]) if values[:, i].std() > 0]
        assert standard.mean(dim=0).abs().max() < 1e-4
        assert (standard.std(dim=0)[alive] - 1).abs().max() < 0.05
        assert standard.isfinite().all()
    log = code_scale(codes, "l2_unit_variance").log()
    assert network.log_scale_mean.item() == pytest.approx(log.mean().item(), abs=1e-5)
    assert network.log_scale_std.item() == pytest.approx(log.std().item(), rel=0.01)


def test_condition_is_embedded_once_whatever_the_draws_and_steps():
    network = make()
    calls = []
    network.conditioning.register_forward_hook(lambda *_: calls.append(1))
    passes = []
    network.denoiser.register_forward_hook(lambda *_: passes.append(1))
    features = {name: random(B, size) for name, size in FEATURES.items()}
    with torch.no_grad():
        network.draw_codes(network.embed(features, positions()), random(B, K, 5))
    assert (len(calls), len(passes)) == (1, 10)
    with torch.no_grad():
        network.mean_codes(network.embed(features, positions()))
    assert (len(calls), len(passes)) == (2, 11)


def test_scale_has_its_own_encoders_where_asked():
    features = {name: random(B, size) for name, size in FEATURES.items()}
    own = make("dense", "released", normalization="std", own_encoders=True).embed(features, positions())
    shared = make("dense", "released", normalization="std").embed(features, positions())
    assert not torch.allclose(own.denoiser, own.scale)
    assert shared.denoiser is shared.scale


def test_encoder_of_x_is_part_of_the_condition_and_learns():
    encoder = nn.Linear(6, 2)
    network = make(encoder=encoder)
    features = {name: random(B, size) for name, size in FEATURES.items()}
    one = network.embed(features, random(B, 6, seed=1)).denoiser
    other = network.embed(features, random(B, 6, seed=2)).denoiser
    assert not torch.allclose(one, other)
    one.sum().backward()
    assert encoder.weight.grad.abs().sum() > 0


def test_what_does_not_fit_is_said():
    with pytest.raises(OCDError, match="'joint' needs a code that is a vector"):
        make("dense", "joint")
    shapes = Shapes.of("rank_one", WEIGHT, 0, FEATURES, 2)
    with pytest.raises(OCDError, match="with an encoder of x"):
        HyperNetwork(shapes, GeneratorConfig())
    without = Shapes.of("rank_one", WEIGHT, 0, FEATURES, 0)
    with pytest.raises(OCDError, match="without an encoder of x"):
        HyperNetwork(without, GeneratorConfig(), nn.Linear(6, 2))


def test_shapes_round_trip():
    shapes = make("pca").shapes
    assert Shapes.from_dict(shapes.as_dict()) == shapes


def test_the_parts_of_a_generated_code_add_up():
    """The correction starts at zero; then a code is the diffusion's and the correction's sum, and each
    can be had alone, the diffusion's as the paper samples it."""
    network = make(correction=True)
    embedding = Embedding(random(B, 16, seed=4), random(B, 16, seed=4))
    noise = random(B, K, 5, seed=5)

    def drawn() -> torch.Tensor:
        return draw(network, embedding, noise)

    with torch.no_grad():
        plain = drawn()
        with network.only("correction"):
            assert not drawn().any()
        nn.init.normal_(network.correction.leave.weight)
        both = drawn()
        with network.only("correction"):
            correction = drawn()
        assert correction.any() and torch.allclose(both, plain + correction, atol=1e-5)
        assert torch.allclose(correction[:, :1].expand_as(correction), correction)  # no chance in it
        network.set_sampling(spread=0.25, scale_factor=0.5)
        with network.only("diffusion"):
            assert torch.allclose(drawn(), plain, atol=1e-6)
        with network.only("correction"):
            assert torch.allclose(drawn(), 0.5 * correction, atol=1e-6)
        assert (float(network.spread), float(network.scale_factor)) == (0.25, 0.5)
        middle = mean(network, embedding)
        assert torch.allclose(drawn(), middle + 0.25 * 0.5 * (both - 2 * middle), atol=1e-5)


@pytest.mark.parametrize(("centre", "spread"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_balanced_draws_lie_around_what_their_mean_has_to_be(centre, spread):
    """However many there are, and however wrong the expected code of one pass is."""
    codes, mean = torch.randn(4, 7, 3).exp(), torch.zeros(4, 1, 3)
    placement = Placement(centre, spread, balanced=True)
    for count in (2, 5, 7):
        found = placement.around(codes[:, :count], mean)
        assert placement.balances(count)
        assert torch.allclose(found.mean(dim=1), torch.zeros(4, 3), atol=1e-5)
    assert torch.equal(placement.around(codes[:, :1], mean), spread * codes[:, :1])
    assert not placement.balances(1)


def test_other_draws_do_not_depend_on_their_number():
    codes, mean = torch.randn(4, 7, 3), torch.randn(4, 1, 3)
    for placement in (Placement(), Placement(spread=0.25), Placement(balanced=True)):
        few, many = (placement.around(codes[:, :count], mean) for count in (3, 7))
        assert torch.equal(few, many[:, :3]) and not placement.balances(7)
