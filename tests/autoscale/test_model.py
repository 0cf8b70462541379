"""Every state that a rollout can get into, with kills, lost and stale replies, sick nodes, scaling and schedules.

More faults than CI has time for: NODEPKG_MODEL_FAULTS=3 pytest -s tests/autoscale/test_model.py
"""

import os
from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from nodepkg.autoscale.rollout import Act, Done, Refuse
from nodepkg.autoscale.steps import AttachTargets, Resize
from nodepkg.autoscale.view import Goal
from tests.autoscale.model import (
    ALARMS,
    NEW,
    SCHEDULED,
    Cloud,
    Fleet,
    Look,
    Process,
    Setting,
    World,
    effects,
    look,
    possible,
    resized,
    serving,
    ticked,
    written,
)

FAULTS = int(os.environ.get("NODEPKG_MODEL_FAULTS", "2"))


def without_faults(setting: Setting, world: World) -> World:
    """What comes next if nothing goes wrong; a process that has died is run again."""
    process = world.process
    if process is None:
        return world._replace(process=Process(Goal.UPDATE))
    if process.settle:
        return ticked(setting, world)
    return acted(setting, world, look(setting, world.cloud, process))


def acted(setting: Setting, world: World, looked: Look, *, unseen: int = 0) -> World:
    """`unseen`: how many nodes died since what the process looked at."""
    match looked.step:
        case Act(change=change) if not possible(world.cloud, change):
            return world._replace(process=unsure(looked.process))
        case Act(change=change):
            *_, cloud = effects(world.cloud, change)
            check(setting, world, cloud, change, unseen=unseen)
            return world._replace(cloud=cloud, process=written(looked.process, change))
        case Done():
            return world._replace(process=None, over=True)
        case Refuse():
            return world._replace(process=None)
    return ticked(setting, world._replace(process=looked.process))


def check(setting: Setting, world: World, cloud: Cloud, change: object, *, unseen: int = 0) -> None:
    """No action of ours takes away what serves and has to; nor a node that somebody may be talking to."""
    now = serving(world.cloud, balanced=setting.balanced)
    left = serving(cloud, balanced=setting.balanced)
    assert left >= min(world.asked, now) - unseen, f"{change}: {left} nodes serve, of {now}; asked {world.asked}"
    if isinstance(change, Resize) and change.max == 0:
        fleet = world.cloud.new if change.asg == NEW else world.cloud.old
        assert fleet and not any(one.state in "ihx" for one in fleet.machines), f"{change}: not drained"
    if isinstance(change, AttachTargets) and change.asg == NEW and world.cloud.new:
        new = world.cloud.new
        unready = len(new.machines) != new.desired or any(one.state in "pdt" for one in new.machines)
        assert not unready or unseen, f"{change}: not ready"


def with_a_fault(setting: Setting, world: World) -> Iterator[World]:
    spent = world._replace(faults=world.faults - 1)
    yield from _weather(setting, spent)
    process = spent.process
    if process is None:
        yield spent._replace(process=Process(Goal.ROLLBACK))
        return
    if process.settle:
        return
    looked = look(setting, spent.cloud, process)
    if isinstance(looked.step, Act):
        yield from _interrupted(setting, spent, looked)
    if spent.before != spent.cloud:
        yield acted(setting, spent, look(setting, spent.before, process), unseen=spent.deaths)


def unsure(process: Process) -> Process:
    """After a reply that did not come, or a refusal, the process waits, and forgets what it has seen."""
    return process._replace(seen=(), settle=1)


def _interrupted(setting: Setting, world: World, looked: Look) -> Iterator[World]:
    """The process dies before or after each call, or the reply is lost: it waits, and forgets what it has seen."""
    assert isinstance(looked.step, Act)
    change = looked.step.change
    for cloud in chain([world.cloud], effects(world.cloud, change)):
        check(setting, world, cloud, change)
        yield world._replace(cloud=cloud, process=None)
        yield world._replace(cloud=cloud, process=unsure(looked.process))
    if world.late is None:
        yield world._replace(late=change, process=None)
        yield world._replace(late=change, process=unsure(looked.process))


