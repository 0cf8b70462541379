"""Who has left its target groups in a deploy, and what is still to be done about it: each change until it is made."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nodepkg.errors import NodepkgError
from nodepkg.fleet.course import GONE, Course, Order, Stage
from nodepkg.fleet.drain import (
    Change,
    Forget,
    Leave,
    LetGo,
    Return,
    drained_keys,
    drained_tags,
    held,
    hold,
    left_by,
)
from nodepkg.fleet.sight import Sight
from nodepkg.fleet.world import World
from nodepkg.lease.claim import LostLeaseError

TRIES = 10
_NOT_JUDGED = ("", "initial", "draining")


@dataclass
class _Chore:
    """Changes to be made one after the other beside the hosts' own courses.

    After some tries of one, it and what follows it are left to the next deploy.
    """

    group: str
    changes: list[Change]
    retry_at: float = 0.0
    tries: int = 0


@dataclass(frozen=True)
class _Returned:
    """A node of a group that was brought back into these target groups (ARNs), at this moment."""

    group: str
    arns: tuple[str, ...]
    at: float


@dataclass
class Drains:
    """The changes of targets that a deploy makes, in one place: those that AWS did not take are tried again."""

    world: World
    order: Order
    say: Callable[[str], None]
    _held: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    _suspended: set[tuple[str, str]] = field(default_factory=set)
    _away: dict[str, str] = field(default_factory=dict)
    _returned: dict[str, "_Returned"] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)
    _chores: list[_Chore] = field(default_factory=list)
    _lost: bool = False

    @property
    def out(self) -> frozenset[str]:
        """The nodes that an earlier deploy left out of their target groups, and that are not back yet."""
        return frozenset(name for chore in self._chores for one in chore.changes for name in _returns(one))

    def is_settled(self, name: str, looked: float) -> bool:
        """Whether a look of that moment shows how things are with a node, and nothing is still to be put in order."""
        if any(name in getattr(change, "instances", ()) for chore in self._chores for change in chore.changes):
            return False
        returned = self._returned.get(name)
        return returned is None or looked >= returned.at + self.order.window

    def awaited(self, placed: Iterable[Course]) -> set[str]:
        """The groups whose nodes are awaited in their target groups before Auto Scaling may judge them again."""
        if self._lost or self._chores or any(placed):
            return set()
        return {group for group, _ in self._held}

    def find_left_over(self, group: str, sight: Sight) -> None:
        """What a deploy that was killed has left, and this one has not seen before."""
        for asg, processes in held(sight).items():
            if (group, asg) not in self._suspended:
                self._held.setdefault((group, asg), processes)
        for name, node in sight.nodes.items():
            keys = drained_keys(node.tags)
            if not keys or name in self._known or name in self._away:
                continue
            self._known.add(name)
            arns = tuple(sorted(left_by(node.tags, node.targets)))
            self.say(f"{group}: {name} is brought back: a deploy that was cut off has left it out of its target groups")
            changes: list[Change] = [Forget(self._region(group), (name,), keys)]
            if arns:
                self._away[name] = group
                changes.insert(0, Return(self._region(group), (name,), arns))
            self._chores.append(_Chore(group, changes))

    def back(self, course: Course) -> None:
        """A host is back, or gone: what was noted on it is removed. What could not be brought back stays noted."""
        if course.state == GONE:
            self._away.pop(course.name, None)
        if course.name in self._away:
            self.say(f"{course.group}: left to the next deploy of the group: bring {course.name} back")
            return
        keys = tuple(drained_tags(course.left))
        self._chores.append(_Chore(course.group, [Forget(course.job.host.region, (course.name,), keys)]))

    def busy(self, placed: Iterable[Course]) -> bool:
        return not self._lost and bool(self._chores or (self._held and not any(placed)))

    def leave(self) -> None:
        """Leaves it to the next deploy to let Auto Scaling judge the nodes again."""
        for group, asg in self._held:
            self._say_left(group, asg)
        self._held.clear()

    def carry_out(
        self,
        placed: list[Course],
        sights: Mapping[str, Sight],
        looked: Mapping[str, float],
        *,
        ending: bool,
        failing: Callable[[NodepkgError], None],
    ) -> None:
        """Makes the changes that are due. `ending`: nobody starts any more. `failing` is told of a lost lease."""
        now = self.world.now()
        asking = [one for one in placed if one.asks and one.retry_at <= now]
        for (group, stage, arns), courses in _alike(asking).items():
            try:
                self._change_targets(group, stage, arns, courses, sights)
            except LostLeaseError as error:
                self._lost = True
                failing(error)
            except NodepkgError as error:
                self.say(f"{group}: {error.message}")
                for course in courses:
                    course.retry_at = self.world.now() + self.order.poll
        if self._lost:
            for course in placed:
                course.asks = False
            return
        self._do_chores(failing)
        if ending and not placed and not self._chores:
            self._let_go(sights, looked)
            self._do_chores(failing)

    def _change_targets(
        self, group: str, stage: Stage, arns: tuple[str, ...], courses: list[Course], sights: Mapping[str, Sight]
    ) -> None:
        names, region = tuple(one.name for one in courses), self._region(group)
        if stage is Stage.LEAVING:
            self._hold(group, names, sights[group])
            self._away |= dict.fromkeys(names, group)
            self.world.change(group, Leave(region, names, arns))
        else:
            self._change(group, Return(region, names, arns))
        for course in courses:
            course.asks, course.since = False, self.world.now()

    def _change(self, group: str, change: Change) -> None:
        self.world.change(group, change)
        if isinstance(change, Return):
            for name in change.instances:
                self._away.pop(name, None)
                self._returned[name] = _Returned(group, change.arns, self.world.now())

    def _hold(self, group: str, names: Iterable[str], sight: Sight) -> None:
        for asg in sorted({sight.nodes[name].asg for name in names if name in sight.nodes}):
            found = sight.asgs.get(asg)
            if found is None or (group, asg) in self._suspended:
                continue
            if change := hold(self._region(group), found):
                self._held[group, asg] = change.processes
                self.world.change(group, change)
            self._suspended.add((group, asg))

    def _let_go(self, sights: Mapping[str, Sight], looked: Mapping[str, float]) -> None:
        for (group, asg), processes in list(self._held.items()):
            sight = sights.get(group, Sight())
            if any(of == group and name in sight.nodes for name, of in self._away.items()):
                self._say_left(group, asg)
            elif all(self._is_judged(name, sight, looked.get(group)) for name in self._brought_back(group)):
                change = LetGo(self._region(group), asg, processes, self._taken_for_unhealthy(group, asg, sight))
                self._chores.append(_Chore(group, [change]))
            else:
                continue
            del self._held[group, asg]

    def _say_left(self, group: str, asg: str) -> None:
        processes = ", ".join(self._held[group, asg])
        self.say(f"{group}: left to the next deploy of the group: resume {processes} of {asg}")

    def _brought_back(self, group: str) -> list[str]:
        return [name for name, one in self._returned.items() if one.group == group]

    def _is_judged(self, name: str, sight: Sight, looked: float | None) -> bool:
        """Whether load balancers have looked at a node that is back: until then Auto Scaling would see none there."""
        one = self._returned[name]
        if self.world.now() - one.at > self.order.patience:
            return True
        if looked is None or looked < one.at + self.order.window:
            return False
        node = sight.nodes.get(name)
        return node is None or all(node.targets.get(arn, "unused") not in _NOT_JUDGED for arn in one.arns)

    def _taken_for_unhealthy(self, group: str, asg: str, sight: Sight) -> tuple[str, ...]:
        found, ours = sight.asgs.get(asg), self._brought_back(group)
        wrongly = [
            one.id
            for one in (found.members if found else ())
            if one.id in ours and one.lifecycle == "InService" and one.health.lower() != "healthy"
        ]
        return tuple(sorted(wrongly))

    def _do_chores(self, failing: Callable[[NodepkgError], None]) -> None:
        """In their order: what is behind one that cannot be done waits, if it is of the same group."""
        waiting: set[str] = set()
        left: list[_Chore] = []
        for chore in self._chores:
            if chore.group in waiting or chore.retry_at > self.world.now():
                waiting.add(chore.group)
                left.append(chore)
            elif not self._does(chore, failing):
                waiting.add(chore.group)
                if chore.tries < TRIES:
                    left.append(chore)
                else:
                    told = "; ".join(map(str, chore.changes))
                    self.say(f"{chore.group}: left to the next deploy of the group: {told}")
        self._chores = [] if self._lost else left

    def _does(self, chore: _Chore, failing: Callable[[NodepkgError], None]) -> bool:
        try:
            while chore.changes:
                self._change(chore.group, chore.changes[0])
                del chore.changes[0]
        except LostLeaseError as error:
            self._lost = True
            failing(error)
            return False
        except NodepkgError as error:
            chore.tries += 1
            chore.retry_at = self.world.now() + self.order.poll
            self.say(f"{chore.group}: {error.message}")
            return False
        return True

    def _region(self, group: str) -> str:
        return self.order.region_of(group)


def _returns(change: Change) -> tuple[str, ...]:
    return change.instances if isinstance(change, Return) else ()


def _alike(asking: Iterable[Course]) -> dict[tuple[str, Stage, tuple[str, ...]], list[Course]]:
    found: dict[tuple[str, Stage, tuple[str, ...]], list[Course]] = {}
    for course in asking:
        found.setdefault((course.group, course.stage, tuple(sorted(course.left))), []).append(course)
    return found
