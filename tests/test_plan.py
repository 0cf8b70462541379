"""Plans: one after the other, side by side, and what an error leaves."""

import threading
from dataclasses import dataclass, field

import pytest

from nodepkg.errors import AwsError
from nodepkg.plan import Report, execute


@dataclass
class World:
    """What happened, in order; `meeting` is where actions that need each other wait."""

    done: list[int] = field(default_factory=list)
    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(3))


@dataclass(frozen=True)
class Do:
    number: int
    together: bool = False
    fails: bool = False

    def __str__(self) -> str:
        return f"do {self.number}"

    def run(self, world: World, /) -> Report:
        if self.together:
            world.meeting.wait(timeout=30)
        if self.fails:
            raise AwsError(f"{self.number} failed")
        world.done.append(self.number)
        return {"number": self.number}


def test_a_dry_run_tells_and_does_nothing() -> None:
    world, told = World(), list[str]()
    reports = list(execute([Do(1), Do(2)], world, dry_run=True, say=told.append, at_once=4))
    assert told == ["would do 1", "would do 2"]
    assert reports == [{"action": "do 1"}, {"action": "do 2"}]
    assert world.done == []


def test_actions_run_side_by_side() -> None:
    world = World()
    plan = [Do(number, together=True) for number in range(6)]  # three at a time, or the barrier breaks
    assert len(list(execute(plan, world, dry_run=False, say=lambda _: None, at_once=3))) == 6
    assert sorted(world.done) == list(range(6))


@pytest.mark.parametrize("at_once", [1, 3])
def test_after_an_error_nothing_begins_and_what_was_done_is_reported(at_once: int) -> None:
    world, reports = World(), list[Report]()
    plan = [Do(0), Do(1, fails=True), *(Do(number) for number in range(2, 50))]
    with pytest.raises(AwsError, match="1 failed"):
        for report in execute(plan, world, dry_run=False, say=lambda _: None, at_once=at_once):
            reports.append(report)
    assert sorted(report["number"] for report in reports) == sorted(world.done)
    assert len(world.done) < 50


def test_an_interrupt_finishes_what_runs_and_reports_it() -> None:
    world, reports = World(), list[Report]()

    def say(line: str) -> None:
        if line == "do 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for report in execute([Do(number) for number in range(9)], world, dry_run=False, say=say, at_once=3):
            reports.append(report)
    assert sorted(world.done) == [0, 1]
    assert len(reports) == 2
