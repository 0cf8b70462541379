"""How far each host of a deploy is, and who may start now. Pure: values in, values out."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from nodepkg.fleet.sight import Node, Sight
from nodepkg.fleet.transport import Job, Result
from nodepkg.pace import Needs, Pace, Progress, Room, Share, floor, is_stopped, next_up, room_above
from nodepkg.ready import Health, unhealthy_in


class Stage(StrEnum):
    """What a host is at; from LEAVING to RETURNING it has a place."""

    WAITING = "waiting"
    LEAVING = "leaving its target groups"
    CONVERGING = "converging"
    RETURNING = "being checked"  # until it is healthy
    OVER = "over"


# What may become of a host besides a transport's Result.
GONE = "gone"  # its instance ended meanwhile
LEFT = "left running"  # by the second Ctrl-C, or a crash
NOT_STARTED = str(Result.NOT_STARTED)
SUCCEEDED = str(Result.SUCCEEDED)
FAILED = str(Result.FAILED)
NO_FAILURE = frozenset({SUCCEEDED, GONE, NOT_STARTED})


@dataclass(frozen=True)
class Terms:
    """What holds for a group: the floor of its healthy nodes, whether it drains, and what its nodes are asked."""

    least: Share
    drains: bool = False
    health: Health = Health()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Order:
    """A deploy: the jobs in the order of their turns, and how they are carried out.

    `pause` is between waves, `patience` how long a converge may take, or the wait before and after it; `poll` how
    often AWS is looked at where something is waited for, `window` for how long it may show what is no longer so; all in
    seconds. With `handed_over` the transport has a pace of its own: it gets all of a group, one group after the other.
    `mends` are groups, with their regions, of which no host is meant, and in which what an earlier deploy has left is
    put in order.
    """

    jobs: Sequence[Job]
    terms: Mapping[str, Terms]
    pace: Pace
    pause: float = 0.0
    patience: float = 1800.0
    poll: float = 5.0
    window: float = 0.0
    handed_over: bool = False
    mends: Mapping[str, str] = field(default_factory=dict)

    def region_of(self, group: str) -> str:
        if group in self.mends:
            return self.mends[group]
        return next(job.host.region for job in self.jobs if job.host.group == group)


@dataclass
class Course:
    """One host's. `since` is when its stage began, `began` its converge; moments of the world's clock.

    `left` are the target groups that it has left, `needs` those in which it has to be healthy again. `failed` may be
    taken back: as long as it has a place, its instance may turn out to be gone. `asks` is whether a change of its
    targets is still to be made. `lost` is whether the way to it is, while it converges. `state` is what became of
    it.
    """

    job: Job
    stage: Stage = Stage.WAITING
    since: float = 0.0
    began: float | None = None
    seconds: float | None = None
    code: int | None = None
    why: str = ""
    state: str = ""
    failed: bool = False
    left: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    asks: bool = False
    lost: bool = False
    retry_at: float = 0.0
    missing_since: float | None = None

    @property
    def name(self) -> str:
        return self.job.host.instance

    @property
    def group(self) -> str:
        return self.job.host.group

    @property
    def has_place(self) -> bool:
        return self.stage in (Stage.LEAVING, Stage.CONVERGING, Stage.RETURNING)

    @property
    def is_over(self) -> bool:
        return self.stage is Stage.OVER


@dataclass(frozen=True)
class Standing:
    """All hosts at one moment, in the order of their turns. `freed` is when the last place was given back.

    Those that are gone, or never start, have no part in it: the next one is the canary.
    """

    needs: Needs
    group_of: Mapping[str, str]
    progress: Progress = Progress()  # noqa: RUF009 - frozen
    freed: float | None = None

    @property
    def waits(self) -> bool:
        """Whether anybody has not begun."""
        return len(self.progress.begun) < len(self.needs)


@dataclass
class Ledger:
    """Who is at what, kept up with each change: a deploy of hundreds asks for it after each of their events."""

    courses: Mapping[str, Course]
    freed: float | None = None
    placed: dict[str, Course] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _failed: set[str] = field(default_factory=set)
    _needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _group_of: dict[str, str] = field(default_factory=dict)
    _standing: Standing | None = None

    def __post_init__(self) -> None:
        self._needs = dict.fromkeys(self.courses, ())
        self._group_of = {name: one.group for name, one in self.courses.items()}

    def changed(self, course: Course) -> None:
        """To be called after each change of a course."""
        name = course.name
        counts = course.state not in (GONE, NOT_STARTED)
        if not counts:
            self._needs.pop(name, None)
        for held, holds in (
            (self._done, counts and course.is_over and not course.failed),
            (self._failed, counts and course.failed),
        ):
            (held.add if holds else held.discard)(name)
        if course.has_place:
            self.placed[name] = course
        else:
            self.placed.pop(name, None)
        self._standing = None

    @property
    def standing(self) -> Standing:
        if self._standing is None:
            running = frozenset(name for name in self.placed if name in self._needs)
            progress = Progress(running, frozenset(self._done), frozenset(self._failed))
            self._standing = Standing(dict(self._needs), self._group_of, progress, self.freed)
        return self._standing


def stopped(standing: Standing, pace: Pace) -> bool:
    """Whether so much has failed that nobody starts any more."""
    progress = standing.progress
    return bool(progress.failed) and is_stopped(standing.needs, progress, pace)


def room(terms: Mapping[str, Terms], sights: Mapping[str, Sight], out: Collection[str], names: Collection[str]) -> Room:
    """How many more of each group may start. `out` are hosts that are out of their target groups by our doing.

    One that is not healthy anyway takes nothing away by leaving; while too few are healthy nobody starts.
    """
    left: dict[str, int] = {}
    part_of: dict[str, str] = {}
    for group, sight in sights.items():
        healthy = sight.healthy - frozenset(out)
        least = floor(terms[group].least, len(sight.nodes))
        for part, drains in ((group, terms[group].drains), (_sick(group), False)):
            if (more := room_above(least, len(healthy), drains=drains)) is not None:
                left[part] = more
        part_of |= {name: group if name in healthy else _sick(group) for name in sight.nodes}
    return Room(left, {name: part_of.get(name, "") for name in names})


def _sick(group: str) -> str:
    return f"{group} not healthy"


def candidates(standing: Standing, order: Order, now: float) -> list[str]:
    """Who would start now, if the floors let them."""
    if pause_left(standing, order, now) > 0:
        return []
    if order.handed_over:
        return _whole_group(standing, order)
    return next_up(standing.needs, standing.progress, order.pace)


def starts(standing: Standing, order: Order, room: Room, now: float) -> list[str]:
    """Who starts now."""
    if pause_left(standing, order, now) > 0:
        return []
    if order.handed_over:
        return [name for name in _whole_group(standing, order) if room.left.get(room.part_of[name], 1) > 0]
    return next_up(standing.needs, standing.progress, order.pace, room)


def _whole_group(standing: Standing, order: Order) -> list[str]:
    progress = standing.progress
    if progress.running or stopped(standing, order.pace):
        return []
    begun = progress.begun
    waiting = [name for name in standing.needs if name not in begun]
    return [name for name in waiting if standing.group_of[name] == standing.group_of[waiting[0]]]


def pause_left(standing: Standing, order: Order, now: float) -> float:
    """For how many seconds nobody starts, since a wave has ended."""
    if not order.pause or standing.freed is None or standing.progress.running:
        return 0.0
    return max(standing.freed + order.pause - now, 0.0)


def below(terms: Mapping[str, Terms], sights: Mapping[str, Sight], out: Collection[str]) -> dict[str, str]:
    """Why the floor of a group lets nobody start, for people, of each of which that is so."""
    told: dict[str, str] = {}
    for group, sight in sights.items():
        healthy, least = sight.healthy - frozenset(out), floor(terms[group].least, len(sight.nodes))
        if room_above(least, len(healthy), drains=terms[group].drains) == 0:
            lacking = next((f"{name}: {node.lacks}" for name, node in sight.nodes.items() if node.lacks), "")
            first = f"; {lacking}" if lacking else ""
            told[group] = f"{len(healthy)} of {len(sight.nodes)} nodes healthy, the floor is {least}{first}"
    return told


def lacks(course: Course, node: Node) -> str:
    """What a node that has converged lacks before its place is free; "" for nothing."""
    states = {arn: state for arn, state in node.targets.items() if arn in course.needs}
    return node.why or unhealthy_in(states)


@dataclass(frozen=True)
class Counts:
    """How many hosts are at what, for people."""

    by: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, courses: Iterable[Course]) -> "Counts":
        found: dict[str, int] = {}
        for one in courses:
            key = one.state if one.is_over else str(one.stage)
            found[key] = found.get(key, 0) + 1
        return cls(found)
