"""Units of work that several processes share: nothing twice, nothing lost, whoever dies."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from ocd.data import STRETCH, Shard, Units, claims, file_digest
from ocd.errors import OCDError
from processes import run_together

TOTAL = 3 * STRETCH + 5


def work(folder: Path, shard: Shard, total: int = TOTAL, pause: float = 0.0, die_at: int = -1) -> None:
    """Do what is left, and log each unit that this process did."""
    found = Units(folder, {"what": "numbers"}, ".txt")
    for number in found.to_do(shard, total):
        with found.taken(number) as is_ours:
            if not is_ours:
                continue
            time.sleep(pause)
            if number == die_at:
                os._exit(9)
            found.path(number).write_text(str(number))
            with (folder / f"log-{shard.number}").open("a") as log:
                log.write(f"{number}\n")
            found.finish(number, rows=1)


def notes(folder: Path) -> list[Path]:
    return [path for path in (folder / "claims").iterdir() if not path.name.startswith(".")]


def done_by(folder: Path) -> list[int]:
    return [int(n) for log in sorted(folder.glob("log-*")) for n in log.read_text().split()]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_every_unit_has_one_owner(count: int) -> None:
    for unit in range(10 * STRETCH):
        assert sum(Shard(number, count).owns(unit) for number in range(count)) == 1


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "1/0", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(OCDError, match="must be I/N"):
        Shard.parse(text)
    assert Shard.parse("2/8") == Shard(2, 8)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_units_and_do_none_twice(count: int, tmp_path: Path) -> None:
    started = [
        multiprocessing.get_context("fork").Process(
            target=work, args=(tmp_path, Shard(number, count), TOTAL, 0.002)
        )
        for number in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    assert sorted(done_by(tmp_path)) == list(range(TOTAL))
    found = Units(tmp_path, {"what": "numbers"}, ".txt")
    assert found.num_done(TOTAL) == TOTAL
    assert [found.path(n).read_text() for n in range(TOTAL)] == [str(n) for n in range(TOTAL)]
    assert not notes(tmp_path)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_a_process_that_died_was_at_is_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=work, args=(tmp_path, Shard(0, 2)), kwargs={"die_at": 3}
    )
    process.start()
    process.join(60)
    assert process.exitcode == 9
    if elsewhere:  # there nobody knows whether it is alive
        (tmp_path / "claims" / "000003").write_text("elsewhere 1\n")
    work(tmp_path, Shard(1, 2))
    left = [3] if elsewhere else []
    assert sorted(done_by(tmp_path)) == [n for n in range(TOTAL) if n not in left]
    monkeypatch.setattr(claims, "STALE", 0.0)
    time.sleep(0.05)
    work(tmp_path, Shard(1, 2))
    assert sorted(done_by(tmp_path)) == list(range(TOTAL))


def test_a_process_that_works_long_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.02)
    monkeypatch.setattr(claims, "STALE", 0.5)
    one, two = (Units(tmp_path, {"what": 1}) for _ in range(2))
    with one.taken(0) as first:
        assert first
        time.sleep(0.8)
        with two.taken(0) as second:
            assert not second
    with two.taken(0) as second:
        assert second


def finish_all(folder: Path, shard: Shard, total: int, pause: float) -> None:
    found = Units(folder, {"what": 1})
    for number in found.until_done(shard, total):
        time.sleep(pause)
        found.finish(number, by=shard.number, sha256=None)
    assert found.num_done(total) == total


def test_a_process_may_wait_until_all_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what others are at, however slow they are."""
    monkeypatch.setattr(claims, "POLL", 0.01)
    run_together(
        multiprocessing.get_context("fork").Process(
            target=finish_all, args=(tmp_path, Shard(number, 2), 20, (0.001, 0.1)[number])
        )
        for number in range(2)
    )
    found = Units(tmp_path, {"what": 1})
    assert {found.facts(number)["by"] for number in range(20)} == {0, 1}
    assert not notes(tmp_path)


def test_waiting_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "POLL", 0.0)
    answers, said = iter([False, False, True]), []
    claims.wait_for(lambda: next(answers), "the plan", said.append)
    assert said == ["waiting for the plan"]


def test_a_unit_is_whole_only_with_its_marker(tmp_path: Path) -> None:
    found = Units(tmp_path, {"what": 1})
    found.path(0).write_text("half")
    assert not found.is_done(0) and list(found.to_do(Shard(), 1)) == [0]
    found.finish(0, rows=4)
    assert found.is_done(0) and found.facts(0) == {"rows": 4}
    with found.taken(0) as is_ours:
        assert not is_ours


def test_units_of_other_work_are_refused(tmp_path: Path) -> None:
    Units(tmp_path, {"draws": 5})
    with pytest.raises(OCDError, match="draws is 5, not 6"):
        Units(tmp_path, {"draws": 6})


def test_a_unit_whose_file_is_gone_is_not_done(tmp_path: Path) -> None:
    work(tmp_path, Shard(), total=3)
    found = Units(tmp_path, {"what": "numbers"}, ".txt")
    found.path(1).unlink()
    assert [found.is_done(number) for number in range(3)] == [True, False, True]
    work(tmp_path, Shard(), total=3)
    assert found.num_done(3) == 3 and found.path(1).read_text() == "1"
    found.path(2).unlink()
    found.finish(2, sha256=None)  # it has no data file
    assert found.is_done(2)


def test_a_damaged_unit_loses_its_marker(tmp_path: Path) -> None:
    found = Units(tmp_path, {"what": "numbers"}, ".txt")
    for number in range(4):
        found.path(number).write_text(str(number))
        found.finish(number, sha256=file_digest(found.path(number)))
    found.path(1).write_text("2")
    found.path(2).unlink()
    found.marker(3).write_text("{")
    for number in range(4):
        found.drop_damaged(number)
    assert [found.marker(number).exists() for number in range(4)] == [True, False, False, False]
