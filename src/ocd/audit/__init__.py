"""The leak audit: does a run know what it must not know, and is it what it says it is?

Four checks, each a function that returns a Finding: labels (does a method see the test labels?),
overlap (are test examples among the training examples?), copying (are generated deltas copies of
training deltas?), manifest (are data, settings and files those that the run was made with?).
"""

from ocd.audit.copying import check_copying, generated_deltas, training_deltas
from ocd.audit.findings import Audit, Finding
from ocd.audit.labels import check_labels
from ocd.audit.manifest import check_manifest, data_digest, write_manifest
from ocd.audit.overlap import check_overlap

__all__ = [
    "Audit",
    "Finding",
    "check_copying",
    "check_labels",
    "check_manifest",
    "check_overlap",
    "data_digest",
    "generated_deltas",
    "training_deltas",
    "write_manifest",
]
