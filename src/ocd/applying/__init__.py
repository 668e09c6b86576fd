"""From a run to answers for new data: in a program, in a service, from the command line."""

from ocd.applying.answers import Answers
from ocd.applying.batch_predictor import BatchPredictor
from ocd.applying.files import ApplyOptions, Summary, apply_to
from ocd.applying.loaded import Ask, LoadedRun, load
from ocd.applying.predicting import predict_to, read_predictions
from ocd.applying.shards import apply_shard, check_shards, count_answered

__all__ = [
    "Answers",
    "ApplyOptions",
    "Ask",
    "BatchPredictor",
    "LoadedRun",
    "Summary",
    "apply_shard",
    "apply_to",
    "check_shards",
    "count_answered",
    "load",
    "predict_to",
    "read_predictions",
]
