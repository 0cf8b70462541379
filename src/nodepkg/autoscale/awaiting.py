"""Waiting until the nodes of new Auto Scaling groups are ready: many groups in one loop."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nodepkg.asked import Web
from nodepkg.autoscale.housekeeping import served
from nodepkg.autoscale.journal import counted
from nodepkg.autoscale.observe import observed, readiness
from nodepkg.autoscale.registered import Membership, Registries, judged
from nodepkg.autoscale.view import Node, whole
from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.autoscaling import AutoScaling, AutoScalingGroup
from nodepkg.clients.aws.images import Images
from nodepkg.errors import AwsError, CredentialsError
from nodepkg.lease.claim import Lease, LostLeaseError
from nodepkg.ready import Health, unhealthy_in
from nodepkg.services.blocking import EtcdRegistries

STEP_SECONDS = 1.0  # so often at least the display lives, and a heartbeat may be due
BLIND_LOOKS = 5


@dataclass(frozen=True)
class Awaited:
    """A new Auto Scaling group: what its nodes are asked, and within how many seconds they have to be ready.

    `image` is what they are started from; `membership` is None for a group without services.
    """

    group: str
    region: str
    asg: str
    health: Health
    timeout: float
    image: str
    membership: Membership | None = None


@dataclass(frozen=True)
class Standing:
    """How far a group is: `ready` of `desired` nodes, and what the first of the others lacks."""

    group: str
    asg: str
    ready: int
    desired: int
    why: str = ""

    def __str__(self) -> str:
        return f"{self.ready} of {self.desired} nodes ready" + (f"; {self.why}" if self.why else "")


class Watcher(Protocol):
    """Who is told of the waiting."""

    def began(self, awaited: Awaited) -> None: ...

    def stands(self, standing: Standing) -> None:
        """After each look at a group."""
        ...

    def ended(self, group: str, told: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def tick(self) -> None:
        """At least once a second."""
        ...


@dataclass
class _Course:
    """What is known of one group that is waited for. `began` is a moment of AWS's clock."""

    awaited: Awaited
    began: float
    standing: Standing
    ids: frozenset[str] = frozenset()
    reasons: list[str] = field(default_factory=list)
    silent: bool = False  # its heartbeat cannot be written

    def failure(self, why: str) -> str:
        """Why it is given up, in one line."""
        reason = f"; AWS says: {self.reasons[-1]}" if self.reasons else ""
        return f"{self.awaited.asg}: {why}{reason}"