def _weather(setting: Setting, world: World) -> Iterator[World]:
    """Nodes die, policies scale, schedules come."""
    old, new = world.cloud.old, world.cloud.new
    if old and old.life == 1:
        yield from (_died(world._replace(cloud=world.cloud._replace(old=sick))) for sick in _sick(old))
        for fleet in _scaled(old):
            yield _asked(world, fleet, fleet.desired)
            if world.late is None:
                yield world._replace(late=fleet.desired)
        if SCHEDULED not in old.suspended:
            for least, most, desired in ((1, 2, 1), (2, 2, 2)):
                fleet = resized(old, least, most, desired)
                yield _asked(world, fleet, desired)._replace(own=(least, most))
    if new and new.life == 1:
        yield from (_died(world._replace(cloud=world.cloud._replace(new=sick))) for sick in _sick(new))
        if world.cloud.carried:
            yield from (world._replace(cloud=world.cloud._replace(new=fleet)) for fleet in _scaled(new))


def _sick(fleet: Fleet) -> Iterator[Fleet]:
    for number, machine in enumerate(fleet.machines):
        if machine.state in "rih":
            machines = (*fleet.machines[:number], machine._replace(state="d"), *fleet.machines[number + 1 :])
            yield fleet._replace(machines=machines)


def _died(world: World) -> World:
    return world._replace(deaths=world.deaths + 1)


def _scaled(fleet: Fleet) -> Iterator[Fleet]:
    if ALARMS not in fleet.suspended:
        for desired in (fleet.desired - 1, fleet.desired + 1):
            if fleet.min <= desired <= fleet.max:
                yield resized(fleet, fleet.min, fleet.max, desired)


def _asked(world: World, old: Fleet, desired: int) -> World:
    return world._replace(cloud=world.cloud._replace(old=old), asked=desired)


def explored(setting: Setting, faults: int) -> dict[World, World]:
    """Every world that can be reached, each with what follows if nothing more goes wrong."""
    start = setting.start(faults)
    next_of: dict[World, World] = {}
    waiting = [start]
    while waiting:
        world = waiting.pop()
        if world in next_of or world.over:
            continue
        after = without_faults(setting, world)
        next_of[world] = after
        waiting.append(after)
        if world.faults:
            waiting.extend(with_a_fault(setting, world))
    return next_of


def ends(next_of: dict[World, World]) -> set[World]:
    """Where each of them gets to without more faults; raises AssertionError for one that gets nowhere."""
    end_of: dict[World, World] = {}
    for world in next_of:
        path, at = [], world
        on_path: set[World] = set()
        while not at.over and at not in end_of:
            assert at not in on_path, f"it goes round for ever: {at}"
            path.append(at)
            on_path.add(at)
            at = next_of[at]
        end = at if at.over else end_of[at]
        end_of.update(dict.fromkeys(path, end))
    return set(end_of.values())


def check_end(setting: Setting, world: World) -> None:
    """Either N is all that there is, as nodes.json says, or O is exactly as it was."""
    old, new, cloud = world.cloud.old, world.cloud.new, world.cloud
    if cloud.serving == NEW:
        assert old is None and new is not None, world
        # Its max was right when it was set: N may have scaled since.
        assert new.min == setting.least and max(setting.most, new.desired) <= new.max <= setting.most + 1, world
        assert not new.suspended and new.attached == setting.balanced and cloud.record is None, world
        return
    assert new is None and old is not None, world
    assert (old.min, old.max) == world.own, world
    assert old.suspended == setting.user_suspended and old.attached == setting.balanced, world
    assert not cloud.alarmed, world


SETTINGS = {
    "one node": Setting(1, 1, 2),
    "two nodes": Setting(2, 1, 2),
    "one node, no target group": Setting(1, 1, 2, balanced=False),
    "two nodes, no target group": Setting(2, 1, 2, balanced=False),
    "no bake time": Setting(1, 1, 2, bake_time=0),
    "an image that never starts": Setting(1, 1, 2, broken=True),
    "an image that starts once": Setting(1, 1, 2, wears_out=True),
    "the user's own suspensions": Setting(1, 1, 2, user_suspended=frozenset({SCHEDULED, ALARMS})),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_fault_takes_capacity_or_leaves_anything_behind(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    setting = SETTINGS[name]
    next_of = explored(setting, FAULTS)
    last = ends(next_of)
    for world in last:
        check_end(setting, world)
    record_property("said", f"{name}: {len(next_of):,} states with up to {FAULTS} faults, {len(last):,} ends")
