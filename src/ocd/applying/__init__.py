"""From a run to answers for new data: in a program, in a service, from the command line."""

from ocd.applying.answers import Answers
from ocd.applying.files import ApplyOptions, apply_to
from ocd.applying.folders import apply_in_units, goes_to_a_folder
from ocd.applying.loaded import Ask, LoadedRun, load

__all__ = [
    "Answers",
    "ApplyOptions",
    "Ask",
    "LoadedRun",
    "apply_in_units",
    "apply_to",
    "goes_to_a_folder",
    "load",
]
