"""A fit: its steps, the rehearsal before long work, its judges, and how other processes follow it."""

from ocd.fitting.copies import among_training, belonging, groups_of_copies
from ocd.fitting.following import follow
from ocd.fitting.rehearsal import few_examples, is_long, rehearsal_config
from ocd.fitting.steps import Fitting

__all__ = [
    "Fitting",
    "among_training",
    "belonging",
    "few_examples",
    "follow",
    "groups_of_copies",
    "is_long",
    "rehearsal_config",
]
