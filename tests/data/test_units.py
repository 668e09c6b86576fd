"""Units of work: any number of processes, in any order, and each unit once or to the same bits."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import torch

from helpers import contents
from ocd import OCDError
from ocd.data import Share, Units, aside_of, sweep, wait_for, write_tensors


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocd.data.units.PATIENCE", 0.2)
    monkeypatch.setattr("ocd.data.units.POLL", 0.01)


def rows(number: int) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(3.0) + number}


def work(folder: Path, share: Share, count: int, seconds: float = 0.0, last: int = 10**9) -> None:
    """Take units as a process does; `last`: after so many it is gone."""
    units = Units(folder, "unit")
    for done, number in enumerate(units.to_do(count, share)):
        if done == last:
            os._exit(9)
        time.sleep(seconds)
        units.write(number, rows(number), {"rows": 3})


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", "1/0", ""])
def test_a_shard_that_is_none_is_named(text: str) -> None:
    with pytest.raises(OCDError, match="it must be I/N, such as 2/8"):
        Share.parse(text)


def test_one_process_takes_all_in_order(tmp_path: Path) -> None:
    units = Units(tmp_path, "unit")
    units.write(2, rows(2), {})
    taken = []
    for number in units.to_do(5, Share()):
        taken.append(number)
        units.write(number, rows(number), {})
    assert taken == [0, 1, 3, 4]
    assert units.done() == {0, 1, 2, 3, 4}
    assert not list(Units(tmp_path, "other").to_do(0, Share())) and not Units(tmp_path, "it").done()


@pytest.mark.parametrize("of", [2, 4, 7])
def test_several_processes_end_with_the_same_files(tmp_path: Path, of: int) -> None:
    work(tmp_path / "one", Share(), 11)
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=work, args=(tmp_path / "many", Share(number, of), 11, 0.01))
        for number in range(1, of + 1)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_the_units_of_a_process_that_dies_are_taken(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    dies = context.Process(target=work, args=(tmp_path, Share(2, 2), 12, 0.01, 2))
    dies.start()
    dies.join(60)
    assert dies.exitcode == 9 and Units(tmp_path, "unit").done() == {6, 7}
    work(tmp_path, Share(1, 2), 12)
    assert Units(tmp_path, "unit").done() == set(range(12))


def test_what_another_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    """Its first missing unit is taken last, and only when it takes long."""
    units = Units(tmp_path, "unit")
    taken = []
    for number in units.to_do(8, Share(1, 2)):
        taken.append(number)
        units.write(number, {}, {})
        if number == 5:
            units.write(4, {}, {})  # the other process is done with it
    assert taken[:4] == [0, 1, 2, 3] and set(taken[4:]) == {5, 6, 7}


@pytest.mark.parametrize("damage", ["cut", "flip", "missing"])
def test_a_damaged_unit_is_named(tmp_path: Path, damage: str) -> None:
    work(tmp_path, Share(), 2)
    units = Units(tmp_path, "unit")
    path = units.data(1)
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data[-1] ^= 1
        path.write_bytes(bytes(data[:-1] if damage == "cut" else data))
    units.check(0, "make it again")
    with pytest.raises(OCDError, match=r"unit-00001.safetensors is (missing|cut short).*make it again"):
        units.check(1, "make it again")


def test_waiting_says_for_what(tmp_path: Path) -> None:
    answers, said = iter([False, False, True]), []
    wait_for(lambda: next(answers), "the plan", said.append, poll=0.0)
    assert said == ["waiting for the plan"]


def test_two_processes_never_write_to_one_name(tmp_path: Path) -> None:
    def name(queue) -> None:
        queue.put(str(aside_of(tmp_path / "file")))

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=name, args=(queue,))
    process.start()
    process.join()
    assert queue.get() != str(aside_of(tmp_path / "file"))
    assert not process.is_alive()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    """But not what one that is alive writes, or one of another machine."""

    def half() -> None:
        aside_of(tmp_path / "file").write_text("half")

    process = multiprocessing.get_context("fork").Process(target=half)
    process.start()
    process.join()
    (left,) = tmp_path.iterdir()
    own = aside_of(tmp_path / "file")
    own.write_text("being written")
    elsewhere = tmp_path / left.name.replace(left.name.split(".")[1].split("-")[0], "elsewhere", 1)
    elsewhere.write_text("being written")
    other = tmp_path / "photo.part"
    other.write_text("a user's own")
    sweep(tmp_path)
    assert {*tmp_path.iterdir()} == {own, elsewhere, other}


def test_a_disk_that_is_full_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    import resource

    from ocd.data import write_state

    path, state = tmp_path / "file.safetensors", tmp_path / "state.pt"
    write_tensors(path, rows(0))
    write_state(state, {"x": torch.zeros(3)})
    before = contents(tmp_path)

    def fill(queue) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as a disk with so much room
        for write in (
            lambda: write_tensors(path, {"x": torch.zeros(10_000)}),
            lambda: write_state(state, {"x": torch.zeros(10_000)}),
        ):
            try:
                write()
            except Exception as error:
                queue.put((type(error).__name__, str(error)))

    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=fill, args=(queue,))
    process.start()
    process.join()
    for _ in range(2):
        kind, said = queue.get()
        assert kind == "OCDError" and "\n" not in said
        assert "cannot be written" in said and "make room on the disk" in said
    assert contents(tmp_path) == before
