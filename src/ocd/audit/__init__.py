"""Is there a leak, is the generator copying, and is this the run that its manifest names?"""

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
