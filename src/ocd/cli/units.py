"""The verbs that any number of processes take a part in: `ocd overfit` and `ocd predict`."""

from __future__ import annotations

from pathlib import Path

from ocd.cli.arguments import Folder, ShardOf
from ocd.cli.processes import NumProcesses, check_one_way, run_shards


def overfit(folder: Folder, shard: ShardOf = None, num_processes: NumProcesses = 1) -> None:
    """Overfit the chosen layer on every training example, equation 1."""
    _do("overfit", folder, shard, num_processes)


def predict(folder: Folder, shard: ShardOf = None, num_processes: NumProcesses = 1) -> None:
    """Predict the test examples with every method of the table."""
    _do("predict", folder, shard, num_processes)


def _do(verb: str, folder: Path, shard: str | None, num_processes: int) -> None:
    """Alone, as one of several processes, or by several that are started here."""
    from ocd.data import Shard
    from ocd.runs import Run, do_shared

    check_one_way(shard, num_processes if num_processes > 1 else None)
    if num_processes == 1:
        do_shared(folder, verb, None if shard is None else Shard.parse(shard))
        return
    Run.open(folder)  # what is wrong with the folder is said once
    run_shards(num_processes)
    do_shared(folder, verb, Shard())  # what one of them has left is done, and what is left over removed