class Waiting:
    """Looks every `poll` seconds. `leases`, by group, are kept alive meanwhile; `sleep` is this machine's.

    `standings`, by group, are how far the groups were when they were looked at last.
    """

    def __init__(
        self,
        account: Account,
        leases: Mapping[str, Lease],
        watcher: Watcher,
        *,
        web: Web,
        poll: float,
        sleep: Callable[[float], None],
        registries: Registries | None = None,
    ) -> None:
        self._account, self._leases, self._watcher = account, leases, watcher
        self._web, self._poll, self._sleep = web, poll, sleep
        self._registries = registries or EtcdRegistries()
        self.standings: dict[str, Standing] = {}
        self._blind = 0
        self._failures: dict[str, str] = {}

    def wait(self, groups: Sequence[Awaited]) -> None:
        """Returns when all nodes of all groups are ready.

        Raises AwsError, when no group is waited for any more, if some did not come to that in their time: with the
        reason of each, AWS's own if it has told one. Those groups stay as they are.
        """
        began = self._account.now()
        running = {one.asg: _Course(one, began, Standing(one.group, one.asg, 0, 0)) for one in groups}
        for one in groups:
            self._watcher.began(one)
        while running:
            ended = self._look(list(running.values()))
            for course in ended:
                del running[course.awaited.asg]
            if running:
                self._pause(list(running.values()))
        if self._failures:
            raise AwsError("\n".join(self._failures.values()), hint=what_to_do(self._failures))

    def _look(self, courses: Sequence[_Course]) -> list[_Course]:
        """Those that have come to their end."""
        try:
            seen = self._observed(courses)
        except CredentialsError:
            raise
        except AwsError as error:
            self._blind += 1
            if self._blind >= BLIND_LOOKS:
                raise
            if self._blind == 1:
                self._watcher.warning(f"AWS cannot be looked at: {error.message}")
            return []
        self._blind = 0
        ended = [course for course in courses if self._is_over(course, seen.get(course.awaited.asg))]
        self._note_served([course.awaited for course in ended if course.awaited.group not in self._failures])
        return ended

    def _observed(self, courses: Sequence[_Course]) -> dict[str, tuple[AutoScalingGroup, tuple[Node, ...]]]:
        found: dict[str, tuple[AutoScalingGroup, tuple[Node, ...]]] = {}
        for region in sorted({course.awaited.region for course in courses}):
            here = [course for course in courses if course.awaited.region == region]
            asgs = AutoScaling(self._account, region).groups_named([course.awaited.asg for course in here])
            health = {course.awaited.asg: course.awaited.health for course in here}
            nodes = readiness(self._account, region, asgs, health=health, web=self._web)
            found |= {asg.name: (asg, nodes[asg.name]) for asg in asgs}
        return self._judged(courses, found)

    def _judged(
        self, courses: Sequence[_Course], seen: Mapping[str, tuple[AutoScalingGroup, tuple[Node, ...]]]
    ) -> dict[str, tuple[AutoScalingGroup, tuple[Node, ...]]]:
        """With whether the nodes have announced their services; each registry is asked once."""
        found = dict(seen)
        member_of = {one.awaited.asg: one.awaited.membership for one in courses if one.awaited.membership}
        pictures = self._registries.look({one.location: {} for one in member_of.values()}) if member_of else {}
        for name, membership in member_of.items():
            if name in found:
                asg, nodes = found[name]
                found[name] = asg, judged(nodes, membership, pictures[membership.location], None)
        return found

    def _is_over(self, course: _Course, seen: tuple[AutoScalingGroup, tuple[Node, ...]] | None) -> bool:
        """Whether it is ready; else, and only then, whether its time is up."""
        awaited, why = course.awaited, "AWS does not show it"
        if seen:
            asg, nodes = seen
            course.standing = standing(awaited.group, asg, nodes)
            self.standings[awaited.group] = course.standing
            self._watcher.stands(course.standing)
            if is_whole(asg, nodes):
                self._watcher.ended(awaited.group, f"{asg.name} is ready: {counted(asg.desired)}")
                return True
            self._tell_troubles(course, asg)
            if asg.status:
                return self._failed(course, f"AWS says: {asg.status}")
            why = str(course.standing)
        if self._account.now() - course.began >= awaited.timeout:
            return self._failed(course, f"not ready within {awaited.timeout:g} s: {why}")
        return False

    def _note_served(self, ready: Sequence[Awaited]) -> None:
        """On the images of the groups that are ready now; those serve all the same if it cannot be noted."""
        for region in sorted({one.region for one in ready}):
            here = [one for one in ready if one.region == region]
            try:
                images = {
                    image.id: image for image in Images(self._account, region).owned_of(one.image for one in here)
                }
                for one in here:
                    with self._leases[one.group].fenced():
                        for change in served(region, one.asg, images.get(one.image)):
                            change.run(self._account)
            except AwsError as error:
                told = ", ".join(sorted({one.image for one in here}))
                self._watcher.warning(f"it is not noted that these images have served: {told}: {error.message}")

    def _failed(self, course: _Course, why: str) -> bool:
        self._failures[course.awaited.group] = course.failure(why)
        self._watcher.ended(course.awaited.group, f"{course.awaited.asg} is given up: {why}")
        return True

    def _tell_troubles(self, course: _Course, asg: AutoScalingGroup) -> None:
        """Why AWS cannot start nodes, in its own words, each reason once: where nodes are missing, or have gone."""
        ids = frozenset(member.id for member in asg.members)
        if len(ids) < asg.desired or course.ids - ids:
            for activity in reversed(AutoScaling(self._account, course.awaited.region).activities(asg.name)):
                reason = activity.trouble
                # A second before, since AWS tells the moments of activities in whole seconds.
                if reason and activity.started >= course.began - 1 and reason not in course.reasons:
                    course.reasons.append(reason)
                    self._watcher.warning(f"{asg.name}: AWS cannot start a node: {reason}")
        course.ids = ids

    def _pause(self, courses: Sequence[_Course]) -> None:
        """Until the next look: one is made at the end of each group's time, too."""
        now = self._account.now()
        ends = [course.began + course.awaited.timeout for course in courses]
        until = min([now + self._poll, *(end for end in ends if end > now)])
        while True:
            for course in courses:
                self._beat(course)
            self._watcher.tick()
            left = until - self._account.now()
            if left <= 0:
                return
            self._sleep(min(left, STEP_SECONDS))

    def _beat(self, course: _Course) -> None:
        try:
            self._leases[course.awaited.group].beat("waiting for its nodes")
        except LostLeaseError:
            raise
        except AwsError as error:
            if not course.silent:
                self._watcher.warning(f"{course.awaited.group}: the heartbeat cannot be written: {error.message}")
            course.silent = True
        else:
            course.silent = False


def standing(group: str, asg: AutoScalingGroup, nodes: Sequence[Node]) -> Standing:
    lacking = [(node, _lack(node, asg.target_groups)) for node in nodes]
    why = next((f"{node.id}: {lack}" for node, lack in lacking if lack), "")
    return Standing(group, asg.name, sum(not lack for _, lack in lacking), asg.desired, why)


def is_whole(asg: AutoScalingGroup, nodes: Sequence[Node]) -> bool:
    """Whether the group has exactly the nodes that it is to have, all ready and healthy in its target groups."""
    return whole(observed(asg, nodes), asg.target_groups, answering=True) is not None and not asg.status


def _lack(node: Node, targets: Collection[str]) -> str:
    there = dict(node.targets)
    return node.why or unhealthy_in({arn: there.get(arn, "") for arn in targets})


def what_to_do(groups: Iterable[str]) -> str:
    """The commands for groups that exist and are not ready."""
    names = list(groups)
    removing = ", ".join(f"package autoscale:delete {name}" for name in names)
    return (
        "what was made stays, and AWS goes on trying; "
        f"how far it is: package autoscale:status {' '.join(names)}; to remove it: {removing}"
    )
