"""The names of the trained baselines, and which of them make sense beside a given OCD.

The names are keys of results.json, of work folders and of checkpoints.
"""

from __future__ import annotations

from ocd.model import OCD

TRAINED = ("delta_regression", "label_head", "label_network", "fine_tuned_layer")
"""The trained baselines, in the order in which a run trains them."""
DRAWN = ("gaussian_head", "quantile_head", "output_diffusion")
"""Trained baselines that draw answers, beside OCD where draws are judged as a whole."""
EQUAL_TIME = "label_network_equal_time"
"""label_network again, trained for as many seconds as OCD took in place of as many steps."""


def network_kind(kind: str) -> str:
    """The kind of network that a baseline trains: `label_network` for both baselines that use it."""
    return "label_network" if kind == EQUAL_TIME else kind


def reason_unavailable(kind: str, ocd: OCD) -> str | None:
    """Why this baseline cannot be trained beside this OCD; None if it can."""
    network = network_kind(kind)
    if network == "fine_tuned_layer":
        return None
    if ocd.config.denoiser.kind != "mlp":
        return "it would have the size of an MLP denoiser, and denoiser.kind is another"
    if network in DRAWN and ocd.outputs.output is not None:
        return "the base answers with more than one tensor"
    if network in ("label_head", "label_network", *DRAWN) and ocd.excerpt is not None:
        return "examples are large (overfitted on excerpts), and it would answer a whole one at once"
    if network == "label_network" and ocd.encoder is None:
        return "it is the encoder of x with a head, and this OCD has no encoder of x"
    return None
