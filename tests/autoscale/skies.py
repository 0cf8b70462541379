"""A small AWS in virtual time, in memory: what the runner needs of it, and whatever can go wrong with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count

from nodepkg.autoscale.claim import TakeKept
from nodepkg.autoscale.journal import PHASE, Phase, Record, kept_sizes, moment, own_sizes
from nodepkg.autoscale.observe import Observation, Subject
from nodepkg.autoscale.steps import (
    AttachTargets,
    Change,
    DeleteAsg,
    DetachTargets,
    Enter,
    Grow,
    OfAsg,
    RecordSizes,
    RememberKept,
    Resize,
    ResumeProcesses,
    Serve,
    SuspendProcesses,
)
from nodepkg.autoscale.task import Task
from nodepkg.autoscale.view import Asg, Goal, Node, Terms, View
from nodepkg.errors import NodepkgError, RefusedError
from nodepkg.lease.claim import LostLeaseError, StaleHeartbeatError
from nodepkg.plan import Report

TARGET = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/0123456789abcdef"
IDS = count(1)


class Killed(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Create(OfAsg):
    """The claim: N at size 0."""

    record: Record
    aspect = "life"

    def __str__(self) -> str:
        return f"create {self.asg}"

    def run(self, account: object, /) -> Report:
        raise NotImplementedError

    def shows_in(self, view: View, /) -> bool:
        return view.new is not None


@dataclass
class Machine:
    id: str
    born: float
    attached: float | None = None
    detached: float | None = None
    ended: float | None = None


@dataclass
class Fleet:
    name: str
    min: int
    max: int
    desired: int
    tags: dict[str, str] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    machines: list[Machine] = field(default_factory=list)
    deleted: float | None = None
    broken: bool = False


@dataclass
class Sky:
    """AWS itself, for all processes. Seconds that things take; `lag` is how old what is shown is."""

    pending: float = 30
    health: float = 20
    drain: float = 40
    termination: float = 25
    deletion: float = 5
    call: float = 0.1
    lag: Callable[[float], float] = lambda _now: 0.0
    now: float = 1_000_000.0
    fleets: dict[str, dict[str, Fleet]] = field(default_factory=dict)
    past: list[tuple[float, dict[str, dict[str, Fleet]]]] = field(default_factory=list)
    holders: dict[str, int] = field(default_factory=dict)
    leastserving: dict[str, int] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def serve(self, group: str, *, nodes: int = 2, balanced: bool = True, **more: object) -> Fleet:
        """A group that has run for long."""
        long_ago = self.now - 100_000
        machines = [Machine(f"i-{next(IDS)}", long_ago, long_ago if balanced else None) for _ in range(nodes)]
        targets = {TARGET} if balanced else set[str]()
        fleet = Fleet(
            f"{group}-v001",
            1,
            4,
            nodes,
            {PHASE: "serving"},
            targets=targets,
            machines=machines,
            **more,  # type: ignore[arg-type]
        )
        self.fleets.setdefault(group, {})[fleet.name] = fleet
        self.keep()
        return fleet

    def keep(self) -> None:
        self.past.append((self.now, deepcopy(self.fleets)))
        del self.past[:-40]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        changed = False
        for fleets in self.fleets.values():
            for name, fleet in list(fleets.items()):
                if fleet.deleted is not None and self.now - fleet.deleted >= self.deletion:
                    del fleets[name]
                    changed = True
                    continue
                left = [one for one in fleet.machines if not one.ended or self.now - one.ended < self.termination]
                changed = changed or len(left) < len(fleet.machines)
                fleet.machines = left
        if changed:
            self.keep()

    def count(self, group: str) -> None:
        self.leastserving[group] = min(self.serving(group), self.leastserving.get(group, 99))

    def fit(self, fleet: Fleet) -> None:
        """As many nodes as desired."""
        alive = [one for one in fleet.machines if not one.ended]
        for one in alive[fleet.desired :]:
            one.ended = self.now
        for _ in range(fleet.desired - len(alive)):
            fleet.machines.append(Machine(f"i-{next(IDS)}", self.now, self.now if fleet.targets else None))

    def node(self, fleet: Fleet, machine: Machine) -> Node:
        up = self.now - machine.born >= self.pending and not fleet.broken
        lifecycle = "Terminating" if machine.ended else "InService" if up else "Pending"
        state = ""
        if machine.attached is not None:
            registered = max(machine.attached, machine.born + self.pending)
            state = "healthy" if self.now - registered >= self.health else "initial"
        if machine.detached is not None and self.now - machine.detached < self.drain:
            state = "draining"
        targets = ((TARGET, state),) if state and up else ()
        return Node(machine.id, lifecycle, targets=targets, why="" if up else "Pending")

    def asg(self, fleet: Fleet) -> Asg:
        nodes = tuple(self.node(fleet, machine) for machine in fleet.machines)
        return Asg(
            fleet.name, fleet.min, fleet.max, fleet.desired, dict(fleet.tags), frozenset(fleet.suspended),
            frozenset(fleet.targets), nodes, deleting=fleet.deleted is not None,
        )  # fmt: skip

    def serving(self, group: str) -> int:
        asgs = [self.asg(fleet) for fleet in self.fleets[group].values()]
        balanced = any(node.targets for asg in asgs for node in asg.nodes)
        return sum(node.ready and (not balanced or node.serves([TARGET])) for asg in asgs for node in asg.nodes)

    def change(self, group: str, change: Change) -> None:
        fleets = self.fleets[group]
        fleet = fleets.get(getattr(change, "asg", ""))
        if isinstance(change, Create):
            assert fleet is None, "two groups of one name"
            tags = change.record.tags()
            fleets[change.asg] = Fleet(change.asg, 0, 0, 0, tags, broken=group in self.broken)
            return
        assert fleet, change
        self._note(fleet, change)
        self._set(fleet, change)
        self.fit(fleet)

    def _note(self, fleet: Fleet, change: Change) -> None:
        """What of the change is in tags."""
        match change:
            case RecordSizes():
                fleet.tags |= own_sizes(change.own)
            case Grow():
                fleet.tags["nodepkg:deadline"] = moment(change.deadline)
            case Enter():
                reason = {"nodepkg:reason": change.reason} if change.reason else {}
                fleet.tags |= {PHASE: change.phase.value, "nodepkg:since": moment(change.now), **reason}
            case RememberKept():
                fleet.tags |= kept_sizes(change.sizes)
            case Serve():
                for key in change.keys:
                    del fleet.tags[key]
                fleet.tags[PHASE] = "serving"
            case TakeKept():
                fleet.tags |= change.record.tags()

    def _set(self, fleet: Fleet, change: Change) -> None:
        match change:
            case SuspendProcesses():
                fleet.suspended |= change.processes
            case ResumeProcesses():
                fleet.suspended -= change.processes
            case Grow():
                fleet.min, fleet.max, fleet.desired = change.size, change.max, change.size
            case Resize():
                wanted = fleet.desired if change.desired is None else change.desired
                fleet.min, fleet.max, fleet.desired = change.min, change.max, min(max(wanted, change.min), change.max)
            case AttachTargets():
                fleet.targets |= change.targets
                self._register(fleet, attached=self.now, detached=None)
            case DetachTargets():
                fleet.targets -= change.targets
                self._register(fleet, attached=None, detached=self.now)
            case DeleteAsg():
                assert not fleet.machines, "deleted with nodes"
                fleet.deleted = self.now

    def _register(self, fleet: Fleet, *, attached: float | None, detached: float | None) -> None:
        for one in fleet.machines:
            one.attached, one.detached = attached, detached

    def shown(self, group: str) -> dict[str, Asg]:
        at = self.now - self.lag(self.now)
        fleets = next((fleets for then, fleets in reversed(self.past) if then <= at), self.past[0][1])
        if at >= self.now:
            fleets = self.fleets
        return {name: self.asg(fleet) for name, fleet in fleets[group].items()}


@dataclass
class Claim:
    """A lease of the sky."""

    sky: Sky
    group: str
    number: int
    beaten: float = 0.0
    states: list[str | None] = field(default_factory=list)
    released: bool = False

    @contextmanager
    def fenced(self) -> Iterator[None]:
        if self.sky.holders.get(self.group) != self.number:
            raise LostLeaseError(f"{self.group}: somebody else has it now")
        if self.sky.now - self.beaten > 60:
            raise StaleHeartbeatError(f"{self.group}: too old")
        yield

    def beat(self, state: str | None = None) -> None:
        if self.sky.holders.get(self.group) != self.number:
            raise LostLeaseError(f"{self.group}: somebody else has it now")
        self.states.append(state)
        self.beaten = self.sky.now

    def release(self) -> None:
        self.released = True
        if self.sky.holders.get(self.group) == self.number:
            del self.sky.holders[self.group]


Fault = Callable[[Change], BaseException | None]


@dataclass
class Process:
    """One process that looks at the sky, and changes it. What `before` or `after` gives of a change is raised."""

    sky: Sky
    before: Fault = lambda _: None
    after: Fault = lambda _: None
    on_look: Callable[[int], None] = lambda _: None
    on_sleep: Callable[[float], None] = lambda _: None
    takes_over: bool = False
    looks: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    changes: list[tuple[str, str]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    unable: Sequence[str] = ()
    due: Mapping[str, float] = field(default_factory=dict)
    numbers: Iterator[int] = IDS

    def now(self) -> float:
        return self.sky.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.on_sleep(self.sky.now)
        self.sky.advance(seconds)

    def claim(self, task: Task) -> Claim:
        if task.group in self.sky.holders and not self.takes_over:
            raise RefusedError(f"{task.group} is held by somebody@else")
        self.sky.holders[task.group] = number = next(self.numbers)
        self.claims.append(Claim(self.sky, task.group, number, self.sky.now))
        return self.claims[-1]

    def observe(self, subjects: Sequence[Subject]) -> Mapping[str, Observation]:
        self.looks.append((self.sky.now, tuple(one.group for one in subjects)))
        self.on_look(len(self.looks))
        self.sky.advance(self.sky.call)
        return {one.group: self._seen(one) for one in subjects}

    def _seen(self, subject: Subject) -> Observation:
        asgs = self.sky.shown(subject.group)
        new = next((asg for asg in asgs.values() if asg.record), None)
        record = new.record if new else None
        serving = next((asg for asg in asgs.values() if asg.phase == "serving"), None)
        old = asgs.get(record.old) if record else serving
        kept = tuple(asg for asg in asgs.values() if asg.phase == Phase.KEPT and asg != old)
        view = View(subject.goal, subject.terms, old, new, kept, aim=subject.aim)
        if new or subject.aim:
            return Observation(view)
        try:
            return Observation(replace(view, claim=subject.claim(Observation(view))))
        except NodepkgError as error:
            return Observation(view, error=error)

    def act(self, change: Change) -> Report:
        group = str(getattr(change, "asg", "")).rpartition("-v")[0]
        if error := self.before(change):
            raise error
        self.sky.keep()
        self.sky.advance(self.sky.call)
        self.sky.change(group, change)
        self.sky.count(group)
        self.sky.keep()
        self.changes.append((group, str(change)))
        if error := self.after(change):
            raise error
        return {}

    def troubles(self, task: Task, asg: str, since: float) -> Sequence[str]:
        return self.unable

    def schedules(self, task: Task, asg: str) -> Mapping[str, float]:
        return self.due


TERMS = Terms(min=1, max=4, ready_timeout=600, bake_time=60, timeout=120)


def update(
    group: str = "bee",
    *,
    run: str = "run-1",
    terms: Terms = TERMS,
    targets: tuple[str, ...] = (TARGET,),
    **more: object,
) -> Task:
    """An update to the next generation, as long as the first one serves."""

    def claim(seen: Observation) -> Change | None:
        old = seen.view.old
        if old is None or not old.name.endswith("v001"):
            return None
        record = Record(
            run, Phase.CLAIM, old.name, old.targets, old.suspended, frozenset(targets), version=2, image="ami-2"
        )
        return Create("us-east-1", f"{group}-v002", record)

    return Task(group, "us-east-1", run, terms, claim=claim, **more)  # type: ignore[arg-type]


def undo(group: str = "bee", *, run: str = "run-2", terms: Terms = TERMS) -> Task:
    return Task(group, "us-east-1", run, terms, Goal.ROLLBACK)
