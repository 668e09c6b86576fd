"""The user's frozen network: find a layer, see what passes through it, run it with deltas."""

from ocd.base.anew import anew_block, answers_anew, keeps_answers
from ocd.base.capture import Capture
from ocd.base.component_delta import ComponentDelta
from ocd.base.deltas import Delta, DenseDelta, OutputShift, RankOneDelta, num_weights
from ocd.base.digest import base_digest, digest_of
from ocd.base.duplicate import check_independent, independent_copy
from ocd.base.examples import finite_rows
from ocd.base.fingerprint import Fingerprint
from ocd.base.front import Front
from ocd.base.frozen_base import FrozenBase
from ocd.base.kept import capture_rows, restored_capture
from ocd.base.layers import find_layer, list_layers, open_modules
from ocd.base.losses import Loss, LossInUnits, check_loss_rows, example_losses, loss_unit
from ocd.base.outputs import Output, Outputs
from ocd.base.passes import run_without_delta
from ocd.base.probe import is_quantised, probe, usable_layers
from ocd.base.proof import agree
from ocd.base.view import private_view, unwrapped
from ocd.base.way import Way

__all__ = [
    "Capture",
    "ComponentDelta",
    "Delta",
    "DenseDelta",
    "Fingerprint",
    "Front",
    "FrozenBase",
    "Loss",
    "LossInUnits",
    "Output",
    "OutputShift",
    "Outputs",
    "RankOneDelta",
    "Way",
    "agree",
    "anew_block",
    "answers_anew",
    "base_digest",
    "capture_rows",
    "check_independent",
    "check_loss_rows",
    "digest_of",
    "example_losses",
    "find_layer",
    "finite_rows",
    "independent_copy",
    "is_quantised",
    "keeps_answers",
    "list_layers",
    "loss_unit",
    "num_weights",
    "open_modules",
    "private_view",
    "probe",
    "restored_capture",
    "run_without_delta",
    "unwrapped",
    "usable_layers",
]
