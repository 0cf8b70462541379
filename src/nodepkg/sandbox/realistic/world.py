"""One region in time: what it holds, what is due when, and what a test may do to it."""

import heapq
from collections import deque
from collections.abc import Callable, Collection
from itertools import count
from typing import Any
from uuid import UUID

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from nodepkg.sandbox.realistic.records import Activity, Agent, Group, Node, State
from nodepkg.sandbox.realistic.settings import Realism

Executor = Callable[[str, str], tuple[int, str, str]]
"""Runs a shell script on a node (its id, the script): exit code, stdout, stderr."""

IMPAIRED, UNHEALTHY, FAILING = "impaired", "unhealthy", "failing"
"""How nodes are sick: status checks impaired; targets never healthy; they end before they run."""


class World:
    """A region. `advance` carries out what is due; whoever calls anything else holds the lock of the whole sandbox.

    `listeners` are called with (world, group) after anything about a group's nodes or targets has changed; `altered`
    are the names of those groups, until somebody clears it. `agents` are those of nodes that are not as others are;
    with an `executor` the scripts of Run Command really run.
    """

    def __init__(self, region: str, realism: Realism, now: float) -> None:
        self.region = region
        self.realism = realism
        self.now = now
        self.state = State()
        self.sick: dict[str, set[str]] = {}
        self.launched: dict[str, Any] = {}
        self.short_zones: set[str] = set()
        self.quota: int | None = None
        self.unused_target_groups: set[str] = set()
        self.agents: dict[str, Agent] = {}
        self.executor: Executor | None = None
        self.changes = 0
        self.before_time_passes: Callable[[], None] = lambda: None
        self.altered: set[str] = set()
        self.listeners: list[Callable[[World, Group], None]] = []
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count(1)
        self._touched: deque[Group] = deque()
        self._settling = False

    @property
    def ec2(self) -> Any:
        return ec2_backends[DEFAULT_ACCOUNT_ID][self.region]

    @property
    def balancing(self) -> Any:
        return elbv2_backends[DEFAULT_ACCOUNT_ID][self.region]

    @property
    def groups(self) -> dict[str, Group]:
        return self.state.groups

    def at(self, moment: float, do: Callable[..., None], *arguments: Any) -> None:
        """`do(world, *arguments)` when it is that late; what is due at one moment happens in the order it was said."""
        heapq.heappush(self._due, (moment, next(self._numbers), do, arguments))

    def after(self, seconds: float, do: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, do, *arguments)

    def advance(self, now: float) -> None:
        """Lets everything happen until then, each at its moment."""
        while self._due and self._due[0][0] <= now:
            moment, _, do, arguments = heapq.heappop(self._due)
            if moment > self.now:
                self.before_time_passes()
                self.now = moment
            do(self, *arguments)
            self.settle()
        if now > self.now:
            self.before_time_passes()
            self.now = now

    def touch(self, group: Group) -> None:
        """Something about the group has changed: it looks whether it has the nodes that it should have."""
        self.changes += 1
        self.altered.add(group.name)
        if group not in self._touched:
            self._touched.append(group)

    def settle(self) -> None:
        """Lets the groups that were touched draw their conclusions."""
        from nodepkg.sandbox.realistic import scaling

        while self._touched:
            group = self._touched.popleft()
            scaling.reconcile(self, group)
            for listener in self.listeners:
                listener(self, group)

    def id(self) -> str:
        """Ids are counted, so that two runs of a test are the same."""
        return str(UUID(int=next(self._numbers) | (4 << 76) | (8 << 60)))

    def node(self, instance: str) -> tuple[Group, Node] | None:
        for group in self.groups.values():
            if instance in group.nodes:
                return group, group.nodes[instance]
        return None

    def instance(self, instance: str) -> Any:
        """moto's, or None."""
        if instance in self.launched:
            return self.launched[instance]
        for reservation in self.ec2.reservations.values():
            for one in reservation.instances:
                if one.id == instance:
                    return one
        return None

    def sickness(self, node: Node) -> set[str]:
        return self.sick.get(node.id, set()) | self.sick.get(node.image, set())

    def begin(self, group: Group, description: str, cause: str, node: str = "") -> Activity:
        activity = Activity(self.id(), group.name, description, cause, self.now, node=node)
        self.state.activities.append(activity)
        return activity

    def end(self, activity: Activity | None, status: str = "Successful", message: str | None = None) -> None:
        if activity and activity.end is None:
            activity.status, activity.message, activity.end = status, message, self.now

    def arn(self, group: str) -> str:
        prefix = f"arn:aws:autoscaling:{self.region}:{DEFAULT_ACCOUNT_ID}"
        return f"{prefix}:autoScalingGroup:{self.id()}:autoScalingGroupName/{group}"

    def tagged(self, key: str, value: str) -> Collection[Group]:
        return [group for group in self.groups.values() if group.tags.get(key, {}).get("Value") == value]
