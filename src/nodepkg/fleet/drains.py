"""Who has left its target groups in a deploy, and what is still to be done about it: each change until it is made."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nodepkg.errors import NodepkgError
from nodepkg.fleet.course import Course, Order, Stage
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


@dataclass
class _Chore:
    """What is to be done beside the hosts' own courses; after some tries it is left to the next deploy."""

    group: str
    change: Change
    retry_at: float = 0.0
    tries: int = 0


@dataclass
class Drains:
    """The changes of targets that a deploy makes, in one place: those that AWS did not take are tried again."""

    world: World
    order: Order
    say: Callable[[str], None]
    _held: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    _drained: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)
    _chores: list[_Chore] = field(default_factory=list)
    _lost: bool = False

    @property
    def out(self) -> frozenset[str]:
        """The nodes that an earlier deploy left out of their target groups, and that are not back yet."""
        chores = (one.change for one in self._chores if isinstance(one.change, Return))
        return frozenset(name for change in chores for name in change.instances)

    @property
    def pending(self) -> frozenset[str]:
        """The nodes of which something is still to be put in order: they do not start before."""
        instances = (getattr(one.change, "instances", ()) for one in self._chores)
        return frozenset(name for names in instances for name in names)

    def find_left_over(self, group: str, sight: Sight) -> None:
        """What a deploy that was killed has left, and this one has not seen before."""
        for asg, processes in held(sight).items():
            self._held.setdefault((group, asg), processes)
        for name, node in sight.nodes.items():
            keys = drained_keys(node.tags)
            if not keys or name in self._known or name in self._drained:
                continue
            self._known.add(name)
            arns = left_by(node.tags, node.targets)
            self.say(f"{group}: {name} is brought back: a deploy that was cut off has left it out of its target groups")
            region = self._region(group)
            if arns:
                self._chores.append(_Chore(group, Return(region, (name,), tuple(sorted(arns)))))
            self._chores.append(_Chore(group, Forget(region, (name,), keys)))

    def back(self, course: Course) -> None:
        """A host is back, or gone: what was noted on it is removed."""
        keys = tuple(drained_tags(course.left))
        self._chores.append(_Chore(course.group, Forget(course.job.host.region, (course.name,), keys)))

    def busy(self, placed: Iterable[Course]) -> bool:
        return not self._lost and bool(self._chores or (self._held and not list(placed)))

    def carry_out(
        self,
        placed: list[Course],
        sights: Mapping[str, Sight],
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
            self._let_go(sights)
            self._do_chores(failing)

    def _change_targets(
        self, group: str, stage: Stage, arns: tuple[str, ...], courses: list[Course], sights: Mapping[str, Sight]
    ) -> None:
        names, region = tuple(one.name for one in courses), self._region(group)
        if stage is Stage.LEAVING:
            self._hold(group, names, sights[group])
            self._drained.update(names)
            self.world.change(group, Leave(region, names, arns))
        else:
            self.world.change(group, Return(region, names, arns))
        for course in courses:
            course.asks, course.since = False, self.world.now()

    def _hold(self, group: str, names: Iterable[str], sight: Sight) -> None:
        for asg in sorted({sight.nodes[name].asg for name in names if name in sight.nodes}):
            found = sight.asgs.get(asg)
            change = hold(self._region(group), found) if found and (group, asg) not in self._held else None
            if change:
                self._held[group, asg] = change.processes
                self.world.change(group, change)

    def _let_go(self, sights: Mapping[str, Sight]) -> None:
        for (group, asg), processes in self._held.items():
            found = sights[group].asgs.get(asg) if group in sights else None
            wrongly = [
                one.id
                for one in (found.members if found else ())
                if one.id in self._drained and one.lifecycle == "InService" and one.health.lower() != "healthy"
            ]
            change = LetGo(self._region(group), asg, processes, tuple(sorted(wrongly)))
            self._chores.append(_Chore(group, change))
        self._held.clear()

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
                    self.say(f"{chore.group}: left to the next deploy of the group: {chore.change}")
        self._chores = [] if self._lost else left

    def _does(self, chore: _Chore, failing: Callable[[NodepkgError], None]) -> bool:
        try:
            self.world.change(chore.group, chore.change)
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
        return next(job.host.region for job in self.order.jobs if job.host.group == group)


def _alike(asking: Iterable[Course]) -> dict[tuple[str, Stage, tuple[str, ...]], list[Course]]:
    found: dict[tuple[str, Stage, tuple[str, ...]], list[Course]] = {}
    for course in asking:
        found.setdefault((course.group, course.stage, tuple(sorted(course.left))), []).append(course)
    return found
