"""A small AWS, one group of it, and a process that rolls out: values only, so that every state can be visited.

Time is counted in ticks, and a consistency window is one. All moments are relative to now, and are cut off where
nothing depends on them any more, so the states are finite.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from nodepkg.autoscale.journal import Phase, Record
from nodepkg.autoscale.rollout import Act, Done, Refuse, Step, Wait, decide
from nodepkg.autoscale.steps import (
    AttachTargets,
    Change,
    DeleteAsg,
    DetachTargets,
    Enter,
    Grow,
    RecordSizes,
    Resize,
    ResumeProcesses,
    Serve,
    SuspendProcesses,
)
from nodepkg.autoscale.view import Asg, Goal, Node, Terms, View, remember
from nodepkg.autoscale.writes import Writes

REGION, OLD, NEW = "r", "bee-v001", "bee-v002"
TARGET = "arn:t"
REPLACES, SCHEDULED, ALARMS = "ReplaceUnhealthy", "ScheduledActions", "AlarmNotification"
LONG = 7  # ticks after which nothing changes any more by itself


class Machine(NamedTuple):
    """A node. `slot` and `turn` are its id: one that takes another's place has another turn.

    `state`: p(ending), r(eady), i(nitial), h(ealthy in the target group), x (draining), d(ead), t(erminating).
    """

    slot: int
    turn: int
    state: str


class Fleet(NamedTuple):
    """An Auto Scaling group. `life`: 1 there, 2 being deleted."""

    min: int
    max: int
    desired: int
    suspended: frozenset[str] = frozenset()
    attached: bool = False
    machines: tuple[Machine, ...] = ()
    life: int = 1


class Cloud(NamedTuple):
    """What AWS has. The record's times are relative to now; `serving` is which group is tagged so.

    `carried`: N has O's policies, which moved its alarms there if `alarmed`.
    """

    old: Fleet | None
    new: Fleet | None = None
    record: Record | None = None
    serving: str = OLD
    carried: bool = False
    alarmed: bool = False


class Process(NamedTuple):
    """What one run of the program remembers. `settle` are ticks before it may look; writes have their age."""

    goal: Goal
    aim: str = ""
    seen: tuple[tuple[str, Hashable, int], ...] = ()
    writes: tuple[tuple[Change, float], ...] = ()
    settle: int = 1


class World(NamedTuple):
    """`before` is what AWS had a tick ago: what a stale read shows.

    `late` is a call, or the desired size of a policy, that AWS carries out only at the end of the tick. `own` are the
    sizes (min, max) that O's user and schedules want, `asked` the nodes that its policies and schedules ask for,
    `deaths` how many nodes died in this tick.
    """

    cloud: Cloud
    before: Cloud
    process: Process | None
    faults: int
    own: tuple[int, int]
    asked: int
    deaths: int = 0
    late: Change | int | None = None
    over: bool = False


@dataclass(frozen=True)
class Setting:
    """One world to explore."""

    desired: int = 1
    least: int = 1
    most: int = 2
    balanced: bool = True
    broken: bool = False
    wears_out: bool = False  # N's nodes start once, and no other in their place
    bake_time: int = 1
    user_suspended: frozenset[str] = frozenset()

    @property
    def terms(self) -> Terms:
        return Terms(self.least, self.most, 6 if self.balanced else 4, self.bake_time, 1, 2, 0, 1)

    def start(self, faults: int) -> World:
        state = "h" if self.balanced else "r"
        machines = tuple(Machine(slot, 0, state) for slot in range(self.desired))
        old = Fleet(self.least, self.most, self.desired, self.user_suspended, self.balanced, machines)
        cloud = Cloud(old)
        return World(cloud, cloud, None, faults, (self.least, self.most), self.desired)


def serving(cloud: Cloud, *, balanced: bool) -> int:
    state = "h" if balanced else "r"
    fleets = (fleet for fleet in (cloud.old, cloud.new) if fleet)
    return sum(machine.state == state for fleet in fleets for machine in fleet.machines)


# What AWS does


def settled(fleet: Fleet) -> Fleet:
    """As many nodes as desired: what is too much goes at once, the worst first."""
    alive = [one for one in fleet.machines if one.state != "t"]
    surplus = len(alive) - fleet.desired
    if surplus <= 0:
        return fleet
    worst = {one.slot for one in sorted(alive, key=lambda one: "dpxirh".index(one.state))[:surplus]}
    machines = tuple(
        one._replace(state="t") if one.slot in worst and one.state != "t" else one for one in fleet.machines
    )
    return fleet._replace(machines=machines)


def aged(fleet: Fleet | None, broken: Sequence[int] = ()) -> Fleet | None:
    """The group a tick later; None once it is deleted. Nodes of `broken` turns never become ready."""
    if fleet is None or fleet.life == 2:
        return None
    machines = [_older(one, fleet, broken=one.turn in broken) for one in fleet.machines if one.state != "t"]
    free = [slot for slot in range(3) if slot not in {one.slot for one in machines}]
    turns = {one.slot: 1 - one.turn for one in fleet.machines}
    alive = sum(one.state != "t" for one in machines)
    while alive < fleet.desired and free:
        slot = free.pop(0)
        machines.append(Machine(slot, turns.get(slot, 0), "p"))
        alive += 1
    return settled(fleet._replace(machines=tuple(sorted(machines))))


def _older(machine: Machine, fleet: Fleet, *, broken: bool) -> Machine:
    state = machine.state
    if state == "d":
        return machine._replace(state="d" if REPLACES in fleet.suspended else "t")
    if state == "p":
        return machine if broken else machine._replace(state="r")
    if fleet.attached:
        return machine._replace(state={"r": "i", "i": "h", "x": "i"}.get(state, state))
    return machine._replace(state="r" if state == "x" else state)


def resized(fleet: Fleet, least: int, most: int, desired: int | None) -> Fleet:
    wanted = min(max(fleet.desired if desired is None else desired, least), most)
    return settled(fleet._replace(min=least, max=most, desired=wanted))


def detached(fleet: Fleet) -> Fleet:
    machines = tuple(one._replace(state="x") if one.state in "ih" else one for one in fleet.machines)
    return fleet._replace(attached=False, machines=machines)


@dataclass(frozen=True)
class CreateNew:
    """The claim, as the model has it."""

    record: Record
    changes = (NEW, "life")

    def run(self, _: object, /) -> dict[str, object]:
        raise AssertionError

    def shows_in(self, view: View, /) -> bool:
        return view.new is not None


@dataclass(frozen=True)
class Carry:
    """Copying what O has to N; or pointing alarms to N, and `back` to O."""

    what: str
    changes = (NEW, "carried")

    def run(self, _: object, /) -> dict[str, object]:
        raise AssertionError

    def shows_in(self, _: View, /) -> bool:
        return True


def effects(cloud: Cloud, change: Change) -> Iterator[Cloud]:
    """What AWS has after each call that the change makes."""
    match change:
        case CreateNew():
            assert cloud.new is None, "two groups"
            yield cloud._replace(new=Fleet(0, 0, 0), record=change.record)
        case Carry(what="policies"):
            yield cloud._replace(carried=True)
        case Carry():
            yield cloud._replace(alarmed=change.what == "alarms")
        case Grow():
            assert cloud.record
            noted = cloud._replace(record=replace(cloud.record, deadline=change.deadline))
            yield noted
            yield _with(noted, NEW, resized(_fleet(cloud, NEW), change.size, change.max, change.size))
        case RecordSizes():
            yield _noted(cloud, own=change.own)
        case Enter():
            yield _noted(cloud, phase=change.phase, since=change.now, reason="x" if change.reason else "")
        case Serve():
            assert cloud.record
            yield cloud._replace(record=Record("", cloud.record.phase, ""))
            yield cloud._replace(record=None, serving=NEW)
        case _:
            yield _with(cloud, change.asg, _changed(_fleet(cloud, change.asg), change))  # type: ignore[attr-defined]


def _changed(fleet: Fleet, change: Change) -> Fleet:
    match change:
        case SuspendProcesses():
            return fleet._replace(suspended=fleet.suspended | change.processes)
        case ResumeProcesses():
            return fleet._replace(suspended=fleet.suspended - change.processes)
        case Resize():
            return resized(fleet, change.min, change.max, change.desired)
        case AttachTargets():
            return fleet._replace(attached=True)
        case DetachTargets():
            return detached(fleet)
        case DeleteAsg():
            assert not fleet.machines, "deleted with nodes"
            return fleet._replace(life=2)
    raise AssertionError(change)


def _fleet(cloud: Cloud, name: str) -> Fleet:
    fleet = cloud.old if name == OLD else cloud.new
    assert fleet, f"{name} is gone"
    return fleet


def _with(cloud: Cloud, name: str, fleet: Fleet) -> Cloud:
    return cloud._replace(old=fleet) if name == OLD else cloud._replace(new=fleet)


def _noted(cloud: Cloud, **facts: object) -> Cloud:
    assert cloud.record
    return cloud._replace(record=replace(cloud.record, **facts))  # type: ignore[arg-type]


# What the process sees and does


@lru_cache(maxsize=100_000)
def _asg(name: str, fleet: Fleet, record: Record | None, *, serves: bool) -> Asg:
    nodes = tuple(_node(name, machine) for machine in fleet.machines)
    tags = record.tags() if record else {"nodepkg:phase": "serving"} if serves else {}
    targets = frozenset({TARGET}) if fleet.attached else frozenset()
    sizes = (fleet.min, fleet.max, fleet.desired)
    return Asg(name, *sizes, tags, fleet.suspended, targets, nodes, deleting=fleet.life == 2)


def _node(name: str, machine: Machine) -> Node:
    told = {"i": "initial", "h": "healthy", "x": "draining"}.get(machine.state)
    lifecycle = {"p": "Pending", "t": "Terminating"}.get(machine.state, "InService")
    targets = ((TARGET, told),) if told else ()
    return Node(f"{name} {machine.slot} {machine.turn}", lifecycle, machine.state != "d", targets=targets)


def view(setting: Setting, cloud: Cloud, process: Process) -> View:
    new = _asg(NEW, cloud.new, cloud.record, serves=cloud.serving == NEW) if cloud.new else None
    old = _asg(OLD, cloud.old, None, serves=cloud.serving == OLD) if cloud.old else None
    if new and cloud.record is None:
        old, new = new, None
    claim = None
    if new is None and old and old.name == OLD and process.goal is Goal.UPDATE:
        targets = frozenset({TARGET}) if setting.balanced else frozenset[str]()
        claim = CreateNew(
            Record("run", Phase.CLAIM, OLD, old.targets, old.suspended, targets, deadline=None)  # as at that moment
        )
    record = cloud.record
    holds, undoes = bool(record and record.phase is Phase.HOLD), bool(record and record.phase is Phase.ROLLBACK)
    alarms: tuple[Change, ...] = ()
    if (holds and not cloud.alarmed) or (undoes and cloud.alarmed):
        alarms = (Carry("alarms" if holds else "back"),)
    carry: tuple[Change, ...] = (Carry("policies"),) if holds and not cloud.carried else ()
    seen = {fact: (value, float(-age)) for fact, value, age in process.seen}
    return View(process.goal, setting.terms, old, new, (), claim, process.aim, carry, alarms, (), seen)


class Look(NamedTuple):
    """What a process makes of an observation: itself afterwards, and the step; None if the observation is too old."""

    process: Process
    step: Step | None


def look(setting: Setting, cloud: Cloud, process: Process) -> Look:
    seen_now = view(setting, cloud, process)
    if not Writes(process.writes).show_in(seen_now):
        return Look(process, None)
    memory = remember(seen_now.seen, seen_now, 0.0)
    aim = seen_now.new.name if seen_now.new else process.aim
    kept = tuple(
        sorted((fact, value, min(round(-since), LONG)) for fact, (value, since) in memory.items() if value is not None)
    )
    after = process._replace(seen=kept, aim=aim)
    return Look(after, decide(replace(seen_now, seen=memory, aim=aim), 0.0, region=REGION))


def ticked(setting: Setting, world: World) -> World:
    """A tick later."""
    cloud = world.cloud
    world = _landed(world)
    record = world.cloud.record
    if record:
        deadline = None if record.deadline is None else _deadline_earlier(record.deadline)
        record = replace(record, since=_since_earlier(record.since), deadline=deadline)
    new = aged(world.cloud.new, (0, 1) if setting.broken else (1,) if setting.wears_out else ())
    after = world.cloud._replace(old=aged(world.cloud.old), new=new, record=record if new else None)
    process = world.process
    if process:
        seen = tuple((fact, value, min(age + 1, LONG)) for fact, value, age in process.seen)
        writes = Writes(tuple((_earlier(change), moment - 1) for change, moment in process.writes)).after(-2).made
        process = process._replace(seen=seen, writes=writes, settle=max(process.settle - 1, 0))
    return world._replace(cloud=after, before=cloud, process=process, deaths=0)


def _since_earlier(since: float) -> float:
    return max(since - 1, -float(LONG))


def _deadline_earlier(deadline: float) -> float:
    return max(deadline - 1, -1.0)


def _earlier(change: Change) -> Change:
    """As a tick later: moments are told from now."""
    if isinstance(change, Enter | Serve):
        return replace(change, now=_since_earlier(change.now))
    return replace(change, deadline=_deadline_earlier(change.deadline)) if isinstance(change, Grow) else change


def _landed(world: World) -> World:
    """What was still under way comes in; AWS refuses what does not fit any more."""
    cloud, late = world.cloud, world.late
    world = world._replace(late=None)
    if isinstance(late, int):
        old = cloud.old
        if not (old and old.life == 1 and old.min <= late <= old.max):
            return world
        return world._replace(cloud=cloud._replace(old=resized(old, old.min, old.max, late)), asked=late)
    if late is None or not possible(cloud, late):
        return world
    *_, landed = effects(cloud, late)
    return world._replace(cloud=landed)


def possible(cloud: Cloud, change: Change) -> bool:
    """Whether AWS does not refuse it, because of what is gone, or there already."""
    if isinstance(change, CreateNew):
        return cloud.new is None
    if isinstance(change, RecordSizes | Enter | Grow) and cloud.record is None:
        return False
    name = getattr(change, "asg", NEW)
    fleet = cloud.old if name == OLD else cloud.new
    return fleet is not None and not (isinstance(change, DeleteAsg) and fleet.machines)


def written(process: Process, change: Change) -> Process:
    """The process after a write: it remembers it for a window."""
    return process._replace(writes=Writes(process.writes).and_also(change, 0.0).made)


__all__ = ["NEW", "OLD", "Act", "Cloud", "Done", "Look", "Process", "Refuse", "Setting", "Wait", "World"]
