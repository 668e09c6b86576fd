"""Work that is interrupted goes on, and ends with the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from ocd import OCDError
from ocd.data import (
    GlobalRandom,
    ResumableLoop,
    SaveTimer,
    read_state,
    remembered,
    resumable,
    resumable_part,
    write_state,
)
from resuming import Stop, stop_after, until_done


def train(steps: int = 40) -> dict[str, torch.Tensor]:
    """A small training with everything that a loop has to keep."""
    order = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
        random = GlobalRandom(torch.device("cpu"))
        loop = ResumableLoop(
            "training",
            network=network,
            optimizer=optimizer,
            schedule=schedule,
            order=order,
            random=random,
        )
        values = loop.values
        for step in loop.steps(steps):
            if step % 10 == 0:
                values["rows"] = torch.randperm(7, generator=order)
            inputs = torch.randn(5, 3, generator=order) + values["rows"][step % 5]
            loss = network(inputs).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            values["total"] = values.get("total", 0.0) + float(loss.detach())
            if step == steps - 3:
                loop.end()
    return {**network.state_dict(), "total": torch.tensor(values["total"])}


def test_a_loop_that_is_interrupted_ends_with_the_same_bits(tmp_path, monkeypatch):
    whole = train()
    found, stops = until_done(train, tmp_path / "states", monkeypatch)
    assert stops > 3
    for name, value in whole.items():
        assert torch.equal(value, found[name]), name
    assert not (tmp_path / "states").exists()


def test_nothing_is_saved_where_nothing_is_resumable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ocd.data.resuming.SAVE_EVERY", 0.0)
    train(5)
    assert remembered("x", lambda: {"a": 1}) == {"a": 1}
    assert not list(tmp_path.iterdir())


def test_a_loop_is_not_saved_in_the_middle_of_a_step(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.data.resuming.SAVE_EVERY", 0.0)
    monkeypatch.setattr("ocd.data.resuming.SAVING_SHARE", 0)
    seen = []

    def work() -> None:
        loop = ResumableLoop("steps")
        done = loop.values.setdefault("done", [])
        for step in loop.steps(6):
            seen.append(step)
            done.append(step)
            if seen.count(3) == 1 and step == 3:
                raise Stop
        seen.append(list(done))

    with pytest.raises(Stop), resumable(tmp_path / "states"):
        work()
    with resumable(tmp_path / "states"):
        work()
    assert seen == [0, 1, 2, 3, 3, 4, 5, [0, 1, 2, 3, 4, 5]]


def test_results_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.data.resuming.WORTH", -1.0)
    calls = []

    def make(name: str) -> dict[str, object]:
        calls.append(name)
        return {"name": name, "value": torch.arange(3), "nothing": None}

    with pytest.raises(Stop), resumable(tmp_path / "states"):
        remembered("one", lambda: make("one"))
        remembered("one", lambda: make("another of this name"))
        raise Stop
    with resumable(tmp_path / "states"):
        first = remembered("one", lambda: make("again"))
        second = remembered("one", lambda: make("again"))
    assert calls == ["one", "another of this name"]
    assert (first["name"], second["name"]) == ("one", "another of this name")
    assert torch.equal(first["value"], torch.arange(3)) and first["nothing"] is None


def test_loops_in_what_is_remembered_have_a_folder_of_their_own(tmp_path, monkeypatch):
    """Otherwise a loop behind a result that is not made again would get the state of another."""
    monkeypatch.setattr("ocd.data.resuming.WORTH", -1.0)

    def loop() -> dict[str, int]:
        own = ResumableLoop("sum")
        for step in own.steps(3):
            own.values["sum"] = own.values.get("sum", 0) + step + 1
        return dict(own.values)

    def work() -> Iterator[dict[str, int]]:
        yield remembered("first", loop)
        with resumable_part("part"):
            yield {"sum": 2 * loop()["sum"]}
        yield {"sum": 3 * loop()["sum"]}

    for last in (1, 2, 3):
        found = []
        with pytest.raises(Stop), resumable(tmp_path / "states"):
            for one in work():
                found.append(one["sum"])
                if len(found) == last:
                    raise Stop
        assert found == [6, 12, 18][:last]


def test_the_clock_goes_on_in_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setattr("ocd.data.resuming.SAVE_EVERY", 0.0)
    now = [0.0]
    monkeypatch.setattr("ocd.data.resuming.time.perf_counter", lambda: now[0])

    def work(most: int) -> float:
        with resumable(tmp_path / "states") as place, resumable_part("inner") as inner:
            for step in ResumableLoop("steps").steps(10):
                now[0] += 1
                if step == most:
                    raise Stop
            assert inner.seconds == place.seconds
            return place.seconds

    with pytest.raises(Stop):
        work(5)  # five steps are saved
    now[0] += 100
    assert work(20) == 10
    assert work(20) == 10  # a new work


def test_large_states_are_saved_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ocd.data.resuming.time.perf_counter", lambda: now[0])
    timer = SaveTimer()
    assert not timer.is_due
    now[0] += 1.5
    assert timer.is_due
    with timer.saving():
        now[0] += 3
    now[0] += 29
    assert not timer.is_due
    now[0] += 1.5
    assert timer.is_due


def test_a_state_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "state"
    write_state(path, {"a": torch.ones(1000)})
    assert torch.equal(read_state(path)["a"], torch.ones(1000))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(OCDError, match=r"state cannot be read .* delete it"):
        read_state(path)
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_stops_are_where_they_are_asked_for(tmp_path, monkeypatch):
    """The helper of these tests: `stop_after` counts the times that a save might be due."""
    stop_after(7, monkeypatch)
    seen = []
    with pytest.raises(Stop), resumable(tmp_path / "states"):
        for step in ResumableLoop("steps").steps(100):
            seen.append(step)
    assert len(seen) == 7 and Path(tmp_path / "states" / "steps").exists()
