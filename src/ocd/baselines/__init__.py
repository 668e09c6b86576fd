"""What OCD is compared with: the base, OCD's own variants, the paper's baselines and oracles, and more.

Each of them is a `Predictor` (ocd.prediction): it has `predict(inputs, draws, seed)`, which returns a
`Prediction`. A table is a loop over them.

    base = UnchangedBase(net)
    tent = Tent(net, layer="fc1", num_iterations=10)
    scaled = fit_temperature(net, loss, training)      # what `fit_...` returns is a Predictor too
    for predictor in (base, tent, scaled, OCDVariant(ocd, mode="mean")):
        outputs = predictor.predict(inputs).mean       # (B, ...)

No baseline sees a test label. The two oracles do (`OverfitTest`, `OverfitTestAllLayers`): they are made
for the labels of the inputs that they will be given. Those that are trained as long as OCD are in
`ocd.baselines.trained`.
"""

from ocd.baselines.boosting import Boosting, fit_boosting
from ocd.baselines.conformal import Conformal
from ocd.baselines.ensemble import DeepEnsemble
from ocd.baselines.fine_tuned_base import fine_tune
from ocd.baselines.laplace import fit_laplace
from ocd.baselines.mc_dropout import MCDropout
from ocd.baselines.nearest_labels import fit_nearest_labels
from ocd.baselines.nearest_neighbor import NearestNeighbor, flat_inputs
from ocd.baselines.ocd_variant import OCDVariant
from ocd.baselines.overfit_test import OverfitTest, OverfitTestAllLayers
from ocd.baselines.random_direction import RandomDirection
from ocd.baselines.renewed_statistics import fit_renewed_statistics, has_batch_norms
from ocd.baselines.residuals import NearestResiduals, ResidualDraws
from ocd.baselines.shared_delta import mean_delta
from ocd.baselines.temperature import fit_temperature
from ocd.baselines.tent import Tent
from ocd.baselines.trained.fitting import MainFit, fit_baseline, load_baseline, training_failure
from ocd.baselines.trained.kinds import DRAWN, EQUAL_TIME, TRAINED, network_kind, reason_unavailable
from ocd.baselines.trained.predictor import TrainedBaseline
from ocd.baselines.unchanged_base import UnchangedBase, base_outputs

__all__ = [
    "DRAWN",
    "EQUAL_TIME",
    "TRAINED",
    "Boosting",
    "Conformal",
    "DeepEnsemble",
    "MCDropout",
    "MainFit",
    "NearestNeighbor",
    "NearestResiduals",
    "OCDVariant",
    "OverfitTest",
    "OverfitTestAllLayers",
    "RandomDirection",
    "ResidualDraws",
    "Tent",
    "TrainedBaseline",
    "UnchangedBase",
    "base_outputs",
    "fine_tune",
    "fit_baseline",
    "fit_boosting",
    "fit_laplace",
    "fit_nearest_labels",
    "fit_renewed_statistics",
    "fit_temperature",
    "flat_inputs",
    "has_batch_norms",
    "load_baseline",
    "mean_delta",
    "network_kind",
    "reason_unavailable",
    "training_failure",
]
