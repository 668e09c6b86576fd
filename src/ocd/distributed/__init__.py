"""One training in several processes, started by torchrun or `accelerate launch`."""

from ocd.distributed.team import Team, check_alone, launched, team_of

__all__ = ["Team", "check_alone", "launched", "team_of"]
